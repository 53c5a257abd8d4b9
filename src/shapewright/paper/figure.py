"""A figure of the paper as data: what it plots over what, and what must be said on it. One entry of `figures.toml` each.

    load_figure("7a").title, all_figures()

`x` is the quantity on the horizontal axis; `series` the curves, each with the variables that it fixes (or one curve of no name); `split`
cuts a curve into families by the largest power of two, up to `FAMILIES[-1]`, that divides an expression. Operators are parts (points of
`measure.points`) whose sizes are expressions of the variables a, b, h, s, t, v (Table I of the paper) and the figure's own. Units: sizes
in elements, rates in TFLOP/s as the paper prints them. Errors: an unknown figure.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from ..errors import InputError, unknown_name
from ..expressions import Expression

ChartKind = Literal["lines", "bars", "shares", "latency", "decode", "tiling", "architecture"]
#: Largest power of two of a family, the last one standing for all beyond: the paper sees no gain past 64.
FAMILIES = (1, 2, 4, 8, 16, 32, 64)
#: b and s of every figure (unstated in the paper, in its authors' logs), t where a figure does not vary it.
FIXED = {"b": 4, "s": 2048, "t": 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One kernel of an operator: its kind of point, and its fields as texts (words) and expressions (numbers)."""

    kind: str
    words: Mapping[str, str]
    sizes: Mapping[str, Expression]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """What is timed at each x: kernels one after another, and the FLOPs that the paper counts for them."""

    name: str
    title: str
    flops: Expression
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """The swept variable: explicit `values`, or from, to and step as expressions of what is fixed."""

    name: str
    title: str
    scale: Literal["linear", "log2"]
    values: tuple[int, ...] | None
    start: Expression | None
    stop: Expression | None
    step: Expression | None
    ticks: tuple[int, ...] = ()
    """Where the axis is labelled, if somewhere in particular."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One curve: `name` on the chart, `published` in published.csv, the variables that it fixes, and its operator."""

    name: str
    published: str
    fixed: Mapping[str, int]
    operator: Operator


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """A range of x that a chart shades, with its label."""

    start: float
    stop: float
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One figure. `unit` of y; `num_measured` x values of a curve that are measured (0: all), none beyond `measured_to`
    (0: no end); `logs`: what the authors' log calls it."""

    id: str
    title: str
    section: str
    chart: ChartKind
    unit: str
    axis: Axis | None
    series: tuple[Series, ...]
    split: Expression | None
    fixed: Mapping[str, int]
    published_gpus: tuple[str, ...]
    logs: Mapping[str, Any] | None
    bands: tuple[Band, ...]
    notes: tuple[str, ...]
    num_measured: int
    measured_to: int
    same_as: str
    claims: tuple[int, ...]
    cases: tuple[Mapping[str, Any], ...]
    """What stands on the horizontal axis of a figure without a sweep."""
    groups: tuple[Mapping[str, Any], ...]
    """Parts of a bar, or groups of bars."""

    @property
    def is_diagram(self) -> bool:
        """Whether it shows how things are built rather than values."""
        return self.chart in ("tiling", "architecture")

    @property
    def is_sweep(self) -> bool:
        """Whether it is TFLOP/s of operators over a size."""
        return self.chart == "lines"


def load_figure(name: str) -> Figure:
    """The figure `7a`, `Fig. 7a` or `figure 07A`."""
    wanted = re.sub(r"^(figure|fig\.?)?\s*0*", "", name.strip().lower())
    known = {each.id.lower(): each for each in all_figures()}
    if wanted not in known:
        halves = [each for each in known if wanted and each[:-1] == wanted]
        if halves:
            raise InputError(f"figure {name} has parts", hint=f"name {' or '.join(halves)}", field="figure")
        raise unknown_name("figure", name, [each.id for each in all_figures()], field="figure")
    return known[wanted]


@cache
def all_figures() -> tuple[Figure, ...]:
    """Every figure, in the paper's order."""
    data = _data()
    return tuple(_figure(entry, _operators(), data["templates"]) for entry in data["figures"])


def load_operator(name: str) -> Operator:
    """What the figures time, by its name in figures.toml."""
    return _operators()[name]


@cache
def _data() -> Mapping[str, Any]:
    return tomllib.loads((files("shapewright.paper") / "figures.toml").read_text("utf-8"))


@cache
def _operators() -> Mapping[str, Operator]:
    return {name: _operator(name, entry) for name, entry in _data()["operators"].items()}


def _figure(entry: Mapping[str, Any], operators: Mapping[str, Operator], templates: Mapping[str, Any]) -> Figure:
    """One entry, over the template that it names."""
    entry = {**templates.get(entry.get("like", ""), {}), **entry}
    chart = entry.get("chart", "lines")
    return Figure(
        id=entry["id"],
        title=entry["title"],
        section=entry["section"],
        chart=chart,
        unit=entry.get("unit", "TFLOP/s"),
        axis=_axis(entry["x"]) if "x" in entry else None,
        series=_series(entry, operators) if chart == "lines" else (),
        split=Expression(entry["split"]) if "split" in entry else None,
        fixed={**FIXED, **entry.get("fixed", {})},
        published_gpus=tuple(entry.get("published_gpus", ())),
        logs=entry.get("logs"),
        bands=tuple(Band(start=start, stop=stop, label=label) for start, stop, label in entry.get("bands", ())),
        notes=tuple(entry.get("notes", ())),
        num_measured=entry.get("num_measured", 0),
        measured_to=entry.get("measured_to", 0),
        same_as=entry.get("same_as", ""),
        claims=tuple(entry.get("claims", ())),
        cases=tuple(entry.get("cases", ())),
        groups=tuple(entry.get("groups", ())),
    )


def _axis(entry: Mapping[str, Any]) -> Axis:
    """From values, powers of two (first and last exponent), or start, stop and step."""
    values = entry.get("values")
    if "powers" in entry:
        first, last = entry["powers"]
        values = [2**power for power in range(first, last + 1)]
    ends = [Expression(str(entry[key])) if key in entry else None for key in ("from", "to", "step")]
    return Axis(
        name=entry["name"],
        title=entry["title"],
        scale=entry.get("scale", "linear"),
        values=None if values is None else tuple(values),
        start=ends[0],
        stop=ends[1],
        step=ends[2],
        ticks=tuple(entry.get("ticks", ())),
    )


def _series(entry: Mapping[str, Any], operators: Mapping[str, Operator]) -> tuple[Series, ...]:
    """Curves by one variable (`over`), as a list, or the only one."""
    own = entry.get("operator", "")
    if "over" in entry:
        ((variable, values),) = entry["over"].items()
        curves: Sequence[Mapping[str, Any]] = [{"name": f"{variable}={value}", variable: value} for value in values]
    else:
        curves = entry.get("series", [{"name": ""}])
    return tuple(
        Series(
            name=each["name"],
            published=each.get("published", each["name"]),
            fixed={name: value for name, value in each.items() if name not in ("name", "published", "operator")},
            operator=operators[each.get("operator", own)],
        )
        for each in curves
    )


def _operator(name: str, entry: Mapping[str, Any]) -> Operator:
    parts = tuple(_part(each) for each in entry["parts"])
    return Operator(name=name, title=entry["title"], flops=Expression(entry["flops"]), parts=parts)


#: Fields of a part that are words; every other one is an expression.
_WORDS = ("kind", "layout", "call", "op", "backend", "order")


def _part(entry: Mapping[str, Any]) -> Part:
    words = {name: value for name, value in entry.items() if name in _WORDS}
    kind = words.pop("kind", "gemm")
    return Part(kind=kind, words=words, sizes={name: Expression(str(value)) for name, value in entry.items() if name not in _WORDS})
