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
            "gpt2-xl": (4.6, 9.28, 10700.0, 0.385, 67.3),
            "gpt3-2.7b": (7.16, 15.1, 9510.0, 0.545, 71.2),
            "pythia-2.8b": (7.41, 15.5, 9830.0, 0.564, 71.8),
            "llama-2-7b": (19.1, 38.5, 4030.0, 0.554, 161.0),
            "llama-3.1-8b": (19.8, 40.3, 3650.0, 0.565, 196.0),
            "qwen2.5-7b": (20.6, 41.8, 3960.0, 0.569, 191.0),
            "gemma-2-9b": (20.3, 42.6, 2610.0, 0.498, 264.0),
            "mixtral-8x7b": (39.2, 80.3, 1660.0, 0.425, 843.0),
        }
    )


def test_training_on_an_h200() -> None:
    assert training("h200") == snapshot(
        {
            "gpt2-xl": (1.7, 3.28, 27600.0, 0.313, 67.3),
            "gpt3-2.7b": (2.81, 5.77, 22600.0, 0.408, 71.2),
            "pythia-2.8b": (2.84, 5.94, 24700.0, 0.447, 71.8),
            "llama-2-7b": (7.41, 14.4, 10300.0, 0.445, 161.0),
            "llama-3.1-8b": (7.53, 14.9, 9390.0, 0.458, 196.0),
            "qwen2.5-7b": (7.77, 15.4, 10200.0, 0.462, 191.0),
            "gemma-2-9b": (7.88, 15.8, 6670.0, 0.403, 264.0),
            "mixtral-8x7b": (15.3, 30.8, 3960.0, 0.319, 843.0),
        }
    )


def test_training_on_an_mi250x() -> None:
    assert training("mi250x") == snapshot(
        {
            "gpt2-xl": (9.14, 20.1, 5300.0, 0.311, 67.3),
            "gpt3-2.7b": (17.3, 38.4, 4110.0, 0.384, 71.2),
            "pythia-2.8b": (17.0, 38.0, 4280.0, 0.399, 71.8),
            "llama-2-7b": (41.0, 85.4, 1910.0, 0.427, 161.0),
            "llama-3.1-8b": (43.4, 90.2, 1710.0, 0.43, 196.0),
            "qwen2.5-7b": (44.8, 92.5, 1870.0, 0.439, 191.0),
            "gemma-2-9b": (42.9, 92.5, 1250.0, 0.39, 264.0),
            "mixtral-8x7b": (77.9, 158.0, 931.0, 0.388, 843.0),
        }
    )


def test_decoding_on_an_h200() -> None:
    assert decoding("h200") == snapshot(
        {
            "gpt2-xl": (68.2, 317.0, 400.0, 3.78),
            "gpt3-2.7b": (161.0, 364.0, 377.0, 6.01),
            "pythia-2.8b": (77.1, 307.0, 397.0, 6.26),
            "llama-2-7b": (48.2, 158.0, 198.0, 14.6),
            "llama-3.1-8b": (48.2, 149.0, 185.0, 16.4),
            "qwen2.5-7b": (54.9, 164.0, 202.0, 15.4),
            "gemma-2-9b": (26.3, 105.0, 145.0, 19.2),
            "mixtral-8x7b": (28.5, 92.3, 110.0, 93.7),
        }
    )


def test_decoding_on_an_a100() -> None:
    assert decoding("a100-80gb") == snapshot(
        {
            "gpt2-xl": (68.2, 174.0, 205.0, 3.78),
            "gpt3-2.7b": (161.0, 165.0, 169.0, 6.01),
            "pythia-2.8b": (77.1, 153.0, 177.0, 6.26),
            "llama-2-7b": (48.2, 73.9, 84.5, 14.6),
            "llama-3.1-8b": (48.2, 69.6, 78.8, 16.4),
            "qwen2.5-7b": (54.9, 77.3, 87.2, 15.4),
            "gemma-2-9b": (26.3, 50.8, 61.4, 19.2),
            "mixtral-8x7b": (28.5, 47.1, 52.7, 93.7),
        }
    )
