"""Accuracy as text, page and chart: all three say what the document says, and the shipped page is made from the shipped document."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from shapewright.calibrate.results import BINS_PER_DECADE, shipped_document
from shapewright.errors import InputError
from shapewright.report.accuracy import accuracy_text, number, score_cells, verdict
from shapewright.report.accuracy_page import CHART, accuracy_page, markdown_table

DOCS = Path(__file__).parents[3] / "docs"
DOCUMENT = shipped_document()


def test_the_page_says_what_the_document_says() -> None:
    """Written by scripts/write_accuracy.py: run it again when the results change."""
    assert (DOCS / "accuracy.md").read_text(encoding="utf-8") == accuracy_page(DOCUMENT)
    assert (DOCS / CHART).is_file()


def test_the_goals_come_first_with_what_was_reached() -> None:
    page = accuracy_page(DOCUMENT)
    assert page.index("## Goals") < page.index("![") < page.index("## What the columns mean") < page.index("## Sets")
    goals = page.split("## Goals")[1].split("![")[0]
    for each in DOCUMENT["sets"]:
        if each["goal_percent"] is not None:
            (line,) = [line for line in goals.splitlines() if line.startswith(f"| {each['name']} |")]
            assert f"| {each['goal_percent']:g} | {each['overall']['mape_percent']:.2f} |" in line
            assert ("| met |" if each["overall"]["mape_percent"] <= each["goal_percent"] else "| missed |") in line
            assert line.endswith(f"| {number(each['overall']['coverage_percent'])} |")


def test_every_missed_goal_is_explained() -> None:
    """What was tried stands in calibrate/remarks.toml."""
    page = accuracy_page(DOCUMENT)
    missed = [
        each for each in DOCUMENT["sets"] if each["goal_percent"] is not None and each["overall"]["mape_percent"] > each["goal_percent"]
    ]
    for each in missed:
        assert len(each["remark"]) > 40 and f"- **{each['name']}**: {each['remark']}\n" in page


def test_the_goals_are_printed_first() -> None:
    text = accuracy_text(DOCUMENT, width=100)
    assert text.splitlines()[0].split() == ["set", "rows", "goal", "MAPE", "median", "p90", "cover"]
    assert "cover" not in accuracy_text(DOCUMENT, width=80).splitlines()[0]
    goals = text.split("\n\n")[0]
    assert goals.count("\n") == sum(each["goal_percent"] is not None for each in DOCUMENT["sets"])


def test_every_set_regime_and_split_is_on_the_page() -> None:
    page = accuracy_page(DOCUMENT)
    for each in DOCUMENT["sets"]:
        part = page.split(f"### {each['name']}\n")[1].split("\n#")[0]
        assert each["split"] in part and each["source"] in part
        for name, score in each["regimes"].items():
            assert f"| {' | '.join(score_cells(name, score))} |" in part


def test_text_fits_80_columns_and_names_every_set() -> None:
    text = accuracy_text(DOCUMENT, width=80)
    assert max(map(len, text.splitlines())) <= 80
    flat = " ".join(text.split())
    for each in DOCUMENT["sets"]:
        assert each["name"] in flat and verdict(each) in flat
        assert " ".join(score_cells("all", each["overall"])) in flat


def test_a_verdict_compares_with_the_goal() -> None:
    scored = {"goal_percent": 4.0, "overall": {"mape_percent": 4.0}}
    assert verdict(scored) == "goal 4 %, reached 4.0 %: met"
    assert verdict(scored | {"overall": {"mape_percent": 4.01}}) == "goal 4 %, reached 4.0 %: missed"
    assert verdict(scored | {"goal_percent": None}) == ""


@pytest.mark.parametrize(("value", "text"), [(None, "-"), (7.83, "7.8"), (99.96, "100"), (-3.25, "-3.2"), (1234.5, "1234")])
def test_numbers_of_cells(value: float | None, text: str) -> None:
    assert number(value) == text


def test_markdown_tables_align_their_columns() -> None:
    assert markdown_table(("a", "b"), [("1", "2")], "<>") == "| a | b |\n| --- | ---: |\n| 1 | 2 |\n"


def test_the_chart_holds_every_bin_of_every_kind() -> None:
    pytest.importorskip("altair")
    from shapewright.report.accuracy_chart import accuracy_chart

    charts = json.loads(accuracy_chart(DOCUMENT, BINS_PER_DECADE).to_json())["concat"]
    kinds = dict.fromkeys(re.sub(r"^(left-out|[a-z]+).*", r"\1", each["name"]) for each in DOCUMENT["sets"])
    assert [chart["title"]["text"].partition(":")[0] for chart in charts] == list(kinds)
    for chart, kind in zip(charts, kinds, strict=True):
        sets = [each for each in DOCUMENT["sets"] if each["name"].startswith(kind)]
        assert f" over {sum(each['overall']['num_rows'] for each in sets):,} rows" in chart["title"]["text"]
        points = chart["layer"][0]["data"]["values"]
        assert sum(point["share"] for point in points) == pytest.approx(100, rel=0.01)
        low, high = chart["layer"][0]["encoding"]["x"]["scale"]["domain"]
        assert all(low <= point[name] < point[f"{name[:-3]}_to_us"] <= high for point in points for name in ("measured_us", "predicted_us"))


def test_the_chart_is_saved_by_its_suffix(tmp_path: Path) -> None:
    pytest.importorskip("altair")
    pytest.importorskip("vl_convert")
    from shapewright.report.accuracy_chart import accuracy_chart, save_chart

    chart = accuracy_chart({**DOCUMENT, "sets": DOCUMENT["sets"][:1]}, BINS_PER_DECADE)
    save_chart(chart, tmp_path / "a.svg")
    save_chart(chart, tmp_path / "a.png")
    assert (tmp_path / "a.svg").read_text().startswith("<svg") and (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(InputError, match=r"unknown form \.gif"):
        save_chart(chart, tmp_path / "a.gif")
    with pytest.raises(InputError, match="its folder does not exist"):
        save_chart(chart, tmp_path / "none/a.svg")
