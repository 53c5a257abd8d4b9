"""docs/measuring.md and its charts: they say what the document says; the committed page is made from the committed runs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from shapewright.calibrate.measuring.document import measuring_document
from shapewright.report.measuring_page import HEAD_CHART, MAP_CHART, NOT_YET, measuring_page
from shapewright.report.misalignment_chart import head_chart, misalignment_chart
from unit.calibrate.measuring.test_document import SWEEP, write_all

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs/measuring.md"
HEADINGS = (
    "Goals", "How time is measured", "How to repeat a table", "Repeatability and rate", "Calibration", "Layers",
    "What a fault costs", "The misalignment map",
    "What torch.compile pads by itself", "Head sizes", "Machines",
)  # fmt: skip


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    return measuring_document(write_all(tmp_path_factory.mktemp("runs") / "h200"))


if PAGE.is_file():

    def test_the_committed_page_is_made_from_the_committed_runs() -> None:
        """Written by scripts/write_measuring.py: run it again when runs, profiles or predictions change."""
        assert os.environ["SHAPEWRIGHT_PROFILES"] == ""
        found = measuring_document(ROOT / "benchmarks/h200")
        assert PAGE.read_text(encoding="utf-8") == measuring_page(found)
        assert (PAGE.parent / MAP_CHART).is_file() == bool(found["misalignment"]["points"])
        assert (PAGE.parent / HEAD_CHART).is_file() == bool(found["heads"]["points"])


def test_headings_stand_in_order(document: dict[str, object]) -> None:
    page = measuring_page(document)
    places = [page.index(f"## {heading}\n") for heading in HEADINGS]
    assert places == sorted(places) and NOT_YET not in page and page.endswith("\n")


def test_numbers_stand_beside_their_goals(document: dict[str, object]) -> None:
    goals = measuring_page(document).split("## Goals")[1].split("\n## ")[0]
    assert "| same 9 products on two occasions: median | at most 2 % | 1.00 % | met |" in goals
    assert "| calibrate, measuring and fitting | at most 180 s | 141.50 s | met |" in goals
    assert "3 unseen products (random) after calibrate: MAPE | at most 5 % |" in goals
    assert "| real architectures among them | at least 12 | 1 | missed |" in goals


def test_a_price_stands_beside_its_prediction(document: dict[str, object]) -> None:
    prices = measuring_page(document).split("## What a fault costs")[1].split("\n## ")[0]
    assert "| fused | eager | 1 |" in prices
    assert "| llama-2-7b | intermediate_size=10923 | intermediate_size=11008 | forward | 21.0 | 7.00 | 66.7 ±" in prices


def test_a_missed_goal_says_so(document: dict[str, object]) -> None:
    (repeated,) = document["repeatability"]  # type: ignore[misc]
    page = measuring_page(document | {"repeatability": [repeated | {"median_percent": 2.004, "p90_percent": 7.5}]})
    assert "median | at most 2 % | 2.00 % | missed |" in page and "90th percentile | at most 5 % | 7.50 % | missed |" in page


def test_what_is_not_measured_is_said(tmp_path: Path) -> None:
    (tmp_path / "h200").mkdir()
    page = measuring_page(measuring_document(tmp_path / "h200"))
    assert page.count(NOT_YET) == 9 and "svg" not in page


def test_tables_show_the_documents_numbers(document: dict[str, object]) -> None:
    page = measuring_page(document)
    assert "| NT | bf16 | - | - | multiple of 8 (else up to 4.00x) |" in page
    assert "| NT | k | 4.00 (4.00 to 4.00) | 2.00 (2.00 to 2.00) | 2.00 (2.00 to 2.00) | 1.00 (1.00 to 1.00) |" in page
    assert "| NT | k | cutlass sm75 align1 | cutlass sm80 align2 | cutlass sm80 align2 | nvjet sm90 | nvjet sm90 | nvjet sm90 |" in page
    assert "| NT | n | 0 of 1 (1.00) | - |" in page and "| NT | k | 1 of 1 (0.28) | 0 of 1 (1.00) |" in page
    assert "| NT | 1024 | 50257 | 2048 | 422 | 422 | 1.00 | no | nvjet sm90 |" in page
    assert "| 80 | 80.0 (1.00) |" in page
    assert "| llama-2-7b | forward | 7.00 | 4.0 |" in page
    assert "| odd | 90 | 27 | 8.0 | 4.0 | yes |" in page
    assert "`heads.jsonl`: NVIDIA H200, 2026-11-22T08:00:00Z; torch 2.11.0+cu130, cuda 13.0, driver 580.1" in page
    assert "| heads.jsonl | 4 | 1 failed |" in page


def test_a_layer_that_waits_for_the_host_is_named(document: dict[str, object]) -> None:
    layers = document["layers"]
    (cell,) = layers["cells"]  # type: ignore[index]
    page = measuring_page(document | {"layers": layers | {"cells": [cell | {"is_host_bound": True}], "scores": []}})  # type: ignore[operator]
    assert "| host (GPU) |" in page


def test_the_map_is_one_small_chart_a_layout_and_dimension(document: dict[str, object]) -> None:
    pytest.importorskip("altair", reason="charts need the report extra")
    points = document["misalignment"]["points"]  # type: ignore[index]
    spec = misalignment_chart(points).to_dict()
    charts = [chart for row in spec["vconcat"] for chart in row["hconcat"]]
    assert [chart["title"]["text"] for chart in charts] == [f"{layout}: {name}" for layout in ("NT", "NN", "TN") for name in "mnk"]
    values = charts[2]["data"]["values"]
    assert sorted(value["residue"] for value in values) == list(range(65)) and len(values) == len(SWEEP)
    assert max(value["relative"] for value in values) == pytest.approx(4)
    assert all(not chart["data"]["values"] for index, chart in enumerate(charts) if index != 2)


def test_head_sizes_are_two_charts(document: dict[str, object]) -> None:
    pytest.importorskip("altair", reason="charts need the report extra")
    points = document["heads"]["points"]  # type: ignore[index]
    spec = head_chart(points).to_dict()
    values = (spec["vconcat"][0] | spec)["data"]["values"]
    assert len(spec["vconcat"]) == 1
    assert [(each["head_dim"], each["time_us"]) for each in values] == [(64, 64.0), (80, 80.0), (128, 128.0)]
    products = [dict(each) | {"pass_name": "scores product"} for each in points]
    assert len(head_chart([*points, *products]).to_dict()["vconcat"]) == 2
