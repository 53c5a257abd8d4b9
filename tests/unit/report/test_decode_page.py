"""docs/decode.md: goals judged cell by cell, sentences that follow their numbers, and every cell in its tables."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from shapewright.decode.bench_rows import read_every_row
from shapewright.errors import InputError
from shapewright.report.decode_cells import answers
from shapewright.report.decode_goals import GOALS, outcomes
from shapewright.report.decode_page import decode_page, headline, pythia_sentences
from unit.report.decode_example import check, failed, grid, row, write_run

ROOT = Path(__file__).parents[3]
LLAMA, OPT = "llama-2-7b", "opt-6.7b"


def told(rows: list, name: str) -> dict[tuple[int, int], bool | None]:
    (answer,) = answers(rows, is_predicted=False)
    return {(each.batch, each.context): each.is_reached for each in outcomes(answer) if each.goal.name == name}


def page(rows: list, **more) -> str:
    return decode_page(answers(rows), images=more.pop("images", {}), files=more.pop("files", ()), **more)


def test_goals_of_the_loop_at_batch_1() -> None:
    rows = [row(LLAMA, "ours-loop", 1, context, step_s=step_s) for context, step_s in ((128, 1 / 300.5), (1024, 1 / 289), (4096, 1 / 262))]
    assert told(rows, "own loop, tokens/s") == {(1, 128): True, (1, 1024): False, (1, 2048): None, (1, 4096): True}


def test_goals_of_generate_and_of_the_limit() -> None:
    loop = row(LLAMA, "ours-loop", step_s=0.003)
    assert told([loop, row(LLAMA, "ours-generate", step_s=0.003 / 0.95)], "generate / loop")[1, 128] is True
    assert told([loop, row(LLAMA, "ours-generate", step_s=0.003 / 0.93)], "generate / loop")[1, 128] is False
    shares = [
        replace(row(LLAMA, "ours-loop", batch, 128), speed_of_light=share)
        for batch, share in ((2, 0.79), (8, 0.80), (16, 0.66), (32, 0.64))
    ]
    found = told(shares, "loop / limit")
    assert [found[batch, 128] for batch in (2, 4, 8, 16, 32)] == [False, None, True, True, False]
    assert len(found) == 12 and (1, 128) not in found


@pytest.mark.parametrize(("model", "cell", "gain", "is_reached"), [
    (LLAMA, (1, 128), 5.9, False), (LLAMA, (1, 128), 6.01, True), (LLAMA, (8, 128), 4.01, True), (LLAMA, (8, 128), 3.9, False),
    (OPT, (1, 128), 3.0, False), (OPT, (1, 128), 3.11, True), (OPT, (1, 4096), 2.51, True), (OPT, (1, 4096), 2.4, False),
])  # fmt: skip
def test_gains_over_hugging_face(model: str, cell: tuple[int, int], gain: float, is_reached: bool) -> None:
    rows = [row(model, "hf", *cell, step_s=0.004 * gain), row(model, "ours-generate", *cell, step_s=0.004)]
    assert told(rows, "over hf")[cell] is is_reached
    assert len(told(rows, "over hf")) == 12


def test_faster_than_others_means_faster() -> None:
    for name, engine in (("over static + compile", "hf-static-compile"), ("over gpt-fast", "gpt-fast")):
        assert told([row(LLAMA, "ours-loop", step_s=0.004), row(LLAMA, engine, step_s=0.004)], name) == {(1, 128): False}
        assert told([row(LLAMA, "ours-loop", step_s=0.004), row(LLAMA, engine, step_s=0.0041)], name) == {(1, 128): True}
        assert told([row(LLAMA, "ours-loop"), failed(LLAMA, engine)], name) == {}


def test_warm_up_and_memory_count_the_worse_of_ours() -> None:
    rows = [row(LLAMA, "hf"), row(LLAMA, "ours-loop", warmup_s=21.0), row(LLAMA, "ours-generate", memory_peak_bytes=10**12)]
    assert told(rows, "warm-up") == {(1, 128): False} and told(rows, "memory / hf") == {(1, 128): False}
    assert told(grid(LLAMA, ((1, 128),)), "memory / hf") == {(1, 128): True}


def test_goals_are_of_two_models_in_bf16_on_an_h200() -> None:
    for other in (row("pythia-1b", "hf"), row(LLAMA, "hf", dtype="fp16"), row(LLAMA, "hf", gpu="NVIDIA A100-SXM4-40GB")):
        assert outcomes(answers([other], is_predicted=False)[0]) == []
    assert len({goal.name for goal in GOALS}) == len(GOALS) == 8


def test_a_missed_goal_stands_out_in_cell_and_sum() -> None:
    text = page([*grid(LLAMA, ((1, 128),)), *grid(OPT, ((4, 2048),))])
    assert "| 1 | 128 | 307 (at least 300) | 94.8 % |" in text
    assert "Of 13 goals in measured cells 13 are reached and 0 missed; 59 cells of goals are not measured." in text
    text = page([*grid(LLAMA, ((1, 128),), ("hf",)), row(LLAMA, "ours-loop", step_s=0.004)])
    assert "**250 (at least 300) missed**" in text and "| 1 | 0 | llama-2-7b 1 x 128 |" in text


def test_a_missed_goal_says_what_it_asks_of_the_limit() -> None:
    """A rate and a gain as shares of the read; what is no rate is left out, and so is the table where nothing is missed."""
    rows = [row(LLAMA, "hf"), row(LLAMA, "ours-loop", step_s=0.004, warmup_s=30.0), row(LLAMA, "read", step_s=0.0025)]
    text = page([replace(each, speed_of_light=None) for each in rows])
    assert "| llama-2-7b | 1 | 128 | own loop, tokens/s | 62.5 % | 75.0 % |" in text
    assert "| llama-2-7b | 1 | 128 | over hf | 62.5 % | 75.0 % |" in text
    assert "| llama-2-7b | 1 | 128 | warm-up |" not in text
    assert "asked for, of the limit" not in page(grid(LLAMA, ((1, 128),)))


def test_the_first_lines_follow_the_rows() -> None:
    rows = grid(LLAMA, ((1, 128), (8, 1024)))
    text = headline(answers(rows))
    assert "batch 1, 128 tokens of context: 307 tokens/s, 6.14 times Hugging Face's 50.0, 90.9 % of what reading" in text
    assert "its fastest repeat in 2 cells. Faster than hf-static-compile in all 2 cells measured (1.82 times)" in text
    assert "Faster than hf-static-compile in the one cell measured" in headline(answers(rows[: len(rows) // 2]))
    slow = row(LLAMA, "gpt-fast", 8, 1024, step_s=1e-4)
    assert "faster than gpt-fast in 1 of 2 cells" in headline(answers([*rows, slow]))


def test_every_cell_is_in_the_tables() -> None:
    rows = [*grid(LLAMA, ((1, 128), (8, 1024))), *grid("pythia-1b", ((1, 128),)), failed(OPT, "hf"), row(OPT, "ours-loop")]
    text = page(rows, checks=[check()], images={"a chart": "images/decode-llama-2-7b.svg"}, files=["[`a`](b)"])
    assert "| 8 | 1024 | 400 | 1009 | 1345 | 1739 | 1834 | 2017 | 17.8 GB | 4.50 TB/s |" in text
    assert "| llama-2-7b | 1 | 128 | 48.2 | 50.0 |" in text and "Mean error of the predictions: hf 3.7 %" in text
    assert "| pythia-1b | 1.01 B | 1 | 128 | 50.0 |" in text and "### pythia-1b" not in text
    assert "- hf, 1 x 128: OutOfMemoryError: CUDA out of memory" in text
    assert "![a chart](images/decode-llama-2-7b.svg)" in text and "Rows: [`a`](b)." in text and "15 of 16" in text
    assert "torch 2.11.0, triton 3.6.0, transformers 5.17.0" in text


def test_pythia_is_compared_where_both_sizes_have_the_cell() -> None:
    both = [*grid("pythia-410m", ((1, 128),)), *grid("pythia-1b", ((1, 128), (1, 1024)))]
    both = [
        replace(each, time_per_step_s=1 / 75, tokens_per_s=75.0) if (each.model, each.engine) == ("pythia-1b", "hf") else each
        for each in both
    ]
    (text,) = pythia_sentences(answers(both, is_predicted=False))
    assert text.startswith(
        "At batch 1 and 128 tokens Pythia-1B is 1.50 times as fast as Pythia-410M under Hugging Face, and 0.39 times as fast"
    )
    assert "1024" not in text
    assert pythia_sentences(answers(grid("pythia-1b", ((1, 128),)), is_predicted=False)) == []
    assert "Not measured yet." in page(grid(LLAMA, ((1, 128),)))


def test_a_page_without_hugging_face_is_refused() -> None:
    with pytest.raises(InputError, match="no cell has both hf and ours"):
        page([row(LLAMA, "ours-loop")])


def script() -> ModuleType:
    """scripts/write_decode.py."""
    spec = importlib.util.spec_from_file_location("write_decode", ROOT / "scripts/write_decode.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_script_writes_page_and_charts_twice_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("vl_convert")
    monkeypatch.setenv("SHAPEWRIGHT_PROFILES", "")
    rows, docs = tmp_path / "rows", tmp_path / "docs"
    rows.mkdir()
    write_run(rows / "a.jsonl", [check(), *grid(LLAMA, ((1, 128), (16, 128)))])
    script().main([str(rows), str(docs)])
    first = (docs / "decode.md").read_text(encoding="utf-8")
    assert "(images/decode-llama-2-7b.svg)" in first and "[`a.jsonl`]" in first and "| 16 | 128 |" in first
    chart = (docs / "images/decode-llama-2-7b.svg").read_text(encoding="utf-8")
    assert "b=1" in chart and "b=16" not in chart
    script().main([str(rows), str(docs)])
    assert (docs / "decode.md").read_text(encoding="utf-8") == first


def test_the_readme_gets_its_lines_between_its_marks() -> None:
    text = "before\n<!-- decode: scripts/write_decode.py -->\nold\n<!-- end of decode -->\nafter\n"
    found = script().with_gain(text, answers(grid(LLAMA, ((1, 128),))), {"alt": "images/decode-llama-2-7b.svg"})
    assert found.startswith("before\n<!-- decode") and found.endswith("\n<!-- end of decode -->\nafter\n")
    assert "(docs/images/decode-llama-2-7b.svg)" in found and "307 tokens/s, 6.14 times Hugging Face's 50.0" in found and "old" not in found
    assert script().GAIN.search((ROOT / "README.md").read_text(encoding="utf-8")) is not None


if any((ROOT / "benchmarks/h200/decode").glob("*.jsonl*")):

    def test_the_committed_page_and_readme_are_made_from_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Written by scripts/write_decode.py: run it again when rows change."""
        pytest.importorskip("vl_convert")
        monkeypatch.setenv("SHAPEWRIGHT_PROFILES", "")
        made = script()
        made.main([str(made.ROWS), str(tmp_path)])
        assert (tmp_path / "decode.md").read_text(encoding="utf-8") == (ROOT / "docs/decode.md").read_text(encoding="utf-8")
        readme = (ROOT / "README.md").read_text(encoding="utf-8")
        rows = answers(each for path in sorted(made.ROWS.glob("*.jsonl*")) for each in read_every_row(path))
        assert made.with_gain(readme, rows, made.draw(rows, tmp_path)) == readme
