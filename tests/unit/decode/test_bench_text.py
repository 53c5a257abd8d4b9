"""Rows as text: within 80 columns, failures named, ours against the first baseline."""

from __future__ import annotations

from shapewright.decode.bench_rows import ENGINES, Check, Row
from shapewright.decode.bench_text import cell_text, table_text


def row(engine: str, tokens_per_s: float | None = None, **more: object) -> Row:
    fields = {"model": "llama-2-7b", "family": "llama", "num_parameters": 1, "batch": 1, "context": 1024, "new_tokens": 128}
    status = "ok" if tokens_per_s else "out_of_memory"
    fields |= {"warmup_tokens": 16, "dtype": "bf16", "status": status, "tokens_per_s": tokens_per_s, "engine": engine}
    return Row(**fields | more)  # pyright: ignore[reportArgumentType]


def test_a_cell_in_one_line() -> None:
    rows = [row("hf", 50.0), row("ours-generate", 280.0), row("ours-loop", 290.0, speed_of_light=0.884), row("read", 330.0)]
    assert cell_text(rows) == "llama-2-7b 1 x 1024 ours-loop 290.0 tokens/s, 88 % of a bare read, 5.80x hf"


def test_what_failed_and_what_was_checked_have_lines_of_their_own() -> None:
    check = Check(model="llama-2-7b", engine="ours-loop", dtype="bf16", batch=1, context=1024, num_tokens=16, num_equal_tokens=15)
    rows = [check, row("hf", error="OutOfMemoryError: CUDA out of memory"), row("read", 330.0)]
    assert cell_text(rows).splitlines() == [
        "llama-2-7b 1 x 1024 ours-loop: 15 of 16 tokens equal",
        "llama-2-7b 1 x 1024 read 330.0 tokens/s",
        "llama-2-7b 1 x 1024 hf: OutOfMemoryError: CUDA out of memory",
    ]


def test_the_table_has_a_line_a_cell_and_fits_a_terminal() -> None:
    rows = [row(name, 100.0 + index) for index, name in enumerate(ENGINES)] + [row("hf", batch=8), row("read", 12345.6, batch=8)]
    text = table_text(rows)
    assert all(len(line) <= 80 for line in text.splitlines())
    assert text.splitlines()[-2:] == [
        "    1     1024    100.0    101.0    102.0    103.0    104.0    105.0    106.0",
        "    8     1024   memory        -        -        -        -        -  12345.6",
    ]


def test_each_model_and_format_has_its_own_table() -> None:
    text = table_text([row("hf", 50.0), row("hf", 60.0, dtype="fp16"), row("hf", 70.0, model="opt-6.7b")])
    assert [line for line in text.splitlines() if "tokens/s" in line] == [
        "llama-2-7b, bf16: tokens/s",
        "llama-2-7b, fp16: tokens/s",
        "opt-6.7b, bf16: tokens/s",
    ]
