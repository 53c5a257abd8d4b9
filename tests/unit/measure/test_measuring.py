"""The worker's side of a group, in this process: rows, failures, names of kernels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from shapewright.errors import InputError
from shapewright.measure import measuring
from shapewright.measure.clock import Prepared
from shapewright.measure.measuring import PoisonedError, Worker, is_poisoned, one_line
from shapewright.measure.points import GemmPoint, LayerPoint, Point, settings_of
from shapewright.measure.runners import Outcome
from shapewright.measure.runners.precision import with_precision
from unit.measure.benches import short_bench


class Sent(list[dict[str, Any]]):
    """Messages in the order they were sent."""

    def send(self, message: Mapping[str, Any]) -> None:
        self.append(dict(message))

    def rows(self) -> list[dict[str, Any]]:
        return [message["row"] for message in self if "row" in message]


@pytest.fixture
def sent() -> Sent:
    return Sent()


@pytest.fixture
def worker(sent: Sent) -> Worker:
    return Worker(short_bench(), sent)


class GpuLike:
    """A worker's bench whose device calls itself a GPU, without one: naming kernels goes its whole way."""

    def __init__(self, worker: Worker, patch: pytest.MonkeyPatch) -> None:
        device = replace(worker.bench.device, name="cuda:0")
        worker.bench = replace(worker.bench, device=device)
        self.emptied = 0
        patch.setattr(type(device), "synchronize", lambda _: None)
        patch.setattr(type(device), "empty_cache", self._empty)
        patch.setattr(measuring, "_reserved_bytes", lambda: 0)
        patch.setattr(measuring, "is_poisoned", lambda text, device: "illegal memory" in text)
        patch.setattr(Worker, "_allocated_bytes", lambda _: 0)

    def _empty(self, *_: object) -> None:
        self.emptied += 1


def gemms(*sizes: int) -> list[Point]:
    return [GemmPoint(m=m, n=8, k=8, dtype="fp32") for m in sizes]


def ask(worker: Worker, points: Sequence[Point], **options: Any) -> None:
    message = {"group": 7, "points": [settings_of(point) for point in points], "with_kernels": True, "time_left_s": None}
    worker.group(message | options)


def failing(errors: Mapping[int, BaseException]) -> Any:
    """A `prepare` that fails for some m."""

    def prepare(point: Any, bench: Any) -> Prepared:
        if point.m in errors:
            raise errors[point.m]
        return Prepared(calls=[lambda: None], facts={"fact": point.m})

    return prepare


def test_a_group_gives_a_row_a_point_and_an_end(worker: Worker, sent: Sent) -> None:
    ask(worker, gemms(8, 16))
    assert [next(iter(message)) for message in sent] == ["started", "row", "started", "row", "finished"]
    assert [row["status"] for row in sent.rows()] == ["ok", "ok"]
    assert sent.rows()[0]["time_s"] > 0 and sent.rows()[0]["method"] == "wall" and "kernel" not in sent.rows()[0]
    assert sent[-1] == {"finished": 7, "stopped": False}


def test_hello_tells_environment_and_protocol(worker: Worker, sent: Sent) -> None:
    worker.hello()
    assert sent[0]["environment"]["gpu"] == "cpu" and sent[0]["protocol"]["num_replays"] == 3 and sent[0]["has_kernels"] is False


def test_failures_are_rows_and_the_group_goes_on(worker: Worker, sent: Sent, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    errors: dict[int, BaseException] = {
        1: torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 90.00 GiB"),
        2: MemoryError(),
        3: RuntimeError("no\nsuch kernel " + "x" * 500),
        4: InputError("backend is flash", hint="use math"),
        5: RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
    }
    monkeypatch.setattr(measuring, "prepare", failing(errors))
    ask(worker, gemms(1, 2, 3, 4, 5, 6))
    rows = sent.rows()
    assert [row["status"] for row in rows] == ["out_of_memory", "out_of_memory", "failed", "failed", "out_of_memory", "ok"]
    assert rows[2]["error"].startswith("RuntimeError: no such kernel x") and len(rows[2]["error"]) == 300
    assert rows[3]["error"] == "backend is flash; use math" and rows[5]["fact"] == 6


def test_out_of_memory_gives_back_what_calls_for_the_profile_hold_and_tries_once_more(
    worker: Worker, sent: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = GpuLike(worker, monkeypatch)
    tries: list[int] = []

    def prepare(point: Any, bench: Any) -> Prepared:
        tries.append(point.m)
        if point.m == 2 and tries.count(2) == 1:
            raise MemoryError("once")
        if point.m == 3:
            raise MemoryError("always")
        return Prepared(calls=[lambda: None])

    monkeypatch.setattr(measuring, "prepare", prepare)
    monkeypatch.setattr(measuring, "kernel_names", lambda calls, device: ["k"] * len(calls))
    ask(worker, gemms(1, 2, 3))
    assert [row["status"] for row in sent.rows()] == ["ok", "ok", "out_of_memory"] and tries == [1, 2, 2, 3, 3] and gpu.emptied >= 3
    assert [message["kernels"] for message in sent if "kernels" in message] == [{0: "k"}, {1: "k"}]


def test_out_of_memory_is_tried_once_more_though_no_call_is_kept(worker: Worker, sent: Sent, monkeypatch: pytest.MonkeyPatch) -> None:
    """A capture does not free what earlier graphs held: the first point of a profile runs out too."""
    gpu = GpuLike(worker, monkeypatch)
    tries: list[int] = []

    def prepare(point: Any, bench: Any) -> Prepared:
        tries.append(gpu.emptied)
        if not gpu.emptied:
            raise MemoryError("full of freed graphs")
        return Prepared(calls=[lambda: None])

    monkeypatch.setattr(measuring, "prepare", prepare)
    monkeypatch.setattr(measuring, "kernel_names", lambda calls, device: ["k"] * len(calls))
    ask(worker, [GemmPoint(m=1, n=8, k=8, runtime="compiled")])
    assert [row["status"] for row in sent.rows()] == ["ok"] and tries == [0, 1]


def test_memory_is_given_back_between_profiles_of_one_group(worker: Worker, sent: Sent, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = GpuLike(worker, monkeypatch)
    monkeypatch.setattr(measuring, "_reserved_bytes", lambda: worker.bench.device.memory_bytes)
    monkeypatch.setattr(measuring, "prepare", failing({}))
    monkeypatch.setattr(measuring, "kernel_names", lambda calls, device: ["k"] * len(calls))
    ask(worker, [GemmPoint(m=m, n=8, k=8, runtime="compiled") for m in (1, 2, 3)])
    assert gpu.emptied == 4  # after each profile, and at the end


def test_an_allocator_that_gives_nothing_back_ends_the_worker(worker: Worker, sent: Sent, monkeypatch: pytest.MonkeyPatch) -> None:
    GpuLike(worker, monkeypatch)

    def refuse(_: object) -> None:
        raise RuntimeError("captures_underway.empty() INTERNAL ASSERT FAILED")

    monkeypatch.setattr(type(worker.bench.device), "empty_cache", refuse)
    monkeypatch.setattr(measuring, "_reserved_bytes", lambda: worker.bench.device.memory_bytes)
    monkeypatch.setattr(measuring, "prepare", failing({}))
    monkeypatch.setattr(measuring, "kernel_names", lambda calls, device: ["k"] * len(calls))
    with pytest.raises(PoisonedError, match="INTERNAL ASSERT"):
        ask(worker, gemms(1, 2))
    assert [row["status"] for row in sent.rows()] == ["ok", "ok"] and sent[-1] == {"kernels": {0: "k", 1: "k"}}


def test_a_profile_that_loses_the_context_ends_the_worker_between_points(
    worker: Worker, sent: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    GpuLike(worker, monkeypatch)

    def lose(calls: Any, device: Any) -> list[str]:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(measuring, "prepare", failing({}))
    monkeypatch.setattr(measuring, "kernel_names", lose)
    with pytest.raises(PoisonedError, match="illegal memory access"):
        ask(worker, [GemmPoint(m=m, n=8, k=8, runtime="compiled") for m in (1, 2)])
    assert [next(iter(message)) for message in sent] == ["started", "row"]


def test_kernels_are_named_by_the_group_and_dropped_calls_are_made_again(
    worker: Worker, sent: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    GpuLike(worker, monkeypatch)
    held = iter([0, 10, 10, 10 + measuring.KEPT_BYTES, 0, 0])
    monkeypatch.setattr(Worker, "_allocated_bytes", lambda _: next(held))
    prepared: list[int] = []

    def prepare(point: Any, bench: Any) -> Prepared:
        prepared.append(point.m)
        return Prepared(calls=[lambda: point.m])

    monkeypatch.setattr(measuring, "prepare", prepare)
    monkeypatch.setattr(measuring, "kernel_names", lambda calls, device: [f"k{call()}" for call in calls])
    ask(worker, gemms(1, 2, 3))
    assert [message["kernels"] for message in sent if "kernels" in message] == [{0: "k1", 1: "k2", 2: "k3"}]
    assert prepared == [1, 2, 3, 2]


def test_a_profile_that_fails_costs_no_row(worker: Worker, sent: Sent, monkeypatch: pytest.MonkeyPatch) -> None:
    GpuLike(worker, monkeypatch)

    def refuse(calls: Any, device: Any) -> list[str]:
        raise RuntimeError("profiler is busy")

    monkeypatch.setattr(measuring, "prepare", failing({}))
    monkeypatch.setattr(measuring, "kernel_names", refuse)
    ask(worker, gemms(1, 2))
    assert [row["status"] for row in sent.rows()] == ["ok", "ok"] and {"kernels": {}} in sent and sent[-1]["finished"] == 7


def test_the_precision_of_a_point_holds_when_it_is_profiled_and_no_longer(
    worker: Worker, sent: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    GpuLike(worker, monkeypatch)
    flags = torch.backends.cuda.matmul
    monkeypatch.setattr(
        measuring, "prepare", lambda point, bench: Prepared(calls=[with_precision(lambda: flags.allow_tf32, point.dtype)])
    )  # fmt: skip
    monkeypatch.setattr(measuring, "kernel_names", lambda calls, device: [str(call()) for call in calls])
    ask(worker, [GemmPoint(m=8, n=8, k=8, dtype=dtype) for dtype in ("tf32", "fp32", "tf32")])
    assert [message["kernels"] for message in sent if "kernels" in message] == [{0: "True", 1: "False", 2: "True"}]
    assert flags.allow_tf32 is False


def test_compiled_points_are_profiled_at_once(worker: Worker, sent: Sent, monkeypatch: pytest.MonkeyPatch) -> None:
    GpuLike(worker, monkeypatch)
    monkeypatch.setattr(measuring, "prepare", failing({}))
    monkeypatch.setattr(measuring, "kernel_names", lambda calls, device: ["k"] * len(calls))
    ask(worker, [GemmPoint(m=m, n=8, k=8, runtime="compiled") for m in (1, 2)])
    assert [message["kernels"] for message in sent if "kernels" in message] == [{0: "k"}, {1: "k"}]


def test_a_lost_context_ends_the_worker(worker: Worker, sent: Sent, monkeypatch: pytest.MonkeyPatch) -> None:
    GpuLike(worker, monkeypatch)
    monkeypatch.setattr(measuring, "prepare", failing({2: RuntimeError("CUDA error: an illegal memory access was encountered")}))
    monkeypatch.setattr(measuring, "kernel_names", lambda calls, device: pytest.fail("profiled in a lost context"))
    with pytest.raises(PoisonedError, match="illegal memory access"):
        ask(worker, gemms(1, 2, 3))
    assert len(sent.rows()) == 1 and sent[-1] == {"started": 1}


def test_the_cpu_has_no_context_to_lose(worker: Worker) -> None:
    assert not is_poisoned("illegal memory access", worker.bench.device)
    assert is_poisoned("CUDA error: device-side assert triggered", replace(worker.bench.device, name="cuda:0"))


def test_a_group_stops_when_its_time_is_over(worker: Worker, sent: Sent) -> None:
    ask(worker, gemms(1, 2), time_left_s=0.0)
    assert sent == [{"finished": 7, "stopped": True}]


LAYERS: list[Point] = [LayerPoint(model=name) for name in ("a", "b", "c")]


def test_interleaved_points_are_measured_together(worker: Worker, sent: Sent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "measure", lambda points, bench: [Outcome(columns={"time_s": 1.0}) for _ in points])
    ask(worker, LAYERS)
    assert sent[0] == {"started": 0, "together": 3} and [row["num_interleaved"] for row in sent.rows()] == [3, 3, 3]
    assert {row["status"] for row in sent.rows()} == {"ok"}


def test_interleaved_points_that_fail_together_are_tried_alone(worker: Worker, sent: Sent, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def measure(points: Sequence[LayerPoint], bench: Any) -> list[Outcome]:
        calls.append(len(points))
        if len(points) > 1:
            return [Outcome(columns={}, error=MemoryError() if point.model != "a" else None) for point in points]
        return [Outcome(columns={}, error=ValueError("no such model") if points[0].model == "b" else None)]

    monkeypatch.setattr(measuring, "measure", measure)
    ask(worker, LAYERS)
    found = {message["index"]: message["row"]["status"] for message in sent if "row" in message}
    assert found == {0: "ok", 1: "failed", 2: "ok"} and calls == [3, 1, 1]


def test_a_runner_that_raises_fails_only_the_point_that_raises_alone(worker: Worker, sent: Sent, monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(points: Sequence[LayerPoint], bench: Any) -> list[Outcome]:
        if any(point.model == "c" for point in points):
            raise RuntimeError("c")
        return [Outcome(columns={}) for _ in points]

    monkeypatch.setattr(measuring, "measure", measure)
    ask(worker, LAYERS)
    assert [row["status"] for row in sent.rows()] == ["ok", "ok", "failed"] and sent.rows()[2]["error"] == "RuntimeError: c"


def test_errors_are_one_line() -> None:
    assert one_line(ValueError("a\n  b")) == "ValueError: a b"
    assert one_line(InputError("a", hint="b")) == "a; b"


def test_the_card_rests_before_every_point(worker: Worker, sent: Sent, monkeypatch: pytest.MonkeyPatch) -> None:
    rests: list[float] = []
    monkeypatch.setattr(measuring.time, "sleep", rests.append)
    ask(worker, gemms(8, 16), rest_s=0.05)
    ask(worker, gemms(8))
    assert rests == [0.05, 0.05, 0.0]
