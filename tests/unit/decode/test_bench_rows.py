"""Rows of decode: what is written comes back with its header, the last good one counts, and what is no row is refused."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path

import pytest

from shapewright.decode.bench_rows import Check, Row, beside, last_checks, read_checks, read_rows, representative, row_json
from shapewright.errors import InputError
from shapewright.measure.store import Run

ROW = Row(
    model="tiny", family="llama", num_parameters=10, engine="hf", batch=2, context=9, new_tokens=8, warmup_tokens=4, dtype="bf16",
    repeats_s=(2.5, 1.5), time_per_step_s=0.25, tokens_per_s=8.0, min_s=1.5, max_s=2.5, deviation_s=0.5, weight_bytes=60, cache_bytes=40,
    notes=("a note",), together=("hf", "read"),
)  # fmt: skip
CHECK = Check(model="tiny", engine="gpt-fast", dtype="bf16", batch=2, context=9, num_tokens=8, num_equal_tokens=7)
ENVIRONMENT = {"gpu": "NVIDIA H200", "torch": "2.11.0", "triton": "3.6.0", "commit": "abc", "memory_bytes": 1}


def written(path: Path, *rows: Row | Check) -> Path:
    with Run.open(path) as run:
        run.start(ENVIRONMENT)
        run.append([row_json(row) for row in rows])
    return path


def test_a_row_comes_back_with_its_header(tmp_path: Path) -> None:
    path = written(tmp_path / "run.jsonl", ROW, CHECK)

    [row] = read_rows(path)

    versions = {"torch": "2.11.0", "triton": "3.6.0"}
    assert row == replace(ROW, gpu="NVIDIA H200", versions=versions, commit="abc")
    assert row.bytes_per_s == 400.0
    assert read_checks(path) == [replace(CHECK, gpu="NVIDIA H200", versions=versions, commit="abc")]


def test_a_line_carries_what_it_is_and_no_header() -> None:
    line = row_json(ROW)
    assert line["kind"] == "decode" and line["schema_version"] == 1 and line["status"] == "ok"
    assert {"gpu", "versions", "commit"}.isdisjoint(line)


def test_packed_files_are_read(tmp_path: Path) -> None:
    path = written(tmp_path / "run.jsonl", ROW)
    packed = tmp_path / "run.jsonl.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert read_rows(packed) == read_rows(path)


def test_the_last_good_row_of_a_measurement_counts(tmp_path: Path) -> None:
    good, failed = replace(ROW, tokens_per_s=9.0), replace(ROW, status="failed", error="no")
    path = written(tmp_path / "run.jsonl", failed, ROW, good, failed, replace(ROW, context=17))
    assert [(row.context, row.tokens_per_s) for row in read_rows(path)] == [(9, 9.0), (17, 8.0)]


def test_rows_of_another_gpu_are_other_measurements(tmp_path: Path) -> None:
    path = written(tmp_path / "run.jsonl", ROW)
    with Run.open(path) as run:
        run.start({**ENVIRONMENT, "gpu": "NVIDIA A100"})
        run.append([row_json(ROW)])
    assert [row.gpu for row in read_rows(path)] == ["NVIDIA H200", "NVIDIA A100"]


def test_a_check_that_was_made_again_stands_once() -> None:
    again, other = replace(CHECK, num_equal_tokens=8), replace(CHECK, batch=3)
    assert last_checks([CHECK, other, again]) == [again, other]


def run_of(started_at: str, **rates: float) -> list[Row]:
    """Rows of one cell that ran in turn, by tokens a second."""
    names = tuple(name.replace("_", "-") for name in rates)
    return [
        replace(ROW, engine=name, tokens_per_s=rate, started_at=started_at, together=names)
        for name, rate in zip(names, rates.values(), strict=True)
    ]


def test_of_several_runs_ours_stands_as_it_ran_last_and_others_as_they_ran_fastest() -> None:
    first, second = run_of("1", hf=50.0, ours_loop=300.0, read=350.0), run_of("2", hf=30.0, ours_loop=290.0, read=340.0)
    lost = replace(ROW, engine="ours-loop", status="failed", error="no", tokens_per_s=None, started_at="3")
    never = replace(lost, engine="gpt-fast")
    found = representative([lost, never, *second, *first])
    assert {name: row.tokens_per_s for name, row in found.items()} == {"hf": 50.0, "ours-loop": 290.0, "read": 340.0, "gpt-fast": None}


def test_rows_beside_another_ran_in_its_turns() -> None:
    first, second = run_of("1", hf=50.0, ours_loop=300.0, ours_generate=290.0), run_of("2", hf=30.0, ours_loop=310.0)
    failed = replace(first[1], status="failed", error="no", tokens_per_s=None)
    assert [row.tokens_per_s for row in beside([*first, failed, *second], first[0])] == [300.0, 290.0]
    assert [row.engine for row in beside([*first, *second], second[0], ("ours-generate",))] == []


def test_unknown_fields_are_left_out_and_missing_ones_named(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    line = {**row_json(ROW), "of_later": 1}
    header = {"environment": ENVIRONMENT, "schema_version": 1}
    path.write_text("\n".join(map(json.dumps, (header, line))))
    assert read_rows(path)[0].tokens_per_s == 8.0
    del line["batch"]
    path.write_text("\n".join(map(json.dumps, (header, line))))
    with pytest.raises(InputError, match="row 1: has no batch"):
        read_rows(path)


@pytest.mark.parametrize(
    ("change", "message"), [({"schema_version": 2}, "newer than 1"), ({"status": "timed_out"}, "status is 'timed_out'")]
)
def test_rows_of_another_version_are_refused(change: dict[str, object], message: str, tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    path.write_text(json.dumps({"environment": ENVIRONMENT}) + "\n" + json.dumps({**row_json(ROW), **change}))
    with pytest.raises(InputError, match=message):
        read_rows(path)


def test_a_run_without_such_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no rows of decode"):
        read_rows(written(tmp_path / "run.jsonl"))
