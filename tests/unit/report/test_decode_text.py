"""Decode on the page and as a document, on hand-made rows."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.resources import files

import jsonschema
import pytest

from shapewright.report.decode_cells import answers
from shapewright.report.decode_json import SCHEMA_VERSION, decode_document
from shapewright.report.decode_text import check_line, decode_text, deviation
from shapewright.report.json import to_json
from unit.report.decode_example import check, failed, grid, row

SCHEMA = json.loads(files("shapewright.report").joinpath("decode.schema.json").read_text(encoding="utf-8"))
LLAMA, OPT = "llama-2-7b", "opt-6.7b"
ROWS = [
    *grid(LLAMA, ((1, 128), (8, 1024))), failed(LLAMA, "hf-eager", 8, 1024),
    replace(row(OPT, "hf", 1, 4096), positions_raised_to=4240), row(OPT, "ours-loop", 1, 4096),
]  # fmt: skip


def lines(width: int = 80) -> list[str]:
    return [" ".join(line.split()) for line in decode_text(answers(ROWS), [check()], width=width).splitlines()]


def test_rates_then_gains_then_what_is_apart() -> None:
    text = lines()
    place = text.index("batch context hf eager static gpt-fast generate loop read")
    assert text[place - 1] == "llama-2-7b, bf16, on NVIDIA H200: tokens/s of 128 steps"
    assert text[place + 1] == "1 128 50.0 - 169 225 291 307 338" and text[place + 2].startswith("8 1024 400 memory 1009")
    place = next(number for number, line in enumerate(text) if line.startswith("batch context /hf"))
    assert text[place + 1].startswith("1 128 6.14 - 1.82 1.36 86.2 90.9")
    assert "loop 25.0 ms 12.5 s 13.6 GB to 18.2 GB 0.4 %" in text


def test_failures_checks_and_raised_positions_are_said() -> None:
    text = " ".join(lines())
    assert "8 x 1024 hf-eager: OutOfMemoryError: CUDA out of memory" in text
    assert "check of ours-generate at 1 x 128: logits within 4.0e-03 of Hugging Face's, 15 of 16 tokens equal" in text
    assert text.count("learned positions were raised to 4240") == 1


def test_predictions_stand_beside_only_where_there_are_some() -> None:
    assert "~eager" in " ".join(lines())
    assert "~" not in decode_text(answers(ROWS, is_predicted=False))


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_lines_fit_the_page(width: int) -> None:
    assert max(map(len, decode_text(answers(ROWS), [check()], width=width).splitlines())) <= width


def test_checks_that_failed_or_found_no_numbers() -> None:
    assert check_line(check(error="RuntimeError: no")).endswith(": RuntimeError: no")
    assert "logits that are no numbers, 15 of 16" in check_line(check(max_relative_difference=float("nan")))


def test_documents_follow_the_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["properties"]["schema_version"] == {"const": SCHEMA_VERSION}
    found = decode_document(answers(ROWS), [check(), check(max_relative_difference=float("nan"))], runs=["run.jsonl"])
    document = json.loads(to_json(found))
    jsonschema.Draft202012Validator(SCHEMA).validate(document)
    cell = document["models"][0]["cells"][0]
    assert (cell["batch"], cell["ours"]) == (1, "ours-loop") and cell["gains"]["hf"] == pytest.approx(6.142, rel=1e-3)
    assert cell["engines"]["ours-loop"]["memory_ratio"] == pytest.approx(1.02)
    assert document["models"][0]["cells"][1]["engines"]["hf-eager"]["status"] == "out_of_memory"
    assert document["checks"][1]["max_relative_difference"] is None
    cell["gain"] = 1
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(SCHEMA).validate(document)


def test_one_repeat_does_not_deviate() -> None:
    once = replace(row(LLAMA, "hf"), repeats_s=(0.02,), deviation_s=0.0)
    assert deviation([once]) is None
    several = row(LLAMA, "hf")
    assert (
        deviation([once, several]) == deviation([several]) == pytest.approx((several.deviation_s or 0.0) / sum(several.repeats_s or ()) * 5)
    )
