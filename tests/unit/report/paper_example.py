"""Hand-made rows of the paper's figures, and a walk through a chart's specification: its layers by what they hold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from shapewright.paper.rows import Row

Spec = dict[str, Any]


def row(figure: str, source: str, x: Any, y: float, *, series: str = "", gpu: str = "h200", **more: Any) -> Row:
    """One row in the unit of most figures."""
    return Row(figure=figure, source=source, gpu=gpu, series=series, x=x, y=y, **{"unit": "TFLOP/s", **more})  # type: ignore[arg-type]


def marks(spec: Spec, kind: str) -> list[list[dict[str, Any]]]:
    """Records of each layer of that kind, in the order in which they are drawn."""
    return [values for layer, values in walk(spec) if layer.get("description") == kind]


def layers(spec: Spec, kind: str) -> list[Spec]:
    """The layers themselves."""
    return [layer for layer, _ in walk(spec) if layer.get("description") == kind]


def walk(spec: Spec, inherited: Any = None) -> Iterator[tuple[Spec, list[dict[str, Any]]]]:
    """Every single chart and its records: those of a chart that names none are its parent's."""
    data = spec.get("data", inherited)
    parts = [part for how in ("layer", "concat", "vconcat", "hconcat") for part in spec.get(how, ())]
    for part in parts:
        yield from walk(part, data)
    if not parts:
        yield spec, list(data["values"])


def titles(spec: Spec) -> list[Any]:
    """Every title of the page, outermost first; lines of notes as one text."""
    own = spec.get("title")
    text = own.get("text") if isinstance(own, dict) else own
    found = [" ".join(text) if isinstance(text, list) else text] if text else []
    return found + [title for how in ("layer", "concat", "vconcat", "hconcat") for part in spec.get(how, ()) for title in titles(part)]
