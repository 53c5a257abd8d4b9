"""A step as a CUDA graph: the host launches one thing a token.

Captured once, at its first use; lengths are read on the device, so that nothing is captured or compiled again as a text grows. Without CUDA
the step runs launch by launch (the interpreter).
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import torch
from torch import Tensor

from shapewright.decode.buffers import Buffers
from shapewright.decode.dispatch import Dispatch, Table, hardware_of
from shapewright.decode.layers import Decoder
from shapewright.decode.step import Step

CAPTURING = threading.Lock()


class CapturedStep:
    """A `Step` behind a graph."""

    def __init__(self, step: Step) -> None:
        self.step = step
        self.graph: torch.cuda.CUDAGraph | None = None
        self.refreshing: torch.cuda.CUDAGraph | None = None
        self.can_capture = step.decoder.device.type == "cuda"

    @property
    def logits(self) -> Tensor:
        """`[batch, vocab_size]`, the same tensor after every step."""
        return self.step.logits

    def run(self) -> None:
        """Logits alone: launch by launch."""
        self.step.run()

    def run_greedy(self) -> None:
        """Logits, the likeliest token, and one slot further."""
        if not self.can_capture:
            self.step.run_greedy()
            return
        if self.graph is None:
            self.graph = self._captured()
        if self.step.is_stale:
            self.refresh()
        self.graph.replay()

    def forget(self) -> None:
        """Weights may have been written into."""
        self.step.forget()

    def refresh(self) -> None:
        """Make what is made of weights alone anew, where a graph of that was captured; where not, the next step does."""
        if self.refreshing is not None:
            self.refreshing.replay()
            self.step.is_stale = False

    def _captured(self) -> torch.cuda.CUDAGraph:
        """Kernels are compiled and loaded by a first run, on a stream of its own; what it did to the state is undone."""
        buffers = self.step.buffers
        kept = [tensor.clone() for tensor in self._state()]
        stream = torch.cuda.Stream(buffers.cache.device)
        stream.wait_stream(torch.cuda.current_stream())
        try:
            with torch.cuda.stream(stream):
                self.step.run_greedy()
        except BaseException:
            # How far it came is not known.
            self.step.forget()
            raise
        finally:
            torch.cuda.current_stream().wait_stream(stream)
        for tensor, old in zip(self._state(), kept, strict=True):
            tensor.copy_(old)
        if self.step.constants:
            self.refreshing = self._graph_of(self.step.refresh, stream)
        return self._graph_of(self.step.run_greedy, stream)

    def _graph_of(self, run: Callable[[], None], stream: torch.cuda.Stream) -> torch.cuda.CUDAGraph:
        graph = torch.cuda.CUDAGraph()
        # On the stream just made, which is of this device: torch's own for captures is of the device that captured first. Other threads may
        # allocate meanwhile.
        with CAPTURING, torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            run()
        return graph

    def _state(self) -> tuple[Tensor, ...]:
        buffers = self.step.buffers
        return buffers.tokens, buffers.positions, buffers.length, buffers.generated


def make_step(decoder: Decoder, buffers: Buffers, table: Table | None = None) -> CapturedStep:
    """The kernels' step for these buffers, tiled as the table of this GPU says (or `table`)."""
    return CapturedStep(Step(decoder, buffers, Dispatch(hardware_of(decoder.device), table)))
