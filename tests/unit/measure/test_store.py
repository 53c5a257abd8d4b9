"""Run files: what is acknowledged stays, what is torn is moved aside, what is no run is left as it is."""

from __future__ import annotations

import errno
import gzip
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shapewright.errors import InputError
from shapewright.measure import store
from shapewright.measure.points import GemmPoint, key_of, settings_of
from shapewright.measure.store import Run, read_run, runs_folder

ENVIRONMENT = {"gpu": "fake", "torch": "2.0"}


def row(m: int, status: str = "ok") -> dict[str, Any]:
    return {**settings_of(GemmPoint(m=m, n=8, k=8)), "status": status, "time_s": 1e-5}


def written(path: Path, *sizes: int) -> bytes:
    with Run.open(path) as run:
        run.start(ENVIRONMENT, {"replay_s": 0.002})
        run.append([row(m) for m in sizes])
    return path.read_bytes()


def sizes(path: Path) -> list[int]:
    return [each["m"] for each in read_run(path).rows]


def test_a_run_begins_with_its_environment_and_gives_its_rows_back(tmp_path: Path) -> None:
    path = tmp_path / "new/folder/run.jsonl"
    lines = written(path, 1, 2).splitlines()
    assert json.loads(lines[0]) == {"environment": ENVIRONMENT, "schema_version": 1, "protocol": {"replay_s": 0.002}}
    found = read_run(path)
    assert [each["m"] for each in found.rows] == [1, 2] and found.rows[0] == {"gpu": "fake", **row(1)}
    assert found.environment == ENVIRONMENT and found.notes == ()


def test_a_resumed_run_knows_its_points_and_belongs_to_two_starts(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    written(path, 1)
    with Run.open(path) as run:
        assert run.done == {(key_of(GemmPoint(m=1, n=8, k=8)), "fake")} and run.repaired is None
        run.start({"gpu": "other"})
        run.append([row(1, "failed")])
        assert run.statuses[key_of(GemmPoint(m=1, n=8, k=8)), "other"] == "failed"
    found = read_run(path)
    assert [each["gpu"] for each in found.rows] == ["fake", "other"] and found.environment_of(0)["torch"] == "2.0"
    assert len(found.latest()) == 2


def test_of_a_point_measured_again_the_last_row_is_the_latest(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    with Run.open(path) as run:
        run.start(ENVIRONMENT)
        run.append([row(1, "failed"), row(2), row(1)])
    assert [(each["m"], each["status"]) for each in read_run(path).latest()] == [(1, "ok"), (2, "ok")]


def test_a_last_line_cut_anywhere_is_moved_aside_and_the_run_goes_on(tmp_path: Path) -> None:
    whole = written(tmp_path / "whole.jsonl", 1, 2)
    start = whole.rindex(b"\n", 0, -1) + 1
    for cut in range(start + 1, len(whole) - 1):
        path = tmp_path / f"{cut}.jsonl"
        path.write_bytes(whole[:cut])
        with Run.open(path) as run:
            assert run.repaired is not None and f"{cut - start} bytes" in run.repaired and len(run.done) == 1
            run.start(ENVIRONMENT)
            run.append([row(3)])
        assert path.with_name(path.name + ".torn-1").read_bytes() == whole[start:cut]
        assert sizes(path) == [1, 3] and read_run(path).notes == ()


def test_a_whole_last_line_without_its_newline_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    path.write_bytes(written(path, 1, 2)[:-1])
    with Run.open(path) as run:
        assert run.repaired == "its last line lacked a newline, which is added" and len(run.done) == 2
        run.start(ENVIRONMENT)
        run.append([row(3)])
    assert sizes(path) == [1, 2, 3] and read_run(path).notes == ()


@pytest.mark.parametrize(
    "tail", [b"\0" * 8192, b'{"kind": "gemm", "error": "\xe2\x82', b"\xff\xfe\n\0\0\n", b"[" * 100_000, b'{"kind": 3}\n', b"\r\0\r"]
)
def test_what_a_power_loss_leaves_at_the_end_is_moved_aside(tmp_path: Path, tail: bytes) -> None:
    path = tmp_path / "run.jsonl"
    whole = written(path, 1, 2)
    path.write_bytes(whole + tail)
    with Run.open(path) as run:
        assert run.repaired is not None and len(run.done) == 2
    assert path.read_bytes() == whole and (tmp_path / "run.jsonl.torn-1").read_bytes() == tail


def test_every_torn_end_is_kept_in_a_file_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    whole = written(path, 1)
    for tail in (b"{one", b"{two"):
        path.write_bytes(whole + tail)
        Run.open(path).close()
    assert [(tmp_path / f"run.jsonl.torn-{number}").read_bytes() for number in (1, 2)] == [b"{one", b"{two"]


def test_a_torn_header_makes_a_run_that_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    path.write_bytes(written(path, 1)[:25])
    with Run.open(path) as run:
        assert run.repaired is not None and not run.done
        run.start(ENVIRONMENT)
        run.append([row(4)])
    assert sizes(path) == [4]


def test_a_damaged_line_amid_good_ones_stays_and_is_told(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    lines = written(path, 1, 2, 3).splitlines(keepends=True)
    lines[2] = b"\0" * 40 + b"\n"
    path.write_bytes(b"".join(lines))
    with Run.open(path) as run:
        assert run.repaired == "1 damaged lines stay in it and are skipped (line 3)" and len(run.done) == 2
    assert path.read_bytes() == b"".join(lines)
    assert sizes(path) == [1, 3] and read_run(path).notes == (f"{path}:3: is no row of a run; left out",)


def test_windows_line_ends_a_byte_order_mark_and_blank_lines_are_read(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + written(path, 1, 2).replace(b"\n", b"\r\n") + b"\r\n")
    with Run.open(path) as run:
        assert len(run.done) == 2 and run.repaired is None
        run.start(ENVIRONMENT)
        run.append([row(3)])
    assert sizes(path) == [1, 2, 3]


def test_an_empty_file_becomes_a_run(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    path.touch()
    assert written(path, 1).count(b"\n") == 2


FOREIGN = {
    "binary": bytes(range(256)) * 40,
    "zeros": b"\0" * 4096,
    "config": b'{"hidden_size": 4096, "vocab_size": 50257}\n',
    "pretty": b'{\n  "hidden_size": 4096\n}\n',
    "rows": b'{"m": 1, "n": 2, "k": 3, "us": 4.0}\n',
    "rows_without_header": (json.dumps(row(1)) + "\n").encode(),
    "csv": b"m,n,k,us\n1,2,3,4\n",
    "number": b"42",
    "text": b"notes of a meeting\n",
    "brace": b"{",
    "packed": gzip.compress(b'{"environment": {"gpu": "x"}}\n'),
    "latin": "größe\n".encode("latin-1"),
    "long": b"a" * 2**21,
    "unfinished config": b'{"environment": "production", "port"',
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_file_that_is_no_run_is_refused_and_left_as_it_is(tmp_path: Path, name: str) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_bytes(FOREIGN[name])
    with pytest.raises(InputError, match=r"mine\.jsonl: is no run: it .*left as it is"):
        Run.open(path)
    assert path.read_bytes() == FOREIGN[name] and [each.name for each in tmp_path.iterdir()] == ["mine.jsonl"]


def test_folders_devices_and_packed_runs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no regular file"):
        Run.open(tmp_path)
    with pytest.raises(InputError, match="is no regular file"):
        Run.open("/dev/full")
    with pytest.raises(InputError, match="is a packed file"):
        Run.open(tmp_path / "new.jsonl.gz")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be opened for writing"):
        Run.open(tmp_path / "file/run.jsonl")
    with pytest.raises(InputError, match="cannot be opened for writing"):
        Run.open("a\0b")


def test_a_run_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    path.write_bytes(b'{"environment": {"gpu": "x"}, "schema_version": 2}\n')
    with pytest.raises(InputError, match="schema version 2, newer than 1"):
        Run.open(path)


def test_a_second_writer_is_refused_and_may_write_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    with Run.open(path):
        with pytest.raises(InputError, match="another process is writing this run"):
            Run.open(path)
        code = "import sys; from shapewright.measure.store import Run; Run.open(sys.argv[1])"
        ended = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
        assert ended.returncode == 1 and "another process is writing this run" in ended.stderr
        written(tmp_path / "own.jsonl", 1)
    written(path, 1)


def test_a_full_disk_leaves_whole_rows_and_says_how_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.jsonl"
    before = written(path, 1, 2)
    write = os.write
    with Run.open(path) as run:
        run.start(ENVIRONMENT)
        length = path.stat().st_size

        def full(descriptor: int, data: Any) -> int:
            if len(data) > 50:
                return write(descriptor, data[:50])
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(store.os, "write", lambda d, data: full(d, data) if len(data) < 220 else write(d, data[:-200]))
            with pytest.raises(InputError, match=r"run\.jsonl: cannot be written: the disk is full; its 2 rows are safe") as caught:
                run.append([row(3), row(4)])
        assert caught.value.exit_code == 2 and path.stat().st_size == length
        assert len(run.done) == 2
        run.append([row(3)])
    assert path.read_bytes().startswith(before) and sizes(path) == [1, 2, 3] and read_run(path).notes == ()


def test_a_short_write_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(store.os, "write", lambda descriptor, data: write(descriptor, data[:7]))
    assert written(tmp_path / "run.jsonl", 1, 2).count(b"\n") == 3 and sizes(tmp_path / "run.jsonl") == [1, 2]


def test_an_interrupted_append_leaves_nothing_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.jsonl"
    before = written(path, 1)

    def interrupted(descriptor: int) -> None:
        raise KeyboardInterrupt

    with Run.open(path) as run, monkeypatch.context() as patch:
        patch.setattr(store.os, "fsync", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run.append([row(2)])
    assert path.read_bytes() == before


def test_what_json_cannot_hold_becomes_null_or_text(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    facts = {"a": float("nan"), "b": np.float32(0.5), "c": np.int64(3), "d": Path("x"), "e": [float("inf")], "f": np.float64("inf")}
    with Run.open(path) as run:
        run.start(ENVIRONMENT)
        run.append([row(1) | facts])
    read = read_run(path).rows[0]
    assert [read[name] for name in "abcdef"] == [None, 0.5, 3, "x", [None], None]
    assert b"NaN" not in path.read_bytes()


def test_packed_and_broken_packed_runs_are_read(tmp_path: Path) -> None:
    whole = written(tmp_path / "run.jsonl", *range(1, 400))
    packed = gzip.compress(whole)
    (tmp_path / "a.jsonl.gz").write_bytes(packed)
    assert len(read_run(tmp_path / "a.jsonl.gz").rows) == 399
    (tmp_path / "b.jsonl.gz").write_bytes(packed[: len(packed) // 2])
    found = read_run(tmp_path / "b.jsonl.gz")
    assert 0 <= len(found.rows) < 399 and "was cut off; left out" in found.notes[0]


@pytest.mark.parametrize("kept", [2, 12, 30])
def test_a_packed_run_that_breaks_off_in_its_first_line_is_refused(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "mine.jsonl.gz"
    path.write_bytes(gzip.compress(written(tmp_path / "run.jsonl", *range(1, 9)))[:kept])
    with pytest.raises(InputError, match=r"mine\.jsonl\.gz: is no run: it is packed with gzip"):
        read_run(path)


def test_rows_without_a_header_are_read_with_an_empty_environment(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_bytes(FOREIGN["rows_without_header"])
    found = read_run(tmp_path / "rows.jsonl")
    assert sizes(tmp_path / "rows.jsonl") == [1] and found.rows[0]["gpu"] == "" and found.environment_of(0) == {}


@pytest.mark.parametrize("name", [name for name in FOREIGN if name not in ("rows_without_header", "packed")])
def test_a_file_with_nothing_of_a_run_is_refused_by_the_reader(tmp_path: Path, name: str) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_bytes(FOREIGN[name])
    with pytest.raises(InputError, match=r"mine\.jsonl: is no run: it "):
        read_run(path)


def test_what_cannot_be_read_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_run(tmp_path / "none.jsonl")
    with pytest.raises(InputError, match="cannot be read: Is a directory"):
        read_run(tmp_path)
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(InputError, match="it is empty"):
        read_run(tmp_path / "empty.jsonl")
    (tmp_path / "bad.jsonl.gz").write_bytes(b"\x1f\x8b" + b"x" * 50)
    with pytest.raises(InputError, match=r"is no run|cannot be read"):
        read_run(tmp_path / "bad.jsonl.gz")


def test_the_runs_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHAPEWRIGHT_RUNS", "/data/runs")
    assert runs_folder() == Path("/data/runs")
    monkeypatch.setenv("SHAPEWRIGHT_RUNS", "")
    assert runs_folder() is None
    monkeypatch.delenv("SHAPEWRIGHT_RUNS")
    monkeypatch.setenv("XDG_DATA_HOME", "/xdg")
    assert runs_folder() == Path("/xdg/shapewright/runs")


@settings(max_examples=60, deadline=None)
@given(cut=st.integers(0, 1200), tail=st.binary(max_size=80))
def test_no_end_of_a_file_loses_or_doubles_a_row(tmp_path_factory: pytest.TempPathFactory, cut: int, tail: bytes) -> None:
    path = tmp_path_factory.mktemp("run") / "run.jsonl"
    whole = written(path, 1, 2, 3)
    kept = whole[: max(whole.index(b"\n") + 1, len(whole) - cut)]
    num_whole = kept.count(b"\n") - 1 + (kept not in (b"",) and not kept.endswith(b"\n") and kept + b"\n" in whole and not tail.strip())
    path.write_bytes(kept + tail)
    with Run.open(path) as run:
        done = len(run.done)
        run.start(ENVIRONMENT)
        run.append([row(9)])
    assert num_whole <= done <= 3
    assert sizes(path) == [*range(1, done + 1), 9]


def test_a_file_that_got_nothing_is_removed_unless_it_was_there(tmp_path: Path) -> None:
    made, there, link = tmp_path / "made.jsonl", tmp_path / "there.jsonl", tmp_path / "link.jsonl"
    there.touch()
    link.symlink_to("target.jsonl")
    for path in (made, there, link):
        Run.open(path).close()
    assert not made.exists() and there.exists() and link.is_symlink()
    with Run.open(made) as run:
        run.start({"gpu": "cpu"})
    assert made.stat().st_size


def test_a_writer_that_is_refused_leaves_the_file_of_the_other(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    with Run.open(path) as run:
        with pytest.raises(InputError, match="another process"):
            Run.open(path)
        run.start({"gpu": "cpu"})
    assert path.stat().st_size


def test_a_file_removed_while_it_was_opened_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, lock = tmp_path / "run.jsonl", store._lock
    removals = [path.unlink]

    def removed_first(descriptor: int, place: Path) -> None:
        if removals:
            removals.pop()()
        lock(descriptor, place)

    monkeypatch.setattr(store, "_lock", removed_first)
    with Run.open(path) as run:
        run.start({"gpu": "cpu"})
    assert path.stat().st_size
