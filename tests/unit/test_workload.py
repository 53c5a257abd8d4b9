"""`Workload`: what each phase computes, and which workloads cannot run."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shapewright.errors import InputError
from shapewright.workload import Workload


def test_defaults_are_those_of_the_command_line() -> None:
    work = Workload()
    assert (work.phase, work.micro_batch, work.sequence, work.attention, work.runtime) == ("train", 4, 2048, "flash", "graph")
    assert work.dtype is None


@pytest.mark.parametrize(
    ("phase", "query_len", "kv_len", "num_tokens", "has_dropout", "is_training"),
    [
        ("train", 512, 512, 1024, True, True),
        ("forward", 512, 512, 1024, True, False),
        ("prefill", 512, 512, 1024, False, False),
        ("decode", 1, 513, 2, False, False),
    ],
)
def test_each_phase_counts_its_own_tokens(
    phase: Any, query_len: int, kv_len: int, num_tokens: int, has_dropout: bool, is_training: bool
) -> None:
    work = Workload(phase=phase, micro_batch=2, sequence=512)
    assert (work.query_len, work.kv_len, work.num_tokens) == (query_len, kv_len, num_tokens)
    assert (work.has_dropout, work.is_training) == (has_dropout, is_training)


def test_decode_sees_its_context_and_the_new_token() -> None:
    assert Workload(phase="decode", context=0).kv_len == 1
    assert Workload(phase="decode", context=4096, sequence=7).kv_len == 4097


@given(micro=st.integers(1, 64), data=st.integers(1, 64), passes=st.integers(1, 100))
def test_a_global_batch_is_whole_micro_batches(micro: int, data: int, passes: int) -> None:
    work = Workload(micro_batch=micro, data_parallel=data, global_batch=micro * data * passes)
    assert work.num_micro_batches == passes
    assert work.num_gpus == data


def test_num_gpus_is_the_product_of_the_parallel_sizes() -> None:
    assert Workload(tensor_parallel=2, pipeline_parallel=3, data_parallel=4, expert_parallel=2).num_gpus == 24
    assert Workload().num_micro_batches == 1


@pytest.mark.parametrize(
    ("changes", "field", "message"),
    [
        ({"phase": "training"}, None, "unknown phase 'training'; did you mean train?"),
        ({"attention": ["flash"]}, None, "unknown attention ['flash']"),
        ({"recompute": True}, None, "unknown recompute True"),
        ({"micro_batch": 0}, "micro_batch", "micro_batch is 0; expected at least 1"),
        ({"micro_batch": 1.5}, "micro_batch", "micro_batch is 1.5; expected a positive integer"),
        ({"sequence": 10**18}, "sequence", "sequence is 1000000000000000000; expected at most"),
        ({"context": -1}, "context", "context is -1; expected at least 0"),
        ({"zero": 4}, "zero", "zero is 4; expected at most 3"),
        ({"dtype": "bf17"}, None, "unknown dtype 'bf17'; did you mean bf16"),
        ({"expert_parallel": 3, "data_parallel": 4}, "expert_parallel", "expert_parallel 3 does not divide data_parallel 4"),
        (
            {"global_batch": 10, "micro_batch": 4},
            "global_batch",
            "global_batch 10 is not a multiple of micro_batch x data_parallel = 4; the nearest multiple is 8",
        ),
        (
            {"global_batch": 1, "micro_batch": 4, "data_parallel": 2},
            "global_batch",
            "global_batch 1 is not a multiple of micro_batch x data_parallel = 8; the nearest multiple is 8",
        ),
        ({"sequence_parallel": "yes"}, "sequence_parallel", "sequence_parallel is 'yes'; expected true or false"),
    ],
)
def test_workloads_that_cannot_run_are_refused(changes: dict[str, Any], field: str | None, message: str) -> None:
    with pytest.raises(InputError) as caught:
        Workload(**changes)
    assert str(caught.value).startswith(message)
    if field:
        assert caught.value.field == field
