"""Run files: append-only JSON Lines, one file a run, that no kill, full disk or power loss can spoil.

    with Run.open(path) as run:                 # created, or resumed: locked, a torn end moved aside
        run.start(environment, protocol)        # one header a start of a process
        run.append(rows)                        # written whole and fsynced, or cut back and refused
    read_run(path).rows                         # of any .jsonl or .jsonl.gz, each row with its `gpu`

A row counts once `append` returned: it is on the disk then. Errors are `InputError` (exit code 2) that name the file: one that is no run
(left as it is, byte for byte), one that another process writes, a disk that is full (the rows before are safe; start again to go on).
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any, BinaryIO, Self

from ..errors import InputError, shown
from .run_lines import MAX_HEADER_BYTES, SCHEMA_VERSION, DoneKey, Line, described, key_of_row, lines_of, may_start_run, written
from .run_rows import RunRows, read_run

__all__ = ["Run", "RunRows", "read_run", "runs_folder"]

#: Names the folder of runs; set and empty, there is none.
FOLDER_VARIABLE = "SHAPEWRIGHT_RUNS"
_NO_RUN = "expected a file that shapewright measured; name another one, this one is left as it is"


def runs_folder() -> Path | None:
    """`SHAPEWRIGHT_RUNS`, else `shapewright/runs` in `XDG_DATA_HOME` or `~/.local/share`; None where there is no home."""
    named = os.environ.get(FOLDER_VARIABLE)
    if named is not None:
        return Path(named).expanduser() if named else None
    try:
        return (Path(os.environ.get("XDG_DATA_HOME") or "~/.local/share") / "shapewright/runs").expanduser()
    except RuntimeError:
        return None


class Run:
    """A run file that is open for writing; made by `Run.open`."""

    def __init__(self, path: Path, descriptor: int, *, is_new: bool = False) -> None:
        self.path, self._is_new = path, is_new
        self.statuses: dict[DoneKey, str] = {}
        """Status of every point in the file (the last one of a point that was measured again), by its key and GPU."""
        self.repaired: str | None = None
        """What was found broken when the file was opened, and what was done about it."""
        self._descriptor, self._length, self._num_rows, self._gpu = descriptor, 0, 0, ""
        self._is_locked = False

    @classmethod
    def open(cls, path: Path | str) -> Run:
        """The run in the file `path`, created with its folder where it is not there; locked until it is closed."""
        path = Path(path)
        while True:
            descriptor, is_new = _opened(path)
            run = cls(path, descriptor, is_new=is_new)
            try:
                _lock(descriptor, path)
                if not os.fstat(descriptor).st_nlink:  # its maker removed it between our opening and our locking
                    run.close()
                    continue
                run._is_locked = True
                run._load()
            except BaseException:
                run.close()
                raise
            return run

    @property
    def done(self) -> AbstractSet[DoneKey]:
        """(key, gpu) of every point that the file holds a row of, whatever its status."""
        return self.statuses.keys()

    def start(self, environment: Mapping[str, Any], protocol: Mapping[str, Any] | None = None) -> None:
        """Write the header that the rows of this process belong to."""
        self._write(written({"environment": environment, "schema_version": SCHEMA_VERSION, "protocol": protocol or {}}), 0)
        self._gpu = str(environment.get("gpu", ""))

    def append(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add rows and wait until they are on the disk; on any error none of them is in the file."""
        self._write(b"".join(map(written, rows)), len(rows))
        for row in rows:
            self._count(row, self._gpu)

    def close(self) -> None:
        """Unlock and close the file; rows are safe already. One that was made here and got nothing is removed."""
        if self._descriptor < 0:
            return
        if self._is_new and self._is_locked:
            _remove_empty(self.path, self._descriptor)
        os.close(self._descriptor)
        self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write(self, data: bytes, num_rows: int) -> None:
        """Append whole lines, or cut the file back to where it was."""
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
            os.fsync(self._descriptor)
        except BaseException as error:
            is_cut = self._cut_back()
            if not isinstance(error, OSError):
                raise
            raise self._disk_error(error, is_cut) from None
        self._length, self._num_rows = self._length + len(data), self._num_rows + num_rows

    def _cut_back(self) -> bool:
        try:
            os.ftruncate(self._descriptor, self._length)
            os.fsync(self._descriptor)
        except OSError:
            return False
        return True

    def _disk_error(self, error: OSError, is_cut: bool) -> InputError:
        reason = "the disk is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else (error.strerror or str(error)).lower()
        end = "" if is_cut else " (its torn end is mended then)"
        hint = f"its {self._num_rows} rows are safe: make room and start again, it goes on after them{end}"
        return InputError(f"cannot be written: {reason}", where=str(self.path), hint=hint)

    def _load(self) -> None:
        """Read what the file holds and mend its end."""
        with os.fdopen(os.dup(self._descriptor), "rb") as source:
            first = source.readline(MAX_HEADER_BYTES)
            if first and not may_start_run(first):
                raise InputError(f"is no run: it {described(first)}", where=str(self.path), hint=_NO_RUN)
            source.seek(0)
            last, bad = self._scan(source)
            size = source.tell()
            kept = last.end if last else 0
            tail = size - kept
            self._length = kept
            if tail:
                source.seek(kept)
                self._move_aside(source.read())
        if last is not None and not last.is_complete:
            self._write(b"\n", 0)
            self.repaired = "its last line lacked a newline, which is added"
        self._report(tail, [number for number in bad if last is not None and number < last.number])

    def _scan(self, source: BinaryIO) -> tuple[Line | None, list[int]]:
        """The last line that is one of a run, and the numbers of those that are not."""
        last, bad, gpu = None, [], ""
        for line in lines_of(source):
            if line.value is None:
                if not line.is_blank:
                    bad.append(line.number)
                continue
            last = line
            if line.is_header:
                gpu = line.gpu
                self._check_version(line)
            else:
                self._count(line.value, gpu)
                self._num_rows += 1
        return last, bad

    def _check_version(self, header: Line) -> None:
        version = (header.value or {}).get("schema_version", SCHEMA_VERSION)
        if not isinstance(version, int) or version > SCHEMA_VERSION:
            hint = "write to a new file, or update shapewright"
            raise InputError(f"has rows of schema version {shown(version)}, newer than {SCHEMA_VERSION}", where=str(self.path), hint=hint)

    def _count(self, row: Mapping[str, Any], gpu: str) -> None:
        key = key_of_row(row)
        if key is not None:
            self.statuses[key, gpu] = str(row["status"])

    def _move_aside(self, tail: bytes) -> None:
        """Keep what stands after the last whole line in a file beside this one, and cut it off."""
        if tail.strip():
            aside = _write_aside(self.path, tail)
            self.repaired = f"{len(tail)} bytes after its last whole line were cut off and kept in {aside.name}"
        if not self._cut_back():
            raise InputError("its torn end cannot be cut off", where=str(self.path), hint="check that the file can be written")

    def _report(self, tail: int, bad: Sequence[int]) -> None:
        if bad:
            numbers = ", ".join(map(str, bad[:5])) + (", ..." if len(bad) > 5 else "")
            note = f"{len(bad)} damaged lines stay in it and are skipped (line {numbers})"
            self.repaired = f"{self.repaired}; {note}" if self.repaired else note


def _opened(path: Path) -> tuple[int, bool]:
    """A descriptor that appends to `path`, and whether the file was made for it."""
    if path.suffix.lower() == ".gz":
        raise InputError("is a packed file", where=str(path), hint="unpack it, or write to a new .jsonl file")
    flags = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC
    try:
        if path.exists() and not stat.S_ISREG(path.stat().st_mode):
            raise InputError("is no regular file", where=str(path), hint="name a .jsonl file, new or of a run")
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            return os.open(path, flags), False
        except FileNotFoundError:
            descriptor = os.open(path, flags | os.O_CREAT, 0o644)
            _sync_folder(path.parent)
            return descriptor, True
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        raise InputError(f"cannot be opened for writing: {reason}", where=str(path), hint="name another file") from None


def _remove_empty(path: Path, descriptor: int) -> None:
    """Remove the file if it is empty and still the one at `path` (not a link of the user's to it)."""
    found = os.fstat(descriptor)
    with contextlib.suppress(OSError):
        if not found.st_size and os.path.samestat(found, path.lstat()):
            path.unlink()


def _lock(descriptor: int, path: Path) -> None:
    """Refuse a file that another process writes; a file system without locks goes without."""
    try:
        import fcntl
    except ImportError:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        what = "another process is writing this run"
        raise InputError(what, where=str(path), hint="wait until it ends, or write to a file of your own") from None
    except OSError:
        return


def _write_aside(path: Path, tail: bytes) -> Path:
    """`tail` in a new file beside `path`, on the disk before anything is cut off."""
    number = 1
    while True:
        aside = path.with_name(f"{path.name}.torn-{number}")
        try:
            with aside.open("xb") as target:
                target.write(tail)
                target.flush()
                os.fsync(target.fileno())
        except FileExistsError:
            number += 1
        except OSError as error:
            aside.unlink(missing_ok=True)
            what = f"its torn end cannot be kept in {aside.name}: {(error.strerror or str(error)).lower()}"
            raise InputError(what, where=str(path), hint="make room; nothing of the file is changed") from None
        else:
            _sync_folder(path.parent)
            return aside


def _sync_folder(folder: Path) -> None:
    """Make a new name in `folder` last; a file system that cannot goes without."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        pass
    finally:
        os.close(descriptor)
