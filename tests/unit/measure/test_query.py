"""SQL over rows: types, absent values, one statement only, no way to a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from shapewright.errors import InputError

duckdb = pytest.importorskip("duckdb")
query = pytest.importorskip("shapewright.measure.query").query

ROWS = [
    {"kind": "gemm", "n": 8, "time_s": 1e-6, "ok": True, "order": "bsk"},
    {"kind": "gemm", "n": 9, "time_s": 2, "ok": False},
    {"kind": "layer", "changes": "a=1", "time_s": 3e-3, "parts": [1, 2], "huge": 2**70},
]


def test_columns_have_the_types_of_their_values() -> None:
    found = query(ROWS, select="typeof(n), typeof(time_s), typeof(ok), typeof(kind), typeof(parts), typeof(huge)", limit=1)
    assert found.rows[0] == ("BIGINT", "DOUBLE", "BOOLEAN", "VARCHAR", "VARCHAR", "DOUBLE")
    assert query(ROWS, where="n IS NULL").dicts()[0]["parts"] == "[1, 2]"


def test_matches_are_counted_before_the_limit() -> None:
    found = query(ROWS, where="time_s > 0", select="n, time_s", sort="time_s desc", limit=1)
    assert (found.columns, found.rows, found.num_matching) == (("n", "time_s"), [(9, 2.0)], 3)
    assert query([], where="kind = 'gemm'").num_matching == 0


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("where", "true; SELECT 1"),
        ("where", "true) --"),
        ("where", "n = (SELECT n FROM read_json('{file}'))"),
        ("where", "n = (SELECT n FROM '{file}')"),
        ("where", "n = (SELECT count(*) FROM glob('/*'))"),
        ("select", "read_text('{file}')"),
        ("sort", "1; COPY rows TO '{file}.csv'"),
        ("sort", "1; ATTACH '{file}.db'"),
        ("sort", "1; SET enable_external_access = true"),
        ("where", "x" * 20_000),
    ],
)
def test_nothing_but_the_rows_can_be_reached(tmp_path: Path, name: str, text: str) -> None:
    held = tmp_path / "secret.json"
    held.write_text('{"n": 8}')
    if text == "true) --":  # closes the parenthesis early; the comment ends with the line
        with pytest.raises(InputError):
            query(ROWS, where=text)
        return
    with pytest.raises(InputError) as caught:
        query(ROWS, **{name: text.format(file=held)})
    assert "\n" not in str(caught.value) and [path.name for path in tmp_path.iterdir()] == ["secret.json"]


def test_a_column_that_is_not_there_offers_the_nearest() -> None:
    with pytest.raises(InputError, match="time_"):
        query(ROWS, where="tim_s > 1")
