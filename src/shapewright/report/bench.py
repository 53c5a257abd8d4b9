"""What `bench` measured, beside the prediction: a table for people, a document for programs (`bench.schema.json`).

A record is a row of the run with what is known of its point: FLOPs and bytes a second, the prediction and how far it lies off. Seconds,
FLOP/s, bytes a second; errors in percent of the measured time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ..calibrate.compare import Answer, Compared
from ..errors import ShapewrightError
from ..measure.operators import works_of
from ..measure.points import point_of
from ..operators.types import Collective, FlashAttention, Work
from . import units
from .json import SCHEMA_VERSION
from .kernel_names import kernels_text
from .measured import spread_text
from .named_table import named_table
from .points import row_name
from .table import format_hanging

Record = Mapping[str, Any]
MEASURED_HEADER = ("point", "measured", "rate")
PREDICTED_HEADER = ("predicted", "error", "SOL")
#: Rows of a table; a run that holds more is for `results` and `accuracy --measured`.
MOST_ROWS = 60
LEGEND = (
    "spread: half of the 10-90 % range of the replays; error: predicted / measured - 1; SOL: the roofline's time over the measured one."
)


def record_of(row: Mapping[str, Any], answer: Answer) -> dict[str, Any]:
    """A row of a run with its rates and its prediction; `no_prediction` says why there is none."""
    found = dict(row) | _rates(row)
    if not isinstance(answer, Compared):
        return found | {"no_prediction": answer}
    names = ("predicted_s", "limit_s", "bound_by", "provenance")
    found |= {name: getattr(answer, name) for name in names} | {"predicted_low_s": answer.low_s, "predicted_high_s": answer.high_s}
    if answer.gpu_s is not None:
        found |= {"predicted_gpu_s": answer.gpu_s, "predicted_host_s": answer.host_s, "is_host_bound_predicted": answer.is_host_bound}
    if row.get("time_s"):
        found |= {"error_percent": 100 * (answer.predicted_s / row["time_s"] - 1), "speed_of_light": answer.limit_s / row["time_s"]}
    return found


def _rates(row: Mapping[str, Any]) -> dict[str, float]:
    """Executed FLOPs and bytes a second of a plain kind's good row, and bus bytes of a collective's."""
    time_s = row.get("time_s")
    try:
        works = works_of(point_of(row)) if time_s else ()
    except ShapewrightError:
        works = ()
    if not works or not time_s:
        return {}
    flops, moved = sum(_executed(work) for work in works), sum(work.bytes for work in works)
    name = "bus_bytes_per_s" if isinstance(works[0], Collective) else "bytes_per_s"
    return ({"flops_per_s": flops / time_s} if flops else {}) | {name: moved / time_s}


def _executed(work: Work) -> float:
    """FLOPs that are run: attention skips what its mask hides."""
    return work.executed_flops if isinstance(work, FlashAttention) else work.flops


def bench_document(
    records: Sequence[Record], *, environment: Mapping[str, Any], run: str, predicted_on: str | None, why_no_prediction: str
) -> dict[str, Any]:
    """The JSON of `bench`."""
    return {
        "schema_version": SCHEMA_VERSION,
        "run": run,
        "environment": dict(environment),
        "predicted_on": predicted_on,
        "why_no_prediction": why_no_prediction or None,
        "counts": dict(Counter(str(record["status"]) for record in records)),
        "rows": [dict(record) for record in records],
    }


def bench_text(records: Sequence[Record], *, run: str, why_no_prediction: str = "", width: int = 80) -> str:
    """The table, what it means, and where the rows are."""
    shown = records[:MOST_ROWS]
    has_predictions = any("predicted_s" in record for record in records)
    header = (*MEASURED_HEADER, *(PREDICTED_HEADER if has_predictions else ()))
    rows = [(row_name(record), cells(record, has_predictions), remark(record, known=why_no_prediction)) for record in shown]
    lines = named_table(header, rows, "<" + ">" * (len(header) - 1), width) if rows else []
    said = [LEGEND] if has_predictions else [LEGEND.partition(";")[0] + "."]
    said += [f"No prediction: {why_no_prediction}."] if why_no_prediction else []
    said += [summary(records)] if len(records) > 1 else []
    return "\n".join([*lines, "", *(line for each in said for line in format_hanging(each, width)), *kept_text(run, width)])


def kept_text(run: str, width: int) -> list[str]:
    """The line that names the run; a long path is never broken."""
    return format_hanging(f"rows kept in {run}", width)


def cells(record: Record, has_prediction: bool) -> tuple[str, ...]:
    """measured, rate; predicted, error, speed of light."""
    time_s = record.get("time_s")
    if time_s is None:
        return ("-",) * (5 if has_prediction else 2)
    measured = units.seconds(time_s), rate_text(record)
    if not has_prediction:
        return measured
    if "predicted_s" not in record:
        return (*measured, "-", "-", "-")
    return (*measured, units.seconds(record["predicted_s"]), f"{record['error_percent']:+.1f} %", f"{100 * record['speed_of_light']:.0f} %")


def rate_text(record: Record) -> str:
    """TFLOP/s of products and attention, bytes a second of the rest."""
    if record.get("flops_per_s"):
        return units.flops_per_s(record["flops_per_s"])
    moved = record.get("bytes_per_s") or record.get("bus_bytes_per_s")
    return units.with_prefix(moved, "B/s") if moved else "-"


def remark(record: Record, *, known: str = "") -> str:
    """What has no column: the interval, what bounds it, the kernel, the card; of a failed row its error. `known` is said elsewhere."""
    if record["status"] != "ok":
        return f"{str(record['status']).replace('_', ' ')}: {record.get('error', '')}"
    said = [f"spread {spread_text(record.get('low_s'), record.get('high_s'), record.get('time_s'))}"]
    if "predicted_s" in record:
        low, high = units.seconds(record["predicted_low_s"]), units.seconds(record["predicted_high_s"])
        said.append(f"predicted {low} to {high}, {record['bound_by']} bound, {record['provenance']}")
    elif record.get("no_prediction") not in (None, known):
        said.append(str(record["no_prediction"]))
    said += [_host(record), kernels_text(str(record.get("kernel") or "")), _card(record)]
    return "; ".join(filter(None, said))


def _host(record: Record) -> str:
    """Of a layer or model: whether the host sets the time, and the GPU's share of it."""
    if record.get("is_host_bound") is None:
        return ""
    kernels = f"kernels {units.seconds(record['kernel_s'])}" if record.get("kernel_s") else ""
    return ", ".join(filter(None, ("host-bound" if record["is_host_bound"] else "GPU-bound", kernels)))


def _card(record: Record) -> str:
    """Clock, power and temperature after the point, and reasons for a lowered clock."""
    if record.get("sm_clock_after_hz") is None:
        return ""
    state = f"{record['sm_clock_after_hz'] / 1e9:.2f} GHz, {record.get('power_after_w', 0):.0f} W, {record.get('temperature_after_c', 0)} C"
    throttle = str(record.get("throttle") or "")
    return f"{state}, throttled by {throttle}" if throttle else state


def summary(records: Sequence[Record]) -> str:
    """How many points were measured and failed, and the mean error of the predictions."""
    counts = Counter(str(record["status"]) for record in records)
    errors = [abs(record["error_percent"]) for record in records if "error_percent" in record]
    said = [f"{counts['ok']} of {len(records)} points measured"]
    said += [f"{count} {status.replace('_', ' ')}" for status, count in counts.items() if status != "ok"]
    said += [f"mean error {sum(errors) / len(errors):.1f} % over {len(errors)}"] if errors else []
    said += [f"the first {MOST_ROWS} are shown"] if len(records) > MOST_ROWS else []
    return "; ".join(said) + "."
