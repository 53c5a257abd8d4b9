"""Figures 3 and 4: tiles as the tile model picks them, operators as the model is lowered to them, in well-formed SVG."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

from shapewright.hardware.load import load_gpu
from shapewright.paper.figure import load_figure
from shapewright.report import svg
from shapewright.report.paper_layer import layer_svg, layer_table, model_operators, paper_shape
from shapewright.report.paper_tiling import HATCH, PRODUCT, tiling, tiling_svg, tiling_table
from shapewright.units import ceil_div

NAMES = {"svg": "http://www.w3.org/2000/svg"}


def tiles(text: str) -> list[ElementTree.Element]:
    """Rectangles that are tiles: those with a hint that begins so."""
    found = ElementTree.fromstring(text).findall(".//svg:rect", NAMES)
    return [each for each in found if (each.findtext("svg:title", "", NAMES)).startswith("tile ")]


def test_every_tile_is_drawn_once_in_the_colour_of_its_wave() -> None:
    each = tiling(PRODUCT, load_gpu("a100-40gb"))
    drawn = tiles(tiling_svg(load_figure("3"), [each]))
    product = each.product
    assert len(drawn) == product.num_tiles == ceil_div(2304, product.tile_m) * ceil_div(1984, product.tile_n)
    colours = [rect.get("fill") for rect in drawn]
    assert len(set(colours)) == each.num_waves and colours.count(colours[0]) == min(108, product.num_tiles)


def test_partial_tiles_are_hatched() -> None:
    each = tiling(PRODUCT, load_gpu("h200"))
    partial = [(row, column) for column in range(each.columns) for row in range(each.rows) if each.is_partial(row, column)]
    text = tiling_svg(load_figure("3"), [each])
    # One more in the legend.
    assert partial and text.count(f'fill="url(#{HATCH})"') == len(partial) + 1
    whole = tiling(replace(PRODUCT, m=64 * each.product.tile_m, n=64 * each.product.tile_n), load_gpu("h200"))
    reach = (whole.rows * whole.product.tile_m, whole.columns * whole.product.tile_n)
    edges = [whole.is_partial(whole.rows - 1, 0), whole.is_partial(0, whole.columns - 1)]
    assert edges == [reach[0] > whole.product.work.m, reach[1] > whole.product.work.n] and not whole.is_partial(0, 0)


def test_waves_take_as_many_blocks_as_there_are_sms() -> None:
    each = tiling(PRODUCT, load_gpu("v100-16gb"))
    waves = [each.wave_of(row, column) for column in range(each.columns) for row in range(each.rows)]
    assert waves == sorted(waves) and waves.count(0) * each.product.num_splits == min(80, len(waves))
    assert waves[-1] + 1 == each.num_waves


def test_one_part_a_gpu_with_what_the_table_says() -> None:
    tilings = [tiling(PRODUCT, load_gpu(name)) for name in ("a100-40gb", "h200", "v100-16gb")]
    text = tiling_svg(load_figure("3"), tilings)
    words = [each.text for each in ElementTree.fromstring(text).findall(".//svg:text", NAMES)]
    header, rows = tiling_table(tilings)
    for row in rows:
        said = dict(zip(header, row, strict=True))
        assert said["gpu"] in words
        assert any(f"{said['num_tiles']} tiles of {said['tile_m']} x {said['tile_n']}" in (each or "") for each in words)
    assert all(note.split()[0] in text for note in load_figure("3").notes)


def test_the_layer_shows_every_operator_with_its_sizes() -> None:
    shape = paper_shape()
    operators = model_operators(shape)
    root = ElementTree.fromstring(layer_svg(load_figure("4"), shape, operators))
    words = [each.text for each in root.findall(".//svg:text", NAMES)]
    assert [each.name for each in operators if each.name not in words] == []
    assert "(8192 x 2560)(2560 x 7680)" in words and "128 x (2048 x 80)(80 x 2048)" in words and "x 32" in words
    boxes = {rect.get("fill") for rect in root.findall(".//svg:rect", NAMES) if rect.find("svg:title", NAMES) is not None}
    assert len(boxes) == 2
    header, rows = layer_table(operators)
    assert len(rows) == len(operators) and dict(zip(header, rows[0], strict=True))["operator"] == operators[0].name


def test_a_layer_has_two_residual_sums() -> None:
    shape = paper_shape()
    text = layer_svg(load_figure("4"), shape, model_operators(shape))
    assert len(ElementTree.fromstring(text).findall(".//svg:path", NAMES)) == 2 * 2


def test_text_is_escaped() -> None:
    drawn = svg.document([svg.text(1, 2, '<b> & "c"'), svg.rect(0, 0, 1, 1, hint="a < b", id='"x"')], width=10, height=10.5)
    root = ElementTree.fromstring(drawn)
    assert root.findtext("svg:text", "", NAMES) == '<b> & "c"' and root.get("height") == "10.5"
    hinted = root.findall("svg:rect", NAMES)[1]
    assert (hinted.findtext("svg:title", "", NAMES), hinted.get("id")) == ("a < b", '"x"')
