"""Figures as files: every form, whole and readable, CSV that gives the rows back, nothing overwritten, pages that stay offline."""

from __future__ import annotations

import csv
import re
from dataclasses import astuple
from pathlib import Path
from xml.etree import ElementTree

import pytest

pytest.importorskip("altair")
pytest.importorskip("vl_convert")

from shapewright.errors import InputError
from shapewright.hardware.load import load_gpu
from shapewright.paper.figure import load_figure
from shapewright.paper.rows import Row
from shapewright.report.paper_files import FORMS, small_multiples, write_figure
from unit.report.paper_example import row

ROWS = [
    *(row("8", "predicted", x, y, series="a=12", low=0.9 * y, high=1.1 * y) for x, y in ((768, 100.123456789), (1536, 150.0))),
    row("8", "published", 2048, 90.0, series="a=12", gpu="a100-40gb", quality="approx"),
    row("9", "predicted", 768, 1.0, series="a=12"),
]


def test_every_form_is_written_under_the_figure_s_name(tmp_path: Path) -> None:
    paths = write_figure(load_figure("8"), ROWS, tmp_path / "new")
    assert [path.name for path in paths] == [f"figure-8.{form}" for form in FORMS]
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == sorted(path.name for path in paths)
    assert ElementTree.parse(paths[0]).getroot().tag.endswith("svg")
    assert paths[1].read_bytes().startswith(b"\x89PNG")


def test_the_csv_gives_every_row_of_the_figure_back(tmp_path: Path) -> None:
    (path,) = write_figure(load_figure("8"), ROWS, tmp_path, forms=["csv"])
    with path.open(newline="") as source:
        found = list(csv.DictReader(source))
    read = [
        Row(
            figure=each["figure"], source=each["source"], gpu=each["gpu"], series=each["series"], x=int(each["x"]), y=float(each["y"]),  # type: ignore[arg-type]
            unit=each["unit"], low=float(each["low"]) if each["low"] else None, high=float(each["high"]) if each["high"] else None,
            quality=each["quality"],
        )
        for each in found
    ]  # fmt: skip
    assert [astuple(each) for each in read] == [astuple(each) for each in ROWS if each.figure == "8"]


def test_nothing_is_overwritten_and_nothing_is_half_written(tmp_path: Path) -> None:
    taken = tmp_path / "figure-8.csv"
    taken.write_text("mine")
    with pytest.raises(InputError, match="already exists"):
        write_figure(load_figure("8"), ROWS, tmp_path)
    assert taken.read_text() == "mine" and [path.name for path in tmp_path.iterdir()] == ["figure-8.csv"]
    write_figure(load_figure("8"), ROWS, tmp_path, forms=["csv"], force=True)
    assert taken.read_text().startswith("figure,source,gpu")


def test_a_figure_without_rows_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing to draw"):
        write_figure(load_figure("7a"), ROWS, tmp_path / "new")
    assert list(tmp_path.iterdir()) == []


def test_folders_and_forms_that_cannot_be_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="its folder does not exist"):
        write_figure(load_figure("8"), ROWS, tmp_path / "no" / "where")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="is not a folder"):
        write_figure(load_figure("8"), ROWS, tmp_path / "file")
    with pytest.raises(InputError, match="unknown form 'jpeg'"):
        write_figure(load_figure("8"), ROWS, tmp_path, forms=["jpeg"])


def test_the_page_loads_nothing_and_no_text_can_end_its_script(tmp_path: Path) -> None:
    evil = "</script><b>&"
    rows = [row("8", "predicted", x, 1.0, series="a=12", gpu=evil) for x in (768, 1536)]
    (path,) = write_figure(load_figure("8"), rows, tmp_path, forms=["html"])
    text = path.read_text("utf-8")
    assert evil not in text and "\\u003c/script>" in text and "\ue03c" not in text
    assert not re.search(r"<(script|link|iframe)[^>]*\s(src|href)=", text)
    assert not re.search(r"\s(src|href)=", re.sub(r"(?s)<script.*?</script>", "", text))
    assert f"<title>Figure 8. {load_figure('8').title}</title>" in text


def test_an_svg_escapes_what_it_shows(tmp_path: Path) -> None:
    rows = [row("8", "predicted", x, 1.0, series="a=12", gpu="</svg><script>") for x in (768, 1536)]
    (path,) = write_figure(load_figure("8"), rows, tmp_path, forms=["svg"])
    assert "<script" not in path.read_text("utf-8")
    assert any("</svg><script>" in (each.text or "") for each in ElementTree.parse(path).iter())


@pytest.mark.parametrize("name", ["3", "4"])
def test_drawings_are_written_in_every_form_too(tmp_path: Path, name: str) -> None:
    paths = write_figure(load_figure(name), [], tmp_path, gpus=[load_gpu("h200")])
    assert [path.suffix for path in paths] == [f".{form}" for form in FORMS]
    assert ElementTree.parse(paths[0]).getroot().tag.endswith("svg") and paths[1].read_bytes().startswith(b"\x89PNG")
    assert "<svg" in paths[3].read_text("utf-8") and len(paths[2].read_text().splitlines()) > 1


def test_the_tiling_wants_a_gpu(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="drawn for a GPU"):
        write_figure(load_figure("3"), [], tmp_path)


def test_small_multiples_are_one_file_a_form(tmp_path: Path) -> None:
    figures = [load_figure(str(number)) for number in range(21, 24)]
    rows = [row(str(number), "predicted", 64 * step, 1.0 * step, series="pow2=1") for number in (21, 22, 23, 24) for step in range(1, 9)]
    paths = small_multiples(figures, rows, tmp_path, forms=["svg", "csv"])
    assert [path.name for path in paths] == ["figures-21-23.svg", "figures-21-23.csv"]
    assert len(paths[1].read_text().splitlines()) == 1 + 3 * 8
    titles = [each.text for each in ElementTree.parse(paths[0]).iter() if each.text and each.text.startswith("2")]
    assert "21: score, 8 heads" in titles and "23: score, 16 heads" in titles
    with pytest.raises(InputError, match="already exists"):
        small_multiples(figures, rows, tmp_path, forms=["svg"])
