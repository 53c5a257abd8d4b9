"""The page of small multiples: a panel a figure and GPU, one range of axes, labels at the edge, every kind of mark in one key."""

from __future__ import annotations

import pytest

pytest.importorskip("altair")

from shapewright.errors import InputError
from shapewright.paper.figure import load_figure
from shapewright.paper.rows import Row
from shapewright.report.paper_multiples import MOST_POINTS, multiples_chart
from unit.report.paper_example import layers, marks, row, titles

FIGURES = [load_figure(str(number)) for number in range(21, 48)]
NUM_X = 300


def rows(gpu: str, scale: float = 1.0) -> list[Row]:
    return [
        row(figure.id, "predicted", 64 * step, scale * step, series="pow2=1" if figure.split is not None else "a=24", gpu=gpu)
        for figure in FIGURES
        for step in range(1, NUM_X + 1)
    ]


def test_a_panel_a_figure_and_gpu_on_the_same_axes() -> None:
    spec = multiples_chart(FIGURES, [*rows("a100-40gb"), *rows("h200", 3.0)])
    blocks = spec["vconcat"][1]["vconcat"]
    assert [len(block["concat"]) for block in blocks] == [27, 27] and {block["columns"] for block in blocks} == {7}
    heights = [{tuple(layer["encoding"]["y"]["scale"]["domain"]) for layer in layers(block, "predicted")} for block in blocks]
    assert heights == [{(0, 1.04 * NUM_X)}, {(0, 1.04 * 3 * NUM_X)}]
    assert len({tuple(layer["encoding"]["x"]["scale"]["domain"]) for layer in layers(spec, "predicted")}) == 1
    colours = {tuple(layer["encoding"]["color"]["scale"]["domain"]) for layer in layers(spec, "predicted")}
    assert len(colours) == 1 and {"pow2=1", "pow2=64", "a=24", "a=96"} <= set(*colours)


def test_labels_stand_at_the_left_and_the_bottom_alone() -> None:
    block = multiples_chart(FIGURES, rows("h200"))["vconcat"][1]["vconcat"][0]
    axes = [layer["encoding"] for layer in layers(block, "predicted")]
    assert [place for place, each in enumerate(axes) if each["y"]["axis"]["labels"]] == [0, 7, 14, 21]
    assert [place for place, each in enumerate(axes) if each["x"]["axis"]["labels"]] == list(range(20, 27))


def test_curves_are_thinned_and_keep_their_last_point() -> None:
    for values in marks(multiples_chart(FIGURES, rows("h200")), "predicted"):
        assert NUM_X / 10 < len(values) <= MOST_POINTS + 1 and values[-1]["x"] == 64 * NUM_X


def test_it_says_what_the_figures_say() -> None:
    said = titles(multiples_chart(FIGURES, rows("h200")))
    assert said[0] == "Figures 21 to 47" and all(note in " ".join(" ".join(said).split()) for figure in FIGURES for note in figure.notes)
    assert "34: score, by heads" in said and "47: aov, 512 heads" in said


def test_without_rows_it_is_refused() -> None:
    with pytest.raises(InputError, match="nothing to draw"):
        multiples_chart(FIGURES, [row("8", "predicted", 768, 1.0)])
