"""The tree of commands. A command is named here by its module's path and imported only when it runs."""

from __future__ import annotations

import importlib
import inspect
import os
from collections.abc import Collection

from cyclopts import App, CycloptsError

from ..version import __version__
from .arguments import complete
from .failures import usage_error

HELP = """Explain any transformer on any GPU: which operators it runs, how long each takes, and why.

Try: shapewright explain gpt3-2.7b --gpu a100-40gb
"""

BENCH_HELP = """Measure products, attention, layers and models on this machine, beside their predictions.

Every point is one row of a run file, in your folder of runs or after --out, safe on the disk as soon as it is measured. Exit code 1:
no point could be measured.

Try: shapewright bench gemm 8192 10922,11008 4096
"""

PAPER_HELP = """Figures, claims and tables of "The Case for Co-Designing Model Architectures with Hardware" (Anthony et al. 2024),
predicted on any GPU, measured on the one at hand, and judged.

Try: shapewright paper figure 7a --gpu a100-40gb
"""


def build_app(asked: Collection[str] = ()) -> App:
    """All commands, none of them imported yet; a command in `asked` shows the help of its own docstring instead of the list's one line."""
    app = App(
        name="shapewright", help=HELP, version=f"shapewright {__version__}", help_format="plaintext", suppress_keyboard_interrupt=False
    )
    app.command("shapewright.cli.explain:explain", name="explain", help="Explain a model's operators and their times on a GPU.")
    _add(app, "shapewright.cli.lint:lint", "lint", "Find the dimensions of models that cost time, with price and fix.", asked)
    _add(app, "shapewright.cli.search:search", "search", "Find faster shapes of the same size.", asked)
    _add(app, "shapewright.cli.compare:compare", "compare", "Compare one model on several GPUs, operator by operator.", asked)
    _add(app, "shapewright.cli.diff:diff", "diff", "Compare two shapes on a GPU, operator by operator.", asked)
    app.command("shapewright.cli.rule:rule", name="rule", help="List the rules of `lint`, or print the page of one.")
    app.command("shapewright.cli.gpus:gpus", name="gpus", help="List the GPUs and nodes that are known, or show one with its sources.")
    app.command("shapewright.cli.models:models", name="models", help="List the models of the catalogue, or show one with its source.")
    app.command("shapewright.cli.accuracy:accuracy", name="accuracy", help="Print how far predictions lie from measurements.")
    _add(
        app, "shapewright.cli.calibrate:calibrate", "calibrate", "Fit the predictor to the GPU at hand, or to rows measured on one.", asked
    )
    _add(app, "shapewright.cli.results:results", "results", "Show, filter and compare the rows of runs; export them.", asked)
    _add(app, "shapewright.cli.waves:waves", "waves", "Find shapes whose every product fills whole waves of tiles.", asked)
    _add(
        app, "shapewright.cli.saturation:saturation", "saturation", "Find the hidden size from which on each operator is saturated.", asked
    )
    decode_help = _own_help("shapewright.cli.decode:decode") if "decode" in asked else "Measure how fast models decode, by engine."
    app.command("shapewright.cli.decode:decode_app", name="decode", help=decode_help)
    predict = App(name="predict", help="Predict the times of operators in bulk.")
    predict.command("shapewright.cli.predict_gemm:predict_gemm", name="gemm", help="Predict every product of a CSV file.")
    app.command(predict)
    app.command(_bench_app(asked))
    app.command(_paper_app(asked))
    return app


def _paper_app(asked: Collection[str]) -> App:
    """The paper's figures, claims and tables."""
    app = App(name="paper", help=_paragraphs(PAPER_HELP))
    _add(app, "shapewright.cli.paper_figure:paper_figure", "figure", "Predict, measure, draw and compare figures; list them.", asked)
    _add(app, "shapewright.cli.paper_claims:paper_claims", "claims", "Judge what the paper says on a GPU.", asked)
    _add(app, "shapewright.cli.paper_table:paper_table", "table", "Print Table I, II or III.", asked)
    return app


def _bench_app(asked: Collection[str]) -> App:
    """The commands that measure."""
    app = App(name="bench", help=_paragraphs(BENCH_HELP))
    kernels, models = "shapewright.cli.bench_kernels", "shapewright.cli.bench_models"
    _add(app, f"{kernels}:bench_gemm", "gemm", "Measure matrix products M N K.", asked)
    _add(app, f"{kernels}:bench_bmm", "bmm", "Measure batched matrix products B M N K.", asked)
    _add(app, f"{kernels}:bench_attention", "attention", "Measure attention, fused or in separate kernels.", asked)
    _add(app, f"{kernels}:bench_memory", "memory", "Measure kernels bound by memory: OP ROWS WIDTH.", asked)
    _add(app, f"{models}:bench_layer", "layer", "Measure one layer of each model, in turn.", asked)
    _add(app, f"{models}:bench_model", "model", "Measure whole models with random weights, in turn.", asked)
    _add(app, "shapewright.cli.bench_operators:bench_operators", "operators", "Measure every operator of a model's step.", asked)
    _add(app, "shapewright.cli.bench_sweep:bench_sweep", "sweep", "Measure every point of a plan.", asked)
    return app


def _add(app: App, path: str, name: str, line: str, asked: Collection[str]) -> None:
    """A command by its place; `line` describes it in the list of commands."""
    app.command(path, name=name, help=_own_help(path) if name in asked else line)


def _own_help(path: str) -> str:
    """The docstring of the function at `path`, each paragraph as one line that the page wraps."""
    module, _, name = path.partition(":")
    return _paragraphs(inspect.getdoc(getattr(importlib.import_module(module), name)) or "")


def _paragraphs(text: str) -> str:
    return "\n\n".join(" ".join(each.split()) for each in text.split("\n\n"))


#: Columns below which the help's renderer wraps words without end.
LEAST_COLUMNS = 20


def run(arguments: list[str]) -> int:
    """Run the command that `arguments` name; usage errors come out as `InputError`."""
    is_help = not {"--help", "-h"}.isdisjoint(arguments)
    if os.environ.get("COLUMNS", "").isdecimal() and int(os.environ["COLUMNS"]) < LEAST_COLUMNS:
        os.environ["COLUMNS"] = str(LEAST_COLUMNS)
    app = build_app(arguments if is_help else ())
    try:
        code = app(complete(arguments), exit_on_error=False, print_error=False, result_action="return_value", verbose=False)
    except CycloptsError as error:
        raise usage_error(error) from None
    return code if isinstance(code, int) else 0
