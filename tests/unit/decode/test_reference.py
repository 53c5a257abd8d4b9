"""The reference step against arithmetic written out another way: norms, heads, rotary, what a row sees, what it leaves alone."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from shapewright.decode.buffers import Buffers
from shapewright.decode.families import read_decoder
from shapewright.decode.layers import Linear, Norm
from shapewright.decode.reference import ACTIVATIONS, advance, linear, normed, reference_step, rotated, split_heads
from unit.decode.tiny import TINY, buffers_after, left_padded, prefill, prompt, tiny_gpt2, tiny_llama, tiny_mistral, tiny_neox


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def after_a_prompt(model, *, capacity: int = 16) -> Buffers:
    ids = prompt(model)
    logits, cache = prefill(model, ids)
    return buffers_after(read_decoder(model), cache, logits.argmax(-1), capacity=capacity)


def test_linear_either_way_round() -> None:
    x, weight, bias = drawn(3, 5), drawn(7, 5, seed=1), drawn(7, seed=2)
    expected = torch.einsum("bk,nk->bn", x, weight) + bias
    torch.testing.assert_close(linear(Linear(weight=weight, bias=bias), x), expected)
    torch.testing.assert_close(linear(Linear(weight=weight.T.contiguous(), bias=bias, transposed=True), x), expected)


def test_norms_are_those_of_torch() -> None:
    x, weight, bias = drawn(3, 5) + 2, drawn(5, seed=1), drawn(5, seed=2)
    layer = normed(Norm(kind="layer", weight=weight, bias=bias, eps=0.3), x)
    torch.testing.assert_close(layer, functional.layer_norm(x, (5,), weight, bias, 0.3))
    rms = normed(Norm(kind="rms", weight=weight, eps=0.3), x)
    torch.testing.assert_close(rms, functional.rms_norm(x, (5,), weight, 0.3))


def test_a_pair_of_dimensions_turns_like_a_complex_number() -> None:
    x, angle = drawn(2, 3, 10), drawn(2, 3, seed=1)
    turned = rotated(x, angle.cos().repeat(1, 2), angle.sin().repeat(1, 2))
    expected = torch.complex(x[..., :3], x[..., 3:6]) * torch.polar(torch.ones_like(angle), angle)[:, None]
    torch.testing.assert_close(turned[..., :6], torch.cat((expected.real, expected.imag), -1))
    assert torch.equal(turned[..., 6:], x[..., 6:])


def test_layouts_of_a_row() -> None:
    joined = read_decoder(tiny_neox()).layers[0].attention
    row = torch.arange(216)[None]
    q, k, v = split_heads(joined, row)
    assert (q[0, :, 0].tolist(), k[0, :, 0].tolist(), v[0, :, 0].tolist()) == ([0, 72, 144], [24, 96, 168], [48, 120, 192])
    apart = read_decoder(tiny_llama()).layers[0].attention
    q, k, v = split_heads(apart, torch.arange(100)[None])
    assert (q[0, :, 0].tolist(), k[0, :, 0].tolist(), v[0, :, 0].tolist()) == ([0, 10, 20, 30, 40, 50], [60, 70], [80, 90])


@pytest.mark.parametrize(
    ("name", "expected"),
    [("silu", 0.5 / (1 + 2.718281828**-0.5)), ("relu", 0.5), ("gelu", 0.345731230), ("gelu_tanh", 0.345714009)],
)
def test_activations_at_one_half(name: str, expected: float) -> None:
    assert ACTIVATIONS[name](torch.tensor(0.5, dtype=torch.float64)).item() == pytest.approx(expected, abs=1e-9)
    assert ACTIVATIONS[name](torch.tensor(-50.0)).item() == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("family", TINY)
def test_only_the_new_slot_changes(family: str) -> None:
    model = TINY[family]()
    buffers = after_a_prompt(model)
    before = {name: value.clone() for name, value in vars(buffers).items() if isinstance(value, Tensor)}
    first = reference_step(read_decoder(model), buffers)
    changed = ~torch.isclose(buffers.cache, before["cache"], rtol=0, atol=0, equal_nan=True)
    assert changed.any((0, 1, 2, 3, 5)).nonzero().flatten().tolist() == [9]
    assert changed[..., 9, :].all()
    for name in ("tokens", "positions", "starts", "length"):
        assert torch.equal(getattr(buffers, name), before[name])
    assert torch.equal(reference_step(read_decoder(model), buffers), first)


def test_advance_goes_on_by_one_token() -> None:
    buffers = after_a_prompt(tiny_llama())
    addresses = [getattr(buffers, name).data_ptr() for name in ("tokens", "positions", "length")]
    advance(buffers, torch.tensor([4, 5, 6]))
    assert (buffers.tokens.tolist(), buffers.positions.tolist(), buffers.length.tolist()) == ([4, 5, 6], [10, 10, 10], [10])
    assert addresses == [getattr(buffers, name).data_ptr() for name in ("tokens", "positions", "length")]


def test_steps_from_an_empty_cache_equal_one_forward_over_the_text() -> None:
    model = tiny_llama()
    decoder = read_decoder(model)
    ids = prompt(model, batch=2, length=6)
    buffers = Buffers(decoder, 2, 6)
    buffers.cache.fill_(float("nan"))
    buffers.tokens.copy_(ids[:, 0])
    with torch.no_grad():
        expected = model(ids).logits
    for position in range(6):
        torch.testing.assert_close(reference_step(decoder, buffers), expected[:, position], atol=2e-5, rtol=0)
        if position < 5:
            advance(buffers, ids[:, position + 1])


def test_the_end_of_the_cache_is_an_error() -> None:
    model = tiny_gpt2()
    buffers = after_a_prompt(model, capacity=9)
    with pytest.raises(IndexError):
        reference_step(read_decoder(model), buffers)


def test_slots_before_a_row_s_start_are_not_read() -> None:
    model = tiny_llama()
    decoder = read_decoder(model)
    ids, mask = left_padded(model, [9, 4])
    logits, cache = prefill(model, ids, mask)
    buffers = buffers_after(decoder, cache, logits.argmax(-1), mask=mask)
    expected = reference_step(decoder, buffers)
    buffers.cache[:, :, 1, :, :5] = float("nan")
    assert torch.equal(reference_step(decoder, buffers), expected)
    buffers.cache[:, :, 1, :, 5] = float("nan")
    assert reference_step(decoder, buffers)[1].isnan().all()


def test_slots_before_a_window_are_not_read() -> None:
    model = tiny_mistral(sliding_window=4)
    decoder = read_decoder(model)
    buffers = after_a_prompt(model)
    expected = reference_step(decoder, buffers)
    # The new token goes to slot 9: a window of 4 sees slots 6 to 9.
    buffers.cache[:, :, :, :, :6] = float("nan")
    assert torch.equal(reference_step(decoder, buffers), expected)
    buffers.cache[:, :, :, :, 6] = float("nan")
    assert reference_step(decoder, buffers).isnan().all()


def test_only_what_the_cache_stores_is_rounded() -> None:
    model = tiny_llama().bfloat16()
    decoder = read_decoder(model)
    buffers = after_a_prompt(model)
    got = reference_step(decoder, buffers)
    # The same weights in fp32, over a cache that is bf16 all the same.
    wide = replace(read_decoder(model.float()), rotary=decoder.rotary)
    assert got.dtype == torch.float32
    assert buffers.cache.dtype == torch.bfloat16
    assert torch.equal(reference_step(wide, buffers), got)


def test_float64_agrees_with_fp32_and_is_finer() -> None:
    model = tiny_llama()
    decoder = read_decoder(model)
    narrow = reference_step(decoder, after_a_prompt(model))
    wide = reference_step(decoder, after_a_prompt(model), dtype=torch.float64)
    assert wide.dtype == torch.float64
    difference = (narrow - wide).abs().max().item()
    assert 0 < difference < 2e-5
