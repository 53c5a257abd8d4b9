"""`shapewright bench layer|model`: layers and whole models with random weights, several in turn so that heat touches all alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from cyclopts import Parameter

from ..measure.hf_fields import shape_of
from ..measure.points import Point
from .bench import BenchFlags, bench, product, sizes, words
from .options import Count

#: Seconds that a layer or model may take: building, warming up and all rounds of a group.
TIMEOUT_S = 900.0

Models = Annotated[str, Parameter(help="Names of the catalogue, or config.json files.")]
Changes = Annotated[
    list[str] | None,
    Parameter(name="--changes", help="A variant beside the plain model: intermediate_size=10922,num_attention_heads=20; may be repeated."),
]
Attention = Annotated[str, Parameter(help="sdpa (fused) or eager; several with commas.")]
Runtimes = Annotated[str, Parameter(help="eager or compiled; several with commas.")]
Rounds = Annotated[Count, Parameter(help="Rounds in which all take their turn.")]
Dtypes = Annotated[str, Parameter(help="bf16, fp16 or fp32; several with commas.")]


def bench_layer(
    *models: Models,
    changes: Changes = None,
    phase: Annotated[str, Parameter(help="forward, train (forward + backward); both with a comma.")] = "forward,train",
    source: Annotated[str, Parameter(help="hf (transformers) or reference (plain PyTorch); several with commas.")] = "hf",
    micro_batch: Annotated[str, Parameter(help="Sequences (b).")] = "4",
    sequence: Annotated[str, Parameter(help="Tokens a sequence (s).")] = "2048",
    dtype: Dtypes = "bf16",
    attention: Attention = "sdpa",
    runtime: Runtimes = "eager",
    deep: Annotated[Count, Parameter(help="Layers of the deeper model.")] = 6,
    shallow: Annotated[Count, Parameter(help="Layers of the shallower one; the difference is shared by the layers between.")] = 2,
    rounds: Rounds = 7,
    flags: BenchFlags | None = None,
) -> int:
    """Measure one transformer layer of each model, with random weights.

    A layer's time is that of a deep model less that of a shallow one, over the layers between, in wall time. All models and variants take
    turns in every round, so that heat and clocks touch them alike. Source hf needs transformers.
    """
    choices = {
        "runtime": words(runtime, "--runtime"), "phase": words(phase, "--phase"), "source": words(source, "--source"),
        "micro_batch": sizes(micro_batch, "--micro-batch"), "sequence": sizes(sequence, "--sequence"),
        "dtype": words(dtype, "--dtype"), "attention": words(attention, "--attention"),
    }  # fmt: skip
    is_hf = "reference" not in choices["source"]
    points = _variants("layer", models, changes, choices, is_checked=is_hf, deep=deep, shallow=shallow, rounds=rounds)
    return bench(points, flags or BenchFlags(), name="layer", timeout_s=TIMEOUT_S)


def bench_model(
    *models: Models,
    changes: Changes = None,
    phase: Annotated[str, Parameter(help="forward, train, prefill or decode; several with commas.")] = "forward",
    micro_batch: Annotated[str, Parameter(help="Sequences (b).")] = "1",
    sequence: Annotated[str, Parameter(help="Tokens a sequence (s), or of the prompt.")] = "2048",
    context: Annotated[str, Parameter(help="Tokens already in the KV cache (decode).")] = "2048",
    num_layers: Annotated[str, Parameter(help="Layers (L); 0: all of them.")] = "0",
    dtype: Dtypes = "bf16",
    attention: Attention = "sdpa",
    runtime: Runtimes = "eager",
    optimizer: Annotated[str, Parameter(help="fused, foreach or none (train).")] = "fused",
    rounds: Rounds = 7,
    flags: BenchFlags | None = None,
) -> int:
    """Measure whole models with random weights: a pass, a training step, the first token of a prompt, or one more token.

    Wall time, all models and variants in turn. Needs transformers.
    """
    choices = {
        "runtime": words(runtime, "--runtime"), "phase": words(phase, "--phase"), "micro_batch": sizes(micro_batch, "--micro-batch"),
        "sequence": sizes(sequence, "--sequence"), "context": sizes(context, "--context"), "num_layers": sizes(num_layers, "--num-layers"),
        "dtype": words(dtype, "--dtype"), "attention": words(attention, "--attention"), "optimizer": words(optimizer, "--optimizer"),
    }  # fmt: skip
    points = _variants("model", models, changes, choices, rounds=rounds)
    return bench(points, flags or BenchFlags(), name="model", timeout_s=TIMEOUT_S)


def _variants(
    kind: str, models: Sequence[str], changes: Sequence[str] | None, choices: dict[str, list], *, is_checked: bool = True, **fixed: int
) -> list[Point]:
    """Every model as it is and with each of the changes; neighbours share a phase, so that they run in turn."""
    variants = ["", *(changes or ())]
    if is_checked:  # a misspelt name is said before a process starts
        for model in models:
            for variant in variants:
                shape_of(model, variant)
    points = product(kind, {**choices, "model": list(models), "changes": variants}, **fixed)
    if points and choices.get("source", ["hf"]) != ["reference"]:
        from ..measure.hf_models import check_transformers

        check_transformers()
    return points
