"""Published training steps (`gpu/training_steps.parquet`) beside what the training stacks say of them.

vtrain: Megatron-DeepSpeed on A100 (80 GB: the tables hold 39 billion parameters in 16 parts of 43 GB of weights, gradients and Adam
states), fp16, full recomputation, unfused attention with the fused softmax, dropout 0.1, vocabulary 50257 padded to 128 x
tensor_parallel, nodes of 8 GPUs with 800 Gbit/s (vTrain's own validation configurations). llm-foundry: MPT with FSDP, step time derived
from tokens a second, 1,600 Gbit/s a node on A100, FULL_SHARD is ZeRO-3 and SHARD_GRAD_OP ZeRO-2, shapes from its pretraining
configurations (vocabulary 50368, learned positions, no dropout).
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError, shown, unknown_name
from ...hardware.load import load_gpu, load_node
from ...predict.profiles import load_profile
from ...predict.stacks import load_stack
from ...predict.step import model_flops
from ...read.resolve import load_shape
from ...shape import ModelShape
from ...workload import Workload
from ..scored import ScoredSet
from ..steps import StepRow, is_held_out, loads, predicted_s
from ..table import Table, read_table

Array = NDArray[Any]

FILE = "gpu/training_steps.parquet"
GOALS_PERCENT = {"megatron": 8.0, "llm-foundry": 12.0}
SPLIT = "whole models by hash of their name, 30 % held out"
SOURCES = {
    "megatron": "vtrain (MIT): Megatron-DeepSpeed iterations, A100",
    "llm-foundry": "llm-foundry (Apache-2.0): MPT with FSDP, step time from tokens a second",
}
#: Name in the file -> (GPU, node).
GPUS = {"A100-SXM4-80GB": ("a100-80gb", "dgx-a100"), "A100-SXM4-40GB": ("a100-40gb", "dgx-a100-40gb"), "H100-SXM": ("h100", "dgx-h100")}
#: vTrain's inter_node_bandwidth, 800 Gbit/s a node of 8 GPUs.
VTRAIN_NETWORK = 12.5e9
VOCABULARY, VOCABULARY_MULTIPLE = 50257, 128
#: Width, heads and layers of MPT by the size in its name (llm-foundry, scripts/train/yamls/pretrain).
MPT = {"125m": (768, 12, 12), "350m": (1024, 16, 24), "760m": (1536, 12, 24), "1b": (2048, 16, 24), "3b": (2560, 20, 32),
       "7b": (4096, 32, 32), "13b": (5120, 40, 40), "30b": (7168, 56, 48), "70b": (8192, 64, 80)}  # fmt: skip
MPT_VOCABULARY = 50368


def gpt(name: str, *, hidden: int, heads: int, layers: int, sequence: int, vocabulary: int) -> ModelShape:
    """A GPT with learned positions and GELU in one kernel, weights stored n x k."""
    return replace(
        load_shape("gpt2"), name=name, hidden_size=hidden, num_attention_heads=heads, num_key_value_heads=heads, head_dim=hidden // heads,
        num_hidden_layers=layers, intermediate_size=4 * hidden, vocab_size=vocabulary, max_position_embeddings=sequence, hidden_act="gelu",
        is_weight_transposed=False,
    )  # fmt: skip


def step_rows(table: Table) -> dict[str, list[StepRow]]:
    """The file's rows by stack; rows marked suspect and GPUs without a name here are left out."""
    texts = {name: table.texts(name, "") for name in ("source", "gpu", "model", "parallel", "dtype", "suspect")}
    counts = {name: table.numbers(name).astype(float) for name in ("seq", "batch", "n_gpu", "micro_batch", "hidden", "heads", "layers")}
    time_s = table.positive("latency_ms") * 1e-3
    rows: dict[str, list[StepRow]] = {}
    for index in range(len(table)):
        text = {name: str(column[index]) for name, column in texts.items()}
        count = {name: float(column[index]) for name, column in counts.items()}
        if text["gpu"] in GPUS and not text["suspect"]:
            is_fsdp = text["parallel"].startswith("fsdp")
            row = (_fsdp if is_fsdp else _megatron)(text, count, float(time_s[index]))
            rows.setdefault("llm-foundry" if is_fsdp else "megatron", []).append(row)
    return rows


def whole_batch(count: dict[str, float], replicas: int) -> int:
    """The global batch in whole micro-batches: one that is not full takes its time all the same."""
    each = int(count["micro_batch"]) * replicas
    return -(-int(count["batch"]) // each) * each


def _megatron(text: dict[str, str], count: dict[str, float], time_s: float) -> StepRow:
    found = re.fullmatch(r"tp(\d+)_dp(\d+)_pp(\d+)", text["parallel"])
    if not found:
        raise InputError(f"parallel is {shown(text['parallel'])}", hint="expected tpT_dpD_ppP or fsdp", field="parallel")
    tensor, data, stages = (int(each) for each in found.groups())
    multiple = VOCABULARY_MULTIPLE * tensor
    vocabulary = -(-VOCABULARY // multiple) * multiple
    size = {name: int(count[name]) for name in ("hidden", "heads", "layers")}
    shape = gpt(text["model"], **size, sequence=int(count["seq"]), vocabulary=vocabulary)
    workload = Workload(
        stack="megatron", micro_batch=int(count["micro_batch"]), global_batch=whole_batch(count, data), sequence=int(count["seq"]),
        dtype="fp16", attention="unfused", runtime="eager", recompute="full", tensor_parallel=tensor, pipeline_parallel=stages,
        data_parallel=data,
    )  # fmt: skip
    gpu, node = GPUS[text["gpu"]]
    network = replace(load_node(node), network_bytes_per_s=VTRAIN_NETWORK)
    return StepRow(model=text["model"], gpu=gpu, shape=shape, workload=workload, node=network, time_s=time_s)


def _fsdp(text: dict[str, str], count: dict[str, float], time_s: float) -> StepRow:
    size = text["model"].partition("-")[2]
    if size not in MPT:
        raise unknown_name("MPT model", size, MPT, field="model")
    hidden, heads, layers = MPT[size]
    shape = gpt(text["model"], hidden=hidden, heads=heads, layers=layers, sequence=int(count["seq"]), vocabulary=MPT_VOCABULARY)
    replicas = int(count["n_gpu"])
    workload = Workload(
        stack="llm-foundry", micro_batch=int(count["micro_batch"]), global_batch=whole_batch(count, replicas), sequence=int(count["seq"]),
        dtype=text["dtype"], attention="flash", runtime="eager", recompute="full" if "ckpt=True" in text["parallel"] else "none",
        data_parallel=replicas, zero=3 if "FULL_SHARD" in text["parallel"] else 2,
    )  # fmt: skip
    gpu, node = GPUS[text["gpu"]]
    shape = replace(shape, attention_dropout=0.0, hidden_dropout=0.0)
    return StepRow(model=text["model"], gpu=gpu, shape=shape, workload=workload, node=load_node(node), time_s=time_s)


def load(folder: Path) -> list[ScoredSet]:
    """One set for each stack and GPU."""
    return [
        _scored(stack, gpu, [row for row in rows if row.gpu == gpu])
        for stack, rows in step_rows(read_table(Path(folder) / FILE)).items()
        for gpu in dict.fromkeys(row.gpu for row in rows)
    ]


def _scored(name: str, gpu_name: str, rows: list[StepRow]) -> ScoredSet:
    stack, gpu = load_stack(name), load_gpu(gpu_name)
    predicted = predicted_s(loads(rows), stack, np.full(len(rows), gpu.architecture))
    flops = [model_flops(row.shape, row.workload, str(row.workload.dtype)) for row in rows]
    peaks = [gpu.peak_flops_per_s(str(row.workload.dtype)) * row.workload.num_gpus for row in rows]
    return ScoredSet(
        name=f"steps-{name}-{gpu_name}", gpu=gpu_name, library=load_profile(gpu).library, source=SOURCES[name], split=SPLIT,
        goal_percent=GOALS_PERCENT[name], measured_s=np.array([row.time_s for row in rows]), predicted_s=predicted,
        low_s=predicted * stack.spread.low, high_s=predicted * stack.spread.high, limit_s=np.array(flops) / np.array(peaks),
        is_held_out=is_held_out([row.model for row in rows]), regimes=_regimes(rows),
    )  # fmt: skip


def _regimes(rows: list[StepRow]) -> dict[str, Array]:
    """Masks by what splits the model, by nodes and by width; those that hold no row are left out."""
    column = {name: np.array([getattr(row.workload, name) for row in rows])
              for name in ("tensor_parallel", "pipeline_parallel", "data_parallel", "num_gpus")}  # fmt: skip
    hidden = np.array([row.shape.hidden_size for row in rows])
    masks = {
        "tensor parallel": column["tensor_parallel"] > 1,
        "pipeline parallel": column["pipeline_parallel"] > 1,
        "data parallel": column["data_parallel"] > 1,
        "one node": column["num_gpus"] <= 8,
        "several nodes": column["num_gpus"] > 8,
        "hidden size to 2048": hidden <= 2048,
        "hidden size above 2048": hidden > 2048,
    }
    return {name: mask for name, mask in masks.items() if mask.any()}
