"""Points as values: round trips through rows, identity, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shapewright.errors import InputError
from shapewright.measure.points import (
    MAX_SIZE,
    POINT_TYPES,
    AttentionPoint,
    GemmPoint,
    MemoryPoint,
    OptimizerPoint,
    Point,
    key_of,
    point_of,
    settings_of,
)

sizes = st.integers(1, MAX_SIZE)
dtypes = st.sampled_from(["fp32", "tf32", "fp16", "bf16"])


@st.composite
def attention_points(draw: st.DrawFn) -> Point:
    kv_heads, query_len = draw(st.integers(1, 8)), draw(st.integers(1, 4096))
    return AttentionPoint(
        batch=draw(sizes), num_heads=kv_heads * draw(st.integers(1, 8)), num_kv_heads=kv_heads, query_len=query_len,
        kv_len=query_len + draw(st.integers(0, 4096)), head_dim=draw(sizes), dtype=draw(dtypes), is_causal=draw(st.booleans()),
        is_backward=draw(st.booleans()), backend=draw(st.sampled_from(["flash", "cudnn", "unfused"])),
    )  # fmt: skip


points = st.one_of(
    st.builds(
        GemmPoint, m=sizes, n=sizes, k=sizes, batch=sizes, dtype=dtypes, layout=st.sampled_from(["NT", "NN", "TN"]), call=st.just("bmm")
    ),
    st.builds(MemoryPoint, op=st.text(), rows=sizes, width=sizes, dtype=dtypes, is_backward=st.booleans()),
    st.builds(OptimizerPoint, num_params=sizes, variant=st.sampled_from(["fused", "foreach"])),
    attention_points(),
)


@given(points)
def test_a_point_comes_back_from_its_settings_and_its_row(point: Point) -> None:
    settings = json.loads(json.dumps(settings_of(point)))
    assert point_of(settings) == point
    row = settings | {"status": "ok", "time_s": 1.0, "kernel": "some"}
    assert point_of(row) == point
    assert key_of(point_of(row)) == key_of(point)


@given(points, points)
def test_keys_agree_exactly_where_points_do(one: Point, other: Point) -> None:
    assert (key_of(one) == key_of(other)) == (one == other)


def test_an_absent_field_takes_its_default_and_keeps_the_key() -> None:
    short = point_of({"kind": "gemm", "m": 1, "n": 2, "k": 3})
    assert key_of(short) == key_of(GemmPoint(m=1, n=2, k=3, batch=1, dtype="bf16", layout="NT", call="mm", split=0))


GEMM = {"kind": "gemm", "m": 8, "n": 8, "k": 8}
ATTENTION = {"kind": "attention", "batch": 1, "num_heads": 8, "num_kv_heads": 8, "query_len": 16, "kv_len": 16, "head_dim": 64}
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "kind": ({"kind": "gem"}, "kind"),
    "no kind": ({"m": 1}, "kind"),
    "unknown field": (GEMM | {"mm": 1}, "mm"),
    "missing field": ({"kind": "gemm", "m": 8, "n": 8}, "k"),
    "zero": (GEMM | {"m": 0}, "m"),
    "negative": (GEMM | {"k": -1}, "k"),
    "huge": (GEMM | {"n": MAX_SIZE + 1}, "n"),
    "float": (GEMM | {"m": 8.0}, "m"),
    "bool for a size": (GEMM | {"m": True}, "m"),
    "text for a size": (GEMM | {"m": "8"}, "m"),
    "dtype": (GEMM | {"dtype": "bf17"}, "dtype"),
    "another name of a dtype": (GEMM | {"dtype": "bfloat16"}, "dtype"),
    "layout": (GEMM | {"layout": "TT"}, "layout"),
    "batched mm": (GEMM | {"batch": 2}, "batch"),
    "linear of NN": (GEMM | {"call": "linear", "layout": "NN"}, "layout"),
    "split of mm": (GEMM | {"split": 2}, "split"),
    "uneven split": (GEMM | {"call": "linear", "split": 3}, "split"),
    "fp8 NN": (GEMM | {"dtype": "fp8", "layout": "NN"}, "dtype"),
    "fp8 bmm": (GEMM | {"dtype": "fp8", "call": "bmm"}, "dtype"),
    "heads": (ATTENTION | {"num_kv_heads": 3}, "num_kv_heads"),
    "truth as a number": (ATTENTION | {"is_causal": 1}, "is_causal"),
    "more causal queries than keys": (ATTENTION | {"query_len": 17}, "query_len"),
    "depths": ({"kind": "layer", "model": "llama-2-7b", "deep": 2, "shallow": 2}, "deep"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_values_are_refused_by_field(name: str) -> None:
    row, field = BAD[name]
    with pytest.raises(InputError) as caught:
        point_of(row)
    assert caught.value.field == field
    assert "\n" not in str(caught.value)


def test_every_kind_is_listed_under_its_name() -> None:
    assert {kind: each.kind for kind, each in POINT_TYPES.items()} == {kind: kind for kind in POINT_TYPES}
    assert set(POINT_TYPES) == {"gemm", "attention", "memory", "optimizer", "collective", "host", "layer", "model"}
