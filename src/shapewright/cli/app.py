"""The tree of commands. A command is named here by its module's path and imported only when it runs."""

from __future__ import annotations

from cyclopts import App, CycloptsError

from ..version import __version__
from .arguments import complete
from .failures import usage_error

HELP = """Explain any transformer on any GPU: which operators it runs, how long each takes, and why.

Try: shapewright explain gpt3-2.7b --gpu a100-40gb
"""


def build_app() -> App:
    """All commands, none of them imported yet."""
    app = App(
        name="shapewright", help=HELP, version=f"shapewright {__version__}", help_format="plaintext", suppress_keyboard_interrupt=False
    )
    app.command("shapewright.cli.explain:explain", name="explain", help="Explain a model's operators and their times on a GPU.")
    app.command("shapewright.cli.gpus:gpus", name="gpus", help="List the GPUs and nodes that are known, or show one with its sources.")
    app.command("shapewright.cli.models:models", name="models", help="List the models of the catalogue, or show one with its source.")
    app.command("shapewright.cli.accuracy:accuracy", name="accuracy", help="Print how far predictions lie from measurements.")
    app.command("shapewright.cli.calibrate:calibrate", name="calibrate", help="Fit the predictor to a GPU's measured products.")
    app.command("shapewright.cli.results:results", name="results", help="Show, filter and compare the rows of runs; export them.")
    predict = App(name="predict", help="Predict the times of operators in bulk.")
    predict.command("shapewright.cli.predict_gemm:predict_gemm", name="gemm", help="Predict every product of a CSV file.")
    app.command(predict)
    app.command(_bench_app())
    return app


def _bench_app() -> App:
    """The commands that measure."""
    app = App(name="bench", help="Measure products, attention, layers and models on this machine, beside their predictions.")
    kernels, models = "shapewright.cli.bench_kernels", "shapewright.cli.bench_models"
    app.command(f"{kernels}:bench_gemm", name="gemm", help="Measure matrix products M N K.")
    app.command(f"{kernels}:bench_bmm", name="bmm", help="Measure batched matrix products B M N K.")
    app.command(f"{kernels}:bench_attention", name="attention", help="Measure attention, fused or in separate kernels.")
    app.command(f"{kernels}:bench_memory", name="memory", help="Measure kernels bound by memory: OP ROWS WIDTH.")
    app.command(f"{models}:bench_layer", name="layer", help="Measure one layer of each model, in turn.")
    app.command(f"{models}:bench_model", name="model", help="Measure whole models with random weights, in turn.")
    app.command("shapewright.cli.bench_operators:bench_operators", name="operators", help="Measure every operator of a model's step.")
    app.command("shapewright.cli.bench_sweep:bench_sweep", name="sweep", help="Measure every point of a plan.")
    return app


def run(arguments: list[str]) -> int:
    """Run the command that `arguments` name; usage errors come out as `InputError`."""
    app = build_app()
    try:
        code = app(complete(arguments), exit_on_error=False, print_error=False, result_action="return_value", verbose=False)
    except CycloptsError as error:
        raise usage_error(error) from None
    return code if isinstance(code, int) else 0
