"""The chart of decoding: a pair of bars a cell over Hugging Face's rate, tokens/s on an axis of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("altair")

from shapewright.errors import InputError
from shapewright.report.accuracy_chart import save_chart
from shapewright.report.decode_cells import answers
from shapewright.report.decode_chart import GENERATE, LOOP, decode_chart
from unit.report.decode_example import failed, grid, row

LLAMA = "llama-2-7b"
CELLS = ((1, 128), (1, 4096), (4, 128))


def test_a_pair_of_bars_a_cell_and_a_line_a_batch() -> None:
    spec = decode_chart(answers(grid(LLAMA, CELLS), is_predicted=False)).to_dict()
    (panel,) = spec["concat"]
    bars, line = panel["layer"][0]["layer"][0], panel["layer"][1]
    drawn = bars["data"]["values"]
    assert [(each["place"], each["kind"]) for each in drawn[:2]] == [("128|b=1", GENERATE), ("128|b=1", LOOP)]
    assert len(drawn) == 6 and drawn[1]["gain"] == 6.141 and drawn[1]["words"] == "6.14"
    assert [each["rate"] for each in line["data"]["values"]] == [307.0, 265.6, 1199.0]
    assert line["encoding"]["detail"]["field"] == "batch" and line["encoding"]["y"]["axis"]["orient"] == "right"
    assert panel["resolve"]["scale"]["y"] == "independent" and panel["title"]["text"] == "llama-2-7b, bf16, on NVIDIA H200"


def test_a_panel_a_model_and_none_without_both() -> None:
    found = [*grid(LLAMA, CELLS), *grid("opt-6.7b", CELLS), row("pythia-1b", "hf")]
    spec = decode_chart(answers(found, is_predicted=False)).to_dict()
    assert [panel["title"]["text"].split(",")[0] for panel in spec["concat"]] == [LLAMA, "opt-6.7b"]


def test_without_hugging_face_there_is_nothing_to_draw() -> None:
    with pytest.raises(InputError, match="no cell has both hf and ours; measure with --versus hf"):
        decode_chart(answers([row(LLAMA, "ours-loop"), failed(LLAMA, "hf")], is_predicted=False))


def test_it_is_written(tmp_path: Path) -> None:
    pytest.importorskip("vl_convert")
    save_chart(decode_chart(answers(grid(LLAMA, CELLS[:1]), is_predicted=False)), tmp_path / "chart.svg")
    assert "llama-2-7b, bf16, on NVIDIA H200" in (tmp_path / "chart.svg").read_text(encoding="utf-8")
