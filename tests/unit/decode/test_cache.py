"""The pooled cache against Hugging Face's `DynamicCache`, method by method, and what becomes of its buffers."""

from __future__ import annotations

import copy
import gc
import io
import itertools

import pytest
import torch
from torch import Tensor
from transformers import DynamicCache

from shapewright.decode import cache as caching
from shapewright.decode.cache import PooledCache
from shapewright.decode.families import read_decoder
from shapewright.decode.pool import Pool
from unit.decode.tiny import tiny_llama
from unit.decode.twins import CountedStep

BATCH, HEADS, DIM = 3, 2, 10


@pytest.fixture
def pool() -> Pool:
    return Pool(read_decoder(tiny_llama()), CountedStep)


def states(new: int, seed: int = 0, batch: int = BATCH, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(batch, HEADS, new, DIM, generator=torch.Generator().manual_seed(seed)).to(dtype)


def filled(pool: Pool, new: int = 6, capacity: int = 16) -> tuple[PooledCache, DynamicCache]:
    """Ours and Hugging Face's, with the same content."""
    caches = PooledCache(pool, capacity), DynamicCache()
    for cache in caches:
        for layer in range(2):
            cache.update(states(new, layer), states(new, layer + 10), layer)
    return caches


def agree(caches: tuple[PooledCache, DynamicCache]) -> None:
    ours, theirs = caches
    assert len(ours) == len(theirs) == 2
    assert ours.get_seq_length() == theirs.get_seq_length() and ours.get_max_length() == theirs.get_max_length() == -1
    assert ours.get_mask_sizes(3, 0) == theirs.get_mask_sizes(3, 0)
    assert (ours.is_compileable, ours.is_croppable, ours.is_sliding) == (False, True, [False, False])
    for mine, other in zip(ours.layers, theirs.layers, strict=True):
        assert torch.equal(mine.keys, other.keys) and torch.equal(mine.values, other.values)


def test_appends_and_hands_out_what_there_is(pool: Pool) -> None:
    caches = filled(pool)
    agree(caches)
    for new in (1, 4):
        found, expected = (cache.update(states(new, 5), states(new, 6), 0) for cache in caches)
        assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
        for cache in caches:
            cache.update(states(new, 7), states(new, 8), 1)
    agree(caches)
    buffers = caches[0].lease.buffers
    assert caches[0].is_pooled and found[0].data_ptr() == buffers.keys(0).data_ptr() and found[0].shape[2] == 11


def test_empty() -> None:
    cache = PooledCache(Pool(read_decoder(tiny_llama()), CountedStep), 8)
    assert cache.get_seq_length() == 0 and not cache.is_pooled and cache.get_mask_sizes(4, 0) == (4, 0)
    assert cache.layers[0].keys is None and not cache.is_initialized
    cache.crop(-2)
    cache.reorder_cache(torch.tensor([0]))
    assert cache.get_seq_length() == 0


def test_grows_beyond_its_capacity(pool: Pool) -> None:
    caches = filled(pool)
    first = caches[0].lease
    most = first.buffers.capacity
    views = caches[0].update(states(1), states(1), 0)
    caches[1].update(states(1), states(1), 0)
    for cache in caches:
        cache.update(states(most, 3), states(most, 4), 1)
        cache.update(states(most - 1, 1), states(most - 1, 2), 0)
        cache.crop(-1)
    agree(caches)
    assert caches[0].is_pooled and caches[0].lease is not first and caches[0].lease.buffers.capacity > most
    # What was handed out before stays what it was.
    assert torch.equal(views[0], caches[1].layers[0].keys[:, :, :7])


def test_what_is_announced_is_made_room_for_once(pool: Pool) -> None:
    caches = filled(pool)
    caches[0].announce(5000)
    agree(caches)
    caches[0].update(states(4000), states(4000), 0)
    lease = caches[0].lease
    assert lease.buffers.capacity >= 5000
    caches[0].update(states(900), states(900), 0)
    assert caches[0].lease is lease


def test_what_is_announced_is_taken_bit_by_bit(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caching, "AHEAD", 20)
    cache, _ = filled(pool, new=6, capacity=1000)
    taken = [cache.lease.buffers.capacity]
    while cache.get_seq_length() < 1000:
        cache.update(states(1), states(1), 0)
        if cache.lease.buffers.capacity != taken[-1]:
            taken.append(cache.lease.buffers.capacity)
    assert taken[0] < 6 + 20 + 8 and taken[-1] < 1000 + 8 and len(taken) == 6
    assert all(more <= 2 * less for less, more in itertools.pairwise(taken))


@pytest.mark.parametrize("by", [-1, -4, -6, 0, 2, 6, 9])
def test_crop(pool: Pool, by: int, caplog: pytest.LogCaptureFixture) -> None:
    caches = filled(pool)
    for cache in caches:
        cache.crop(torch.tensor(by) if by < 0 else by)
    assert caches[0].is_pooled and caches[0].get_seq_length() == caches[1].get_seq_length()
    for cache in caches:
        for layer in range(2):
            cache.update(states(2, 3), states(2, 4), layer)
    agree(caches)


def test_reorder_stays_in_place(pool: Pool) -> None:
    caches = filled(pool)
    caches[0].lease.buffers.starts.copy_(torch.tensor([5, 6, 7]))
    address = caches[0].lease.buffers.cache.data_ptr()
    for cache in caches:
        cache.reorder_cache(torch.tensor([2, 2, 0]))
    agree(caches)
    assert caches[0].is_pooled and caches[0].lease.buffers.cache.data_ptr() == address
    assert caches[0].lease.buffers.starts.tolist() == [7, 7, 5]


@pytest.mark.parametrize(
    "change",
    [
        lambda cache: cache.batch_repeat_interleave(2),
        lambda cache: cache.batch_select_indices(torch.tensor([2, 0])),
        lambda cache: cache.reorder_cache(torch.tensor([2, 0])),
    ],
    ids=["repeat", "select", "reorder to fewer"],
)
def test_another_batch_leaves_the_buffers(pool: Pool, change) -> None:
    caches = filled(pool)
    for cache in caches:
        change(cache)
    agree(caches)
    assert not caches[0].is_pooled and caches[0].store.lease is None
    rows = caches[0].layers[0].keys.shape[0]
    for cache in caches:
        for layer in range(2):
            cache.update(states(2, 3, rows), states(2, 4, rows), layer)
        cache.crop(-3)
    agree(caches)


def test_reset_is_empty(pool: Pool) -> None:
    ours, _ = filled(pool)
    ours.reset()
    assert ours.get_seq_length() == 0 and ours.is_pooled
    ours.update(states(2, 3), states(2, 4), 0)
    assert torch.equal(ours.layers[0].keys, states(2, 3))


@pytest.mark.parametrize(
    "keys",
    [states(4, dtype=torch.float64), torch.randn(BATCH, 1, 4, DIM), torch.randn(BATCH, HEADS, 4, 12)],
    ids=["dtype", "heads", "width"],
)
def test_keys_of_another_kind_are_kept_apart(pool: Pool, keys: Tensor) -> None:
    ours, theirs = PooledCache(pool, 8), DynamicCache()
    for cache in (ours, theirs):
        for layer in range(2):
            cache.update(keys, keys, layer)
            cache.update(keys, keys, layer)
    agree((ours, theirs))
    assert not ours.is_pooled


def test_gradients_are_kept_apart(pool: Pool) -> None:
    ours, _ = filled(pool)
    keys = states(2).requires_grad_()
    seen, _ = ours.update(keys, keys, 0)
    seen[:, :, -2:].sum().backward()
    assert torch.equal(keys.grad, torch.ones_like(keys)) and not ours.is_pooled


def test_a_cache_that_is_held_keeps_its_buffers(pool: Pool) -> None:
    held, theirs = filled(pool)
    other, _ = filled(pool)
    assert other.lease is not held.lease
    other.update(states(1), states(1), 0)
    agree((held, theirs))


def test_a_cache_that_is_gone_gives_them_back(pool: Pool) -> None:
    cache = PooledCache(pool, 16)
    cache.update(states(3), states(3), 0)
    lease = cache.lease
    del cache
    assert pool.idle is lease
    again = PooledCache(pool, 12)
    again.update(states(3), states(3), 0)
    assert again.lease is lease and pool.idle is None


@pytest.mark.parametrize("look", [lambda cache: cache.layers[1].values, lambda cache: next(iter(cache))[0]], ids=["a layer", "iterating"])
def test_buffers_that_somebody_looks_into_are_not_lent_again(pool: Pool, look) -> None:
    cache, theirs = filled(pool)
    seen, expected = look(cache), look(theirs)
    del cache
    gc.collect()
    other = PooledCache(pool, 16)
    for layer in range(2):
        other.update(states(6, 30), states(6, 31), layer)
    assert torch.equal(seen, expected)


def test_copies_are_independent(pool: Pool) -> None:
    caches = filled(pool)
    twin = copy.deepcopy(caches[0])
    assert isinstance(twin, PooledCache) and twin.is_pooled and not caches[0].lease.is_exposed
    twin.update(states(2, 9), states(2, 9), 0)
    twin.layers[1].keys.zero_()
    agree(caches)


def test_saved_as_a_plain_cache(pool: Pool) -> None:
    caches = filled(pool)
    file = io.BytesIO()
    torch.save(caches[0], file)
    file.seek(0)
    loaded = torch.load(file, weights_only=False)
    assert type(loaded) is DynamicCache
    agree((caches[0], loaded))
    agree((caches[0], copy.copy(caches[0])))


def test_outlives_its_pool() -> None:
    pool = Pool(read_decoder(tiny_llama()), CountedStep)
    caches = filled(pool)
    pool.prepare(caches[0].lease)
    lease = caches[0].lease
    del pool
    gc.collect()
    assert not caches[0].is_pooled and lease.step is None
    for cache in caches:
        for layer in range(2):
            cache.update(states(2, 3), states(2, 4), layer)
            cache.update(states(200, 3), states(200, 4), layer)
    agree(caches)
    assert type(copy.deepcopy(caches[0])) is DynamicCache
