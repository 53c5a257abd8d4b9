"""The plans of benchmarks/plans: they load, measure what their headers say, and stay within their time."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from shapewright.measure.plan import load_plan
from shapewright.measure.points import AttentionPoint, GemmPoint, LayerPoint, MemoryPoint, OptimizerPoint, Point

FOLDER = Path(__file__).parents[3] / "benchmarks/plans"
NAMES = sorted(path.stem for path in FOLDER.glob("*.toml"))
LAYOUTS = {"NT", "NN", "TN"}


def points_of(name: str) -> tuple[Point, ...]:
    return load_plan(FOLDER / f"{name}.toml").points


def products_of(name: str) -> list[GemmPoint]:
    return [point for point in points_of(name) if isinstance(point, GemmPoint)]


@pytest.mark.parametrize("name", NAMES)
def test_a_plan_is_called_as_its_file_and_says_how_it_is_run(name: str) -> None:
    plan = load_plan(FOLDER / f"{name}.toml")
    assert plan.name == name and len(set(plan.points)) == len(plan.points) > 0
    header = (FOLDER / f"{name}.toml").read_text().partition("\nname = ")[0]
    assert all(line.startswith("#") for line in header.splitlines())
    assert f"shapewright bench sweep benchmarks/plans/{name}.toml" in header and "on an H200" in header


def test_random_products_are_of_all_kinds() -> None:
    for name, count in (("repeatability", 200), ("random", 2000)):
        points = products_of(name)
        assert len(points) == count
        assert {point.layout for point in points if point.batch == 1} == LAYOUTS
        assert 0.15 * count <= sum(point.batch > 1 for point in points) <= 0.25 * count
        assert {point.dtype for point in points} == {"bf16", "fp16"}
        assert sum(point.k % 8 != 0 for point in points) > 0.2 * count
        assert max(2 * p.batch * p.m * p.n * p.k for p in points) <= 1.5e13
    assert len(set(products_of("random")) & set(products_of("repeatability"))) < 5


def test_the_map_moves_every_dimension_through_every_residue() -> None:
    """Three sizes, three layouts, bf16 and fp16: all 64 residues of m, n and k; fp8 in NT, n and k in multiples of 16."""
    points = set(products_of("misalignment"))
    for base in ((1024, 2048, 2048), (4096, 4096, 4096), (8192, 11008, 4096)):
        for index, dimension in enumerate("mnk"):
            sizes = dict(zip("mnk", base, strict=True))
            for layout in LAYOUTS:
                for dtype in ("bf16", "fp16"):
                    wanted = {
                        GemmPoint(**(sizes | {dimension: base[index] - less}), layout=layout, dtype=dtype)  # type: ignore[arg-type]
                        for less in range(65)
                    }
                    assert wanted <= points
    fp8 = [point for point in points if point.dtype == "fp8"]
    assert {point.m % 64 for point in fp8} == set(range(64))
    assert all(point.n % 16 == 0 and point.k % 16 == 0 for point in fp8)


def test_the_map_fits_two_minutes() -> None:
    """By the protocol six replays of 2 ms or of one call, and three calls beside them; misaligned rates of an H200 in FLOP/s."""
    rates, seconds = {1: 1.1e14, 2: 2.3e14, 4: 2.3e14}, 0.0
    for point in products_of("misalignment"):
        leading = {"NT": (point.k,), "NN": (point.k, point.n), "TN": (point.m, point.n)}[point.layout]
        call_s = 2.0 * point.m * point.n * point.k / rates.get(min(size & -size for size in leading), 6e14)
        seconds += 6e-3 + max(12e-3, 6 * call_s) + 3 * call_s
    assert seconds < 120


def test_compiled_products_have_an_eager_twin() -> None:
    counts = Counter((p.m, p.n, p.k, p.layout, p.dtype) for p in products_of("misalignment-compiled"))
    assert set(counts.values()) == {2} and 100 <= len(counts) <= 150
    assert {50257, 10922, 10923} <= {size for sizes in counts for size in sizes[:3]}


def test_head_sizes_reach_from_8_to_256() -> None:
    points = [point for point in points_of("heads") if isinstance(point, AttentionPoint)]
    for backend in ("unfused", "flash", "efficient", "cudnn"):
        sizes = {point.head_dim for point in points if point.backend == backend and not point.is_backward}
        assert set(range(8, 257, 8)) <= sizes and {20, 60, 65, 76, 100} <= sizes
    assert {point.head_dim for point in points if point.is_backward and point.backend == "flash"} >= set(range(8, 257, 8))
    assert {point.k for point in products_of("heads") if point.layout == "NT"} == set(range(16, 161))


def test_layers_of_twelve_architectures_and_their_variants() -> None:
    points = [point for point in points_of("layers") if isinstance(point, LayerPoint)]
    assert {(p.micro_batch, p.sequence, p.dtype, p.attention, p.runtime, p.rounds) for p in points} == {
        (4, 2048, "bf16", "sdpa", "eager", 7)
    }
    forward = {(point.model, point.changes) for point in points if point.phase == "forward"}
    assert forward == {(point.model, point.changes) for point in points if point.phase == "train"}
    wanted = {"gpt2-xl", "gpt3-2.7b", "pythia-410m", "pythia-1b", "pythia-2.8b", "opt-2.7b", "llama-2-7b", "llama-3-8b", "qwen2-7b",
              "falcon-7b", "phi-2", "gemma-2b"}  # fmt: skip
    assert wanted <= {model for model, _ in forward}
    variants = {("gpt3-2.7b", f"num_attention_heads={heads}") for heads in (20, 40)}
    assert variants | {("llama-2-7b", f"intermediate_size={size}") for size in (10922, 10923)} <= forward


def test_operators_hold_every_memory_operation() -> None:
    from shapewright.measure.memory_ops import MEMORY_OPS, check_memory

    points = points_of("operators")
    memory = [point for point in points if isinstance(point, MemoryPoint)]
    assert {point.op for point in memory if point.runtime == "eager" and not point.is_backward} == set(MEMORY_OPS)
    assert {point.op for point in memory if point.is_backward} == {name for name, op in MEMORY_OPS.items() if op.backward}
    for point in memory:
        check_memory(point)
    assert any(isinstance(point, OptimizerPoint) for point in points)
    attention = [point for point in points if isinstance(point, AttentionPoint)]
    assert {point.query_len == 1 for point in attention} == {True, False}
    assert all(point.kv_len == point.query_len for point in attention if point.query_len > 1)
