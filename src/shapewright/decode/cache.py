"""A Hugging Face cache whose layers append into one set of fixed buffers, and hand out views of exactly what they hold.

So Hugging Face's own forward runs on it unchanged (prefill, several tokens at once, every call that is not accelerated), and a decode
step finds the same keys and values at addresses that do not move. Shapes: keys and values `[batch, num_key_value_heads, length,
head_dim]`. Lengths are counted on the host: nothing here waits for the device.

Layers with a window keep all their slots; Hugging Face's masks then hide what lies outside of it, as they do in a prefill.

What fixed buffers cannot do (another batch, other dtypes, gradients, a device moved to) makes a layer leave them: it goes on as a
`DynamicLayer` with tensors of its own, and the model runs plain on it. A cache that outgrows its buffers gets larger ones and copies.
"""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from shapewright.decode.pool import AHEAD, Lease, Pool


class Store:
    """What the layers of one cache share: the pool, the lease it gave, and whether the device knows where each row starts."""

    def __init__(self, pool: Pool, capacity: int) -> None:
        self._pool = weakref.ref(pool)
        self._num_layers = pool.num_layers
        self._left: set[int] = set()
        self._giver: weakref.finalize | None = None
        self.capacity = capacity
        self.lease: Lease | None = None
        # Whether `starts` on the device belong to the mask that calls come with, and whether they come with one.
        self.is_settled = False
        self.has_mask = False

    @property
    def pool(self) -> Pool | None:
        """None once the model was read anew, or is gone."""
        return self._pool()

    def reserve(self, length: int, states: Tensor) -> bool:
        """Have `length` slots for rows like `states`. False: these buffers cannot hold them."""
        pool = self.pool
        if self.lease is None:
            if pool is None or not pool.fits(states):
                return False
            self._hold(pool, pool.lend(states.shape[0], self._wanted(length), at_least=length))
        self._lease.streams.use()
        buffers = self._lease.buffers
        is_like = states.shape[0] == buffers.batch and states.dtype == buffers.cache.dtype and states.device == buffers.cache.device
        if not is_like or states.shape[1::2] != buffers.keys(0).shape[1::2]:
            return False
        return length <= buffers.capacity or self.grow(length)

    def grow(self, length: int) -> bool:
        """Larger buffers with the same content; for a moment both exist. False: there is nobody to ask for them."""
        pool, old = self.pool, self._lease
        if length <= old.buffers.capacity:
            return True
        if pool is None:
            return False
        new = pool.lend(old.buffers.batch, self._wanted(length), at_least=length)
        new.take_over(old)
        # Not given back: views of the old buffers may still be read by the forward that runs now.
        self._let_go()
        self._hold(pool, new)
        return True

    def forget(self, *, is_new_text: bool = False) -> None:
        """Hugging Face's forward runs, or `generate` begins: weights may have been written into since a step ran."""
        if self.lease is not None:
            self.lease.forget(is_new_text=is_new_text)

    def leave(self, layer: int) -> None:
        """A layer keeps tensors of its own from now on; when all do, the buffers are free."""
        self._left.add(layer)
        if len(self._left) == self._num_layers and self.lease is not None:
            pool, lease = self.pool, self.lease
            self._let_go()
            if pool is not None:
                pool.returned(lease)

    @property
    def is_whole(self) -> bool:
        """Whether every layer lies in the buffers."""
        return self.lease is not None and not self._left

    def _wanted(self, length: int) -> int:
        """Slots to ask for where `length` are needed: of those announced, some ahead, and twice as many as there are."""
        if length > self.capacity:
            # Nobody knows how many: a caller who appends token by token makes few copies.
            return 3 * length // 2 if self.lease is not None else length
        held = 0 if self.lease is None else self.lease.buffers.capacity
        return min(self.capacity, max(length + AHEAD, 2 * held))

    @property
    def _lease(self) -> Lease:
        assert self.lease is not None
        return self.lease

    def _hold(self, pool: Pool, lease: Lease) -> None:
        self.lease = lease
        self._giver = weakref.finalize(self, _give_back, weakref.ref(pool), lease)
        self._giver.atexit = False

    def _let_go(self) -> None:
        if self._giver is not None:
            self._giver.detach()
        self.lease = self._giver = None


class PooledLayer(DynamicLayer):
    """One layer's part of the buffers, `length` slots of it filled; or, once it has left them, a plain `DynamicLayer`."""

    def __init__(self, store: Store, index: int) -> None:
        self.store = store
        self.index = index
        self.length = 0
        self._own: dict[str, Tensor] = {}
        super().__init__()

    @property
    def keys(self) -> Tensor | None:
        """All that is held. Whoever looks keeps the buffers from being lent again."""
        return self._seen("keys")

    @keys.setter
    def keys(self, value: Tensor | None) -> None:
        self._replace("keys", value)

    @property
    def values(self) -> Tensor | None:
        """As `keys`."""
        return self._seen("values")

    @values.setter
    def values(self, value: Tensor | None) -> None:
        self._replace("values", value)

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Without tokens there is nothing to hold: the first `update` takes the buffers."""
        if self._own or key_states.shape[-2]:
            super().lazy_initialization(key_states, value_states)

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Append `[batch, num_key_value_heads, new, head_dim]`; all keys and all values so far."""
        end = self.length + key_states.shape[-2]
        needs_gradient = torch.is_grad_enabled() and (key_states.requires_grad or value_states.requires_grad)
        if self._own or needs_gradient or not self.store.reserve(end, key_states):
            return super().update(key_states, value_states, *args, **kwargs)
        self._part("keys")[:, :, self.length : end].copy_(key_states)
        self._part("values")[:, :, self.length : end].copy_(value_states)
        self.is_initialized = True
        self.dtype, self.device = key_states.dtype, key_states.device
        self.length = end
        self.store.is_settled = False
        if self.index == 0:
            self.store.forget(is_new_text=end == key_states.shape[-2])
        return self._view("keys"), self._view("values")

    def get_seq_length(self) -> int:
        """Slots filled."""
        keys = self._own.get("keys")
        return keys.shape[-2] if keys is not None and keys.numel() else self.length

    def get_max_length(self) -> int:
        """-1: it grows."""
        return -1

    def crop(self, tokens_to_remove: int) -> None:
        """Forget the last `-tokens_to_remove` slots. A positive number is the length to keep, as it was in older versions."""
        if self._own:
            return super().crop(tokens_to_remove)
        by = int(tokens_to_remove)
        self.length = min(self.length, by) if by > 0 else max(0, self.length + by)
        self.store.is_settled = False
        return None

    def reorder_cache(self, beam_idx: Any) -> None:
        """Row i becomes row `beam_idx[i]`, at the same addresses."""
        if self._own or self.store.lease is None or len(beam_idx) != self.store.lease.buffers.batch:
            return super().reorder_cache(beam_idx)
        for name in ("keys", "values"):
            held = self._view(name)
            held.copy_(held.index_select(0, beam_idx.to(held.device)))
        return None

    def reset(self) -> None:
        """Empty, with the buffers kept."""
        if self._own:
            super().reset()
        self.length = 0
        self.store.is_settled = False

    def held(self) -> tuple[Tensor, Tensor]:
        """Keys and values for whoever reads them now and keeps nothing."""
        keys, values = (self._own[name] if name in self._own else self._view(name) for name in ("keys", "values"))
        return keys, values

    def _part(self, name: str) -> Tensor:
        assert self.store.lease is not None
        return getattr(self.store.lease.buffers, name)(self.index)

    def _view(self, name: str) -> Tensor:
        return self._part(name)[:, :, : self.length]

    def _seen(self, name: str) -> Tensor | None:
        if name in self._own:
            return self._own[name]
        if self.store.lease is None or not self.is_initialized:
            return None
        self.store.lease.is_exposed = True
        return self._view(name)

    def _replace(self, name: str, value: Tensor | None) -> None:
        if value is None:
            return
        self._own[name] = value
        if len(self._own) == 2:
            self.length = 0
            self.store.leave(self.index)


class PooledCache(DynamicCache):
    """A cache of `pool`, announced for `capacity` slots. It is `is_pooled` while all of it lies in the buffers."""

    def __init__(self, pool: Pool, capacity: int) -> None:
        super().__init__()
        self.layer_class_to_replicate = None
        self.store = Store(pool, capacity)
        self.layers: list[PooledLayer] = [PooledLayer(self.store, index) for index in range(pool.num_layers)]  # pyright: ignore

    @property
    def is_pooled(self) -> bool:
        """Whether a step of the pool that made it may run over it."""
        return self.store.is_whole and self.store.pool is not None

    @property
    def lease(self) -> Lease:
        """The buffers; only while `is_pooled`."""
        assert self.store.lease is not None
        return self.store.lease

    def announce(self, capacity: int) -> None:
        """Up to `capacity` slots are going to be filled: how far it grows when it has to."""
        self.store.capacity = max(capacity, self.store.capacity)

    def append(self) -> None:
        """A step has written one more slot in every layer."""
        for layer in self.layers:
            layer.length += 1

    def reorder_cache(self, beam_idx: Any) -> None:
        """Reorder rows; where each starts goes with it."""
        super().reorder_cache(beam_idx)
        if self.is_pooled and len(beam_idx) == self.lease.buffers.batch:
            starts = self.lease.buffers.starts
            starts.copy_(starts.index_select(0, beam_idx.to(starts.device)))

    def __deepcopy__(self, memo: dict[int, Any]) -> DynamicCache:
        """A cache with the same content in buffers of its own."""
        pool = self.store.pool
        twin = DynamicCache() if pool is None else PooledCache(pool, self.store.capacity)
        _copy_into(twin, self)
        memo[id(self)] = twin
        return twin

    def __reduce__(self) -> tuple[Any, ...]:
        """Saved as a plain `DynamicCache`: whoever loads it has no pool."""
        plain = DynamicCache()
        _copy_into(plain, self)
        return DynamicCache, ([pair[:2] for pair in plain],)


def _copy_into(twin: DynamicCache, cache: PooledCache) -> None:
    for index, layer in enumerate(cache.layers):
        if layer.get_seq_length():
            twin.update(*layer.held(), index)


def _give_back(pool: weakref.ref[Pool], lease: Lease) -> None:
    alive = pool()
    if alive is not None:
        alive.returned(lease)
