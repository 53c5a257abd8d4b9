"""`paper` at the command line: figures, claims and tables on pages and in documents, measured rows, files and refusals."""

from __future__ import annotations

import errno
import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from cli.measured_run import ENVIRONMENT, ok_row, write_run
from shapewright.cli import bench as bench_module
from shapewright.errors import MissingError
from shapewright.hardware.load import load_gpu
from shapewright.measure import devices
from shapewright.measure.devices import Device
from shapewright.measure.points import LayerPoint
from shapewright.measure.store import FOLDER_VARIABLE, read_run
from shapewright.paper.figure import all_figures, load_figure
from shapewright.paper.judging import all_claims
from shapewright.paper.rows import measured_points
from shapewright.paper.times import Predicted

LOGS = Path(__file__).parents[3] / "shared/data/paper"
needs_log = pytest.mark.skipif(not LOGS.is_dir(), reason="the authors' log is not beside the repository (../shared/data/paper)")


def validate(name: str, document: Any) -> None:
    """Hold a document against its schema."""
    schema = json.loads(files("shapewright.report").joinpath(f"paper_{name}.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(schema).validate(document)


def measured_rows(*figures: str, factor: float = 1.25) -> list[dict[str, Any]]:
    """A good row of every point of the figures, `factor` times as long as an H200 is predicted to take."""
    points = list(dict.fromkeys(point for name in figures for point in measured_points(load_figure(name))))
    times = Predicted(gpu=load_gpu("h200")).of(points)
    return [ok_row(point, factor * time.time_s) for point, time in zip(points, times, strict=True) if time]


@pytest.fixture
def run_file(tmp_path: Path) -> Path:
    """An H200's run of Figures 1, 5b and 7a."""
    return write_run(tmp_path / "h200.jsonl", measured_rows("1", "5b", "7a"))


@pytest.fixture
def h200_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with an H200 on which every product takes 1 us and everything else fails; its folder of runs."""

    def execute(points: Any, run: Any, **options: Any) -> Any:
        from shapewright.measure.executor import Summary

        todo = [point for point in points if (bench_module.key_of(point), ENVIRONMENT["gpu"]) not in run.done]
        run.start(ENVIRONMENT)
        run.append([ok_row(point, 1e-6) for point in todo])
        counts = {"ok": len(todo)}
        return Summary(
            num_points=len(points), num_skipped=len(points) - len(todo), counts=counts, elapsed_s=1.0, is_complete=True,
            environment=ENVIRONMENT,
        )  # fmt: skip

    here = Device(name="cuda:0", gpu="NVIDIA H200", l2_bytes=2**25, memory_bytes=2**37)
    monkeypatch.setattr(devices, "open_device", lambda name: here)
    monkeypatch.setattr(bench_module, "execute", execute)
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "runs"))
    return tmp_path / "runs"


def test_paper_alone_names_its_three_commands(cli) -> None:
    answer = cli("paper")
    assert answer.code == 0 and all(f" {name} " in answer.out for name in ("figure", "claims", "table"))


@pytest.mark.parametrize("command", ["figure", "claims", "table"])
def test_help_keeps_to_the_page(cli, command: str) -> None:
    answer = cli("paper", command, "--help")
    flags = {
        "figure": ("--measured", "--rows", "--logs", "--form", "-o"),
        "claims": ("--verdict", "--rows"),
        "table": ("--tensor-parallel",),
    }
    assert answer.code == 0 and max(map(len, answer.out.splitlines())) <= 80
    assert [flag for flag in flags[command] if flag not in answer.out] == []


def test_the_list_of_figures(cli) -> None:
    answer = cli("paper", "figure")
    assert answer.code == 0 and max(map(len, answer.out.splitlines())) <= 80
    assert [line.split()[0] for line in answer.out.splitlines()[1:] if line[:1].strip()][: len(all_figures())] == [
        each.id for each in all_figures()
    ]
    document = cli("paper", "figure", "--json").document
    validate("figure", document)
    assert [each["id"] for each in document["figures"]] == [each.id for each in all_figures()]


def test_a_figure_predicted_beside_the_published_points(cli) -> None:
    answer = cli("paper", "figure", "1", "7a", "--gpu", "a100-40gb,h200")
    assert answer.code == 0 and answer.err == "" and max(map(len, answer.out.splitlines())) <= 80
    assert "Figure 1: One layer of five shapes" in answer.flat and "Figure 7a: Attention score, 32 heads section VI-A" in answer.flat
    assert "C1 8" in answer.flat and "83.4 TFLOP/s" in answer.flat
    assert "pow2=64" in answer.flat and "h 4096 8192 12288" in answer.flat and "same as Figure 26" in answer.flat
    assert "note C2 has heads of 64 and is slower than GPT-3's heads of 80" in answer.flat


def test_a_figure_as_a_document(cli) -> None:
    document = cli("paper", "figure", "1,5b", "fig. 16", "--gpu", "a100-40gb", "--json").document
    validate("figure", document)
    bars, tall, split = document["figures"]
    predicted = {row["x"]: row["y"] for row in bars["rows"] if row["source"] == "predicted"}
    assert list(predicted) == ["C1", "C2", "GPT-3 (2.7B)", "Ours 1", "Ours 2"]
    (compared,) = bars["comparisons"]
    published = {row["x"]: row["y"] for row in bars["rows"] if row["source"] == "published"}
    errors = [abs(100 * (predicted[name] / y - 1)) for name, y in published.items()]
    assert compared["mean"] == pytest.approx(sum(errors) / 5) and compared["order"] == 1
    assert len([row for row in tall["rows"] if row["source"] == "predicted"]) == 224
    assert any(row["quality"] == "doubtful" for row in split["rows"])
    assert {each["series"] for each in split["comparisons"][0]["series"]} == {f"as printed, t={t}" for t in (1, 2, 4, 8)}


@needs_log
def test_the_authors_log(cli) -> None:
    answer = cli("paper", "figure", "5b", "--gpu", "a100-40gb", "--logs", str(LOGS))
    assert "predicted, log 134" in answer.flat and "29 of 29" in answer.flat
    document = cli("paper", "figure", "5b", "--gpu", "a100-40gb", "--logs", str(LOGS), "--json").document
    validate("figure", document)
    found = {each["source"]: each for each in document["figures"][0]["comparisons"]}
    assert found["log"]["mean"] < 7 and found["log"]["num_drops_found"] == found["log"]["num_drops"] == 29


def test_stored_rows_are_compared_with_predictions(cli, run_file: Path) -> None:
    document = cli("paper", "figure", "1", "5b", "7a", "--gpu", "h200", "--rows", str(run_file), "--json").document
    validate("figure", document)
    for figure in document["figures"]:
        (compared,) = figure["comparisons"]
        assert (compared["said"], compared["source"], compared["gpu"]) == ("predicted", "measured", "h200")
        assert compared["mean"] == pytest.approx(25) and compared["order"] in (1, None)
    answer = cli("paper", "figure", "5b", "--gpu", "a100-40gb,h200", "--rows", str(run_file))
    assert "predicted, measured 224 25.0 %" in answer.flat and answer.notes == ["a100-40gb: no row is measured on it"]


def test_places_that_a_run_lacks_are_said(cli, tmp_path: Path) -> None:
    run = write_run(tmp_path / "some.jsonl", measured_rows("5b")[:100])
    answer = cli("paper", "figure", "1", "5b", "--gpu", "h200", "--rows", str(run))
    assert "h200: nothing of it is measured" in answer.flat and "h200: 100 of 224 places are measured" in answer.flat


def test_rows_of_another_gpu_are_refused(cli, run_file: Path, tmp_path: Path) -> None:
    answer = cli("paper", "figure", "1", "--gpu", "a100-40gb", "--rows", str(run_file))
    assert answer.code == 2 and "no row is of a100-40gb; name with --gpu what was measured: h200" in answer.err
    cpu = write_run(tmp_path / "cpu.jsonl", measured_rows("5a"), {"gpu": "cpu"})
    assert cli("paper", "figure", "5a", "--gpu", "h200", "--rows", str(cpu)).code == 2


def test_measuring_here_keeps_rows_and_goes_on(cli, h200_here: Path, tmp_path: Path) -> None:
    answer = cli("paper", "figure", "5a", "--measured")
    assert answer.code == 0 and "h200, measured" in answer.flat and "predicted, measured 9" in answer.flat
    (path,) = h200_here.glob("paper-*.jsonl")
    assert answer.notes == [f"rows are kept in {path}"] and len(read_run(path).rows) == 9
    again = cli("paper", "figure", "5a", "6c", "--measured", "--out", str(path))
    assert again.notes[0] == f"9 of 36 points were in {path} already" and len(read_run(path).rows) == 36


def test_drawings_and_counts_take_no_measuring(cli, h200_here: Path) -> None:
    assert cli("paper", "figure", "3", "4", "--measured").code == 0
    assert {each["source"] for each in cli("paper", "claims", "25", "--measured", "--json").document["claims"]} == {"predicted"}
    assert not h200_here.exists()


def test_only_the_gpu_at_hand_is_measured(cli, h200_here: Path) -> None:
    answer = cli("paper", "figure", "5a", "--gpu", "a100-40gb", "--measured")
    assert answer.code == 2 and "this GPU is h200, not a100-40gb; leave --gpu out, or name h200 too" in answer.err
    both = cli("paper", "figure", "5a", "--gpu", "a100-40gb,h200", "--measured")
    assert both.code == 0 and "a100-40gb, predicted" in both.flat and "h200, measured" in both.flat


def test_without_a_gpu_nothing_is_measured(cli, h200_here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(_: str) -> Device:
        raise MissingError("torch finds no GPU", hint="install its driver, or measure on the CPU with --device cpu")

    monkeypatch.setattr(devices, "open_device", absent)
    for command in (("figure", "1"), ("claims", "1")):
        answer = cli("paper", *command, "--measured")
        assert (answer.code, answer.out) == (3, "") and answer.err.count("\n") == 1
        assert "torch finds no GPU; install its driver, or name runs with --rows" in answer.err
    assert not h200_here.exists()


def test_points_are_measured_in_long_runs(cli, h200_here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []
    run = bench_module.execute

    def watched(*points: Any, **options: Any) -> Any:
        asked.append(options)
        return run(*points, **options)

    monkeypatch.setattr(bench_module, "execute", watched)
    assert cli("paper", "figure", "5a", "--measured").code == 0
    assert [(each["warm_s"], each["rest_s"]) for each in asked] == [(0.05, 0.0)]


def test_an_interruption_says_how_to_go_on(cli, h200_here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(points: Any, run: Any, **_: Any) -> None:
        run.start(ENVIRONMENT)
        run.append([ok_row(points[0], 1e-6)])
        raise KeyboardInterrupt

    monkeypatch.setattr(bench_module, "execute", interrupted)
    out = tmp_path / "run.jsonl"
    answer = cli("paper", "figure", "5a", "--measured", "--out", str(out))
    assert answer.code == 130 and answer.notes == [f"stopped: 1 row is kept in {out}; the same command with --out {out} goes on"]


def test_long_points_have_longer(cli, h200_here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {}
    monkeypatch.setattr(
        bench_module, "execute", lambda points, run, **options: seen.update({type(points[0]): options["timeout_s"]}) or 1 / 0
    )
    for figure in ("1", "5a"):
        with pytest.raises(ZeroDivisionError):
            cli("paper", "figure", figure, "--measured")
    assert seen.pop(LayerPoint) == 900 and list(seen.values()) == [120]


def test_figures_become_files(cli, tmp_path: Path) -> None:
    folder = tmp_path / "figures"
    answer = cli("paper", "figure", "1", "5b", "--gpu", "a100-40gb", "-o", str(folder), "--form", "csv,svg")
    assert answer.code == 0 and answer.out.splitlines() == [
        str(folder / f"figure-{name}.{form}") for name in ("1", "5b") for form in ("csv", "svg")
    ]
    assert all(Path(line).stat().st_size for line in answer.out.splitlines())
    before = (folder / "figure-5b.csv").read_bytes()
    again = cli("paper", "figure", "5b", "--gpu", "h200", "-o", str(folder), "--form", "csv")
    assert again.code == 2 and "figure-5b.csv: already exists" in again.err and (folder / "figure-5b.csv").read_bytes() == before
    forced = cli("paper", "figure", "5b", "--gpu", "h200", "-o", str(folder), "--form", "csv", "--force", "--json")
    assert forced.document["files"] == [str(folder / "figure-5b.csv")] and (folder / "figure-5b.csv").read_bytes() != before


def test_claims_on_a_page(cli) -> None:
    answer = cli("paper", "claims", "1-4", "--gpu", "h200")
    assert answer.code == 0 and max(map(len, answer.out.splitlines())) <= 80
    assert "1 Abstract: " in answer.flat and "h200 predicted: 4 claims:" in answer.flat and "expected: " in answer.flat


def test_claims_as_a_document(cli) -> None:
    document = cli("paper", "claims", "--gpu", "h200", "--json").document
    validate("claims", document)
    assert [each["id"] for each in document["claims"]] == [each.id for each in all_claims()]
    assert {each["source"] for each in document["claims"]} == {"predicted"}
    words = [each["verdict"] for each in document["claims"]]
    some = cli("paper", "claims", "--gpu", "h200", "--verdict", "disagrees,not-testable-here", "--json").document["claims"]
    assert {each["verdict"] for each in some} <= {"disagrees", "not testable here"}
    assert len(some) == words.count("disagrees") + words.count("not testable here")


def test_measured_verdicts_stand_beside_predicted_ones(cli, h200_here: Path, run_file: Path) -> None:
    document = cli("paper", "claims", "1,3", "--gpu", "h200", "--rows", str(run_file), "--json").document
    validate("claims", document)
    assert [(each["id"], each["source"]) for each in document["claims"]] == [
        (1, "predicted"),
        (1, "measured"),
        (3, "predicted"),
        (3, "measured"),
    ]
    here = cli("paper", "claims", "3", "--measured", "--json").document["claims"]
    assert [each["source"] for each in here] == ["predicted", "measured"] and here[1]["verdict"] != "not testable here"
    (path,) = h200_here.glob("paper-*.jsonl")
    assert read_run(path).rows


@pytest.mark.parametrize("table", ["I", "II", "III"])
def test_tables(cli, table: str) -> None:
    answer = cli("paper", "table", table)
    assert answer.code == 0 and max(map(len, answer.out.splitlines())) <= 80
    document = cli("paper", "table", table, "--json").document
    validate("table", document)
    assert document["table"] == table


def test_what_the_tables_say(cli) -> None:
    assert "h width of the hidden state hidden_size ModelShape" in cli("paper", "table", "1").flat
    own = cli("paper", "table", "II").flat
    assert (
        "QKV Transform 15, 16 (8192, 2560) x (2560, 7680) 322 G" in own and "as printed in the paper" in own and "as models run it" in own
    )
    split = cli("paper", "table", "ii", "llama-3-8b", "--tensor-parallel", "2", "--micro-batch", "1", "--json").document
    rows = {(row["operator"], row["label"]): row for row in split["rows"]}
    assert (rows["QKV Transform", None]["m"], rows["QKV Transform", None]["n"]) == (2048, 3072) and ("MLP gate", "gated MLPs only") in rows
    systems = {row["name"]: row for row in cli("paper", "table", "III", "--json").document["rows"]}
    assert list(systems) == ["aws-p4d", "summit", "expanse"]
    assert [(row["num_gpus"], row["gpu"]) for row in systems.values()] == [(8, "a100-40gb"), (6, "v100-16gb"), (4, "v100-32gb")]
    assert systems["aws-p4d"]["network_bytes_per_s"] == pytest.approx(50e9) and "8275CL" in systems["aws-p4d"]["cpu"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("figure 99 --gpu h200", "unknown figure '99'; did you mean 9"),
        ("figure 5 --gpu h200", "figure 5 has parts; name 5a or 5b or 5c"),
        ("figure 1", "--gpu is missing; name one or several of `shapewright gpus`, such as a100-40gb"),
        ("figure 1 --gpu h20", "unknown GPU 'h20'; did you mean h200"),
        ("figure 1 --gpu a100-40gb h200", "'h200' is a GPU, not a figure; name several GPUs with commas"),
        ("figure 1 --gpu h200 --rows", "--rows needs a value"),
        ("figure --gpu h200", "no figure is named; name some"),
        ("figure , --gpu h200", "no figure is named"),
        ("figure -o figures", "no figure is named"),
        ("figure --logs tests", "no figure is named"),
        ("figure --dtype bf16", "no figure is named"),
        ("figure 0 --gpu h200", "unknown figure '0'; did you mean"),
        ("figure 48-60 --gpu h200", "there is no figure 48-60; `shapewright paper figure` lists them"),
        ("figure 9-8 --gpu h200", "there is no figure 9-8"),
        ("figure 1 --gpu h200 --form bmp -o .", "--form: unknown form 'bmp'; known: csv, html, png, svg"),
        ("figure 1 --gpu h200 --form svg", "--form is given without -o"),
        ("figure 1 --gpu h200 --force", "--force is given without -o"),
        ("figure 1 --gpu h200 -o none/such", "none/such: the folder around it does not exist"),
        ("figure 1 --gpu h200 -o pyproject.toml", "pyproject.toml: is no folder"),
        ("figure 1 --gpu h200 --logs none", "none: no such folder"),
        ("figure 1 --gpu h200 --logs tests", "tests: holds neither gemm.csv nor layers.csv"),
        ("figure 1 --gpu h200 --rows none.jsonl", "none.jsonl: no such file"),
        ("figure 1 --gpu h200 --rows pyproject.toml", "pyproject.toml"),
        ("figure 1 --gpu h200 --dtype fp8", "--dtype is fp8; the figures have batched products"),
        ("figure 1 --gpu h200 --dtype fp61", "--dtype: unknown dtype 'fp61'"),
        ("figure 1 --gpu v100-16gb --dtype bf16", "--dtype: v100-16gb has no bf16 products"),
        ("figure 1 --gpu h200 --library cuda99", "unknown library for h200 'cuda99'"),
        ("figure 1 --gpu h200 --measured --rows run.jsonl", "--measured and --rows are both given"),
        ("figure 1 --gpu h200 --out run.jsonl", "--out is given without --measured"),
        ("figure 1 --gpu h200 --retry-failed", "--retry-failed is given without --measured"),
        ("claims", "--gpu is missing"),
        ("claims , --gpu h200", "no claim is named; name some, such as 43"),
        ("claims x --gpu h200", "claim is 'x'; expected a number such as 43"),
        ("claims 200-300 --gpu h200", "there is no claim 200-300; they are 1 to 103"),
        ("claims --gpu h200 --verdict maybe", "--verdict: unknown verdict 'maybe'; known: agrees"),
        ("table", "TABLE is missing"),
        ("table IV", "unknown table 'IV'"),
        ("table I gpt2", "a model is given to Table I"),
        ("table III --tensor-parallel 2", "--tensor-parallel is given to Table III"),
        ("table II gpt2 --tensor-parallel 0", "--tensor-parallel is 0; expected at least 1"),
        ("table II deepseek-v3", "Table II has no row for latent attention"),
        ("figuer", "unknown command 'figuer'; did you mean figure?"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(cli, monkeypatch: pytest.MonkeyPatch, arguments: str, message: str) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])
    answer = cli("paper", *arguments.split())
    assert (answer.code, answer.out) == (2, "") and answer.err.count("\n") == 1
    assert message in answer.err


def test_a_gpu_without_the_papers_format_is_refused(cli, tmp_path: Path) -> None:
    from shapewright.hardware.load import GPU_FOLDER

    text = (GPU_FOLDER / "l4.toml").read_text(encoding="utf-8").replace('name = "l4"', 'name = "mine"')
    lines = [line for line in text.splitlines() if not line.lstrip().startswith(("fp16", "flops_per_s.fp16"))]
    own = tmp_path / "mine.toml"
    own.write_text("\n".join(lines) + "\n", encoding="utf-8")
    for command in (("figure", "1"), ("claims",)):
        answer = cli("paper", *command, "--gpu", str(own))
        assert answer.code == 2 and "--gpu: mine has no fp16 products" in answer.err


def test_a_range_names_figures_with_their_parts(cli) -> None:
    found = [each["id"] for each in cli("paper", "figure", "5-7,1", "5b", "--gpu", "h200", "--json").document["figures"]]
    assert found == ["5a", "5b", "5c", "6a", "6b", "6c", "6d", "7a", "7b", "1"]


def test_an_empty_folder_name_is_not_the_folder_one_is_in(cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    answer = cli("paper", "figure", "5a", "--gpu", "h200", "-o", "", "--form", "csv")
    assert answer.code == 2 and "-o names nothing; name a folder" in answer.err and list(tmp_path.iterdir()) == []


def test_a_full_disk_names_the_file_and_leaves_nothing_half(cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: object) -> bytes:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("shapewright.write.output_file.Path.chmod", lambda *_: full(None))
    answer = cli("paper", "figure", "5a", "--gpu", "h200", "-o", str(tmp_path / "new"), "--form", "csv")
    assert answer.code == 2 and f"{tmp_path / 'new' / 'figure-5a.csv'}: cannot be written: No space left on device; make room" in answer.err
    assert list((tmp_path / "new").iterdir()) == []


def test_sizes_that_the_gpus_cannot_share_are_said(cli) -> None:
    assert cli("paper", "table", "II").notes == []
    (note,) = cli("paper", "table", "II", "--tensor-parallel", "3").notes
    assert note.startswith("32 heads, 10240 columns of the MLP, 50257 entries of the vocabulary do not divide by tensor_parallel 3")
    whole, split = (cli("paper", "table", "II", "--tensor-parallel", str(t)).flat for t in (1, 2))
    assert "The FLOPs are the same." in whole and "The FLOPs are the same." not in split


@pytest.mark.parametrize(("sweep", "code"), [("ksweep_low", 2), ("other", 0)])
def test_a_log_with_a_word_for_a_number(cli, tmp_path: Path, sweep: str, code: int) -> None:
    """Only rows that the figure takes are refused, and the right one is named."""
    rows = f"a100,ksweep_low,gemm,1,27648,64,4096,50\na100,{sweep},gemm,1,27648,128,4096,fast\n"
    (tmp_path / "gemm.csv").write_text("gpu,sweep,op,batch,m,n,k,tflops\n" + rows, encoding="utf-8")
    answer = cli("paper", "figure", "5b", "--gpu", "a100-40gb", "--logs", str(tmp_path))
    assert answer.code == code and ("gemm.csv:3: tflops is 'fast'; expected a number" in answer.err) == bool(code)
