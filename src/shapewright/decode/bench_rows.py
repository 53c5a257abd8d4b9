"""What `shapewright decode` measured, one row for each model, cell and engine: what a row holds, and how a file of them is read.

A file is a run file as `shapewright.measure.store` writes them: JSON Lines under headers that name GPU, versions and commit; a row carries
its own fields alone, and `read_rows` joins the two. Times in seconds, sizes in bytes, one step is one forward pass of `batch` tokens.

    rows = read_rows("run.jsonl")          # or .jsonl.gz; of a cell that was measured again, the last row
    rows[0].tokens_per_s, rows[0].speed_of_light, rows[0].versions["torch"]

Errors: a file that is no run, that holds no such rows or newer ones is an `InputError` that names it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

from ..errors import InputError, shown
from ..measure.run_rows import RunRows, read_run

SCHEMA_VERSION = 1
KIND, CHECK_KIND = "decode", "decode-check"
Status = Literal["ok", "failed", "out_of_memory"]
#: Engines of `bench_engines`, in the order in which tables show them; `read` is the ceiling.
ENGINES = ("hf", "hf-eager", "hf-static-compile", "gpt-fast", "ours-generate", "ours-loop", "read")
BASE, OURS, LIMIT = "hf", ("ours-loop", "ours-generate"), "read"
#: Names of a run's environment that become `Row.versions`.
_VERSIONS = ("torch", "cuda", "rocm", "triton", "transformers", "driver", "numpy", "python", "shapewright")
_HEADER = ("gpu", "versions", "commit")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One engine in one cell (batch x context) of one model. What was not measured is None, or empty."""

    model: str
    family: str
    """`model_type` of its config."""
    num_parameters: int
    engine: str
    batch: int
    context: int
    """Tokens of each prompt."""
    new_tokens: int
    """Timed steps; `warmup_tokens` come before them in the same call and are not timed."""
    warmup_tokens: int
    dtype: str
    status: Status = "ok"
    repeats_s: tuple[float, ...] = ()
    """Seconds of `new_tokens` steps, a number for each repeat, in their order."""
    time_per_step_s: float | None = None
    """Median of the repeats / new_tokens."""
    tokens_per_s: float | None = None
    """batch / time_per_step_s."""
    min_s: float | None = None
    max_s: float | None = None
    deviation_s: float | None = None
    """Spread of `repeats_s`: least, most, and median absolute deviation from the median."""
    weight_bytes: int = 0
    """Weights that a step reads; an embedding table only where it makes the logits too."""
    cache_bytes: int = 0
    """Keys and values that a step reads, mean over the timed steps."""
    speed_of_light: float | None = None
    """Share of the ceiling: seconds in which the same bytes are read, in the same turns, / time_per_step_s."""
    ttft_s: float | None = None
    """Median seconds of a call that makes one token: time to first token."""
    warmup_s: float | None = None
    """Seconds from making the engine to its first `warmup_tokens` tokens: compilation, capture, tuning."""
    memory_peak_bytes: int | None = None
    """Allocated at most while it ran: weights, its own buffers, prefill and cache; without those of its neighbours."""
    launches: float | None = None
    """Kernels and copies that a step runs, where they were counted."""
    positions_raised_to: int | None = None
    """Rows of a learned position table that the config's own number did not suffice for."""
    together: tuple[str, ...] = ()
    """Engines that ran in turn with this one, itself included, in the order of the first repeat."""
    notes: tuple[str, ...] = ()
    error: str | None = None
    """Why the status is not ok."""
    started_at: str = ""
    """UTC of the cell's first repeat."""
    gpu: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    commit: str | None = None

    @property
    def key(self) -> tuple[str, ...]:
        """What makes a row the same measurement as another on the same GPU."""
        values = (self.model, self.engine, self.batch, self.context, self.new_tokens, self.warmup_tokens, self.dtype)
        return tuple(str(value) for value in values)

    @property
    def has_rate(self) -> bool:
        """Whether it was measured and nothing failed."""
        return self.status == "ok" and bool(self.tokens_per_s)

    @property
    def bytes_per_s(self) -> float | None:
        """Bytes that a step must read, a second: of the engine `read` the ceiling itself."""
        return (self.weight_bytes + self.cache_bytes) / self.time_per_step_s if self.time_per_step_s else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """How near an engine's logits came to Hugging Face's on one cell, both fed Hugging Face's greedy tokens.

    Logits of random weights are almost tied: equal tokens are reported, not demanded.
    """

    model: str
    engine: str
    dtype: str
    batch: int
    context: int
    num_tokens: int
    """New tokens of all rows of the batch that were compared."""
    num_equal_tokens: int
    """Those that both engines, left alone, choose alike."""
    max_relative_difference: float | None = None
    """Largest |ours - Hugging Face's| of a logit / largest |Hugging Face's| of its step; None where it cannot be fed tokens."""
    max_relative_error: float | None = None
    """The same against Hugging Face's with the weights in fp32; None in fp32 itself and where there was no room for them."""
    hf_max_relative_error: float | None = None
    """That of Hugging Face in the dtype of the check."""
    num_sure_tokens: int | None = None
    """Tokens whose lead in fp32 is more than twice Hugging Face's error."""
    num_sure_tokens_right: int | None = None
    """Of these, those that are the engine's likeliest too."""
    status: Status = "ok"
    error: str | None = None
    gpu: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    commit: str | None = None


def row_json(row: Row | Check) -> dict[str, Any]:
    """The line of a row: its fields without those of the header."""
    kind = KIND if isinstance(row, Row) else CHECK_KIND
    return {"schema_version": SCHEMA_VERSION, "kind": kind} | {name: each for name, each in asdict(row).items() if name not in _HEADER}


def read_rows(path: Path | str) -> list[Row]:
    """Rows of a run file in order; of a measurement that is there more than once, the last that is ok (else the last)."""
    return latest(read_every_row(path))


def latest(rows: Iterable[Row]) -> list[Row]:
    """Of a measurement that is there more than once the last that is ok, else the last."""
    found: dict[tuple[str, ...], Row] = {}
    for row in rows:
        key = (*row.key, row.gpu)
        if row.status == "ok" or key not in found or found[key].status != "ok":
            found[key] = row
    return list(found.values())


def representative(rows: Iterable[Row]) -> dict[str, Row]:
    """By engine, of rows of one cell: of ours and the read the last that is ok, of others the fastest, else the last.

    Hugging Face's loop runs as fast as the host; ours does not, so that a slow host would make a gain larger.
    """
    found: dict[str, Row] = {}
    for row in sorted(rows, key=lambda row: row.started_at):
        before = found.get(row.engine)
        is_failure = before is None or before.status != "ok"
        is_faster = before is not None and (row.tokens_per_s or 0.0) > (before.tokens_per_s or 0.0)
        if is_failure or (row.status == "ok" and (is_faster or row.engine in (*OURS, LIMIT))):
            found[row.engine] = row
    return found


def beside(rows: Iterable[Row], other: Row, names: Iterable[str] = OURS) -> list[Row]:
    """Good rows of the engines called `names` that ran in turn with `other`: all rows of one cell in one run were begun at one time."""
    wanted = set(names)
    return [
        row for row in rows
        if (row.started_at, row.together) == (other.started_at, other.together) and row.engine in wanted and row.has_rate
    ]  # fmt: skip


def fastest_beside(rows: Iterable[Row], shown: Mapping[str, Row], over: str, names: Sequence[str] = OURS) -> Row | None:
    """The fastest of the engines called `names` in the run of the row shown for `over`; without one there, of those shown."""
    good = {name: row for name, row in shown.items() if row.has_rate}
    found = beside(rows, good[over], names) if over in good else []
    found = found or [good[name] for name in names if name in good]
    return max(found, key=lambda row: row.tokens_per_s or 0.0, default=None)


def read_every_row(path: Path | str) -> list[Row]:
    """Rows of a run file in order, also those that were measured again."""
    found = rows_of(read_run(path))
    if not found:
        raise InputError("holds no rows of decode", where=str(path), hint="name a file that `shapewright decode` wrote")
    return found


def rows_of(run: RunRows) -> list[Row]:
    """Every row of decode in a run."""
    return [_row(Row, run, index) for index, each in enumerate(run.rows) if each["kind"] == KIND]


def read_checks(path: Path | str) -> list[Check]:
    """The correctness checks of a run file, in order; none is an empty list."""
    run = read_run(path)
    return [_row(Check, run, index) for index, each in enumerate(run.rows) if each["kind"] == CHECK_KIND]


def last_checks(checks: Iterable[Check]) -> list[Check]:
    """Of an engine that was held against Hugging Face's more than once in a cell, the last."""
    return list({(check.model, check.dtype, check.gpu, check.batch, check.context, check.engine): check for check in checks}.values())


def _row(kind: Any, run: RunRows, index: int) -> Any:
    """A line with its header as a `Row` or `Check`; fields that this version does not know are left out."""
    line, environment, where = run.rows[index], run.environment_of(index), f"{run.path}, row {index + 1}"
    version = line.get("schema_version", SCHEMA_VERSION)
    if not isinstance(version, int) or version > SCHEMA_VERSION:
        raise InputError(f"schema_version is {shown(version)}, newer than {SCHEMA_VERSION}", where=where, hint="update shapewright")
    if line.get("status") not in get_args(Status):
        raise InputError(f"status is {shown(line.get('status'))}", where=where, hint=f"known: {', '.join(get_args(Status))}")
    values = {"versions": {name: str(environment[name]) for name in _VERSIONS if name in environment}, "commit": environment.get("commit")}
    for each in fields(kind):
        if each.name in line:
            values[each.name] = tuple(line[each.name]) if isinstance(line[each.name], list) else line[each.name]
        elif each.name not in values and each.default is MISSING and each.default_factory is MISSING:
            raise InputError(f"has no {each.name}", where=where, hint="expected a row that `shapewright decode` wrote")
    return kind(**values)
