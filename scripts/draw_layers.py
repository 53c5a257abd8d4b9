"""Draws predicted against measured layer times: docs/images/layers.svg (and .png beside it with --png).

    python scripts/draw_layers.py [--png]

Measured: one layer on an H200, forward and forward + backward, from benchmarks/h200/layers/sustained.jsonl; and the five bars of the
paper's Figure 1 on an A100, forward. No layer time was fitted; the rates of memory-bound kernels come from profiles of some of these layers
(H200) and from the slope of Figure 1 over the number of heads (A100). Needs altair and vl-convert-python.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import altair as alt

import shapewright as sw

ROOT = Path(__file__).parent.parent
ROWS = ROOT / "benchmarks/h200/layers/sustained.jsonl"
#: Names in the measured rows -> catalogue model and changed fields.
MODELS = {
    "llama-2-7b": ("llama-2-7b", {}),
    "llama-2-7b-10922": ("llama-2-7b", {"intermediate_size": 10922}),
    "llama-2-7b-10923": ("llama-2-7b", {"intermediate_size": 10923}),
    "llama-3-8b": ("llama-3-8b", {}),
    "gpt3-2.7b": ("pythia-2.8b", {"is_parallel": False}),
    "pythia-1b": ("pythia-1b", {}),
    "phi-2": ("phi-2", {}),
}
#: Figure 1 of the paper: heads at hidden size 2560 -> TFLOP/s of a forward layer (b=4, s=2048, fp16, unfused attention).
FIGURE_1 = {64: 83.392, 40: 108.505, 32: 119.37, 20: 140.695, 10: 165.741}


def h200_points() -> list[dict]:
    points = []
    for line in ROWS.read_text().splitlines():
        row = json.loads(line)
        if row.get("kind") != "layer":
            continue
        name, changes = MODELS[row["model"]]
        layer = sw.explain(sw.load_shape(name, **changes), "h200").layer
        assert layer.backward is not None
        both_s = layer.forward.time_s + layer.backward.time_s
        for series, measured_ms, predicted_s in (
            ("H200, forward", row["forward_ms"], layer.forward.time_s),
            ("H200, forward + backward", row["forward_backward_ms"], both_s),
        ):
            points.append({"series": series, "model": row["model"], "measured_ms": measured_ms, "predicted_ms": predicted_s * 1e3})
    return points


def figure_1_points() -> list[dict]:
    points = []
    for heads, tflops in FIGURE_1.items():
        shape = sw.load_shape("gpt3-2.7b", num_attention_heads=heads)
        layer = sw.explain(shape, "a100-40gb", phase="forward", attention="unfused", dtype="fp16").layer
        measured_ms = layer.forward.flops / tflops / 1e9
        predicted_ms = layer.forward.time_s * 1e3
        points.append(
            {"series": "A100, the paper's Figure 1", "model": f"a={heads}", "measured_ms": measured_ms, "predicted_ms": predicted_ms}
        )
    return points


def chart(points: list[dict]) -> alt.LayerChart:
    """Points on logarithmic axes with the diagonal of a perfect prediction."""
    error = sum(abs(p["predicted_ms"] / p["measured_ms"] - 1) for p in points) / len(points)
    scale = alt.Scale(type="log", domain=[1.5, 80], nice=False)
    ticks = alt.Axis(values=[2, 5, 10, 20, 50], grid=True)
    data = alt.Data(values=points)
    dots = alt.Chart(data).mark_point(size=70, filled=True, opacity=0.85)
    dots = dots.encode(
        x=alt.X("measured_ms:Q", scale=scale, axis=ticks, title="measured, ms a layer"),
        y=alt.Y("predicted_ms:Q", scale=scale, axis=ticks, title="predicted, ms a layer"),
        color=alt.Color("series:N", title=None, legend=alt.Legend(orient="bottom")),
        shape=alt.Shape("series:N", title=None),
        tooltip=["model:N", "measured_ms:Q", "predicted_ms:Q"],
    )
    diagonal = alt.Chart(alt.Data(values=[{"x": 1.5, "y": 1.5}, {"x": 80, "y": 80}])).mark_line(color="gray", strokeDash=[4, 4])
    line = diagonal.encode(x=alt.X("x:Q", scale=scale), y=alt.Y("y:Q", scale=scale))
    title = f"One transformer layer: mean error {error:.1%} over {len(points)} measurements"
    return (line + dots).properties(width=520, height=330, title=title)


def main() -> None:
    drawing = chart(h200_points() + figure_1_points())
    folder = ROOT / "docs/images"
    drawing.save(folder / "layers.svg")
    if "--png" in sys.argv:
        drawing.save(folder / "layers.png", scale_factor=2)


if __name__ == "__main__":
    main()
