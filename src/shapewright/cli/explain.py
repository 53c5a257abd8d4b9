"""`shapewright explain MODEL --gpu G`: every operator, its time and why; then layer, step, memory and cost."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

from cyclopts import Parameter

from ..errors import InputError
from ..hardware.gpu import Gpu
from ..hardware.load import load_gpu, load_node
from ..operators.memory import largest_micro_batch
from ..predict.explain import explain as predict_explanation
from ..report.cost import token_cost
from ..shape import ModelShape
from ..workload import Workload
from .flags import OverrideFlags, WorkloadFlags, overrides
from .models_argument import Model, load_model
from .notes import print_notes
from .options import GpuName, Json, LibraryName, NodeName, PositiveNumber
from .screen import page_width


def explain(
    *model: Model,
    gpu: GpuName,
    workload: WorkloadFlags | None = None,
    override: OverrideFlags | None = None,  # type: ignore[valid-type]
    node: NodeName = None,
    library: LibraryName = None,
    fit: Annotated[bool, Parameter(negative="", help="Use the largest micro-batch that fits the GPU's memory, and say it.")] = False,
    tokens: Annotated[PositiveNumber | None, Parameter(help="Tokens to price in GPU-hours, for example 1e12.")] = None,
    gpu_hour_price: Annotated[PositiveNumber | None, Parameter(help="Price of one GPU-hour, in any currency.")] = None,
    json: Json = False,
) -> None:
    """Explain a model's operators and their times on a GPU.

    MODEL is a name of `shapewright models`, a config.json or its folder, GPT-NeoX YAML files (merged), a Megatron-LM script, or the Hub id
    of a model in your own cache; it may be left out where flags describe the whole model.
    """
    if gpu_hour_price is not None and tokens is None:
        raise InputError("--gpu-hour-price needs --tokens", hint="for example --tokens 1e12")
    loaded = load_model(model, overrides(override))
    device = load_gpu(gpu)
    asked, remarks = (workload or WorkloadFlags()).workload(device, loaded.workload)
    largest = None
    if fit:
        asked, largest = fitted(loaded.shape, asked, device)
    explanation = predict_explanation(loaded.shape, device, asked, node=load_node(node) if node else None, library=library)
    cost = None if tokens is None else token_cost(explanation, tokens, gpu_hour_price)
    notes = (*loaded.notes, *remarks)
    print_notes((*notes, *explanation.notes))
    details: dict[str, Any] = {"cost": cost, "largest_micro_batch": largest}
    if json:
        from ..report.json import explain_document, to_json

        print(to_json(explain_document(explanation, notes=notes, **details)))
    else:
        from ..report.text import explain_text

        print(explain_text(explanation, width=page_width(), **details))


def fitted(shape: ModelShape, workload: Workload, gpu: Gpu) -> tuple[Workload, int]:
    """The workload at the largest micro-batch that fits, and that micro-batch.

    With a global batch, it is used only as far as it divides the sequences of a replica. Where nothing fits (0) the workload stays.
    """
    largest = largest_micro_batch(shape, workload, gpu.memory_bytes)
    if not largest:
        return workload, 0
    used = largest
    if workload.global_batch is not None:
        replica = workload.global_batch // workload.data_parallel
        used = max(size for size in range(1, min(largest, replica) + 1) if replica % size == 0)
    return replace(workload, micro_batch=used), largest
