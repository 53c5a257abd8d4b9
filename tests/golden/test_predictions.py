"""Predictions for public models, kept so that a change of numbers is seen in a review.

Three digits each. After a change that is meant: `pytest tests/golden --inline-snapshot=fix`, and say in the change why they moved.
"""

from __future__ import annotations

from inline_snapshot import snapshot

import shapewright as sw

MODELS = ("gpt2-xl", "gpt3-2.7b", "pythia-2.8b", "llama-2-7b", "llama-3.1-8b", "qwen2.5-7b", "gemma-2-9b", "mixtral-8x7b")


def rounded(value: float) -> float:
    """Three significant digits."""
    return float(f"{value:.3g}")


def training(gpu: str) -> dict[str, tuple[float, ...]]:
    """model -> ms of a layer forward and backward, tokens/s, MFU, GB of memory: micro-batch 4, sequence 2048, flash attention, GPU time."""
    table = {}
    for model in MODELS:
        answer = sw.explain(model, gpu)
        layer, step = answer.layer, answer.step
        assert layer.backward is not None
        numbers = (layer.forward.time_s * 1e3, layer.backward.time_s * 1e3, step.tokens_per_s, step.mfu, answer.memory.total / 1e9)
        table[model] = tuple(map(rounded, numbers))
    return table


def decoding(gpu: str) -> dict[str, tuple[float, ...]]:
    """model -> tokens/s of one sequence at 2048 tokens of context: eager, CUDA graph, compiled; GB of memory."""
    table = {}
    for model in MODELS:
        answers = [sw.explain(model, gpu, phase="decode", micro_batch=1, runtime=runtime) for runtime in ("eager", "graph", "compiled")]
        table[model] = tuple(
            rounded(number) for number in (*(answer.step.tokens_per_s for answer in answers), answers[0].memory.total / 1e9)
        )
    return table


def test_training_on_an_a100() -> None:
    assert training("a100-40gb") == snapshot(
        {
            "gpt2-xl": (4.58, 9.21, 10800.0, 0.388, 67.3),
            "gpt3-2.7b": (7.06, 15.1, 9550.0, 0.547, 71.2),
            "pythia-2.8b": (7.31, 15.5, 9870.0, 0.566, 71.8),
            "llama-2-7b": (19.0, 38.5, 4040.0, 0.555, 161.0),
            "llama-3.1-8b": (19.6, 40.2, 3670.0, 0.567, 196.0),
            "qwen2.5-7b": (20.4, 41.7, 3980.0, 0.572, 191.0),
            "gemma-2-9b": (20.2, 42.4, 2620.0, 0.501, 264.0),
            "mixtral-8x7b": (39.1, 80.1, 1670.0, 0.426, 843.0),
        }
    )


def test_training_on_an_h200() -> None:
    assert training("h200") == snapshot(
        {
            "gpt2-xl": (1.74, 3.29, 27900.0, 0.316, 67.3),
            "gpt3-2.7b": (2.86, 5.78, 23000.0, 0.416, 71.2),
            "pythia-2.8b": (2.87, 5.97, 25400.0, 0.459, 71.8),
            "llama-2-7b": (7.37, 14.5, 10600.0, 0.457, 161.0),
            "llama-3.1-8b": (7.47, 15.0, 9680.0, 0.472, 196.0),
            "qwen2.5-7b": (7.67, 15.5, 10600.0, 0.48, 191.0),
            "gemma-2-9b": (7.76, 15.8, 6930.0, 0.418, 264.0),
            "mixtral-8x7b": (15.6, 32.0, 4200.0, 0.338, 843.0),
        }
    )


def test_training_on_an_mi250x() -> None:
    assert training("mi250x") == snapshot(
        {
            "gpt2-xl": (8.44, 18.4, 5940.0, 0.348, 67.3),
            "gpt3-2.7b": (16.2, 36.9, 4460.0, 0.416, 71.2),
            "pythia-2.8b": (15.9, 36.5, 4510.0, 0.421, 71.8),
            "llama-2-7b": (39.6, 82.5, 1980.0, 0.442, 161.0),
            "llama-3.1-8b": (41.8, 87.4, 1770.0, 0.447, 196.0),
            "qwen2.5-7b": (44.4, 90.7, 1920.0, 0.449, 191.0),
            "gemma-2-9b": (42.2, 90.2, 1290.0, 0.402, 264.0),
            "mixtral-8x7b": (77.5, 157.0, 939.0, 0.391, 843.0),
        }
    )


def test_decoding_on_an_h200() -> None:
    assert decoding("h200") == snapshot(
        {
            "gpt2-xl": (68.2, 325.0, 430.0, 3.78),
            "gpt3-2.7b": (161.0, 357.0, 405.0, 6.01),
            "pythia-2.8b": (77.1, 279.0, 407.0, 6.26),
            "llama-2-7b": (48.2, 159.0, 208.0, 14.6),
            "llama-3.1-8b": (48.2, 151.0, 195.0, 16.4),
            "qwen2.5-7b": (54.9, 164.0, 209.0, 15.4),
            "gemma-2-9b": (26.3, 107.0, 155.0, 19.2),
            "mixtral-8x7b": (28.5, 99.9, 125.0, 93.7),
        }
    )


def test_decoding_on_an_a100() -> None:
    assert decoding("a100-80gb") == snapshot(
        {
            "gpt2-xl": (68.2, 156.0, 187.0, 3.78),
            "gpt3-2.7b": (149.0, 149.0, 155.0, 6.01),
            "pythia-2.8b": (77.1, 139.0, 162.0, 6.26),
            "llama-2-7b": (48.2, 73.5, 84.0, 14.6),
            "llama-3.1-8b": (48.2, 69.2, 78.4, 16.4),
            "qwen2.5-7b": (54.9, 76.4, 86.2, 15.4),
            "gemma-2-9b": (26.3, 49.9, 60.2, 19.2),
            "mixtral-8x7b": (28.5, 48.2, 54.0, 93.7),
        }
    )
