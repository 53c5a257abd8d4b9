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
            "gpt2-xl": (4.55, 9.21, 10800.0, 0.388, 67.3),
            "gpt3-2.7b": (7.07, 15.1, 9550.0, 0.547, 71.2),
            "pythia-2.8b": (7.32, 15.5, 9870.0, 0.566, 71.8),
            "llama-2-7b": (18.9, 38.5, 4040.0, 0.555, 161.0),
            "llama-3.1-8b": (19.6, 40.2, 3670.0, 0.567, 196.0),
            "qwen2.5-7b": (20.4, 41.7, 3980.0, 0.572, 191.0),
            "gemma-2-9b": (20.2, 42.4, 2620.0, 0.501, 264.0),
            "mixtral-8x7b": (39.1, 80.1, 1670.0, 0.426, 843.0),
        }
    )


def test_training_on_an_h200() -> None:
    assert training("h200") == snapshot(
        {
            "gpt2-xl": (1.7, 3.27, 27700.0, 0.314, 67.3),
            "gpt3-2.7b": (2.81, 5.76, 22600.0, 0.409, 71.2),
            "pythia-2.8b": (2.84, 5.93, 24800.0, 0.448, 71.8),
            "llama-2-7b": (7.42, 14.4, 10300.0, 0.445, 161.0),
            "llama-3.1-8b": (7.54, 14.8, 9380.0, 0.458, 196.0),
            "qwen2.5-7b": (7.77, 15.4, 10200.0, 0.462, 191.0),
            "gemma-2-9b": (7.88, 15.8, 6670.0, 0.403, 264.0),
            "mixtral-8x7b": (15.2, 30.7, 3970.0, 0.32, 843.0),
        }
    )


def test_training_on_an_mi250x() -> None:
    assert training("mi250x") == snapshot(
        {
            "gpt2-xl": (8.64, 19.3, 5540.0, 0.324, 67.3),
            "gpt3-2.7b": (17.1, 38.7, 4100.0, 0.383, 71.2),
            "pythia-2.8b": (16.9, 38.4, 4260.0, 0.398, 71.8),
            "llama-2-7b": (41.4, 86.7, 1880.0, 0.421, 161.0),
            "llama-3.1-8b": (44.0, 91.9, 1670.0, 0.422, 196.0),
            "qwen2.5-7b": (45.4, 94.6, 1830.0, 0.429, 191.0),
            "gemma-2-9b": (43.2, 94.0, 1230.0, 0.383, 264.0),
            "mixtral-8x7b": (78.2, 158.0, 931.0, 0.387, 843.0),
        }
    )


def test_decoding_on_an_h200() -> None:
    assert decoding("h200") == snapshot(
        {
            "gpt2-xl": (68.2, 319.0, 411.0, 3.78),
            "gpt3-2.7b": (161.0, 365.0, 383.0, 6.01),
            "pythia-2.8b": (77.1, 308.0, 403.0, 6.26),
            "llama-2-7b": (48.2, 159.0, 201.0, 14.6),
            "llama-3.1-8b": (48.2, 150.0, 187.0, 16.4),
            "qwen2.5-7b": (54.9, 165.0, 204.0, 15.4),
            "gemma-2-9b": (26.3, 106.0, 147.0, 19.2),
            "mixtral-8x7b": (28.5, 92.8, 111.0, 93.7),
        }
    )


def test_decoding_on_an_a100() -> None:
    assert decoding("a100-80gb") == snapshot(
        {
            "gpt2-xl": (68.2, 174.0, 207.0, 3.78),
            "gpt3-2.7b": (161.0, 167.0, 171.0, 6.01),
            "pythia-2.8b": (77.1, 154.0, 179.0, 6.26),
            "llama-2-7b": (48.2, 74.2, 85.0, 14.6),
            "llama-3.1-8b": (48.2, 69.9, 79.5, 16.4),
            "qwen2.5-7b": (54.9, 77.2, 87.4, 15.4),
            "gemma-2-9b": (26.3, 51.0, 62.0, 19.2),
            "mixtral-8x7b": (28.5, 48.6, 54.7, 93.7),
        }
    )
