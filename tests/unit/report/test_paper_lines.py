"""Figures over a size hold every row once, in the layer that tells its source and quality, in the panel of its GPU."""

from __future__ import annotations

import pytest

pytest.importorskip("altair")

from shapewright.errors import InputError
from shapewright.paper.figure import load_figure
from shapewright.paper.rows import published_rows
from shapewright.report.paper_chart import figure_chart
from shapewright.report.paper_lines import ticks
from shapewright.report.paper_marks import gpu_colours
from unit.report.paper_example import layers, marks, row, titles

SWEEP = [row("8", "predicted", x, y, series="a=12") for x, y in ((768, 100.0), (1536, 150.0), (2304, 170.0))]
PUBLISHED = [
    row("8", "published", 2048, 90.0, series="a=12", gpu="a100-40gb", quality="approx"),
    row("8", "published", 0, 50.0, series="a=12", gpu="a100-40gb", quality="doubtful"),
    row("8", "published", 4096, 190.0, series="a=12", gpu="a100-40gb", quality="exact"),
]


def test_each_row_stands_in_the_layer_of_its_source_and_quality() -> None:
    rows = [
        *SWEEP,
        *PUBLISHED,
        row("8", "measured", 768, 98.0, series="a=12", low=95.0, high=99.0),
        row("8", "log", 768, 97.0, series="a=12"),
    ]
    spec = figure_chart(load_figure("8"), rows).to_dict()
    assert [each["x"] for each in marks(spec, "predicted")[0]] == [768, 1536, 2304]
    for kind, y in (("measured", 98.0), ("log", 97.0), ("approx", 90.0), ("doubtful", 50.0), ("sure", 190.0)):
        ((only,),) = marks(spec, kind)
        assert only["y"] == y, kind
    assert [(each["low"], each["high"]) for each in marks(spec, "spread")[0]] == [(95.0, 99.0)]


def test_doubtful_points_are_pale_crosses_and_approximate_ones_open() -> None:
    spec = figure_chart(load_figure("8"), PUBLISHED).to_dict()
    doubtful, approx, sure = (layers(spec, kind)[0] for kind in ("doubtful", "approx", "sure"))
    assert doubtful["mark"]["opacity"] < 0.5 and doubtful["mark"]["shape"].startswith("M")
    assert (approx["mark"]["shape"], approx["mark"]["fill"], sure["mark"]["shape"]) == ("diamond", "white", "diamond")
    assert "fill" in sure["encoding"] and "fill" not in approx["encoding"]


def test_the_key_names_the_marks_that_are_drawn_and_no_other() -> None:
    spec = figure_chart(load_figure("8"), [*SWEEP, *PUBLISHED[:1]]).to_dict()
    words = {each["words"] for values in marks(spec, "key") for each in values}
    assert words == {"predicted", "published: read off, approximate"}


def test_published_points_of_another_gpu_get_a_panel_of_their_own() -> None:
    spec = figure_chart(load_figure("8"), [*SWEEP, *PUBLISHED]).to_dict()
    assert {"h200", "as published, a100-40gb"} <= set(titles(spec))
    logged = figure_chart(load_figure("8"), [*SWEEP, row("8", "log", 768, 97.0, series="a=12", gpu="v100-16gb")]).to_dict()
    assert "authors' log, v100-16gb" in titles(logged)


def test_published_points_of_a_predicted_gpu_stand_in_its_panel() -> None:
    own = [row("8", "predicted", 768, 60.0, series="a=12", gpu="a100-40gb")]
    spec = figure_chart(load_figure("8"), [*own, *PUBLISHED]).to_dict()
    assert "a100-40gb" in titles(spec) and not any("as published" in title for title in titles(spec))


def test_a_figure_of_one_series_is_one_panel_with_a_colour_a_gpu() -> None:
    rows = [row("10a", "predicted", 128 * step, 10.0 * step, gpu=gpu) for gpu in ("a100-40gb", "h200") for step in (1, 2, 3)]
    spec = figure_chart(load_figure("10a"), rows).to_dict()
    (layer,) = layers(spec, "predicted")
    assert layer["encoding"]["color"]["field"] == "gpu" and len(marks(spec, "predicted")[0]) == 6
    assert layer["encoding"]["color"]["scale"]["domain"][:2] == ["a100-40gb", "h200"]


def test_a_gpu_keeps_its_colour_whatever_stands_beside_it() -> None:
    alone = gpu_colours(["h200"])
    assert gpu_colours(["h100-sxm", "a100-40gb", "h200", "b200"])[2:3] == alone
    assert len(set(gpu_colours(["h100-sxm", "a100-40gb", "h200", "b200", "v100-16gb", "mi250x"]))) == 6


def test_measured_intervals_are_named_in_the_key() -> None:
    timed = row("8", "measured", 768, 98.0, series="a=12", low=95.0, high=99.0)
    words = {each["words"] for values in marks(figure_chart(load_figure("8"), [*SWEEP, timed]).to_dict(), "key") for each in values}
    assert words == {"predicted", "measured", "10th to 90th percentile"}


def test_a_family_of_one_size_is_seen() -> None:
    rows = [row("47", "predicted", 32768, 80.0, series="pow2=64"), *(row("47", "predicted", x, 1.0, series="pow2=1") for x in (512, 1536))]
    assert layers(figure_chart(load_figure("47"), rows).to_dict(), "predicted")[0]["mark"]["point"]["size"] > 0
    assert layers(figure_chart(load_figure("47"), rows[1:]).to_dict(), "predicted")[0]["mark"]["point"] is False


def test_smooth_curves_are_shaded_where_they_are_few() -> None:
    few = [row("10a", "predicted", 128 * step, 10.0 * step, low=9.0 * step, high=11.0 * step) for step in range(1, 40)]
    assert len(marks(figure_chart(load_figure("10a"), few).to_dict(), "interval")[0]) == 39
    many = [row("17", "predicted", 128 * step, 10.0 * step, low=9.0 * step, high=11.0 * step) for step in range(1, 200)]
    assert not marks(figure_chart(load_figure("17"), many).to_dict(), "interval")


def test_bands_of_model_size_are_shaded_and_named() -> None:
    spec = figure_chart(load_figure("8"), SWEEP).to_dict()
    assert [each["label"] for each in marks(spec, "bands")[0]] == ["up to 1B", "1B to 10B", "10B to 30B"]
    named = [each["label"] for values in marks(spec, "band labels") for each in values]
    assert sorted(named) == sorted(["up to 1B", "1B to 10B", "10B to 30B"])


def test_families_keep_their_colour_whatever_families_are_there() -> None:
    rows = [row("7a", "predicted", 32 * step, 10.0, series=f"pow2={family}") for family in (1, 64) for step in (1, 2)]
    colours = layers(figure_chart(load_figure("7a"), rows).to_dict(), "predicted")[0]["encoding"]["color"]["scale"]
    assert colours["domain"] == ["pow2=1", "pow2=64"] and len(set(colours["range"])) == 2


def test_published_names_become_those_of_the_curves() -> None:
    rows = [
        row("16", "predicted", 2048, 20.0, series="as printed, t=1", gpu="a100-40gb"),
        next(each for each in published_rows(load_figure("16")) if each.quality == "approx"),  # TP=1 in the picture's legend
    ]
    spec = figure_chart(load_figure("16"), rows).to_dict()
    assert [each["series"] for each in marks(spec, "approx")[0]] == ["as printed, t=1"]


def test_what_a_logarithm_cannot_hold_is_said() -> None:
    rows = [row("5a", "predicted", 2**power, float(power)) for power in range(5, 14)]
    rows.append(row("5a", "published", 0, 0.0, quality="doubtful"))
    spec = figure_chart(load_figure("5a"), rows).to_dict()
    assert layers(spec, "predicted")[0]["encoding"]["x"]["scale"]["type"] == "log" and not marks(spec, "doubtful")
    assert any("1 doubtful published points at 0" in title for title in titles(spec))


@pytest.mark.parametrize("name", ["8", "16", "7a", "20a"])
def test_every_note_of_the_figure_is_said_on_the_chart(name: str) -> None:
    figure = load_figure(name)
    series = f"pow2={1}" if figure.split is not None else figure.series[0].name
    spec = figure_chart(figure, [row(name, "predicted", x, 1.0, series=series) for x in (51136, 51264)]).to_dict()
    said = " ".join(" ".join(titles(spec)).split())
    assert figure.notes and all(note in said for note in figure.notes)
    assert f"Figure {name}. {figure.title}" in said


def test_the_log_s_own_trap_is_said_where_it_is_drawn() -> None:
    with_log = figure_chart(load_figure("8"), [*SWEEP, row("8", "log", 768, 97.0, series="a=12")]).to_dict()
    assert any("slowest of 200 calls" in title for title in titles(with_log))
    assert not any("slowest of 200 calls" in title for title in titles(figure_chart(load_figure("8"), SWEEP).to_dict()))


def test_a_log_beyond_the_figure_does_not_stretch_it() -> None:
    rows = [*SWEEP, row("8", "log", 90_000, 97.0, series="a=12")]
    domain = layers(figure_chart(load_figure("8"), rows).to_dict(), "predicted")[0]["encoding"]["x"]["scale"]["domain"]
    assert 2304 < domain[1] < 2400


def test_a_lone_x_is_drawn() -> None:
    spec = figure_chart(load_figure("8"), SWEEP[:1]).to_dict()
    domain = layers(spec, "predicted")[0]["encoding"]["x"]["scale"]["domain"]
    assert domain[0] < 768 < domain[1]
    log = figure_chart(load_figure("5a"), [row("5a", "predicted", 64, 1.0)]).to_dict()
    assert layers(log, "predicted")[0]["encoding"]["x"]["axis"]["values"] == [32, 64, 128]


def test_ticks_are_powers_of_two_or_multiples_of_one() -> None:
    assert ticks(load_figure("5a"), (32, 8192)) == [2.0**power for power in range(5, 14)]
    assert ticks(load_figure("7a"), (0, 32768)) == [4096.0 * count for count in range(9)]
    assert ticks(load_figure("20a"), (51136, 51264)) == [51136.0 + 16 * count for count in range(9)]


def test_rows_of_other_figures_are_left_out_and_none_is_refused() -> None:
    spec = figure_chart(load_figure("8"), [*SWEEP, row("9", "predicted", 768, 999.0, series="a=12")]).to_dict()
    assert max(each["y"] for each in marks(spec, "predicted")[0]) == 170.0
    with pytest.raises(InputError, match="nothing to draw in figure 9"):
        figure_chart(load_figure("9"), SWEEP)
