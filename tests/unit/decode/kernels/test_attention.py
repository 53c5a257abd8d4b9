"""Rotary embedding, append and attention of one token a row, in the interpreter, against float64.

Slots that a row does not see are NaN in the cache, so that one read too many shows; the workspace and the output are NaN before.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch

from shapewright.decode.layers import Norm
from shapewright.decode.step import Step
from shapewright.decode.tile import AttentionTile
from unit.decode.kernels.plain import TOLERANCES, drawn, error_of
from unit.decode.kernels.scenes import NAN, SCORES, Scene, expected_of, scene, scored
from unit.decode.kernels.small import Fixed, decoder_of, step_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """Query heads a key-value head, and where their product runs."""

    group: int
    on_matrix_units: bool

    def of(self, tile: AttentionTile) -> AttentionTile:
        return replace(tile, on_matrix_units=self.on_matrix_units)


ONLINE = AttentionTile(splits=2, block_s=8)
UNIFIED = replace(ONLINE, unified=True)
FORMS = pytest.mark.parametrize("tile", [ONLINE, UNIFIED], ids=["online", "unified"])
KINDS = pytest.mark.parametrize(
    "kind",
    [Kind(group=1, on_matrix_units=False), Kind(group=1, on_matrix_units=True), Kind(group=2, on_matrix_units=True)],
    ids=["one query", "one padded query", "two queries"],
)
# What the unified form subtracts no maximum from may overflow; the launch then does the head again.
OVERFLOWS = pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning", "ignore:invalid value encountered:RuntimeWarning")
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=["fp32", "fp16"])


def attended(given: Scene, tile: AttentionTile) -> Step:
    """The launch, twice: every bit the same, counters at zero."""
    batch, capacity = len(given.starts), given.keys.shape[2]
    step = step_of(decoder_of(given.attention), batch, capacity, Fixed(attention_tile=tile))
    buffers = step.buffers
    buffers.keys(0).copy_(given.keys)
    buffers.values(0).copy_(given.values)
    buffers.starts.copy_(torch.tensor(given.starts))
    buffers.length.fill_(given.length)
    buffers.positions.copy_(given.length - buffers.starts)
    step.qkv.copy_(given.qkv)
    call = step._attention(0, given.attention)
    found = []
    for _ in range(2):
        step.attended.fill_(NAN)
        for each in step.partial:
            each.fill_(NAN)
        call()
        found.append(step.attended.clone())
    assert torch.equal(*found)
    assert not step.attention_counters.any()
    return step


def check(given: Scene, tile: AttentionTile = ONLINE, *, tolerance: float | None = None) -> Step:
    """Against float64; the new slot holds the new key and value, and no other slot of the cache has moved."""
    step = attended(given, tile)
    expected, new_keys, new_values = expected_of(given)
    dtype = given.keys.dtype
    error = error_of(step.attended, expected)
    assert error < (tolerance or TOLERANCES[dtype]), error
    keys, values = step.buffers.keys(0), step.buffers.values(0)
    assert error_of(keys[:, :, given.length], new_keys) < TOLERANCES[dtype]
    assert torch.equal(values[:, :, given.length], new_values.to(dtype))
    others = torch.arange(keys.shape[2]) != given.length
    for slots, before in ((keys, given.keys), (values, given.values)):
        torch.testing.assert_close(slots[:, :, others], before[:, :, others], rtol=0, atol=0, equal_nan=True)
    return step


@KINDS
@FORMS
@pytest.mark.parametrize("length", [0, 1, 7, 8, 9, 15, 16, 17, 33])
def test_lengths(length: int, tile: AttentionTile, kind: Kind) -> None:
    """The first token of all, then a block less one, a block, a block and one; splits that are empty."""
    check(scene(length, heads=kind.group, kv_heads=1), kind.of(tile))


@KINDS
@FORMS
@pytest.mark.parametrize("splits", [1, 2, 4, 8])
def test_splits(splits: int, tile: AttentionTile, kind: Kind) -> None:
    check(
        scene(13, (0, 5), heads=kind.group, kv_heads=1, rotary_dim=8),
        replace(kind.of(tile), splits=splits, block_s=8 if kind.on_matrix_units else 4),
    )


@pytest.mark.parametrize("head_dim", [8, 20, 32, 40, 64, 80, 96, 112, 128, 160, 192, 256])
@KINDS
def test_head_dims(head_dim: int, kind: Kind) -> None:
    check(scene(5, heads=kind.group, kv_heads=1, head_dim=head_dim, rotary_dim=head_dim), kind.of(UNIFIED if head_dim % 64 else ONLINE))


@pytest.mark.parametrize(("tile", "dtype"), [(ONLINE, torch.float32), (UNIFIED, torch.float16)], ids=["online fp32", "unified fp16"])
@pytest.mark.parametrize("group", [1, 2, 3, 4, 7, 8, 16, 17])
def test_groups(group: int, tile: AttentionTile, dtype: torch.dtype) -> None:
    check(scene(10, heads=2 * group, kv_heads=2, rotary_dim=8, dtype=dtype), tile)


@KINDS
@FORMS
@pytest.mark.parametrize("starts", [(0, 4, 16), (17, 1, 16), (17, 17, 17)])
def test_rows_begin_where_they_begin(starts: tuple[int, ...], tile: AttentionTile, kind: Kind) -> None:
    """Left padding; a row that holds nothing yet beside full ones."""
    check(scene(17, starts, heads=kind.group, kv_heads=1, rotary_dim=8), kind.of(tile))


@KINDS
@FORMS
@pytest.mark.parametrize("window", [1, 2, 8, 9, 17, 18, 100])
def test_windows(window: int, tile: AttentionTile, kind: Kind) -> None:
    """One slot is the new token alone; the window of a padded row ends where the row begins."""
    check(scene(17, (0, 12), heads=kind.group, kv_heads=1, window=window, rotary_dim=8), kind.of(tile))


@KINDS
@pytest.mark.parametrize(("head_dim", "rotary_dim"), [(8, 0), (8, 2), (24, 6), (20, 10), (64, 16), (80, 20), (8, 8)])
def test_partial_rotary(head_dim: int, rotary_dim: int, kind: Kind) -> None:
    check(scene(6, (0, 2), heads=kind.group, kv_heads=1, head_dim=head_dim, rotary_dim=rotary_dim), kind.of(ONLINE))


@DTYPES
@KINDS
@pytest.mark.parametrize("rotary_dim", [0, 6, 14])
def test_norms_of_queries_and_keys(rotary_dim: int, kind: Kind, dtype: torch.dtype) -> None:
    """Over the dimensions that are there, not over the padded ones."""
    norms = {
        name: Norm(kind="rms", weight=drawn(14, seed=seed, dtype=dtype) + 1, eps=1e-3)
        for name, seed in (("query_norm", 60), ("key_norm", 61))
    }
    check(scene(9, (0, 4), heads=kind.group, kv_heads=1, head_dim=14, rotary_dim=rotary_dim, dtype=dtype, **norms), kind.of(ONLINE))


@FORMS
def test_interleaved_heads(tile: AttentionTile) -> None:
    check(scene(9, (0, 4), heads=3, kv_heads=3, head_dim=12, rotary_dim=4, layout="interleaved"), tile)


@KINDS
def test_a_capacity_far_above_the_length(kind: Kind) -> None:
    check(scene(3, (0, 1), capacity=200, heads=2 * kind.group, kv_heads=2), kind.of(ONLINE))


def test_the_last_slot_of_the_cache() -> None:
    check(scene(15, (0, 9), capacity=16, heads=4, kv_heads=2))


@DTYPES
@KINDS
@FORMS
def test_a_scale_that_is_not_the_usual_one(tile: AttentionTile, kind: Kind, dtype: torch.dtype) -> None:
    check(scene(10, heads=kind.group, kv_heads=1, scale=0.7, dtype=dtype), kind.of(tile))


@OVERFLOWS
@DTYPES
@KINDS
@FORMS
@pytest.mark.parametrize("name", SCORES)
def test_softmax_on_any_scores(name: str, tile: AttentionTile, kind: Kind, dtype: torch.dtype) -> None:
    """The unified form too, whichever scores leave its range. In fp32, a score of 500 is itself only known to 3e-5."""
    check(scored(SCORES[name](19), kind.group, dtype), kind.of(tile), tolerance=1e-4 if dtype == torch.float32 else None)


@OVERFLOWS
@KINDS
@pytest.mark.parametrize(
    ("name", "falls_back"), [("all equal", False), ("all very negative", True), ("one huge", True), ("spread over 40", False)]
)
def test_fallbacks_are_counted(name: str, falls_back: bool, kind: Kind) -> None:
    """One for each key-value head of a row, and a second for the second launch."""
    step = attended(scored(SCORES[name](19), kind.group, torch.float32), kind.of(UNIFIED))
    assert step.fallbacks.tolist() == [2 if falls_back else 0]


@OVERFLOWS
def test_only_heads_that_leave_the_range_fall_back() -> None:
    given = scene(9, (0, 0), heads=2, kv_heads=2, scale=1.0)
    given.keys[1, 0, 4] = 100.0 * given.qkv[1, :8]
    step = check(given, UNIFIED)
    assert step.fallbacks.tolist() == [2]


@pytest.mark.parametrize("phi", [-40.0, 25.0, 480.0])
def test_another_maximum_for_all(phi: float) -> None:
    """Scores about phi stay in range wherever phi lies."""
    step = check(scored(phi + torch.linspace(-3, 3, 19), 2, torch.float32), replace(UNIFIED, phi=phi), tolerance=3e-5)
    assert step.fallbacks.tolist() == [0]
