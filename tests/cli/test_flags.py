"""Flags are the fields of `Workload` and `ModelShape`; arguments are rewritten only where they are meant to be."""

from dataclasses import fields
from typing import Any, get_args, get_type_hints

import pytest

from shapewright.cli.arguments import blame_flag, complete
from shapewright.cli.flags import OverrideFlags, WorkloadFlags, overrides
from shapewright.errors import InputError
from shapewright.read.fields import OVERRIDABLE
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
        (["--recompute", "model"], ["--recompute=full", "model"]),
        (["--recompute", "selective", "model"], ["--recompute", "selective", "model"]),
        (["--recompute=none"], ["--recompute=none"]),
        (["-o", "-", "--force"], ["--output=-", "--force"]),
        (["-"], ["-"]),
        ([], []),
    ],
)
def test_short_forms_are_written_out(written: list[str], meant: list[str]) -> None:
    assert complete(written) == meant


def test_errors_of_fields_become_errors_of_flags() -> None:
    assert str(blame_flag(InputError("micro_batch is 0", hint="expected 1"), "micro_batch")) == "--micro-batch is 0; expected 1"
    assert str(blame_flag(InputError("unknown norm 'x'"), "norm")) == "--norm: unknown norm 'x'"
