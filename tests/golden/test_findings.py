"""What the linter says of public models, kept so that a change is seen in a review: micro-batch 4, sequence 2048 or what the model has
positions for, flash attention, GPU time.

After a change that is meant: `pytest tests/golden --inline-snapshot=fix`, and say in the change why it moved.
"""

from __future__ import annotations

from inline_snapshot import snapshot

import shapewright as sw

GPUS = ("a100-40gb", "h200", "mi250x")
MODELS = (
    "gpt2", "gpt2-xl", "gpt3-2.7b", "pythia-410m", "pythia-2.8b", "opt-6.7b", "bloom-560m", "falcon-7b", "llama-2-7b", "llama-3.1-8b",
    "mistral-7b", "mixtral-8x7b", "qwen2.5-7b", "qwen3-30b-a3b", "gemma-2-9b", "phi-2", "bert-large-uncased", "deepseek-v2-lite",
)  # fmt: skip


def said(model: str, **changes: object) -> list[str]:
    """One line a finding: code, value and fix, and the share of the step on each GPU where it is clear of the noise."""
    positions = sw.load_shape(model).max_position_embeddings or 2048
    found = sw.lint_model(model, GPUS, sequence=min(2048, positions), **changes).findings
    return [f"{each.code} {each.field} {each.value} -> {each.fixes[0].value}: {prices(each)}" for each in found]


def prices(finding: sw.Finding) -> str:
    return ", ".join(f"{price.gpu} {100 * price.share:.1f} %" for price in finding.prices if price.is_raised)


def test_training() -> None:
    assert {model: said(model) for model in MODELS} == snapshot(
        {
            "gpt2": ["SW101 vocab_size 50257 -> 50304: h200 26.9 %, a100-40gb 14.9 %"],
            "gpt2-xl": ["SW101 vocab_size 50257 -> 50304: h200 8.9 %, a100-40gb 4.2 %"],
            "gpt3-2.7b": [
                "SW101 vocab_size 50257 -> 50304: h200 11.4 %, a100-40gb 6.0 %",
                "SW202 head_dim 80 -> 128: mi250x 8.1 %, a100-40gb 3.3 %",
            ],
            "pythia-410m": [],
            "pythia-2.8b": ["SW202 head_dim 80 -> 128: mi250x 6.9 %, a100-40gb 2.9 %"],
            "opt-6.7b": [],
            "bloom-560m": [],
            "falcon-7b": ["SW205 has_fused_gqa False -> True: a100-40gb 68.4 %, h200 66.8 %, mi250x 42.6 %"],
            "llama-2-7b": [],
            "llama-3.1-8b": [],
            "mistral-7b": [],
            "mixtral-8x7b": [],
            "qwen2.5-7b": [],
            "qwen3-30b-a3b": [],
            "gemma-2-9b": [],
            "phi-2": ["SW202 head_dim 80 -> 128: mi250x 6.4 %"],
            "bert-large-uncased": ["SW101 vocab_size 30522 -> 30528: h200 4.7 %, a100-40gb 1.9 %"],
            "deepseek-v2-lite": [],
        }
    )


def test_decoding_in_eager_mode() -> None:
    decoders = [model for model in MODELS[:12] if model != "bert-large-uncased"]
    workload = {"phase": "decode", "micro_batch": 8, "context": 1000, "runtime": "eager"}
    assert {model: said(model, **workload) for model in decoders} == snapshot(
        {
            "gpt2": [
                "SW503 runtime eager -> graph: h200 80.6 %",
                "SW502 hidden_size 768 -> 960: a100-40gb 39.2 %, h200 39.2 %",
            ],
            "gpt2-xl": [
                "SW503 runtime eager -> graph: h200 76.1 %",
                "SW502 hidden_size 1600 -> 1984: h200 35.6 %",
            ],
            "gpt3-2.7b": [
                "SW503 runtime eager -> graph: h200 45.0 %",
                "SW101 vocab_size 50257 -> 50304: a100-40gb 2.6 %",
            ],
            "pythia-410m": [
                "SW503 runtime eager -> graph: h200 81.3 %",
                "SW502 hidden_size 1024 -> 1280: h200 39.6 %",
            ],
            "pythia-2.8b": ["SW503 runtime eager -> graph: h200 68.7 %"],
            "opt-6.7b": [],
            "bloom-560m": [
                "SW503 runtime eager -> graph: h200 80.4 %",
                "SW502 hidden_size 1024 -> 1280: h200 43.0 %",
            ],
            "falcon-7b": ["SW205 has_fused_gqa False -> True: a100-40gb 73.3 %, mi250x 54.0 %, h200 44.3 %"],
            "llama-2-7b": ["SW503 runtime eager -> graph: h200 65.2 %"],
            "llama-3.1-8b": ["SW503 runtime eager -> graph: h200 66.2 %"],
            "mistral-7b": ["SW503 runtime eager -> graph: h200 67.2 %"],
            "mixtral-8x7b": [],
        }
    )


def test_eight_gpus() -> None:
    assert {model: said(model, tensor_parallel=8, phase="prefill") for model in MODELS[:12]} == snapshot(
        {
            "gpt2": [
                "SW305 tensor_parallel 8 -> 1: h200 84.3 %, a100-40gb 80.7 %, mi250x 80.7 %",
                "SW301 num_attention_heads 12 -> 16: a100-40gb 7.1 %, h200 7.1 %, mi250x 7.1 %",
                "SW101 vocab_size 50257 -> 50688: h200 0.2 %",
            ],
            "gpt2-xl": [
                "SW305 tensor_parallel 8 -> 1: h200 74.6 %, a100-40gb 72.7 %, mi250x 71.5 %",
                "SW302 num_attention_heads 25 -> 32: a100-40gb 8.1 %, h200 8.1 %, mi250x 8.1 %",
            ],
            "gpt3-2.7b": [
                "SW305 tensor_parallel 8 -> 1: h200 67.2 %, a100-40gb 63.7 %, mi250x 54.0 %",
                "SW202 head_dim 80 -> 64: mi250x 7.2 %, a100-40gb 3.2 %",
            ],
            "pythia-410m": ["SW305 tensor_parallel 8 -> 1: a100-40gb 72.4 %, h200 71.7 %, mi250x 67.6 %"],
            "pythia-2.8b": [
                "SW305 tensor_parallel 8 -> 1: h200 54.6 %, a100-40gb 53.6 %, mi250x 44.6 %",
                "SW202 head_dim 80 -> 64: mi250x 8.3 %, a100-40gb 3.7 %",
            ],
            "opt-6.7b": ["SW305 tensor_parallel 8 -> 1: h200 57.9 %, a100-40gb 54.1 %, mi250x 44.8 %"],
            "bloom-560m": ["SW305 tensor_parallel 8 -> 1: h200 75.8 %, a100-40gb 72.2 %, mi250x 70.8 %"],
            "falcon-7b": [
                "SW205 has_fused_gqa False -> True: h200 66.9 %, a100-40gb 66.3 %, mi250x 48.8 %",
                "SW305 tensor_parallel 8 -> 1: mi250x 18.5 %, h200 17.4 %, a100-40gb 17.0 %",
                "SW302 num_attention_heads 71 -> 72: a100-40gb 0.3 %, h200 0.3 %, mi250x 0.3 %",
            ],
            "llama-2-7b": ["SW305 tensor_parallel 8 -> 1: h200 63.9 %, a100-40gb 62.2 %, mi250x 54.0 %"],
            "llama-3.1-8b": ["SW305 tensor_parallel 8 -> 1: h200 64.0 %, a100-40gb 61.7 %, mi250x 50.9 %"],
            "mistral-7b": ["SW305 tensor_parallel 8 -> 1: h200 64.0 %, a100-40gb 61.7 %, mi250x 50.9 %"],
            "mixtral-8x7b": ["SW305 tensor_parallel 8 -> 1: h200 56.7 %, mi250x 38.6 %, a100-40gb 32.1 %"],
        }
    )
