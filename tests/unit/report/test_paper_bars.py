"""Bars carry their values; columns of shares add up to 100 % where their rows do, and say where published ones do not."""

from __future__ import annotations

import pytest

pytest.importorskip("altair")

from shapewright.paper.figure import load_figure
from shapewright.paper.rows import Row, published_rows
from shapewright.report.paper_bars import pale, share_panels
from shapewright.report.paper_chart import figure_chart
from unit.report.paper_example import layers, marks, row, titles

CASES = [case["name"] for case in load_figure("1").cases]


def test_every_bar_carries_its_value() -> None:
    rows = [
        row("1", source, case, 100.0 + place, series="throughput")
        for source in ("predicted", "measured")
        for place, case in enumerate(CASES)
    ]
    spec = figure_chart(load_figure("1"), rows).to_dict()
    bars, values = marks(spec, "bars")[0], marks(spec, "values")[0]
    assert len(bars) == len(values) == 10 and bars == values
    words = layers(spec, "values")[0]
    assert (words["encoding"]["text"]["field"], words["encoding"]["text"]["format"]) == ("y", ".1f")


def test_published_bars_stand_beside_those_of_their_gpu() -> None:
    rows = [*published_rows(load_figure("1")), *(row("1", "predicted", case, 90.0, series="throughput", gpu="a100-40gb") for case in CASES)]
    spec = figure_chart(load_figure("1"), rows).to_dict()
    fill = layers(spec, "bars")[0]["encoding"]["fill"]["scale"]
    assert fill["domain"] == ["a100-40gb, published", "a100-40gb, predicted"] and len(set(fill["range"])) == 2
    assert layers(spec, "bars")[0]["encoding"]["x"]["sort"] == CASES
    assert 83.392 in [each["y"] for each in marks(spec, "bars")[0]]


def test_a_pale_colour_is_mixed_with_white() -> None:
    assert (pale("#102030", 1), pale("#102030", 0), pale("#000000", 0.5)) == ("#102030", "#ffffff", "#808080")


def shares() -> list[Row]:
    figure = load_figure("2")
    parts = {"GEMMs": 60.0, "Softmax": 25.0, "DR": 8.0, "LN": 4.0, "Other": 3.0}
    return [row("2", "predicted", case["name"], y, series=name, unit="%") for case in figure.cases for name, y in parts.items()]


def test_columns_of_shares_add_up_to_100() -> None:
    spec = figure_chart(load_figure("2"), shares()).to_dict()
    tops: dict[str, float] = {}
    for each in marks(spec, "columns")[0]:
        assert each["bottom"] == pytest.approx(tops.get(each["x"], 0.0)) and each["top"] == pytest.approx(each["bottom"] + each["y"])
        tops[each["x"]] = each["top"]
    assert len(tops) == 3 and all(top == pytest.approx(100) for top in tops.values())


def test_only_parts_with_room_carry_their_values() -> None:
    spec = figure_chart(load_figure("2"), shares()).to_dict()
    assert {each["words"] for each in marks(spec, "values")[0]} == {"60.0", "25.0", "8.0", "4.0"}


def test_the_notebook_and_the_picture_are_panels_of_their_own() -> None:
    figure = load_figure("2")
    found = {panel.title: panel for panel in share_panels(figure, [*shares(), *published_rows(figure)])}
    assert list(found) == ["h200, predicted", "a100-40gb, authors' notebook", "a100-40gb, read off the picture"]
    sums: dict[object, float] = {}
    for each in found["a100-40gb, authors' notebook"].rows:
        sums[each.x] = sums.get(each.x, 0) + each.y
    assert len(sums) == 3 and all(total == pytest.approx(100, abs=0.2) for total in sums.values())


def test_doubtful_shares_are_pale_and_marked() -> None:
    spec = figure_chart(load_figure("2"), published_rows(load_figure("2"))).to_dict()
    drawn = [each for values in marks(spec, "columns") for each in values]
    doubtful = [each for each in drawn if each.get("quality") == "doubtful"]
    assert len(doubtful) == 7 and all(each["opacity"] < 0.5 and each["words"].endswith(" x") for each in doubtful)
    assert all(each["opacity"] > 0.5 for each in drawn if each.get("quality") != "doubtful")
    assert any("x marks doubtful parts" in title for title in titles(spec))
