"""The figures' data: every figure of the paper is there, with the shapes that the paper states."""

from __future__ import annotations

import csv
from importlib.resources import files

import pytest

from shapewright.errors import InputError
from shapewright.measure.points import AttentionPoint, GemmPoint, MemoryPoint, Point
from shapewright.operators.types import FlashAttention, Gemm
from shapewright.paper.curves import curve_at, curves, family_of, thinned
from shapewright.paper.figure import all_figures, load_figure
from shapewright.paper.rows import measured_points, published_rows

HEADS = (8, 12, 16, 20, 24, 32, 40, 64, 80, 96, 128, 256, 512)


def test_every_figure_is_there_once() -> None:
    halves = {5: "abc", 6: "abcd", 7: "ab", 10: "ab", 20: "ab"}
    wanted = [f"{number}{half}" for number in range(1, 48) for half in halves.get(number, [""])]
    assert [figure.id for figure in all_figures()] == [*wanted, "S4"]


@pytest.mark.parametrize(("said", "id"), [("7a", "7a"), ("Fig. 7a", "7a"), ("figure 05B", "5b"), ("s4", "S4"), (" 47 ", "47")])
def test_figures_are_found_as_people_write_them(said: str, id: str) -> None:
    assert load_figure(said).id == id


@pytest.mark.parametrize(("said", "hint"), [("7", "7a or 7b"), ("48", "47"), ("x", "known")])
def test_an_unknown_figure_names_others(said: str, hint: str) -> None:
    with pytest.raises(InputError) as caught:
        load_figure(said)
    assert hint in f"{caught.value.hint}"


def products(points: tuple[Point, ...]) -> list[tuple[int, int, int, int, str]]:
    return [(each.batch, each.m, each.n, each.k, each.layout) for each in points if isinstance(each, GemmPoint)]


@pytest.mark.parametrize(
    ("figure", "series", "x", "product"),
    [
        ("5a", "", 1024, (1, 1024, 1024, 4096, "NN")),
        ("5b", "", 256, (1, 27648, 256, 4096, "NN")),
        ("6b", "m=2048", 8, (8, 2048, 2048, 2048, "NN")),
        ("6d", "b=16", 512, (16, 512, 512, 4096, "NN")),
        ("7a", "pow2=64", 2048, (128, 2048, 2048, 64, "NT")),
        ("9", "a=24", 3072, (96, 2048, 128, 2048, "NN")),
        ("10a", "", 4096, (1, 8192, 16384, 4096, "NT")),
        ("16", "t=8", 8192, (1, 8192, 3072, 8192, "NT")),
        ("20a", "as printed, v inside", 51200, (1, 8192, 14336, 51200, "NN")),
        ("20a", "as models run it", 51200, (1, 8192, 51200, 14336, "NT")),
        ("47", "pow2=16", 8192, (2048, 2048, 16, 2048, "NN")),
    ],
)  # fmt: skip
def test_products_are_those_of_table_2(figure: str, series: str, x: int, product: tuple[int, int, int, int, str]) -> None:
    (item,) = curve_at(load_figure(figure), series, [x]).items
    assert products(item.points) == [product]
    batch, m, n, k, _ = product
    assert item.flops == 2 * batch * m * n * k


def test_flops_of_blocks_are_the_papers_count() -> None:
    """8 b s h^2 + 4 b s^2 h of the attention block; the products and the attention kernel (without its mask) add up to it."""
    block, kernel = (curve_at(load_figure("12"), name, [8192]).items[0] for name in ("attention block", "kernel alone"))
    assert block.flops == 8 * 4 * 2048 * 8192**2 + 4 * 4 * 2048**2 * 8192
    own = sum(Gemm(m=p.m, n=p.n, k=p.k, batch=p.batch).flops for p in block.points if isinstance(p, GemmPoint))
    (attention,) = (p for p in block.points if isinstance(p, AttentionPoint))
    whole = FlashAttention(batch=4, num_heads=128, num_kv_heads=128, query_len=2048, kv_len=2048, qk_head_dim=attention.head_dim,
                           v_head_dim=attention.head_dim, is_causal=False)  # fmt: skip
    assert own + whole.flops == block.flops and whole.flops == kernel.flops


def test_the_artefact_of_figure_16_divides_flops_alone() -> None:
    one, eight = (curve_at(load_figure("16"), f"as printed, t={t}", [8192]).items[0] for t in (1, 8))
    assert one.points == eight.points and one.flops == 8 * eight.flops
    assert any(isinstance(point, MemoryPoint) and point.op == "softmax" for point in one.points)


def test_families_hold_what_figures_yaml_says_of_them() -> None:
    """For 512 heads the family of 16 has exactly h = 8192 and 24576; for 32 heads families have 512 to 16 points."""
    families = {curve.name: [item.x for item in curve.items] for curve in curves(load_figure("33"))}
    assert families["pow2=16"] == [8192, 24576] and families["pow2=64"] == [32768]
    sizes = {curve.name: len(curve.items) for curve in curves(load_figure("7a"))}
    assert sizes == {"pow2=1": 512, "pow2=2": 256, "pow2=4": 128, "pow2=8": 64, "pow2=16": 32, "pow2=32": 16, "pow2=64": 16}


def test_families_are_powers_of_two_up_to_64() -> None:
    assert [family_of(value) for value in (1, 6, 12, 40, 80, 96, 64, 128, 192)] == [1, 2, 4, 8, 16, 32, 64, 64, 64]


def test_thinning_keeps_the_last_and_spreads_evenly() -> None:
    kept = thinned(range(1, 1001), 10, 1000)
    assert kept[-1] == 1000 and len(kept) == 10 and set(kept) <= set(range(1, 1001))
    assert thinned([5, 7], 10, 1000) == [5, 7] and thinned(range(100), 0, 100) == list(range(100))


@pytest.mark.parametrize("figure", [each.id for each in all_figures() if not each.is_diagram])
def test_every_figure_can_be_measured_in_a_few_points(figure: str) -> None:
    points = measured_points(load_figure(figure))
    assert 0 < len(points) == len(set(points)) <= 400
    assert all(getattr(point, "dtype", "") == "fp16" for point in points)


def test_published_points_keep_their_quality_and_belong_to_a_figure() -> None:
    text = (files("shapewright.paper") / "published.csv").read_text()
    entries = list(csv.DictReader(text.splitlines()))
    qualities = [entry["quality"] for entry in entries]
    assert {name: qualities.count(name) for name in set(qualities)} == {"approx": 978, "doubtful": 481, "exact": 7, "notebook": 35}
    assert {entry["figure"] for entry in entries} <= {figure.id for figure in all_figures()}
    assert [row.y for row in published_rows(load_figure("1"))] == [83.392, 108.505, 119.37, 140.695, 165.741]


@pytest.mark.parametrize("figure", [each for each in all_figures() if each.is_sweep])
def test_published_series_are_curves_of_the_figure(figure: object) -> None:
    from shapewright.paper.figure import Figure

    assert isinstance(figure, Figure)
    names = {curve.name for curve in curves(figure, is_measured=True)}
    assert {row.series for row in published_rows(figure)} <= names
