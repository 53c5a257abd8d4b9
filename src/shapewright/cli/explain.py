"""`shapewright explain MODEL --gpu G`: every operator, its time and why; then layer, step, memory and cost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, Any

from cyclopts import Parameter

from ..errors import InputError
from ..hardware.gpu import Gpu
from ..hardware.load import load_gpu, load_node
from ..operators.memory import largest_micro_batch, memory_use
from ..predict.explain import explain as predict_explanation
from ..predict.explanation import Explanation
from ..report.cost import token_cost
from ..shape import ModelShape
from ..workload import Workload
from .flags import OverrideFlags, WorkloadFlags, overrides
from .idle_flags import idle_choices, idle_flags
from .models_argument import Model, load_model
from .notes import FIT_HINT, NO_FIT, print_notes
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
    flags = workload or WorkloadFlags()
    asked, remarks = flags.workload(device, loaded.workload_with(flags.given))
    remarks += idle_flags(asked, flags.given)
    asked, largest = fitted(loaded.shape, asked, device) if fit else (asked, None)
    remarks += idle_choices(asked, flags.given, node=node, largest=largest)
    explanation = predict_explanation(loaded.shape, device, asked, node=load_node(node) if node else None, library=library)
    explanation = explanation if largest is None else replace(explanation, notes=fit_notes(explanation, largest))
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


def fit_notes(explanation: Explanation, largest: int) -> tuple[str, ...]:
    """The explanation's notes without the advice to use --fit; where nothing fits, the least that is needed and what lowers it."""
    notes = tuple(note.removesuffix(FIT_HINT) for note in explanation.notes)
    if largest:
        return notes
    asked, gpu = explanation.workload, explanation.gpu
    least = memory_use(explanation.shape, replace(asked, micro_batch=1)).total
    ways = ("--tensor-parallel or --pipeline-parallel over more GPUs", *_memory_savers(asked))
    need = f"not even micro-batch 1 fits: it needs {least / 1e9:.1f} GB a GPU, {gpu.name} has {gpu.memory_bytes / 1e9:.0f} GB"
    return (f"{need}; what lowers it: {', '.join(ways)}", *(note for note in notes if not note.startswith(NO_FIT)))


def _memory_savers(asked: Workload) -> Iterator[str]:
    """Flags that would lower memory and are not set yet."""
    if asked.is_training:
        yield from ["--recompute full"] if asked.recompute != "full" else []
        yield from ["--zero 3 with --data-parallel"] if asked.zero < 3 or asked.data_parallel == 1 else []
    yield f"a shorter {'--context' if asked.phase == 'decode' else '--sequence'}"


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
