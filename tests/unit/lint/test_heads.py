"""Trading heads at equal width, and the sizes of fused kernels."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shapewright.hardware.load import load_gpu
from shapewright.lint.case import Case
from shapewright.lint.heads import FILE, FusedHeads, are_alike, fused_heads, head_pairs, nearest_pairs, with_heads
from shapewright.predict.explain import load_machine, runnable
from shapewright.read.fields import apply_overrides
from shapewright.read.resolve import load
from shapewright.workload import Workload

MODELS = ("gpt3-2.7b", "pythia-2.8b", "llama-3.2-1b", "gemma-2-2b", "gpt-neox-20b", "mistral-nemo-12b", "qwen3-8b")


def case(model: str, gpu: str, **workload: object) -> Case:
    loaded, machine = load(model), load_machine(gpu)
    return Case(loaded=loaded, workload=runnable(loaded.shape, Workload(**workload), machine.gpu), machine=machine)  # type: ignore[arg-type]


@given(model=st.sampled_from(MODELS), tensor_parallel=st.sampled_from([1, 2, 4, 8]), multiple=st.sampled_from([8, 16, 64]))
@settings(deadline=None, max_examples=60)
def test_pairs_keep_every_width(model: str, tensor_parallel: int, multiple: int) -> None:
    """q_size, kv_size and so every projection; the GPUs share heads and shared key heads evenly, whether or not they do now."""
    shape = load(model).shape
    for heads, head_dim in head_pairs(shape, tensor_parallel, multiple=multiple):
        assert head_dim % multiple == 0 and head_dim != shape.head_dim
        for field in ("head_dim", "num_attention_heads"):
            change = with_heads(shape, heads, head_dim, field=field)
            assert change.values[0][0] == field
            changed, _ = apply_overrides(shape, dict(change.model))
            assert (changed.num_attention_heads, changed.head_dim) == (heads, head_dim)
            assert (changed.q_size, changed.kv_size) == (shape.q_size, shape.kv_size)
            assert (change.caution != "") == (heads < shape.num_attention_heads)
            assert changed.num_attention_heads % tensor_parallel == 0 == changed.num_key_value_heads % tensor_parallel


def test_pairs_of_gpt3() -> None:
    shape = load("gpt3-2.7b").shape
    assert head_pairs(shape, 1, multiple=64) == ((40, 64), (20, 128), (10, 256))
    assert head_pairs(shape, 8, multiple=64) == ((40, 64),), "32 heads lie evenly on 8 GPUs, 20 and 10 do not"
    assert head_pairs(shape, 5, multiple=64) == ((40, 64), (20, 128), (10, 256)), "32 heads do not lie evenly on 5 GPUs, these do"
    assert nearest_pairs(shape, head_pairs(shape, 1, multiple=64)) == ((40, 64), (20, 128))
    assert nearest_pairs(shape, ((10, 256),)) == (), "more than twice as wide is no neighbour"


def test_a_prime_number_of_heads_has_no_other() -> None:
    """71 heads of 64: only narrower ones, whose number 71 divides."""
    assert head_pairs(load("falcon-7b").shape, 1, multiple=64) == ()
    assert all(heads % 71 == 0 for heads, _ in head_pairs(load("falcon-7b").shape, 1, multiple=8))


def test_shared_keys_move_with_the_heads() -> None:
    shape = load("llama-3.2-1b").shape
    assert (shape.num_attention_heads, shape.num_key_value_heads, shape.head_dim) == (32, 8, 64)
    change = with_heads(shape, 16, 128, field="num_attention_heads")
    assert change.model == (("num_attention_heads", 16), ("num_key_value_heads", 4))


@pytest.mark.parametrize(
    ("gpu", "phase", "expected"),
    [
        ("h200", "train", FusedHeads(runs_as=(128, 128), sizes=frozenset({64, 128, 192, 256}))),
        ("h200", "decode", FusedHeads(runs_as=(80,), sizes=frozenset({64, 80, 128, 192, 256, 512}))),
        ("a100-80gb", "train", FusedHeads(runs_as=(96, 96), sizes=frozenset({32, 64, 96, 128, 192, 256}))),
        ("h100", "prefill", FusedHeads(runs_as=(128,), sizes=frozenset({64, 128, 192, 256}))),
    ],
)
def test_what_a_head_of_80_runs_as(gpu: str, phase: str, expected: FusedHeads) -> None:
    """cuDNN's steps on an H200, which decodes 80 as it is; FlashAttention-2's on an A100."""
    assert fused_heads(case("gpt3-2.7b", gpu, phase=phase)) == expected


def test_alike_head_sizes_are_those_between_measured_ones() -> None:
    h200 = load_gpu("h200")
    assert are_alike(80, 128, h200) and are_alike(80, 64, h200) and are_alike(96, 128, h200)
    assert not are_alike(160, 128, h200) and not are_alike(80, 192, h200) and not are_alike(48, 64, h200)
    assert not are_alike(80, 128, load_gpu("h100"))


def test_every_entry_of_the_table_names_a_gpu_and_its_source() -> None:
    for gpu, entry in tomllib.loads(FILE.read_text(encoding="utf-8")).items():
        assert load_gpu(gpu).name == gpu
        assert entry["head_dims"] == sorted(entry["head_dims"]) and len(entry["head_dims"]) > 1
        assert entry["source"].startswith("benchmarks/")
