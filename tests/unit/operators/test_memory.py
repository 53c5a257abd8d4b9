"""GPU memory against numbers that can be redone on paper."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shapewright.operators import largest_micro_batch, lower, memory_use
from shapewright.operators.lower import stage_units
from shapewright.shape import ModelShape
from shapewright.workload import Workload
from unit.operators.operator_shapes import ALTERNATING, LATENT, LLAMA_2_7B, MIXTRAL, gpt2_style


def layer_activations(shape: ModelShape, **workload: object) -> float:
    """Bytes that one layer keeps: what one layer more adds."""
    deeper = replace(shape, num_hidden_layers=shape.num_hidden_layers + 1)
    uses = [memory_use(each, Workload(**workload)).activations for each in (shape, deeper)]  # type: ignore[arg-type]
    return uses[1] - uses[0]


@settings(max_examples=40, deadline=None)
@given(heads=st.integers(1, 16), head_dim=st.integers(1, 96), b=st.integers(1, 4), s=st.integers(1, 2048))
def test_gpt_layer_keeps_what_korthikanti_counts(heads: int, head_dim: int, b: int, s: int) -> None:
    """Korthikanti et al. 2022, equation 1: s b h (34 + 5 a s / h) bytes a layer, unfused, with dropout, in 16 bits; exact here."""
    shape = gpt2_style(heads=heads, head_dim=head_dim, dropout=0.1)
    h = shape.hidden_size
    kept = layer_activations(shape, micro_batch=b, sequence=s, attention="unfused")
    assert kept == pytest.approx(s * b * (34 * h + 5 * heads * s))
    selective = layer_activations(shape, micro_batch=b, sequence=s, attention="unfused", recompute="selective")
    assert selective == pytest.approx(s * b * 34 * h)
    full = layer_activations(shape, micro_batch=b, sequence=s, attention="unfused", recompute="full")
    assert full == pytest.approx(s * b * 2 * h)


def test_tensor_and_sequence_parallel_divide_a_gpt_layer() -> None:
    """Equation 2: s b h (10 + 24/t + 5 a s / (h t)) with tensor parallelism; equation 4: everything over t with sequence parallelism."""
    shape = gpt2_style(heads=16, head_dim=64, dropout=0.1)
    b, s, h, a, t = 2, 512, 1024, 16, 4
    split = layer_activations(shape, micro_batch=b, sequence=s, attention="unfused", tensor_parallel=t)
    assert split == pytest.approx(s * b * h * (10 + 24 / t + 5 * a * s / (h * t)))
    both = layer_activations(shape, micro_batch=b, sequence=s, attention="unfused", tensor_parallel=t, sequence_parallel=True)
    assert both == pytest.approx(s * b * h / t * (34 + 5 * a * s / h))


def test_flash_attention_keeps_no_scores() -> None:
    shape = gpt2_style(heads=16, head_dim=64)
    once, twice = (layer_activations(shape, micro_batch=2, sequence=s) for s in (512, 1024))
    assert twice == pytest.approx(2 * once)
    unfused = [layer_activations(shape, micro_batch=2, sequence=s, attention="unfused") for s in (512, 1024)]
    # Without dropout, only the softmax's output: 2 a s^2 b bytes, against a fp32 log-sum a row.
    assert unfused[0] - once == 2 * 16 * 512**2 * 2 - 4 * 16 * 512 * 2
    assert unfused[1] > 2.5 * unfused[0]


def test_mixed_precision_adam_takes_16_bytes_a_parameter() -> None:
    params = LLAMA_2_7B.num_params
    use = memory_use(LLAMA_2_7B, Workload())
    assert (use.parameters, use.gradients, use.optimizer_states) == (2 * params, 2 * params, 12 * params)
    fp32 = memory_use(LLAMA_2_7B, Workload(dtype="fp32"))
    assert (fp32.parameters, fp32.gradients, fp32.optimizer_states) == (4 * params, 4 * params, 8 * params)


def test_zero_shards_what_its_stage_says() -> None:
    params = LLAMA_2_7B.num_params
    for stage, (weights, gradients, states) in {0: (2, 2, 12), 1: (2, 2, 1.5), 2: (2, 0.25, 1.5), 3: (0.25, 0.25, 1.5)}.items():
        use = memory_use(LLAMA_2_7B, Workload(data_parallel=8, zero=stage))
        assert (use.parameters, use.gradients, use.optimizer_states) == (weights * params, gradients * params, states * params)


def test_inference_holds_weights_and_cache() -> None:
    use = memory_use(LLAMA_2_7B, Workload(phase="decode", micro_batch=3, context=4095))
    assert use.parameters == 2 * LLAMA_2_7B.num_params
    assert use.gradients == use.optimizer_states == 0
    assert use.kv_cache == 3 * 4096 * 2 * 32 * 4096 * 2
    assert use.activations < 0.01 * use.parameters
    grouped = memory_use(replace(LLAMA_2_7B, num_key_value_heads=8), Workload(phase="decode", micro_batch=3, context=4095))
    assert grouped.kv_cache == use.kv_cache / 4
    split = memory_use(LLAMA_2_7B, Workload(phase="decode", micro_batch=3, context=4095, tensor_parallel=4))
    assert split.kv_cache == use.kv_cache / 4
    assert memory_use(LLAMA_2_7B, Workload(phase="forward")).kv_cache == 0


def test_caches_of_windows_and_latents() -> None:
    windows = memory_use(ALTERNATING, Workload(phase="decode", micro_batch=2, context=99))
    assert windows.kv_cache == 2 * (3 * 16 + 2 * 100) * 2 * 4 * 64 * 2
    latent = memory_use(LATENT, Workload(phase="decode", micro_batch=2, context=99))
    assert latent.kv_cache == 2 * 100 * (128 + 32) * 2 * 4


def test_experts_are_spread_over_replicas() -> None:
    whole = memory_use(MIXTRAL, Workload())
    spread = memory_use(MIXTRAL, Workload(data_parallel=8, expert_parallel=8))
    experts = 32 * 8 * 3 * 4096 * 14336
    assert whole.parameters == 2 * MIXTRAL.num_params
    assert spread.parameters == 2 * (MIXTRAL.num_params - experts * 7 / 8)


def test_the_fullest_pipeline_stage_is_reported() -> None:
    """The first of 4 stages holds activations of 4 micro-batches, a quarter of the layers each: as much as one stage of all."""
    one = layer_activations(LLAMA_2_7B, micro_batch=1)
    use = memory_use(LLAMA_2_7B, Workload(micro_batch=1, pipeline_parallel=4, global_batch=16))
    assert use.activations == pytest.approx(4 * 8 * one)
    tied = replace(LLAMA_2_7B, tie_word_embeddings=True)
    last = stage_units(tied, Workload(pipeline_parallel=4), "bf16")[-1]
    assert sum(unit.local_params for unit in last[1]) == 32000 * 4096 + 4096


def test_largest_micro_batch_is_the_boundary() -> None:
    for workload in (Workload(), Workload(recompute="full", global_batch=64), Workload(phase="decode", context=4000)):
        room = 150e9
        largest = largest_micro_batch(LLAMA_2_7B, workload, int(room))
        assert largest > 0
        resized = [replace(workload, micro_batch=n, global_batch=None) for n in (largest, largest + 1)]
        assert memory_use(LLAMA_2_7B, resized[0]).total <= room < memory_use(LLAMA_2_7B, resized[1]).total
    assert largest_micro_batch(LLAMA_2_7B, Workload(), 80 * 10**9) == 0


def test_parameters_on_one_gpu_match_the_operators() -> None:
    """Weights counted for memory are those that the operators of one GPU read."""
    for shape in (LLAMA_2_7B, MIXTRAL, LATENT, ALTERNATING, gpt2_style(heads=4, head_dim=8)):
        held = sum(op.num_params * op.count for op in lower(shape, Workload(), "bf16"))
        assert memory_use(shape, Workload()).parameters == 2 * held
