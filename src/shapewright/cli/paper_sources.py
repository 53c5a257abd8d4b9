"""Where the times of the `paper` commands come from: predictions on the GPUs named, and rows measured here or stored in runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from cyclopts import Group, Parameter

from ..dtypes import load_dtype
from ..errors import InputError, MissingError, ShapewrightError, shown
from ..hardware.gpu import Gpu
from ..measure.plan import Plan
from ..measure.points import TOGETHER, LayerPoint, ModelPoint, Point
from ..paper.plan import WARM_S
from ..paper.reports import PAPER_DTYPE
from ..paper.times import Measured, Predicted, Times, measured_times
from .arguments import blame_flag
from .notes import print_notes
from .options import LibraryName, PositiveNumber
from .several_gpus import GpuNames, load_gpus

_MEASURING = Group("Measuring", sort_key=9)
#: Formats of the figures' products: fp8 has neither batched products nor those of a transposed weight.
DTYPES = ("fp16", "bf16", "tf32", "fp32")
#: GPUs that the paper measured, named where none is.
EXAMPLE = "name one or several of `shapewright gpus`, such as a100-40gb or h200, or measure the one at hand with --measured"
#: Seconds that a layer or model, and any other point, may take.
STEP_TIMEOUT_S, TIMEOUT_S = 900.0, 120.0


def _flag(text: str, **options: Any) -> Parameter:
    return Parameter(help=text, negative="", **options)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class SourceFlags:
    """GPUs, and whether their rows are measured now or were before."""

    gpu: GpuNames | None = None
    library: LibraryName = None
    measured: Annotated[bool, _flag("Measure on the GPU at hand too.", group=_MEASURING)] = False
    rows: Annotated[
        list[str] | None,
        _flag("Run files measured before (.jsonl, .jsonl.gz), in place of --measured.", consume_multiple=True, group=_MEASURING),
    ] = None
    device: Annotated[str | None, _flag("cuda or cuda:N; default cuda.", group=_MEASURING)] = None
    out: Annotated[
        str | None, _flag("Run file (.jsonl), new or to go on with; default: a new one in your folder of runs.", group=_MEASURING)
    ] = None
    time_limit: Annotated[PositiveNumber | None, _flag("Seconds after which no further point is started.", group=_MEASURING)] = None
    retry_failed: Annotated[bool, _flag("Measure points again whose rows in --out failed.", group=_MEASURING)] = False

    def check(self) -> None:
        """Refuse flags that say nothing, or two things."""
        if self.measured and self.rows:
            raise InputError("--measured and --rows are both given", hint="give one of them; --out goes on with a file")
        if self.rows is not None and not self.rows:
            raise InputError("--rows needs a value", hint="name run files of `shapewright bench` or `paper figure --measured`")
        given = {"--device": self.device, "--out": self.out, "--time-limit": self.time_limit, "--retry-failed": self.retry_failed or None}
        idle = [flag for flag, value in given.items() if value is not None]
        if idle and not self.measured:
            raise InputError(f"{idle[0]} is given without --measured", hint="nothing is measured: leave it out, or add --measured")


def paper_gpus(flags: SourceFlags, dtype: str) -> list[Gpu]:
    """The GPUs asked about, each of which has the number format; with --measured alone the one at hand."""
    flags.check()
    gpus = load_gpus(flags.gpu or ())
    if flags.measured:
        here = gpu_at_hand(flags.device or "cuda")
        if gpus and here not in gpus:
            what = f"this GPU is {here.name}, not {' or '.join(each.name for each in gpus)}"
            raise InputError(what, hint=f"leave --gpu out, or name {here.name} too")
        gpus = gpus or [here]
    if not gpus:
        raise InputError("--gpu is missing", hint=EXAMPLE)
    for gpu in gpus:
        check_library(gpu, flags.library)
        try:
            gpu.peak_flops_per_s(dtype)
        except ShapewrightError as error:
            raise blame_flag(error, "gpu" if dtype == PAPER_DTYPE else "dtype") from None
    return gpus


def paper_dtype(name: str) -> str:
    """The number format of --dtype, if the figures' products have it."""
    try:
        dtype = load_dtype(name).name
    except ShapewrightError as error:
        raise blame_flag(error, "dtype") from None
    if dtype not in DTYPES:
        raise InputError(f"--dtype is {dtype}", hint=f"the figures have batched products, which {dtype} has not: {', '.join(DTYPES)}")
    return dtype


def check_library(gpu: Gpu, library: str | None) -> None:
    """Refuse a library that the GPU has no profile of."""
    if library is not None:
        from ..predict.profiles import load_profile

        load_profile(gpu, library)


def gpu_at_hand(device: str) -> Gpu:
    """The GPU of the catalogue that this machine measures on; without one exit code 3."""
    from ..calibrate.products import catalogued
    from ..measure.devices import open_device

    try:
        name = open_device(device).gpu
    except MissingError as error:
        # Its own hint may name the CPU, on which no figure of a GPU can be measured.
        raise MissingError(
            error.what, hint=f"{(error.hint or '').partition(', or measure on the CPU')[0]}, or name runs with --rows"
        ) from None
    found = catalogued(name)
    if found is None:
        raise InputError(f"no GPU is known as {shown(name)}", hint="measure with `shapewright bench` and name its file with --rows")
    return found


def paper_times(flags: SourceFlags, gpus: Sequence[Gpu], points_of: Callable[[Gpu], list[Point]]) -> list[Times]:
    """Predictions of every GPU, and behind each its measurements where there are some; `points_of`: what measuring takes."""
    paths = list(flags.rows or ())
    if flags.measured and (points := points_of(gpu_at_hand(flags.device or "cuda"))):
        paths = [_measured_here(flags, points)]
    stored = {gpu.name: measured_times(paths, gpu) for gpu in gpus} if paths else {}
    if stored and all(each.is_empty for each in stored.values()):
        raise InputError(f"no row is of {' or '.join(stored)}", where=paths[0], hint=_other_gpus(paths))
    times: list[Times] = []
    for gpu in gpus:
        times.append(Predicted(gpu=gpu, library=flags.library))
        own: Measured | None = stored.get(gpu.name)
        if own is not None and not own.is_empty:
            times.append(own)
        elif own is not None:
            print_notes([f"{gpu.name}: no row is measured on it"])
    return times


def _other_gpus(paths: Sequence[str]) -> str:
    """What the files are of instead."""
    from ..calibrate.products import catalogued
    from ..measure.store import read_run

    names = dict.fromkeys(str(row["gpu"]) for path in paths for row in read_run(path).rows)
    if not names:
        return "it holds no row"
    known = [gpu.name if (gpu := catalogued(name)) else name for name in names]
    return f"name with --gpu what was measured: {', '.join(known)}"


def _measured_here(flags: SourceFlags, points: list[Point]) -> str:
    """Measure what the run file lacks, and name it."""
    from .bench import BenchFlags, measured

    is_long = any(isinstance(point, LayerPoint | ModelPoint) for point in points)
    timeout_s = STEP_TIMEOUT_S if is_long else TIMEOUT_S
    plan = Plan(name="paper", seed=0, timeout_s=timeout_s, together=TOGETHER, rest_s=0.0, warm_s=WARM_S, points=tuple(points))
    bench = BenchFlags(device=flags.device or "cuda", out=flags.out, time_limit=flags.time_limit, retry_failed=flags.retry_failed)
    done = measured(points, bench, name=plan.name, plan=plan, timeout_s=timeout_s)
    print_notes([f"rows are kept in {done.path}"])
    return str(done.path)
