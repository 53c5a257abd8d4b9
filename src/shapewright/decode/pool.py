"""Buffers on loan: who may write where, and how much of it lies idle.

A `Pool` belongs to one reading of one model. It lends a `Lease` (buffers, and the step that runs over them), takes it back when the cache
that held it is gone, and keeps at most one idle. Capacities are in slots (tokens a row), memory in bytes.

Memory against Hugging Face's. Its cache holds the slots that are filled, and one layer's keys above that while it grows. Ours has the
prompt's and those of the next `AHEAD` tokens (or fewer, if fewer were announced) from the start, rounded up by less than `quantum` slots,
whose bytes are at most `MAX_WASTE` of the weights' (or eight slots, if that is more). A text that outgrows them gets twice as many, up to
those announced: while the content is copied, old and new exist together. The idle lease is dropped before another is made, so those two
never add up.

On a GPU a lease follows the stream that used it last: whoever takes it up on another one waits for that, and so does the stream that its
memory goes back to. Nothing is waited for on the host.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

import torch
from torch import Tensor

from shapewright.decode.buffers import Buffers
from shapewright.decode.flags import on
from shapewright.decode.layers import Decoder

MAX_WASTE = 0.02
MIN_QUANTUM, MAX_QUANTUM = 8, 256
# Slots beyond those needed now that a cache takes at once, if so many were announced.
AHEAD = 2048


class Step(Protocol):
    """One decode step over fixed buffers.

    `run` feeds `buffers.tokens` and leaves `logits` `[batch, vocab_size]`, the same tensor each time. A step may also have `run_greedy`,
    which writes the likeliest tokens into `buffers.tokens` and `buffers.generated[length - first]`, and moves positions and length on; and
    `forget` and `refresh`, if it keeps what it makes of weights alone: the first says that weights may have been written into, after which
    the next run makes that anew, and the second makes it at once where it can.
    """

    logits: Tensor

    def run(self) -> None: ...


MakeStep = Callable[[Decoder, Buffers], Step]


class Streams:
    """The CUDA streams of a lease: the one that its memory belongs to, and the one that used it last. On a CPU there are none."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.home = self.last = current_stream(device)

    def use(self) -> None:
        """What is queued on the current stream from now on comes after all that used the lease before."""
        stream = current_stream(self.device)
        if stream is not None and self.last is not None and stream != self.last:
            stream.wait_stream(self.last)
        self.last = stream

    def end(self) -> None:
        """The memory is about to be free: whoever gets it next, on the stream that it belongs to, comes after its last use."""
        if self.home is not None and self.last is not None and self.home != self.last:
            self.home.wait_stream(self.last)


class Lease:
    """Buffers, and their step once it is needed. `length` and `first` say what those of the buffers do, without asking the device."""

    def __init__(self, buffers: Buffers) -> None:
        self.buffers = buffers
        self.step: Step | None = None
        self.length = 0
        self.first = 0
        # Somebody has tensors that look into the buffers: they are never lent again.
        self.is_exposed = False
        self.streams = Streams(buffers.tokens.device)
        # Called before the buffers and the step are let go.
        weakref.finalize(self, self.streams.end).atexit = False

    def place(self, *, starts: Tensor, positions: Tensor, length: int) -> None:
        """State for a token at `positions` `[batch]` that goes into slot `length`. Nothing waits for the device."""
        self.buffers.starts.copy_(starts)
        self.buffers.positions.copy_(positions)
        self.settle(length)

    def settle(self, length: int) -> None:
        """The device's `length`, written only where it is not that already."""
        if self.length != length:
            self.buffers.length.fill_(length)
            self.length = length

    def count_from(self, first: int) -> None:
        """Tokens chosen at slot `first` and after it go to `buffers.generated` from its beginning."""
        self.buffers.first.fill_(first)
        self.first = first

    def take_over(self, old: Lease) -> None:
        """All that a smaller lease holds, state and content."""
        mine, theirs = self.buffers, old.buffers
        old.streams.use()
        mine.cache[..., : theirs.capacity, :].copy_(theirs.cache)
        mine.generated[: theirs.capacity].copy_(theirs.generated)
        mine.tokens.copy_(theirs.tokens)
        self.place(starts=theirs.starts, positions=theirs.positions, length=old.length)
        self.count_from(old.first)

    def forget(self, *, is_new_text: bool = False) -> None:
        """Weights may have been written into since the step ran. What it makes of them alone it makes anew before it runs again; at once
        while the prompt of a new text is computed, for a short one leaves the device waiting for the host.
        """
        step: Any = self.step
        if hasattr(step, "forget"):
            step.forget()
            if is_new_text:
                with on(self.buffers.tokens.device):
                    step.refresh()

    def launch(self, tokens: Tensor | None = None) -> Tensor:
        """Feed `tokens` `[batch]`, or those that the launch before chose. Logits `[batch, vocab_size]`, until the next launch.

        After it the likeliest tokens stand in `buffers.tokens`, and positions and length stand one further.
        """
        step, buffers = self.ready_step(), self.buffers
        self.streams.use()
        if tokens is not None:
            buffers.tokens.copy_(tokens)
        try:
            with on(buffers.tokens.device):
                self._run(step)
        except BaseException:
            # How far it came is not known: the next `settle` writes the device's length anew.
            self.length = -1
            raise
        self.length += 1
        return step.logits

    def ready_step(self) -> Step:
        """The step, which the pool made before anything was launched."""
        assert self.step is not None, "Pool.prepare comes first"
        return self.step

    def _run(self, step: Step) -> None:
        run_greedy = getattr(step, "run_greedy", None)
        if run_greedy is not None:
            run_greedy()
        else:
            step.run()
            self._choose(step.logits)

    def _choose(self, logits: Tensor) -> None:
        """What `run_greedy` does after `run`."""
        buffers = self.buffers
        torch.argmax(logits, -1, out=buffers.tokens)
        slot = self.length - self.first
        if 0 <= slot < len(buffers.generated):
            buffers.generated[slot].copy_(buffers.tokens)
        buffers.positions.add_(1)
        buffers.length.add_(1)


class Pool:
    """Lends buffers for one decoder. Whoever holds a lease gives it back with `returned`, or drops it."""

    def __init__(self, decoder: Decoder, make_step: MakeStep) -> None:
        self.decoder = decoder
        self.make_step = make_step
        # Taken now: a weight that is moved stays the same object.
        self.signature = signature(decoder)
        self.idle: Lease | None = None
        self._lent: weakref.WeakSet[Lease] = weakref.WeakSet()
        # A cache may outlive its model: its step, which holds the weights, may not.
        weakref.finalize(self, _drop_steps, self._lent).atexit = False

    @property
    def num_layers(self) -> int:
        """Layers of the cache."""
        return len(self.decoder.layers)

    def fits(self, states: Tensor) -> bool:
        """Whether keys `[batch, num_key_value_heads, new, head_dim]` are what this pool's buffers hold."""
        attention = self.decoder.layers[0].attention
        is_shaped = states.dim() == 4 and states.shape[1] == attention.num_key_value_heads and states.shape[3] == attention.head_dim
        return is_shaped and states.dtype == self.decoder.dtype and states.device == self.decoder.device

    def lend(self, batch: int, capacity: int, *, at_least: int | None = None) -> Lease:
        """Buffers of `batch` rows and `capacity` slots or more; where memory is short, of as many as `at_least` asks for."""
        idle, self.idle = self.idle, None
        if idle is not None and idle.buffers.batch == batch and idle.buffers.capacity >= capacity:
            idle.streams.use()
            idle.forget()
            return idle
        del idle
        least = capacity if at_least is None else min(at_least, capacity)
        lease = self._new(batch, (capacity, (capacity + least) // 2, least))
        self._lent.add(lease)
        return lease

    def prepare(self, lease: Lease) -> None:
        """Make the lease's step, unless it has one."""
        if lease.step is None:
            with torch.inference_mode(False), torch.no_grad(), on(self.decoder.device):
                lease.step = self.make_step(self.decoder, lease.buffers)

    def returned(self, lease: Lease) -> None:
        """Nobody uses the lease any more: it stays for the next one, in the place of any other that is idle."""
        if not lease.is_exposed:
            self.idle = lease

    def _new(self, batch: int, capacities: tuple[int, ...]) -> Lease:
        """The first of `capacities` that there is memory for."""
        step = quantum(self.decoder, batch)
        # Inside torch.inference_mode() a new tensor could not be written to outside of it again.
        with torch.inference_mode(False), torch.no_grad():
            for capacity in capacities[:-1]:
                with suppress(torch.OutOfMemoryError):
                    return Lease(Buffers(self.decoder, batch, rounded_up(capacity, step)))
            return Lease(Buffers(self.decoder, batch, rounded_up(capacities[-1], step)))


def current_stream(device: torch.device) -> torch.cuda.Stream | None:
    """The stream that work for `device` is queued on; None where it is done at once."""
    return torch.cuda.current_stream(device) if device.type == "cuda" else None


def rounded_up(slots: int, quantum: int) -> int:
    """The next multiple of `quantum`."""
    return max(1, -(-slots // quantum)) * quantum


def quantum(decoder: Decoder, batch: int) -> int:
    """Slots that capacities are multiples of: a power of two, 8 to 256.

    Calls of nearly the same length then share buffers, and with them the captured step. 256 slots of Llama-2-7B are 1 % of its weights
    at batch 1, but 8 % at batch 8: the larger the batch, the finer.
    """
    attention = decoder.layers[0].attention
    slot_bytes = 2 * len(decoder.layers) * batch * attention.num_key_value_heads * attention.head_dim * decoder.dtype.itemsize
    slots, waste = MAX_QUANTUM, MAX_WASTE * weight_bytes(decoder)
    while slots > MIN_QUANTUM and slots * slot_bytes > waste:
        slots //= 2
    return slots


def weight_bytes(decoder: Decoder) -> int:
    """Of all weights that a decoder names, tied ones once."""
    weights = {weight.data_ptr(): weight.numel() * weight.element_size() for weight in _tensors(decoder)}
    return sum(weights.values())


def signature(value: Any) -> Any:
    """What two readings of the same unchanged model have in common: tensors by address, dtype, device and shape. Callables are left out."""
    if isinstance(value, Tensor):
        return (value.data_ptr(), value.dtype, value.device, tuple(value.shape))
    if isinstance(value, tuple):
        return tuple(signature(item) for item in value)
    if hasattr(value, "__dataclass_fields__"):
        return tuple((name, signature(getattr(value, name))) for name in value.__dataclass_fields__)
    return None if callable(value) else value


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, tuple):
        return [tensor for item in value for tensor in _tensors(item)]
    if hasattr(value, "__dataclass_fields__"):
        return [tensor for name in value.__dataclass_fields__ for tensor in _tensors(getattr(value, name))]
    return []


def _drop_steps(leases: weakref.WeakSet[Lease]) -> None:
    for lease in leases:
        lease.streams.end()
        lease.step = None
