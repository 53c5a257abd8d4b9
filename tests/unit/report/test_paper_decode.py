"""Charts of decoding: each model is named once, speed-ups carry their values, tokens/s have an axis of their own."""

from __future__ import annotations

import pytest

pytest.importorskip("altair")

from shapewright.paper.figure import load_figure
from shapewright.paper.rows import published_rows
from shapewright.report.paper_chart import figure_chart
from unit.report.paper_example import layers, marks, row, titles

LATENCIES = [
    row("13", "predicted", size, y * scale, series=f"{run}: {name}", unit="s")
    for name, size, y in (("Pythia-70m", 0.07, 0.3), ("Pythia-1B", 1.0, 0.8))
    for run, scale in (("eager", 1.0), ("GPU alone", 0.5))
]


def test_latency_names_each_model_once_above_its_highest_value() -> None:
    spec = figure_chart(load_figure("13"), LATENCIES).to_dict()
    assert [(each["model"], each["y"]) for each in marks(spec, "names")[0]] == [("70m", 0.3), ("1B", 0.8)]
    assert {each["run"] for each in marks(spec, "predicted")[0]} == {"eager", "GPU alone"}
    assert layers(spec, "predicted")[0]["encoding"]["x"]["title"] == "parameters, billions"


def test_published_latencies_keep_their_quality() -> None:
    spec = figure_chart(load_figure("13"), [*LATENCIES, *published_rows(load_figure("13"))]).to_dict()
    assert len(marks(spec, "approx")[0]) == 5
    ((doubtful,),) = marks(spec, "doubtful")
    assert (doubtful["x"], doubtful["y"]) == (0, 0)
    assert "as published, a100-40gb" in titles(spec)


def test_speed_ups_are_bars_with_values_and_tokens_diamonds_on_a_second_axis() -> None:
    figure = load_figure("S4")
    place = "Llama2-7B | {} | group1"
    rows = [
        row("S4", "predicted", 128, 1.0, series=place.format("HuggingFace (PyTorch) speedup"), unit="x"),
        row("S4", "predicted", 128, 1.85, series=place.format("Ours speedup"), unit="x"),
        row("S4", "predicted", 128, 95.0, series=place.format("Ours (token/s)"), unit="token/s"),
    ]
    spec = figure_chart(figure, rows).to_dict()
    assert [(each["y"], each["words"]) for each in marks(spec, "values")[0]] == [(1.0, "1"), (1.85, "1.85")]
    rate = layers(spec, "rates")[0]
    assert rate["mark"]["shape"] == "diamond" and rate["encoding"]["y"]["axis"]["orient"] == "right"
    assert [each["y"] for each in marks(spec, "rates")[0]] == [95.0]
    (panel,) = spec["vconcat"][0]["vconcat"][0]["concat"]
    assert panel["resolve"]["scale"]["y"] == "independent" and panel["title"]["text"] == "Llama2-7B on h200, predicted"


def test_published_speed_ups_stand_apart_and_doubtful_ones_are_pale() -> None:
    spec = figure_chart(load_figure("S4"), published_rows(load_figure("S4"))).to_dict()
    assert [title for title in titles(spec) if "published" in title and " on " in title] == [
        "Llama2-7B on mi210, published", "OPT-6.7B on mi210, published",
    ]  # fmt: skip
    bars = [each for values in marks(spec, "bars") for each in values]
    assert len(bars) == 36 and {each["opacity"] for each in bars if each["quality"] == "doubtful"} == {0.4}
    assert all(each["words"].endswith(" x") is (each["quality"] == "doubtful") for each in bars)
