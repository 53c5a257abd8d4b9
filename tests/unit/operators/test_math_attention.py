"""Attention that no fused kernel takes: which models reach it, its FLOPs against torch's, its kernels against those measured on an H200."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch.utils.flop_counter import FlopCounterMode

import shapewright as sw
from shapewright.operators import FlashAttention, Gemm, MemoryChain, MemoryPass, Operator, lower
from shapewright.operators.math_attention import falls_to_math
from shapewright.operators.memory import memory_use
from shapewright.read.hf import shape_from_hf_config_object
from shapewright.workload import Workload

KERNELS = Path(__file__).parents[3] / "benchmarks/h200/layers/layer_kernels.jsonl"
FALCON = sw.load_shape("falcon-7b")
BATCH, HEADS, SEQUENCE, DIM = 4, 71, 2048, 64
SCORES = BATCH * HEADS * SEQUENCE * SEQUENCE
SIZES: dict[str, Any] = {
    "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 131, "max_position_embeddings": 64,
    "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
}  # fmt: skip
GPT2 = {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 64, "vocab_size": 131, "bos_token_id": 1, "eos_token_id": 2}
#: Configuration and whether its shared key heads reach a fused kernel.
MODELS = {
    "falcon-7b": (transformers.FalconConfig(**SIZES), False),
    "falcon-7b-alibi": (transformers.FalconConfig(**SIZES, alibi=True), False),
    "falcon-40b": (transformers.FalconConfig(**SIZES, new_decoder_architecture=True, num_kv_heads=2), True),
    "falcon-rw": (transformers.FalconConfig(**SIZES, multi_query=False, parallel_attn=False, alibi=True), True),
    "gpt-bigcode": (transformers.GPTBigCodeConfig(**GPT2, multi_query=True), True),
    "gemma-2b": (transformers.GemmaConfig(**SIZES, num_key_value_heads=1, head_dim=16, intermediate_size=96), True),
    "llama-3": (transformers.LlamaConfig(**SIZES, num_key_value_heads=2, intermediate_size=96), True),
}


def named(workload: Workload, dtype: str = "bf16", shape: sw.ModelShape = FALCON) -> dict[str, Operator]:
    return {operator.name: operator for operator in lower(shape, workload, dtype) if operator.layer not in ("embedding", "head", "step")}


def model_of(config: Any) -> torch.nn.Module:
    torch.manual_seed(0)
    return transformers.AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")


@pytest.fixture
def handed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bool]]:
    """For each call of SDPA, whether a fused kernel may take its heads: as many keys as queries, or enable_gqa."""
    calls: list[bool] = []
    real = torch.nn.functional.scaled_dot_product_attention

    def spy(query: torch.Tensor, key: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        calls.append(query.shape[1] == key.shape[1] or kwargs.get("enable_gqa", False))
        return real(query, key, *args, **kwargs)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", spy)
    yield calls


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")  # GPT-BigCode's module uses it
@pytest.mark.parametrize("name", MODELS)
def test_the_flag_is_what_transformers_does(name: str, handed: list[bool]) -> None:
    """In a whole pass and when one token is decoded."""
    config, is_fused = MODELS[name]
    model, tokens = model_of(config).eval(), torch.randint(3, 131, (2, 12))
    with torch.no_grad():
        cache = model(input_ids=tokens, use_cache=True).past_key_values
        model(input_ids=tokens[:, :1], past_key_values=cache, use_cache=True)
    shape = shape_from_hf_config_object(config).shape
    assert handed == [is_fused] * 2 * shape.num_hidden_layers
    assert shape.has_fused_gqa == is_fused


@pytest.mark.parametrize("query_len", [1, 17])
def test_torch_takes_no_fused_kernel_for_fewer_key_heads(query_len: int) -> None:
    """The check is the same on every device and for any number of queries."""
    query, key = torch.randn(2, 6, query_len, 16), torch.randn(2, 1, 17, 16)
    whole = key.expand(2, 6, 17, 16)
    math = torch.nn.attention.SDPBackend.MATH.value
    assert torch._fused_sdp_choice(query, key, key) == math != torch._fused_sdp_choice(query, whole, whole)


def test_flops_equal_torch() -> None:
    config, _ = MODELS["falcon-7b"]
    model, tokens, shape = model_of(config).train(), torch.randint(3, 131, (2, 12)), shape_from_hf_config_object(config).shape

    def flops(phase: str) -> float:
        workload = Workload(phase=phase, micro_batch=2, sequence=12)  # type: ignore[arg-type]
        return sum(operator.flops * operator.count for operator in lower(shape, workload, "fp32"))

    with FlopCounterMode(display=False) as forward:
        output = model(input_ids=tokens, labels=tokens, use_cache=False)
    with FlopCounterMode(display=False) as backward:
        output.loss.backward()
    with torch.no_grad():
        cache = model(input_ids=tokens, use_cache=True, logits_to_keep=1).past_key_values
        with FlopCounterMode(display=False) as decode:
            model(input_ids=tokens[:, :1], past_key_values=cache, use_cache=True)
    assert flops("forward") == forward.get_total_flops()
    assert flops("train") == forward.get_total_flops() + backward.get_total_flops()
    assert flops("decode") == decode.get_total_flops()


def test_products_are_fp32() -> None:
    found = named(Workload(micro_batch=BATCH, sequence=SEQUENCE))
    products = {name: found[name].work for name in found if found[name].kind == "bmm"}
    common: dict[str, Any] = {"batch": BATCH * HEADS, "dtype": "fp32"}
    assert products == {
        "attention_score": Gemm(m=SEQUENCE, n=SEQUENCE, k=DIM, layout="NN", **common),
        "attention_over_value": Gemm(m=SEQUENCE, n=DIM, k=SEQUENCE, layout="NN", **common),
        "attention_over_value_wgrad": Gemm(m=SEQUENCE, n=DIM, k=SEQUENCE, layout="TN", **common),
        "attention_over_value_dgrad": Gemm(m=SEQUENCE, n=SEQUENCE, k=DIM, layout="NT", **common),
        "attention_score_wgrad": Gemm(m=DIM, n=SEQUENCE, k=SEQUENCE, layout="TN", **common),
        "attention_score_dgrad": Gemm(m=SEQUENCE, n=DIM, k=SEQUENCE, layout="NT", **common),
    }
    assert not any(isinstance(operator.work, FlashAttention) for operator in found.values())
    assert "no fused kernel takes it" in found["attention_score"].note


def test_bytes_of_the_passes_over_the_scores() -> None:
    """Softmax, -inf, all, where; the product and the row kernel going back; the mask is read once for all heads."""
    found = named(Workload(micro_batch=BATCH, sequence=SEQUENCE))
    rows = SCORES / SEQUENCE
    assert found["softmax"].bytes == (8 + 5 + 1 + 8) * SCORES + 2 * rows
    assert found["softmax_backward"].bytes == 24 * SCORES
    assert found["attention_mask_add"].bytes == 8 * SCORES + 2 * BATCH * SEQUENCE * SEQUENCE
    assert found["attention_probabilities"].bytes == 6 * SCORES


def test_rows_wider_than_shared_memory_are_read_twice() -> None:
    """The softmax's backward kernel streams while a row fits in a block's shared memory."""

    def pattern(sequence: int) -> str:
        work = named(Workload(micro_batch=1, sequence=sequence))["softmax_backward"].work
        assert isinstance(work, MemoryChain)
        return work.passes[-1].pattern

    assert [pattern(12288), pattern(12289)] == ["elementwise", "softmax"]


def test_models_of_fp32_widen_nothing() -> None:
    for operator in named(Workload(micro_batch=2, sequence=64, dtype="fp32"), "fp32").values():
        passes = operator.work.passes if isinstance(operator.work, MemoryChain) else (operator.work,)
        widening = [each for each in passes if isinstance(each, MemoryPass) and each.pattern == "upcast"]
        assert not widening or operator.name == "attention_mask_add"
    assert "attention_probabilities" not in named(Workload(micro_batch=2, sequence=64, dtype="fp32"), "fp32")


@pytest.mark.parametrize("phase", ["forward", "train", "prefill", "decode"])
@pytest.mark.parametrize("runtime", ["graph", "eager", "compiled"])
def test_every_phase_runs_by_math(phase: str, runtime: str) -> None:
    """Decoding too: what fused kernels want of the heads does not depend on the number of queries."""
    workload = Workload(phase=phase, runtime=runtime, micro_batch=2, sequence=96)  # type: ignore[arg-type]
    fused = named(workload, shape=replace(FALCON, has_fused_gqa=True))
    found = named(workload)
    assert "flash_attention" in fused and "flash_attention" not in found
    assert sum(operator.flops for operator in found.values()) == sum(operator.flops for operator in fused.values())
    assert sum(operator.bytes for operator in found.values()) > sum(operator.bytes for operator in fused.values())


@pytest.mark.parametrize(
    ("shape", "workload"),
    [
        (sw.load_shape("falcon-40b"), Workload()),
        (sw.load_shape("falcon-rw-1b"), Workload()),
        (sw.load_shape("gemma-2b"), Workload()),
        (sw.load_shape("palm-540b"), Workload()),
        (replace(FALCON, num_attention_heads=1), Workload()),
        (FALCON, Workload(tensor_parallel=71)),
        (FALCON, Workload(attention="unfused")),
    ],
    ids=["40b", "rw", "gemma", "palm", "one head", "one head a GPU", "unfused"],
)
def test_what_does_not_fall_to_math(shape: sw.ModelShape, workload: Workload) -> None:
    assert not falls_to_math(shape, workload)
    assert ("flash_attention" in named(workload, shape=shape)) == (workload.attention == "flash")


def test_scores_are_kept_for_the_backward_pass() -> None:
    """P, q, k and v in fp32 for every query head, and three gradients of the scores for a moment; selective recomputation drops P."""
    plain, fused = (replace(FALCON, num_hidden_layers=6, has_fused_gqa=flag) for flag in (False, True))
    workload = Workload(micro_batch=BATCH, sequence=SEQUENCE)
    kept, flash, selective = (
        memory_use(shape, replace(workload, recompute=recompute))
        for shape, recompute in ((plain, "none"), (fused, "none"), (plain, "selective"))
    )
    heads = BATCH * HEADS * SEQUENCE
    of_flash = 2 * BATCH * SEQUENCE * (HEADS + 2) * DIM + 4 * heads
    assert kept.activations - flash.activations == 6 * (4 * SCORES + 3 * 4 * heads * DIM - of_flash)
    assert kept.activations - selective.activations == 5 * 4 * SCORES
    assert kept.workspace == 32 * 2**20 + 12 * SCORES


def test_recomputation_runs_the_scores_again() -> None:
    operators = lower(FALCON, Workload(micro_batch=1, sequence=128, recompute="selective"), "bf16")
    again = {operator.name for operator in operators if operator.part == "recompute"}
    assert again == {"attention_score", "attention_mask_add", "softmax", "attention_probabilities", "attention_over_value"}


def test_dropout_runs_with_alibi_alone() -> None:
    """Falcon gives SDPA no dropout where positions are rotary."""
    rotary = replace(FALCON, attention_dropout=0.1)
    assert "attention_dropout" not in named(Workload(), shape=rotary)
    assert "attention_dropout" in named(Workload(), shape=replace(rotary, position_embedding="alibi"))


def measured_us() -> Counter[tuple[str, str, tuple[int, ...]]]:
    """Kernels of Falcon-7B's inference and backward pass, added up by part, PyTorch operator and shape of its first operand.

    A pass of more than 2^31 bytes is launched in parts, each a row.
    """
    total: Counter[tuple[str, str, tuple[int, ...]]] = Counter()
    with KERNELS.open(encoding="utf-8") as lines:
        for row in map(json.loads, filter(lambda line: '"falcon-7b"' in line, lines)):
            if row.get("shapes"):
                total[row["part"], row["op"].removeprefix("aten::"), tuple(row["shapes"][0])] += row["us"]
    return total


def test_time_of_the_kernels_of_falcon_7b() -> None:
    """Groups of kernels over the scores against those of a measured layer."""
    answer = sw.explain(replace(FALCON, num_hidden_layers=1), "h200", Workload(micro_batch=BATCH, sequence=SEQUENCE))
    predicted = {time.operator.name: time.estimate.time_s * 1e6 for time in answer.operators if time.operator.layer == "full+dense"}
    measured, scores = measured_us(), (BATCH, HEADS, SEQUENCE, SEQUENCE)
    passes = {
        "attention_mask_add": [("inference", "add_", scores)],
        "softmax": [*(("inference", name, scores) for name in ("_softmax", "isneginf", "all")), ("inference", "where", (*scores[:3], 1))],
        "attention_probabilities": [("inference", "copy_", scores)],
        "attention_score": [("inference", "bmm", (BATCH * HEADS, SEQUENCE, DIM))],
        "attention_over_value": [("inference", "bmm", (BATCH * HEADS, SEQUENCE, SEQUENCE))],
        "attention_over_value_dgrad": [("backward", "bmm", (BATCH * HEADS, SEQUENCE, DIM))],
        "attention_score_wgrad": [("backward", "bmm", (BATCH * HEADS, DIM, SEQUENCE))],
        "softmax_backward": [("backward", "_softmax_backward_data", scores), ("backward", "mul", scores)],
    }
    for name, keys in passes.items():
        assert all(measured[key] > 0 for key in keys), name
        assert predicted[name] == pytest.approx(sum(measured[key] for key in keys), rel=0.10), name
