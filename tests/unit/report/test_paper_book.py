"""The committed book about the paper: its tables say what the code says now, every figure has its place, image and reading."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from shapewright.hardware.load import load_gpu
from shapewright.paper.comparing import compare
from shapewright.paper.evidence import Evidence
from shapewright.paper.figure import all_figures, load_figure
from shapewright.paper.judging import Judged, all_claims, judge_claims
from shapewright.paper.readings import Told, load_rules
from shapewright.paper.reports import FigureReport, figure_report
from shapewright.paper.rows import Row
from shapewright.paper.times import Predicted
from shapewright.predict.profiles import FOLDER_VARIABLE
from shapewright.report import paper_book_images
from shapewright.report.paper_book import CHAPTERS, SOURCES, Book, RunFacts, cell, claim_link, figure_link, first_page
from shapewright.report.paper_book_claims import cell_words, claims_page
from shapewright.report.paper_book_data import run_facts, times_of
from shapewright.report.paper_book_figures import figure_page
from shapewright.report.paper_book_goals import goals_table
from shapewright.report.paper_book_images import MOST_SVG, drawn_rows
from shapewright.report.paper_files import Drawn

ROOT = Path(__file__).parent.parent.parent.parent
PAGES, ROWS = ROOT / "docs/paper", ROOT / "benchmarks/h200/paper"
DECODED = ROOT / "benchmarks/h200/decode/s4.jsonl.gz"
#: What is judged anew: predictions of the H200 take as long again and tell the same.
CHECKED = ("a100", "measured")


@pytest.fixture(autouse=True)
def _only_shipped_profiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, "")


@cache
def judged() -> dict[str, list[Judged]]:
    times = times_of([*sorted(ROWS.glob("*.jsonl*")), DECODED])
    return {source: judge_claims(Evidence(times=times[source])) for source in CHECKED}


def page(name: str) -> str:
    return (PAGES / name).read_text(encoding="utf-8")


def table_row(text: str, start: str) -> list[str]:
    """Cells of the one row of any table that begins so."""
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {start}")]
    return [each.strip() for each in line.strip("|").split("|")]


def test_the_table_of_claims_says_what_the_judges_say_now() -> None:
    text = page("claims.md")
    columns = list(SOURCES)
    for source, found in judged().items():
        for each in found:
            cells = table_row(text, f"[{each.claim.id}](#claim-{each.claim.id})")
            own = cells[2] if each.claim.is_arithmetic else cells[2 + columns.index(source)]
            said = cell_words({source: each.verdict}, source)
            assert own == (f"any GPU: {said}" if each.claim.is_arithmetic else said), each.claim.id


def test_the_table_of_rules_says_what_the_judges_say_now() -> None:
    text = page("README.md")
    columns = list(SOURCES)
    for rule in load_rules():
        cells = table_row(text, f"[{rule.name}]")
        for source, found in judged().items():
            verdict = next(each.verdict for each in found if each.claim.id == rule.claim)
            assert cells[2 + columns.index(source)] == cell(verdict), rule.name


def test_every_claim_has_its_place() -> None:
    text = page("claims.md")
    for claim in all_claims():
        assert f'<a id="claim-{claim.id}"></a>' in text
        assert claim.text in text
        assert not claim.error or claim.error in text


def test_every_figure_has_a_section_an_image_and_a_reading() -> None:
    for name, (_, figures) in CHAPTERS.items():
        sections = re.split(r'<a id="figure-', page(name))[1:]
        assert [section.partition('"')[0] for section in sections] == [figure.lower() for figure in figures]
        for figure, section in zip(figures, sections, strict=True):
            (image,) = re.findall(rf"!\[Figure {figure}: [^]]+\]\(([^)]+)\)", section)
            size = (PAGES / image).stat().st_size
            assert size > 1000 and (size <= MOST_SVG or image.endswith(".png")), image
            after = section.partition(f"]({image})")[2].split("\n\n")
            assert len(after[1]) > 60 and after[1][0] not in "|-", f"figure {figure} has no reading"
    assert sorted(figure for _, figures in CHAPTERS.values() for figure in figures) == sorted(each.id for each in all_figures())


def test_links_between_the_pages_lead_somewhere() -> None:
    texts = {path.name: path.read_text(encoding="utf-8") for path in PAGES.glob("*.md")}
    for name, text in texts.items():
        for target, anchor in re.findall(r"\]\(([\w./-]*)(?:#([\w-]+))?\)", text):
            assert not target or (PAGES / target).exists(), f"{name}: {target}"
            own = texts.get(target or name)
            if anchor and own is not None:
                assert f'id="{anchor}"' in own or anchor in headings(own), f"{name}: {target}#{anchor}"


def headings(text: str) -> set[str]:
    """Anchors that GitHub makes of headings."""
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_the_page_counts_the_points_of_the_runs() -> None:
    runs = [run_facts(path) for path in sorted(ROWS.glob("*.jsonl*"))]
    assert f"{sum(run.num_rows for run in runs):,} points on one H200" in page("README.md")
    for run in runs:
        assert table_row(page("README.md"), run.file)[1] == f"{run.num_rows:,}"


def test_the_book_stays_small() -> None:
    assert sum(path.stat().st_size for path in PAGES.rglob("*") if path.is_file()) < 8_000_000


def small_book(broken: tuple[str, ...] = ()) -> Book:
    rule = load_rules()[0]
    verdicts = judged()
    told = {"headline 1": Told(id="headline 1", text="One sentence.", broken=broken)}
    run = RunFacts(file="r.jsonl", num_rows=3, num_failed=1, span_s=90.0, environment={"gpu": "NVIDIA H200", "torch": "2.11"})
    return Book(reports={}, judged={**verdicts, "h200": verdicts["a100"]}, told=told, rules=[rule], runs=[run])


def test_a_reading_that_is_not_true_is_left_out() -> None:
    assert "1. One sentence." in first_page(small_book())
    assert "One sentence." not in first_page(small_book(broken=("a > b",)))


def test_the_first_page_adds_up_the_runs_and_leaves_out_logs_that_are_unknown() -> None:
    text = first_page(small_book())
    assert "3 points on one H200 in 1.5 minutes, 1 of which failed" in text
    assert "NVIDIA H200, PyTorch 2.11." in text
    assert "authors' logs\n" not in text and "Prediction and measurement" not in text


def test_claims_of_counting_have_one_verdict() -> None:
    text = claims_page(small_book())
    (counting,) = [part for part in text.split('<a id="') if part.startswith('claim-72"')]
    assert counting.count("- any GPU: **") == 1 and "predicted" not in counting


def row(figure: str, source: str, x: int | str, y: float, *, gpu: str = "h200", **more: str) -> Row:
    words = {"series": "", "unit": "TFLOP/s", **more}
    return Row(figure=figure, source=source, gpu=gpu, x=x, y=y, **words)  # type: ignore[arg-type]


def report(figure: str, rows: list[Row]) -> FigureReport:
    """A report of these rows, the H200's prediction set beside its measurement."""
    entry = load_figure(figure)
    said, found = ([each for each in rows if (each.gpu, each.source) == ("h200", source)] for source in ("predicted", "measured"))
    compared = compare(entry, said, found) if said and found else None
    return FigureReport(figure=entry, dtype="fp16", gpus=(), rows=tuple(rows), comparisons=(compared,) if compared else (), remarks=())


BARS = [
    row("1", "predicted", "C1", 90.0, gpu="a100-40gb", series="throughput"),
    row("1", "published", "C1", 100.0, gpu="a100-40gb", series="throughput", quality="exact"),
    row("1", "published", "C2", 100.0, gpu="a100-40gb", series="throughput", quality="exact"),
]
SHARES = [
    row("2", "predicted", "Small", 60.0, gpu="a100-40gb", series="LN", unit="%"),
    row("2", "published", "Small", 63.0, gpu="a100-40gb", series="LN", unit="%", quality="notebook"),
    row("2", "published", "Small", 10.0, gpu="a100-40gb", series="LN", unit="%", quality="doubtful"),
]
RATES = {"predicted": (1.0, 2.0, 2.0), "measured": (1.0, 2.2, 1.0)}
CURVE = [row("5a", source, x, y) for source, ys in RATES.items() for x, y in zip((32, 64, 128), ys, strict=True)]


def test_goals_name_the_worst_and_what_is_missed() -> None:
    reports = {"1": report("1", BARS), "2": report("2", SHARES), "11": report("11", []), "5a": report("5a", CURVE)}
    means = {"10a": (3.0, 30), "17": (9.0, 10), "5a": (99.0, 10)}
    logs = [{"figure": figure, "gpu": "a100-40gb", "mean": mean, "num_points": num} for figure, (mean, num) in means.items()]
    text = goals_table(Book(reports=reports, judged={}, told={}, rules=[], runs=[], logs=logs))
    assert "| at most 8 % | 0 of 1 bars; at most 10.0 % (C1) | missed |" in text
    assert "| at most 4 points | 1 of 1 shares; at most 3.0 points (LN of Small in Figure 2) | met |" in text
    assert "| at most 7 % | 1 of 2 figures; at most 9.0 % (17); all points together 4.5 % | missed |" in text
    assert "MI250X" not in text  # none of its logs is known
    assert "| at most 6 % | 0 of 1 figures; at most 36.4 % (5a); all points together 36.4 % | missed |" in text
    assert "| 0 of 1 | missed |" in text


def test_a_figure_s_section_has_its_reading_comparison_and_what_is_missed() -> None:
    figures = {figure: report(figure, CURVE if figure == "5a" else []) for figure in CHAPTERS["figures-products.md"][1]}
    told = {"5a": Told(id="5a", text="It rises.", broken=())}
    images = dict.fromkeys(figures, "images/x.svg")
    text = figure_page(Book(reports=figures, judged={}, told=told, rules=[], runs=[], images=images), "figures-products.md")
    section = text.split('<a id="figure-')[1]
    assert "![Figure 5a: Products (m, 4096) x (4096, m)](images/x.svg)\n\nIt rises.\n" in section
    assert "| h200: predicted with measured | 3 |" in section and "| 0 of 1 |" in section
    assert "drops of the measured curves not predicted after 64." in section
    assert "claims [40](claims.md#claim-40)" in section


def test_families_are_drawn_at_the_measured_places() -> None:
    figure = load_figure("7a")
    found = figure_report(figure, [Predicted(gpu=load_gpu("h200"))])
    kept = [each for each in drawn_rows(found) if each.source == "predicted"]
    assert 7 < len(kept) < 200 < sum(each.source == "predicted" for each in found.rows)
    assert {each.series for each in kept} == {each.series for each in found.rows if each.source == "predicted"}
    assert len(drawn_rows(report("5a", CURVE))) == len(CURVE)


def test_a_large_image_becomes_a_png_and_its_svg_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("vl_convert")
    (tmp_path / "images").mkdir()
    drawn = Drawn(title="", table=((), ()), svg='<svg xmlns="http://www.w3.org/2000/svg" width="4" height="4"></svg>')
    assert paper_book_images.write_image(drawn, tmp_path, "a") == "images/a.svg"
    monkeypatch.setattr(paper_book_images, "MOST_SVG", 10)
    assert paper_book_images.write_image(drawn, tmp_path, "a") == "images/a.png"
    assert [path.name for path in (tmp_path / "images").iterdir()] == ["a.png"]


def test_links_name_page_and_place() -> None:
    assert figure_link("S4") == "[Figure S4](figures-models.md#figure-s4)"
    assert claim_link(7) == "[7](claims.md#claim-7)"
