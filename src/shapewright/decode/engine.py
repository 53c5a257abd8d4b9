"""What decodes one model: its reading, the pool of its buffers, and the state on the device before a step.

An `Engine` reads the model when it is first asked, and again whenever a weight or a module is not where it was (`.to()`, another state
dict with `assign=True`, a swapped module, a new hook). Weights that change in place need nothing: kernels read them where they lie. Only
what is made of weights alone (`constants`, for layer norms where the batch is one row) is as old as the last call of `generate`, or of
Hugging Face's forward on the cache.

A step assumes of a call what cannot be seen without waiting for the device. The first one-token call after Hugging Face's own forward
has run on a cache reads mask and positions on the host, once; the calls after it are taken to extend that mask by ones (its shape is
checked), and positions to stay within the cache's length. Before each of them only a few weights are looked at (`watched`): what moves all
weights is noticed, but one other weight that is replaced, or a hook put on a layer, between two one-token calls is not until the next
`generate` or forward of several tokens. Writing into weights in place is seen at once; but where there are constants, steps mix old and
new until then.
"""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import Tensor, nn

from shapewright.decode.buffers import Buffers
from shapewright.decode.cache import PooledCache
from shapewright.decode.families import read_decoder
from shapewright.decode.layers import Decoder, Unsupported
from shapewright.decode.pool import MakeStep, Pool, Step, signature

MAX_BATCH = 64
COMPILED = "its forward is compiled, and a compiler cannot follow its cache"
# Why the first tokens of a prompt that is fed one by one run plain, where a row is padded: nothing to tell anybody.
NOT_BEGUN = "a row of it has not begun"
# A weight: the names of the modules on the way to it, and its own.
Path = tuple[tuple[str, ...], str]


class Engine:
    """Decodes a model. `make_step(decoder, buffers)` gives its steps; without it they are the kernels'."""

    def __init__(self, make_step: MakeStep | None = None) -> None:
        self.make_step = make_step
        self.pool: Pool | None = None
        self._seen: object = None
        self._watched: list[tuple[Path, object]] = []
        self._reason: str | None = None

    def check(self, model: nn.Module) -> str | None:
        """Why the model runs plain (a clause about it), or None. Reads it again if it is not as it was."""
        seen = fingerprint(model)
        if seen != self._seen:
            self._read(model)
            self._seen = seen
        return self._reason

    def is_as_read(self, model: nn.Module) -> bool:
        """Whether the few weights that are watched are where they were when the model was read: a matter of microseconds."""
        return all(place(model, path) == seen for path, seen in self._watched)

    def drop(self) -> None:
        """Let go of the pool; the next check reads the model again."""
        self.pool = self._seen = None
        self._watched = []

    def new_cache(self, capacity: int) -> PooledCache:
        """An empty cache, meant for `capacity` slots. Its buffers are taken when the first keys come."""
        assert self.pool is not None, "check() comes first"
        return PooledCache(self.pool, capacity)

    def owns(self, cache: object) -> bool:
        """Whether steps may run over `cache` as it is now."""
        return isinstance(cache, PooledCache) and cache.is_pooled and self.made(cache)

    def made(self, cache: object) -> bool:
        """Whether `cache` is of this engine's pool, filled or not yet."""
        return isinstance(cache, PooledCache) and self.pool is not None and cache.store.pool is self.pool

    def why_not_longer(self, length: int) -> str | None:
        """Why a step cannot fill the last of `length` slots."""
        limit = None if self.pool is None else self.pool.decoder.max_positions
        if limit is not None and length > limit:
            return f"it has {limit} learned positions"
        return None

    def begin(self, cache: PooledCache, *, starts: Tensor, positions: Tensor) -> Run:
        """Steps over `cache` from here on. `starts` `[batch]`: each row's first slot; `positions` `[batch]`: of its next token."""
        assert self.pool is not None
        cache.lease.place(starts=starts, positions=positions, length=cache.get_seq_length())
        return Run(self.pool, cache)

    def why_not_rows(self, cache: PooledCache, ids: Tensor) -> str | None:
        """Why `ids` `[batch, 1]` are not one token for each row of the cache."""
        rows = cache.lease.buffers.batch
        return None if len(ids) == rows else f"its input_ids have {len(ids)} rows, and its cache {rows}"

    def why_not_settled(self, cache: PooledCache, mask: Tensor | None, positions: Tensor | None) -> str | None:
        """Put on the device where rows start, if it does not know; or say why this mask or these positions cannot be had."""
        store, length, batch = cache.store, cache.get_seq_length(), cache.lease.buffers.batch
        if mask is not None and tuple(mask.shape) != (batch, length + 1):
            return f"its attention_mask has shape {list(mask.shape)}, not [batch, {length + 1}]"
        if positions is not None and tuple(positions.shape) not in ((1, 1), (batch, 1)):
            return f"its position_ids have shape {list(positions.shape)}, not [batch, 1]"
        if store.is_settled and store.has_mask == (mask is not None):
            return None
        self._prepare(cache, length + 1)
        starts, reason = read_starts(mask, positions, length + 1)
        if reason is None:
            buffers = cache.lease.buffers
            buffers.starts.copy_(torch.zeros_like(buffers.starts) if starts is None else starts)
            store.is_settled, store.has_mask = True, mask is not None
        return reason

    def feed(self, cache: PooledCache, tokens: Tensor, positions: Tensor | None) -> Tensor:
        """One token a row, `tokens` `[batch]` at `positions` `[batch, 1]`: logits `[batch, vocab_size]`, good until the next step."""
        length, buffers = cache.get_seq_length(), cache.lease.buffers
        self._prepare(cache, length + 1)
        buffers = cache.lease.buffers
        if positions is not None:
            # Tables end at the buffers' capacity: a position beyond it would read past them.
            buffers.positions.copy_(positions[:, 0].clamp(0, length).expand(buffers.batch))
        else:
            buffers.positions.fill_(length)
            if self._counts_from_mask() and cache.store.has_mask:
                buffers.positions.sub_(buffers.starts)
        cache.lease.settle(length)
        logits = cache.lease.launch(tokens)
        cache.append()
        return logits

    def _counts_from_mask(self) -> bool:
        # OPT alone makes its positions from the mask when a call brings none; the others count slots.
        return self.pool is not None and self.pool.decoder.family == "opt"

    def _prepare(self, cache: PooledCache, length: int) -> None:
        assert self.pool is not None
        cache.store.grow(length)
        self.pool.prepare(cache.lease)

    def _read(self, model: nn.Module) -> None:
        try:
            if any(module._compiled_call_impl is not None for module in model.modules()):
                raise Unsupported(COMPILED)
            decoder = read_decoder(model)
            make_step = self.make_step or kernel_steps(decoder)
        except Unsupported as unsupported:
            self.pool, self._reason, self._watched = None, str(unsupported), []
            return
        self._reason, self._watched = None, [(path, place(model, path)) for path in watched(model, decoder)]
        if self.pool is None or self.pool.signature != signature(decoder):
            self.pool = Pool(decoder, make_step)


class Run:
    """A loop of steps over one cache. The slot that a step fills counts once it is committed: one that is not leaves no trace."""

    def __init__(self, pool: Pool, cache: PooledCache) -> None:
        self.pool = pool
        self.cache = cache
        self.lease = cache.lease

    def feed(self, tokens: Tensor | None = None) -> Tensor:
        """Queue the step for `tokens` `[batch]`, or for those that the step before chose: logits `[batch, vocab_size]`."""
        if self.lease.length == self.lease.buffers.capacity:
            self._grow()
        self.pool.prepare(self.lease)
        return self.lease.launch(tokens)

    @property
    def chosen(self) -> Tensor:
        """`[batch]`: the likeliest tokens after the step before, until the next."""
        return self.lease.buffers.tokens

    def commit(self) -> None:
        """The step before belongs to the text."""
        self.cache.append()

    def _grow(self) -> None:
        """Memory was too short to take all at first, or nobody knew the length."""
        self.cache.store.grow(self.lease.length + 1)
        self.lease = self.cache.lease


def read_starts(mask: Tensor | None, positions: Tensor | None, length: int) -> tuple[Tensor | None, str | None]:
    """The first valid slot of each row of `mask` `[batch, length]` (None: all are), or why a step cannot work with it. Waits once."""
    starts, faults = None, []
    if mask is not None:
        seen = mask.bool()
        starts = length - seen.sum(-1)
        faults += [(seen[:, :-1] & ~seen[:, 1:]).any(), ~seen[:, -1].all()]
    if positions is not None:
        faults.append((positions[:, -1] >= length).any() | (positions[:, -1] < 0).any())
    found = torch.stack(faults).tolist() if faults else []
    if mask is not None and found[0]:
        return None, "its attention_mask is not left padding alone"
    if mask is not None and found[1]:
        return None, NOT_BEGUN
    if positions is not None and found[-1]:
        return None, "its position_ids run ahead of the cache"
    return starts, None


def fingerprint(model: nn.Module) -> object:
    """What changes when weights move or modules are swapped, hooked or patched."""
    seen: list[object] = [getattr(getattr(model, "config", None), "_attn_implementation", None)]
    for module in model.modules():
        weights = [(weight.data_ptr(), weight.dtype, weight.device) for weight in module._parameters.values() if weight is not None]
        is_patched = module is not model and "forward" in vars(module)
        is_compiled = module._compiled_call_impl is not None
        seen.append((id(module), len(module._forward_hooks), len(module._forward_pre_hooks), is_patched, is_compiled, weights))
    return seen


def watched(model: nn.Module, decoder: Decoder) -> list[Path]:
    """Where in the model the embedding, the head, and a weight of the first and of the last layer stand."""
    first, last = decoder.layers[0].mlp.down, decoder.layers[-1].mlp.down
    addresses = {weight.data_ptr() for weight in (decoder.embedding, decoder.head.weight, first.weight, last.weight)}
    return [
        ((*path.split("."),), name)
        for path, module in model.named_modules()
        for name, weight in module._parameters.items()
        if weight is not None and weight.data_ptr() in addresses
    ]


def place(model: nn.Module, path: Path) -> object:
    """Where a weight lies now; None where there is none any more."""
    module: nn.Module | None = model
    for name in path[0]:
        # Not by attribute, which takes ten times as long.
        module = None if module is None else module._modules.get(name)
    weight = None if module is None else module._parameters.get(path[1])
    return None if weight is None else (weight.data_ptr(), weight.dtype, weight.device)


def kernel_steps(decoder: Decoder) -> MakeStep:
    """Steps of the kernels; `Unsupported` where there is nothing to run them."""
    is_interpreted = os.environ.get("TRITON_INTERPRET") == "1"
    if decoder.device.type != "cuda" and not is_interpreted:
        raise Unsupported(
            f"its weights are on the {decoder.device.type.upper()}, and the kernels need a GPU (model.to('cuda'), where there is one)"
        )
    try:
        import triton  # noqa: F401
    except ImportError:
        raise Unsupported("triton is not installed") from None
    return kernel_step


def kernel_step(decoder: Decoder, buffers: Buffers) -> Step:
    """The kernels' step, captured where the device can."""
    from shapewright.decode import graphs

    step: Any = graphs.make_step(decoder, buffers)
    return step
