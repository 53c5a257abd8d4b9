"""Flags are the fields of `Workload` and `ModelShape`; arguments are rewritten only where they are meant to be."""

import re
from dataclasses import fields
from typing import Any, get_args, get_type_hints

import pytest

from shapewright.cli.arguments import blame_flag, complete
from shapewright.cli.field_help import FIELD_HELP
from shapewright.cli.flags import OverrideFlags, WorkloadFlags, overrides
from shapewright.errors import InputError
from shapewright.read.fields import OVERRIDABLE
from shapewright.shape import ModelShape
from shapewright.workload import Workload


def test_every_workload_field_has_its_flag() -> None:
    assert [field.name for field in fields(WorkloadFlags)] and {f.name for f in fields(WorkloadFlags)} == {f.name for f in fields(Workload)}


def test_choices_are_those_of_the_workload() -> None:
    flags, workload = get_type_hints(WorkloadFlags), get_type_hints(Workload)
    for name in ("phase", "attention", "runtime", "recompute"):
        offered = [choice for choice in get_args(flags[name]) if choice is not type(None)]
        assert set(get_args(offered[0])) == set(get_args(workload[name])), name


def test_no_flag_given_is_the_default_workload() -> None:
    import shapewright as sw

    assert WorkloadFlags().workload(sw.load_gpu("h200"), {}) == (Workload(dtype="bf16"), ())


def test_every_overridable_field_has_its_flag() -> None:
    assert {field.name for field in fields(OverrideFlags)} == set(OVERRIDABLE)
    assert overrides(None) == {}
    flags: Any = OverrideFlags(hidden_size=512, is_gated=False)
    assert overrides(flags) == {"hidden_size": 512, "is_gated": False}


def test_flags_of_the_workload_and_of_the_model_do_not_collide() -> None:
    assert {field.name for field in fields(WorkloadFlags)} & set(OVERRIDABLE) == set()


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (["x", "--recompute"], ["x", "--recompute=full"]),
        (["--recompute", "gpt2"], ["--recompute=full", "gpt2"]),
        (["--recompute", "lama-2-7b"], ["--recompute=full", "lama-2-7b"]),
        (["--recompute", "no/such.yml"], ["--recompute=full", "no/such.yml"]),
        (["--recompute", "selective", "gpt2"], ["--recompute", "selective", "gpt2"]),
        (["--is-gated", "false", "gpt2"], ["--is-gated=false", "gpt2"]),
        (["--is-gated", "gpt2"], ["--is-gated", "gpt2"]),
        (["--no-is-gated", "gpt2"], ["--no-is-gated", "gpt2"]),
        (["--sequence-parallel", "true", "--json"], ["--sequence-parallel=true", "--json"]),
        (["--recompute=none"], ["--recompute=none"]),
        (["-o", "-", "--force"], ["--output=-", "--force"]),
        (["-"], ["-"]),
        ([], []),
    ],
)
def test_short_forms_are_written_out(written: list[str], meant: list[str]) -> None:
    assert complete(written) == meant


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (["gpt2", "--recompute", "bogus"], "'bogus' is no value of --recompute; known: none, selective, full"),
        (["gpt2", "--recompute", "selectiv"], "'selectiv' is no value of --recompute; known: none, selective, full"),
        (["gpt2", "--is-gated", "maybe"], "'maybe' is no value of --is-gated; known: true, false"),
        (["gpt2", "--sequence-parallel", "1"], "'1' is no value of --sequence-parallel; known: true, false"),
        (["gpt2", "--no-is-gated", "true"], "'true' is no value of --no-is-gated; --no-is-gated takes none"),
    ],
)
def test_a_word_that_is_neither_value_nor_model_is_refused(written: list[str], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        complete(written)


def test_every_flag_of_true_or_false_is_known_as_one() -> None:
    flags = ["--sequence-parallel", *("--" + name.replace("_", "-") for name, kind in OVERRIDABLE.items() if kind is bool)]
    assert [complete([flag, "false"]) for flag in flags] == [[f"{flag}=false"] for flag in flags]
    others = ["--" + name.replace("_", "-") for name, kind in OVERRIDABLE.items() if kind is not bool]
    assert [complete([flag, "false"]) for flag in others] == [[flag, "false"] for flag in others]


def test_every_override_has_its_help() -> None:
    described = [name for members in FIELD_HELP.values() for name in members]
    assert sorted(described) == sorted(OVERRIDABLE)
    assert [name for members in FIELD_HELP.values() for name, text in members.items() if not text.endswith(".")] == []


def test_help_names_every_choice_of_a_field() -> None:
    texts = {name: text for members in FIELD_HELP.values() for name, text in members.items()}
    for name, hint in get_type_hints(ModelShape).items():
        choices = [choice for choice in literals(hint) if name in texts]
        assert [choice for choice in choices if not re.search(rf"\b{choice}\b", texts[name])] == [], name


def literals(hint: Any) -> list[str]:
    """All words of the Literal types within a type."""
    inner = get_args(hint)
    return [word for word in inner if isinstance(word, str)] + [word for part in inner for word in literals(part)]


def test_errors_of_fields_become_errors_of_flags() -> None:
    assert str(blame_flag(InputError("micro_batch is 0", hint="expected 1"), "micro_batch")) == "--micro-batch is 0; expected 1"
    assert str(blame_flag(InputError("unknown norm 'x'"), "norm")) == "--norm: unknown norm 'x'"
