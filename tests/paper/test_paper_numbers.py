"""Worked numbers of the paper and of measurements beside it: what a few elements more or less cost."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

import shapewright as sw
from shapewright.predict.gemm import GemmEstimates, predict_gemm


def teraflops(estimates: GemmEstimates) -> np.ndarray:
    return 2.0 * estimates.batch * estimates.m * estimates.n * estimates.k / estimates.time_s / 1e12


@cache
def llama_layer_s(intermediate_size: int) -> tuple[float, float]:
    """Forward, and forward + backward, of one Llama-2-7B layer on the H200: bf16, flash, b=4, s=2048."""
    layer = sw.explain(sw.load_shape("llama-2-7b", intermediate_size=intermediate_size), "h200", micro_batch=4, sequence=2048).layer
    assert layer.backward is not None
    return layer.forward.time_s, layer.forward.time_s + layer.backward.time_s


@pytest.mark.parametrize(("width", "slower"), [(10922, 1.71), (10923, 2.90)])
def test_llama_layers_with_a_misaligned_mlp(width: int, slower: float) -> None:
    """Measured in eager PyTorch, interleaved: 21.5, 36.8, 62.4 ms forward + backward."""
    assert llama_layer_s(width)[1] / llama_layer_s(11008)[1] == pytest.approx(slower, rel=0.12)


def test_llama_layers_forward_and_absolute() -> None:
    assert llama_layer_s(10923)[0] / llama_layer_s(11008)[0] == pytest.approx(3.5, rel=0.12)
    for width, measured_ms in ((11008, 21.5), (10922, 36.8), (10923, 62.4)):
        assert llama_layer_s(width)[1] * 1e3 == pytest.approx(measured_ms, rel=0.08)


@pytest.mark.parametrize(("gpu", "at_least"), [("h200", 3.0), ("a100-40gb", 1.5), ("a100-80gb", 1.5), ("h100", 3.0), ("v100", 1.5)])
def test_an_unpadded_vocabulary_is_slower(gpu: str, at_least: float) -> None:
    """The logits of GPT-3 2.7B: 50257 is odd, 50304 a multiple of 128."""
    odd, padded = predict_gemm(gpu, m=4 * 2048, n=[50257, 50304], k=2560, dtype="fp16").time_s
    assert odd / padded > at_least


def test_an_unpadded_vocabulary_in_a_model() -> None:
    """Measured 5.8 times on the H200; in a long run the padded product also loses clock."""

    def logits_s(vocabulary: int) -> float:
        answer = sw.explain(sw.load_shape("gpt3-2.7b", vocab_size=vocabulary), "h200", phase="forward")
        return next(time.estimate.time_s for time in answer.operators if time.operator.name == "logits")

    assert logits_s(50257) / logits_s(50304) == pytest.approx(5.8, rel=0.25)


def test_an_unfused_head_of_76_is_slower_than_80() -> None:
    """The score product of 128 heads, measured 2.5 times slower on the H200 although it does less."""
    narrow, wide = predict_gemm("h200", batch=128, m=2048, n=2048, k=[76, 80]).time_s
    assert narrow / wide == pytest.approx(2.5, rel=0.15)
    answers = {
        heads: sw.explain(
            sw.load_shape("gpt3-2.7b", num_attention_heads=32, hidden_size=32 * heads), "h200", attention="unfused", phase="forward"
        )
        for heads in (76, 80)
    }
    assert answers[76].layer.forward.time_s > answers[80].layer.forward.time_s
    assert answers[76].layer.forward.flops < answers[80].layer.forward.flops


def test_one_tile_more_than_the_sms_takes_a_second_wave() -> None:
    """A100: 108 SMs; m = 128 x tiles, n = 256, so that a tile of 128 x 256 covers it."""
    tiles = np.array([106, 107, 108, 109])
    times = predict_gemm("a100-40gb", m=128 * tiles, n=256, k=4096, dtype="fp16").time_s
    steps = times[1:] / times[:-1]
    assert steps[2] >= 1.10  # 108 -> 109
    assert (steps[:2] < 1.02).all()  # 106 -> 107 -> 108: work for idle SMs


@pytest.mark.parametrize("waves", [1, 2, 3])
def test_later_waves_have_smaller_cliffs(waves: int) -> None:
    full, over = predict_gemm("a100-40gb", m=[128 * 108 * waves, 128 * (108 * waves + 1)], n=256, k=4096, dtype="fp16").time_s
    assert 1 + 0.15 / waves < over / full < 1 + 1 / waves


def test_figure_5b_saws() -> None:
    """(27648, 4096) x (4096, k): 27648 = 256 x 108. The log drops 227 -> 171 after k = 256 and 243 -> 191 after 384."""
    at_256, after_256, at_384, after_384 = teraflops(
        predict_gemm("a100-40gb", m=27648, n=[256, 264, 384, 392], k=4096, dtype="fp16", layout="NN")
    )
    assert after_256 / at_256 < 0.85 and after_384 / at_384 < 0.85
    assert at_384 > at_256
    assert [at_256, after_256, at_384, after_384] == pytest.approx([227, 171, 243, 191], rel=0.10)


@pytest.mark.parametrize(("first", "last"), [(264, 384), (392, 512)])
def test_figure_5b_rises_between_its_drops(first: int, last: int) -> None:
    rates = teraflops(predict_gemm("a100-40gb", m=27648, n=np.arange(first, last + 1, 8), k=4096, dtype="fp16", layout="NN"))
    assert (np.diff(rates) > 0).all()
    assert rates[-1] / rates[0] > 1.2


def test_smaller_powers_of_two_are_slower_on_the_a100() -> None:
    """Vocabulary sweeps of the authors' log, m = 8192: n of 1, 2 to 4, and 8 or more elements run at 72, 173 and 257 TFLOP/s."""
    rates = teraflops(predict_gemm("a100-40gb", m=8192, n=[51201, 51202, 51200], k=4096, dtype="fp16", layout="NN"))
    assert rates == pytest.approx([72, 173, 257], rel=0.10)


def test_tall_products_are_faster_than_flat_ones() -> None:
    """Throughput grows with every dimension until the GPU is full (the paper, section V)."""
    for name in ("m", "n", "k"):
        sizes = {"m": 2048, "n": 2048, "k": 2048} | {name: [64, 256, 1024, 4096, 16384]}
        rates = teraflops(predict_gemm("a100-40gb", **sizes, dtype="fp16"))
        assert (np.diff(rates) > 0).all(), name
