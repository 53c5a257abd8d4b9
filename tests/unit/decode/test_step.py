"""A whole step in the interpreter, on tiny models of every family, against the plain step in float64."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from shapewright.decode.buffers import Buffers
from shapewright.decode.families import read_decoder
from shapewright.decode.layers import Attention, Decoder, Linear
from shapewright.decode.reference import advance, reference_step
from shapewright.decode.step import Step, head_places
from shapewright.decode.tile import AttentionTile, Tile
from unit.decode.kernels.plain import error_of
from unit.decode.kernels.small import Fixed
from unit.decode.tiny import TINY, buffers_after, left_padded, prefill

GEMV = Tile(kernel="gemv", block_n=64, block_k=64, stages=2)
FLAT = Tile(kernel="flat", block_m=8, block_n=64, block_k=32, stages=2)
CHOICES = {
    "gemv": Fixed(tile=GEMV, attention_tile=AttentionTile(splits=2, block_s=8, on_matrix_units=False)),
    "flat": Fixed(tile=FLAT, attention_tile=AttentionTile(splits=4, block_s=8)),
    "flat split, unified": Fixed(tile=replace(FLAT, splits=2), attention_tile=AttentionTile(splits=2, block_s=8, unified=True)),
    "library": Fixed(attention_tile=AttentionTile(splits=1, block_s=16)),
}


def ready(family: str) -> tuple[Decoder, Buffers]:
    """A prompt of two rows, the second padded on its left, is in the cache; NaN is in every slot that holds nothing."""
    model = TINY[family]()
    ids, mask = left_padded(model, [9, 4])
    logits, cache = prefill(model, ids, mask)
    decoder = read_decoder(model)
    return decoder, buffers_after(decoder, cache, logits.argmax(-1), mask=mask, capacity=16)


def copied(decoder: Decoder, buffers: Buffers) -> Buffers:
    """The same state elsewhere."""
    twin = Buffers(decoder, buffers.batch, buffers.capacity)
    for name in ("cache", "tokens", "positions", "starts", "length", "first", "generated"):
        getattr(twin, name).copy_(getattr(buffers, name))
    return twin


def poisoned(step: Step) -> None:
    """NaN in everything that a step writes before it reads it."""
    shared = (step.scratch.sums, step.scratch.normed, step.scratch.scaled, step.scratch.squares)
    for each in (step.logits, step.residual, step.second, step.qkv, step.attended, step.activated, *step.partial, *shared):
        each.fill_(float("nan"))


def same(found: Tensor, expected: Tensor) -> bool:
    """Bit for bit, NaN where NaN is."""
    return torch.equal(found.nan_to_num(12345.0), expected.nan_to_num(12345.0))


@pytest.mark.parametrize("name", CHOICES)
@pytest.mark.parametrize("family", TINY)
def test_logits_and_cache(family: str, name: str) -> None:
    decoder, buffers = ready(family)
    plain = copied(decoder, buffers)
    step = Step(decoder, buffers, CHOICES[name])
    poisoned(step)
    state = {each: getattr(buffers, each).clone() for each in ("tokens", "positions", "starts", "length", "generated")}

    step.run()

    assert error_of(step.logits, reference_step(decoder, plain, dtype=torch.float64)) < 1e-5
    new = int(buffers.length)
    assert error_of(buffers.cache[..., new, :], plain.cache[..., new, :]) < 1e-5
    others = torch.arange(buffers.capacity) != new
    assert same(buffers.cache[..., others, :], plain.cache[..., others, :])
    assert all(torch.equal(getattr(buffers, each), value) for each, value in state.items())


def test_a_step_run_again_repeats_every_bit() -> None:
    decoder, buffers = ready("llama")
    for name in ("gemv", "flat split, unified"):
        step = Step(decoder, buffers, CHOICES[name])
        step.run()
        logits, cache = step.logits.clone(), buffers.cache.clone()
        poisoned(step)
        step.run()
        assert torch.equal(step.logits, logits)
        assert same(buffers.cache, cache)


@pytest.mark.parametrize(("family", "name"), [("llama", "gemv"), ("opt", "flat split, unified")])
def test_greedy_steps_go_on_by_themselves(family: str, name: str) -> None:
    """Three tokens chosen, written down and fed, as the plain step chooses them."""
    decoder, buffers = ready(family)
    plain = copied(decoder, buffers)
    buffers.first.fill_(int(buffers.length))
    buffers.generated.fill_(-1)
    step = Step(decoder, buffers, CHOICES[name])
    chosen = []
    for _ in range(3):
        poisoned(step)
        step.run_greedy()
        logits = reference_step(decoder, plain, dtype=torch.float64)
        advance(plain, logits.argmax(-1))
        chosen.append(plain.tokens.clone())
        assert error_of(step.logits, logits) < 1e-5
        assert torch.equal(buffers.tokens, plain.tokens)
    assert torch.equal(buffers.generated[:3], torch.stack(chosen))
    assert (buffers.generated[3:] == -1).all()
    assert torch.equal(buffers.positions, plain.positions)
    assert torch.equal(buffers.length, plain.length)


def test_a_step_holds_no_weights_of_its_own() -> None:
    """Weights that change in place after a step was made are the ones it uses."""
    decoder, buffers = ready("qwen2")
    step = Step(decoder, buffers, CHOICES["gemv"])
    with torch.no_grad():
        for layer in decoder.layers:
            layer.attention.out.weight.mul_(-1.5)
            layer.mlp.up.weight.mul_(0.5)
    plain = copied(decoder, buffers)
    step.run()
    assert error_of(step.logits, reference_step(decoder, plain, dtype=torch.float64)) < 1e-5


def test_what_it_makes_of_weights_alone_is_made_anew_once_it_is_told() -> None:
    """With layer norms within the products; the weights of the norms themselves among what was written into."""
    decoder, buffers = ready("opt")
    step = Step(decoder, buffers, CHOICES["gemv"])
    assert len(step.constants) == 2 * len(decoder.layers) + 1
    step.run()
    with torch.no_grad():
        for layer in decoder.layers:
            layer.mlp.up.weight.mul_(-1.5)
            layer.mlp_norm.weight.mul_(0.5)
            layer.attention_norm.weight.add_(1)
    plain = copied(decoder, buffers)
    expected = reference_step(decoder, plain, dtype=torch.float64)
    step.run()
    assert error_of(step.logits, expected) > 1e-3
    step.forget()
    poisoned(step)
    for constants in step.constants:
        constants.values.fill_(float("nan"))
    step.run()
    assert error_of(step.logits, expected) < 1e-5


def test_without_layer_norms_in_products_nothing_is_made_of_weights_alone() -> None:
    for family, name in (("llama", "gemv"), ("opt", "flat split, unified")):
        step = Step(*ready(family), CHOICES[name])
        step.forget()
        assert not step.constants and not step.is_stale


def test_tiles_are_asked_for_by_product_and_batch() -> None:
    """Every product of every layer, attention and the logits, by its epilogue and the rows of the batch."""
    decoder, buffers = ready("llama")
    asked: list[tuple[str, int]] = []

    class Asking(Fixed):
        def product(self, product, rows: int) -> Tile:
            asked.append((product.epilogue, rows))
            return GEMV

        def attention(self, attention: Attention, batch: int) -> AttentionTile:
            asked.append(("attention", batch))
            return self.attention_tile

    Step(decoder, buffers, Asking())
    products = {("qkv", 2), ("residual", 2), ("gated", 2), ("logits", 2)}
    assert set(asked) == {*products, ("attention", 2)}


@pytest.mark.parametrize(
    ("layout", "kv_heads", "places"),
    [("concatenated", 2, (10, 40, 60, 10)), ("concatenated", 4, (10, 40, 80, 10)), ("interleaved", 4, (30, 10, 20, 30))],
)
def test_places_of_heads_in_a_row(layout: str, kv_heads: int, places: tuple[int, ...]) -> None:
    out = Linear(weight=torch.zeros(1, 1))
    attention = Attention(
        parts=(out,), layout=layout, num_attention_heads=4, num_key_value_heads=kv_heads, head_dim=10, scale=1.0, out=out  # type: ignore[arg-type]
    )  # fmt: skip
    assert head_places(attention) == places


@pytest.mark.parametrize(
    ("group", "on_matrix_units", "rows"),
    [(1, False, 1), (1, True, 16), (2, False, 16), (2, True, 16), (8, True, 16), (16, True, 16), (17, True, 32)],
)
def test_queries_of_a_group(group: int, on_matrix_units: bool, rows: int) -> None:
    """One alone may go without the matrix units, which take sixteen at least."""
    assert AttentionTile(splits=1, block_s=16, on_matrix_units=on_matrix_units).queries(group) == rows
