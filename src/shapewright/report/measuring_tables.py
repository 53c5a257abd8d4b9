"""Tables of the measuring document, for `docs/measuring.md`: each a header, its rows as text, and the sides its columns keep to.

Times arrive in seconds and are shown in us or ms; percentages have one digit after the point. A dash stands for what was not measured.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from ..calibrate.measuring.calibrations import GOAL_PERCENT as GOAL_UNSEEN_PERCENT
from ..calibrate.measuring.calibrations import GOAL_S
from ..calibrate.measuring.head_sizes import SCORES, VALUES
from ..calibrate.measuring.layers import GOAL_PERCENT as GOAL_LAYER_PERCENT
from ..calibrate.measuring.layers import PHASES, label
from ..calibrate.measuring.misalignment import STEP
from ..calibrate.measuring.repeatability import GOAL_MEDIAN_PERCENT, GOAL_P90_PERCENT, GOAL_PER_S
from ..units import MICRO, MILLI
from .units import three_digits

Document = Mapping[str, Any]
#: Architectures that the goal asks for, and the plans whose products show the rate of the full protocol.
GOAL_MODELS, RATE_PLANS = 12, ("random", "misalignment", "repeatability")
ABSENT = "-"
PHASE_NAMES = {"forward": "forward", "train": "forward + backward", "all": "both"}
#: Sizes that models have and that no kernel is written for, with their remedy: rows of the compiled run shown one by one.
MODEL_SIZES = (50257, 10922, 10923, 10924)
#: Products of so few rows (decode) are bound by their weights: a padded copy of these costs more than it saves.
FEW_ROWS = 16


class Shown(NamedTuple):
    """A table: `sides` holds `<` or `>` for each column."""

    header: tuple[str, ...]
    rows: list[tuple[str, ...]]
    sides: str


def goals(document: Document) -> Shown:
    """Every goal that a number of the document answers."""
    rows: list[tuple[str, ...]] = []
    for each in document["repeatability"]:
        shapes = f"same {each['num_points']} products on two occasions"
        rows.append(_goal(f"{shapes}: median", GOAL_MEDIAN_PERCENT, each["median_percent"], "%"))
        rows.append(_goal(f"{shapes}: 90th percentile", GOAL_P90_PERCENT, each["p90_percent"], "%"))
    rows += [_rate_goal(document)] if _rate_goal(document) else []
    for report in document["calibrate"]["reports"]:
        if {"measured_s", "fitted_s"} <= report.keys():
            rows.append(_goal("calibrate, measuring and fitting", GOAL_S, report["measured_s"] + report["fitted_s"], "s"))
    for each in document["calibrate"]["evaluations"]:
        if each["profile"] != "shipped" and each["group"] == "all":
            what = f"{each['num_points']} unseen products ({each['plan']}) after calibrate: MAPE"
            rows.append(_goal(what, GOAL_UNSEEN_PERCENT, each["mape_percent"], "%"))
    for each in document["layers"]["scores"]:
        if each["phase"] == "all":
            what = f"{each['num_cells']} layers where the GPU is the limit: MAPE"
            rows.append(_goal(what, GOAL_LAYER_PERCENT, each["mape_percent"], "%"))
    models = {cell["model"] for cell in document["layers"]["cells"]}
    if models:
        verdict = "met" if len(models) >= GOAL_MODELS else "missed"
        rows.append(("real architectures among them", f"at least {GOAL_MODELS}", str(len(models)), verdict))
    return Shown(("what", "goal", "reached", ""), rows, "<>><")


def _goal(what: str, most: float, reached: float, unit: str) -> tuple[str, ...]:
    return (what, f"at most {most:g} {unit}", f"{reached:.2f} {unit}", "met" if reached <= most else "missed")


def _rate_goal(document: Document) -> tuple[str, ...]:
    """The rate of the first plan of `RATE_PLANS` that was run, its slowest run."""
    for plan in RATE_PLANS:
        rates = [run["per_s"] for run in document["runs"] if run["plan"] == plan and run["per_s"]]
        if rates:
            verdict = "met" if min(rates) >= GOAL_PER_S else "missed"
            return (f"products a second ({plan})", f"at least {GOAL_PER_S:g}", three_digits(min(rates)), verdict)
    return ()


def repeatability(document: Document) -> Shown:
    rows = [
        (
            f"{each['first']}, {each['second']}", str(each["num_points"]), f"{each['median_percent']:.2f}", f"{each['p90_percent']:.2f}",
            f"{_percent(each['worst_percent'])} ({each['worst_point']})", f"{each['shift_percent']:+.2f}",
        )
        for each in document["repeatability"]
    ]  # fmt: skip
    return Shown(("runs", "points", "median %", "p90 %", "worst % (batch x m x n x k)", "shift %"), rows, "<>>>>>")


def rates(document: Document) -> Shown:
    rows = [
        (run["file"], str(run["num_rows"]), _counts(run["statuses"]), _number(run["span_s"], "{:.0f}"), _number(run["per_s"], "{:.1f}"),
         ", ".join(f"{name} {100 * share:.0f} %" for name, share in run["throttled"].items()) or "none")
        for run in document["runs"]
    ]  # fmt: skip
    return Shown(("run", "points", "failed", "seconds", "points a second", "clock lowered by"), rows, "<><>><")


def _counts(statuses: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in statuses.items() if name != "ok") or "none"


def needs(document: Document) -> Shown:
    """One line a layout and dtype; a dimension's cell is the alignment it needs, and what it costs at worst below that."""
    found = {(each["dtype"], each["layout"], each["dimension"]): each for each in document["misalignment"]["needs"]}
    kinds = list(dict.fromkeys((dtype, layout) for dtype, layout, _ in found))
    rows = [(layout, dtype, *(_need(found.get((dtype, layout, dimension))) for dimension in "mnk")) for dtype, layout in kinds]
    return Shown(("layout", "dtype", "m", "n", "k"), rows, "<<<<<")


def _need(need: Document | None) -> str:
    if need is None:
        return ABSENT
    if need["worst"] == 1.0:
        return "any" if need["alignment"] == 1 else f"any multiple of {need['alignment']}"
    return f"multiple of {need['alignment']} (else up to {need['worst']:.2f}x)"


def map_lines(document: Document, dtype: str) -> Shown:
    """Layouts and dimensions down, alignments across: the median, and the medians of the single sweeps."""
    lines = [each for each in document["misalignment"]["lines"] if each["dtype"] == dtype]
    return _by_alignment(lines, lambda each: f"{each['relative']:.2f} ({each['low']:.2f} to {each['high']:.2f})")


def map_kernels(document: Document, dtype: str) -> Shown:
    """The kernels that ran, by alignment."""
    lines = [each for each in document["misalignment"]["lines"] if each["dtype"] == dtype]
    return _by_alignment(lines, lambda each: each["kernels"] or ABSENT)


def _by_alignment(lines: Sequence[Document], cell: Callable[[Document], str]) -> Shown:
    """Lines of one layout and dimension beside one another; multiples of 64 are what others are compared with and have no column."""
    found = {(each["layout"], each["dimension"], each["alignment"]): cell(each) for each in lines}
    alignments = sorted({alignment for _, _, alignment in found if alignment < STEP})
    kinds = list(dict.fromkeys(key[:2] for key in found))
    rows = [(*kind, *(found.get((*kind, alignment), ABSENT) for alignment in alignments)) for kind in kinds]
    return Shown(("layout", "dimension", *map(str, alignments)), rows, "<<" + "<" * len(alignments))


def pairs(document: Document) -> Shown:
    rows = [
        (each["layout"], each["dimensions"], str(each["num_points"]), f"{each['ratio']:.2f}", f"{each['low']:.2f} to {each['high']:.2f}")
        for each in document["misalignment"]["pairs"]
    ]
    return Shown(("layout", "both off", "products", "over the worse alone", "range"), rows, "<<>>>")


def padding(document: Document) -> Shown:
    """How many products of each alignment were padded, and the median of compiled / eager."""
    lines = document["padding"]["lines"]
    return _by_alignment(lines, lambda each: f"{each['num_padded']} of {each['num_points']} ({each['ratio']:.2f})")


def model_products(document: Document) -> Shown:
    """The products of models in the compiled run, and those of few rows, one by one."""
    every = document["padding"]["points"]
    chosen = [each for each in every if {each["m"], each["n"], each["k"]} & set(MODEL_SIZES) or each["m"] <= FEW_ROWS]
    rows = [
        (each["layout"], *(str(each[name]) for name in ("m", "n", "k")), _us(each["eager_s"]), _us(each["compiled_s"]),
         f"{each['ratio']:.2f}", "yes" if each["is_padded"] else "no", each["compiled_kernel"] or ABSENT)
        for each in chosen
    ]  # fmt: skip
    return Shown(("layout", "m", "n", "k", "eager, us", "compiled, us", "ratio", "padded", "kernel, compiled"), rows, "<>>>>>><<")


def head_times(document: Document) -> Shown:
    """Time by head size and pass of attention; head sizes down, passes across."""
    points = [each for each in document["heads"]["points"] if each["pass_name"] not in (SCORES, VALUES)]
    passes = list(dict.fromkeys(each["pass_name"] for each in points))
    times = {(each["head_dim"], each["pass_name"]): each for each in points}
    sizes = sorted({each["head_dim"] for each in points})
    rows = [(str(size), *(_head(times.get((size, name))) for name in passes)) for size in sizes]
    return Shown(("head size", *(f"{name}, us" for name in passes)), rows, ">" * (1 + len(passes)))


def _head(point: Document | None) -> str:
    return ABSENT if point is None else f"{_us(point['time_s'])} ({point['relative']:.2f})"


def head_lines(document: Document) -> Shown:
    rows = [
        (each["pass_name"], str(each["alignment"]), str(each["num_points"]), f"{each['relative']:.2f}",
         f"{each['low']:.2f} to {each['high']:.2f}", each["kernels"] or ABSENT)
        for each in document["heads"]["lines"]
    ]  # fmt: skip
    return Shown(("product", "head size a multiple of", "points", "relative", "range", "kernels"), rows, "<>>>><")


def layers(document: Document) -> Shown:
    """One line a cell, in the order of the plan."""
    rows = [
        (label(each["model"], each["changes"]), PHASE_NAMES[each["phase"]], _ms(each["measured_s"]), _percent(each["spread_percent"]),
         _ms(each["predicted_s"]), f"{each['error_percent']:+.1f}", _limit(each))
        for each in document["layers"]["cells"]
    ]  # fmt: skip
    return Shown(("layer", "phase", "measured, ms", "spread %", "predicted, ms", "error %", "limit (predicted)"), rows, "<<>>>><")


def _limit(cell: Document) -> str:
    """What holds the layer back, and what the predictor says where that is something else."""
    measured, said = (("host" if is_host else "GPU") for is_host in (cell["is_host_bound"], cell["is_said_host_bound"]))
    return measured if measured == said else f"{measured} ({said})"


def layer_scores(document: Document) -> Shown:
    rows = [
        (PHASE_NAMES[each["phase"]], str(each["num_cells"]), f"{each['mape_percent']:.2f}", f"{each['bias_percent']:+.1f}",
         f"{each['worst_percent']:+.1f}", f"{each['spread_percent']:.1f}")
        for each in sorted(document["layers"]["scores"], key=lambda each: (*PHASES, "all").index(each["phase"]))
    ]  # fmt: skip
    return Shown(("phase", "layers", "MAPE", "bias", "worst", "spread %"), rows, "<>>>>>")


def prices(document: Document) -> Shown:
    """One line a pair: what the fault costs as measured and as predicted."""
    rows = [
        (each["model"], _shape(each["fault"]), _shape(each["fix"]), _how(each), _ms(each["fault_s"]), _ms(each["fix_s"]),
         f"{each['cost_percent']:.1f} ± {each['spread_percent']:.1f}", f"{each['predicted_percent']:.1f}")
        for each in document["prices"]["pairs"]
    ]  # fmt: skip
    header = ("model", "with the fault", "better", "how", "fault, ms", "better, ms", "cost %", "predicted %")
    return Shown(header, rows, "<<<<>>>>")


def _shape(changes: str) -> str:
    """The sizes that a pair differs in, one below the other."""
    return "<br>".join(changes.split(",")) if changes else "as it is"


def _how(pair: Document) -> str:
    """The phase, and what is not fused attention in eager mode with the GPU as the limit."""
    runs = PHASE_NAMES[pair["phase"]] if pair["kind"] == "layer" and pair["phase"] in PHASE_NAMES else f"{pair['phase']} step"
    kinds = (
        runs,
        "unfused" * (pair["attention"] == "eager"),
        "compiled" * (pair["runtime"] == "compiled"),
        "host-bound" * pair["is_host_bound"],
    )
    return ", ".join(filter(None, kinds))


def price_scores(document: Document) -> Shown:
    rows = [
        ("unfused" if each["attention"] == "eager" else "fused", each["runtime"], str(each["num_pairs"]), f"{each['mean_points']:.1f}",
         f"{each['worst_points']:+.1f}")
        for each in document["prices"]["scores"]
    ]  # fmt: skip
    return Shown(("attention", "runtime", "pairs", "mean error, points", "worst, points"), rows, "<<>>>")


def calibration_classes(report: Document) -> Shown:
    rows = [
        (str(each["name"]), str(each["num_rows"]), str(each["num_held_out"]), _percent(each["before_percent"]),
         _percent(each["after_percent"]), "yes" if each["is_adopted"] else str(each.get("remark") or "no"))
        for each in report["classes"]
    ]  # fmt: skip
    return Shown(("class", "rows", "held out", "before %", "after %", "adopted"), rows, "<>>>><")


def evaluations(document: Document) -> Shown:
    rows = [
        (
            each["plan"],
            each["profile"],
            each["group"],
            str(each["num_points"]),
            *(f"{each[f'{name}_percent']:.2f}" for name in ("mape", "median", "p90")),
        )
        for each in document["calibrate"]["evaluations"]
    ]
    return Shown(("plan", "profile", "products", "number", "MAPE", "median", "p90"), rows, "<<<>>>>")


def _us(value_s: float) -> str:
    return three_digits(value_s / MICRO)


def _ms(value_s: float) -> str:
    return three_digits(value_s / MILLI)


def _percent(value: float | None) -> str:
    return ABSENT if value is None else f"{value:.1f}"


def _number(value: float | None, form: str) -> str:
    return ABSENT if value is None else form.format(value)
