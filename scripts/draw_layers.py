"""Draws predicted against measured layer times: docs/images/layers.svg (and .png beside it with --png).

    python scripts/draw_layers.py [--png]

Measured: one layer of Hugging Face models on an H200, forward and forward + backward, from benchmarks/h200/layers-*.jsonl.gz (cells whose
limit is the host are left out); and the five bars of the paper's Figure 1 on an A100, forward. No layer time was fitted; the rates of
memory-bound kernels come from rows of single kernels (H200) and from the slope of Figure 1 over the number of heads (A100). Needs altair
and vl-convert-python.
"""

from __future__ import annotations

import sys
from pathlib import Path

import altair as alt

import shapewright as sw
from shapewright.calibrate.measuring.layers import label, layer_cells
from shapewright.calibrate.measuring.runs import find_runs, ok_rows

ROOT = Path(__file__).parent.parent
#: Ends of both axes.
LEAST_MS, MOST_MS = 0.6, 80
PHASES = {"forward": "H200, forward", "train": "H200, forward + backward"}
#: Figure 1 of the paper: heads at hidden size 2560 -> TFLOP/s of a forward layer (b=4, s=2048, fp16, unfused attention).
FIGURE_1 = {64: 83.392, 40: 108.505, 32: 119.37, 20: 140.695, 10: 165.741}


def h200_points() -> list[dict]:
    cells, _ = layer_cells(ok_rows(find_runs(ROOT / "benchmarks/h200", "layers")), sw.load_gpu("h200"))
    return [
        {"series": PHASES[cell.phase], "model": label(cell.model, cell.changes), "measured_ms": cell.measured_s * 1e3,
         "predicted_ms": cell.predicted_s * 1e3}
        for cell in cells
        if not cell.is_host_bound
    ]  # fmt: skip


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
    scale = alt.Scale(type="log", domain=[LEAST_MS, MOST_MS], nice=False)
    ticks = alt.Axis(values=[1, 2, 5, 10, 20, 50], grid=True)
    data = alt.Data(values=points)
    dots = alt.Chart(data).mark_point(size=70, filled=True, opacity=0.85)
    dots = dots.encode(
        x=alt.X("measured_ms:Q", scale=scale, axis=ticks, title="measured, ms a layer"),
        y=alt.Y("predicted_ms:Q", scale=scale, axis=ticks, title="predicted, ms a layer"),
        color=alt.Color("series:N", title=None, legend=alt.Legend(orient="bottom")),
        shape=alt.Shape("series:N", title=None),
        tooltip=["model:N", "measured_ms:Q", "predicted_ms:Q"],
    )
    diagonal = alt.Chart(alt.Data(values=[{"x": each, "y": each} for each in (LEAST_MS, MOST_MS)])).mark_line(
        color="gray", strokeDash=[4, 4]
    )
    line = diagonal.encode(x=alt.X("x:Q", scale=scale), y=alt.Y("y:Q", scale=scale))
    title = f"One transformer layer: mean error {error:.1%} over {len(points)} measurements"
    return (line + dots).properties(width=520, height=330, title=title)


def main() -> None:
    points = h200_points() + figure_1_points()
    worst = max(abs(p["predicted_ms"] / p["measured_ms"] - 1) for p in points)
    print(f"largest error {worst:.1%}")
    drawing = chart(points)
    folder = ROOT / "docs/images"
    drawing.save(folder / "layers.svg")
    if "--png" in sys.argv:
        drawing.save(folder / "layers.png", scale_factor=2)


if __name__ == "__main__":
    main()
