"""`shapewright predict gemm FILE.csv --gpu G -o OUT.csv`: the time of every product of a table."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, TextIO

from cyclopts import Parameter

from ..errors import InputError
from ..hardware.load import load_gpu
from .gemm_csv import predict_table
from .options import GpuName, LibraryName


def predict_gemm(
    file: Annotated[str, Parameter(help="CSV with columns m, n, k and optionally batch, dtype, layout.")],
    /,
    *,
    gpu: GpuName,
    output: Annotated[str, Parameter(name=["--output", "-o"], help="CSV to write; - is stdout.")] = "-",
    force: Annotated[bool, Parameter(negative="", help="Replace an output file that exists, and columns named like added ones.")] = False,
    library: LibraryName = None,
) -> None:
    """Predict every product of a CSV file.

    y[b,m,n] = x[b,m,k] w[b,k,n]. Rows keep their order and all their columns; added are time_s, low_s, high_s, limit_s, bound_by and
    provenance. Defaults: batch 1, the GPU's default dtype, layout NT.
    """
    device = load_gpu(gpu)
    # utf-8-sig drops the byte order mark that spreadsheets write.
    with Path(file).open(encoding="utf-8-sig", newline="") as source, _sink(output, file, force=force) as sink:
        predict_table(source, sink, device, name=file, library=library, replace=force)


@contextmanager
def _sink(output: str, file: str, *, force: bool) -> Iterator[TextIO]:
    """Where the answer goes. A file appears only when it is complete: it is written beside its place and then moved there."""
    if output == "-":
        yield sys.stdout
        return
    target = Path(output)
    _refuse_overwriting(target, file, force=force)
    descriptor, draft = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as sink:
            yield sink
        Path(draft).chmod(0o666 & ~_umask())
        Path(draft).replace(target)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise


def _refuse_overwriting(target: Path, file: str, *, force: bool) -> None:
    if target.exists() and target.samefile(file):
        raise InputError("the output is the input", where=str(target), hint="name another file after -o")
    if target.exists() and not target.is_file():
        raise InputError("is not a regular file", where=str(target), hint="name a file after -o, or - for stdout")
    # An empty file, such as mktemp makes, has nothing to lose.
    if target.exists() and target.stat().st_size and not force:
        raise InputError("already exists", where=str(target), hint="name another file after -o, or add --force")
    if not target.parent.is_dir():
        raise InputError("its folder does not exist", where=str(target), hint="create it first")


def _umask() -> int:
    """The process's file mode mask (it can only be read by setting it)."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
