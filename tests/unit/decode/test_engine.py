"""The pool's memory in bytes, what makes an engine read its model again, and the state that it puts on the device."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from transformers import PreTrainedModel

from shapewright.decode import cache as caching
from shapewright.decode import pool as pooling
from shapewright.decode.buffers import Buffers
from shapewright.decode.engine import NOT_BEGUN, Engine, kernel_steps, read_starts
from shapewright.decode.families import read_decoder
from shapewright.decode.layers import Decoder, Unsupported
from shapewright.decode.loop import decode
from shapewright.decode.pool import MAX_QUANTUM, MAX_WASTE, MIN_QUANTUM, Pool, quantum, rounded_up, signature, weight_bytes
from unit.decode.tiny import TINY, prompt, tiny_llama, tiny_opt
from unit.decode.twins import CountedStep, GreedyStep, counted, pool_of, twins


def read(model: PreTrainedModel) -> Engine:
    engine = Engine(CountedStep)
    assert engine.check(model) is None
    return engine


@pytest.mark.parametrize("family", list(TINY))
def test_bytes_of_the_weights(family: str) -> None:
    model = TINY[family]()
    assert weight_bytes(read_decoder(model)) == sum(weight.numel() * 4 for weight in model.parameters())


def test_quantum_of_llama_2_7b(monkeypatch: pytest.MonkeyPatch) -> None:
    """512 KiB a slot and row: 2 % of 13.5 GB are 514 of them, so 256 at batch 1 and 2, 64 at 8, and 8 at 64."""
    decoder = read_decoder(tiny_llama())
    slot = 2 * 2 * 2 * 10 * 4
    monkeypatch.setattr(pooling, "weight_bytes", lambda _: 13_476_839_424 * slot // 524_288)
    assert [quantum(decoder, batch) for batch in (1, 2, 4, 8, 16, 32, 64)] == [256, 256, 128, 64, 32, 16, 8]


@given(batch=st.integers(1, 64), slots=st.integers(1, 5000))
def test_waste_is_bounded(batch: int, slots: int) -> None:
    decoder = DECODER
    step = quantum(decoder, batch)
    capacity = rounded_up(slots, step)
    slot_bytes = 2 * 2 * batch * 2 * 10 * 4
    assert slots <= capacity < slots + step and MIN_QUANTUM <= step <= MAX_QUANTUM and step & (step - 1) == 0
    assert step == MIN_QUANTUM or (capacity - slots) * slot_bytes <= MAX_WASTE * weight_bytes(decoder)


DECODER = read_decoder(tiny_llama())


class Ledger:
    """Bytes of all caches that are alive, and the most there ever were."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = self.most = 0
        ledger = self

        class Counted(Buffers):
            def __init__(self, decoder: Decoder, batch: int, capacity: int) -> None:
                super().__init__(decoder, batch, capacity)
                ledger.now += self.nbytes
                ledger.most = max(ledger.most, ledger.now)
                weakref.finalize(self, ledger.freed, self.nbytes)

        monkeypatch.setattr(pooling, "Buffers", Counted)

    def freed(self, count: int) -> None:
        self.now -= count


def test_peak_memory_is_within_three_percent_of_hugging_faces(monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Ledger(monkeypatch)
    _, model = twins("llama")
    weights = sum(weight.numel() * 4 for weight in model.parameters())
    theirs = 0
    for batch, length, new in [(1, 9, 20), (3, 30, 50), (2, 60, 9), (3, 9, 20), (8, 100, 13), (1, 9, 4), (1, 9, 5)]:
        model.generate(prompt(model, batch, length), max_new_tokens=new, do_sample=False)
        gc.collect()
        theirs = max(theirs, 2 * 2 * batch * 2 * 10 * 4 * (length + new - 1))
        assert weights + ledger.most <= 1.03 * (weights + theirs)
        idle = pool_of(model).idle
        assert idle is not None and ledger.now == idle.buffers.nbytes
        del idle
    assert model.generate(prompt(model), max_new_tokens=2, return_dict_in_generate=True).past_key_values.is_pooled
    del model
    gc.collect()
    assert ledger.now == 0


@pytest.mark.parametrize("make_step", [CountedStep, GreedyStep])
def test_short_of_memory_it_takes_what_is_needed_now(make_step: type, monkeypatch: pytest.MonkeyPatch) -> None:
    refusals, made = 0, []

    class Small(Buffers):
        """At first there is no memory for more than 24 slots, then not for more than 48, then there is."""

        def __init__(self, decoder: Decoder, batch: int, capacity: int) -> None:
            nonlocal refusals
            if capacity > (24 if refusals < 2 else 48 if refusals < 4 else 1000):
                refusals += 1
                raise torch.OutOfMemoryError("no")
            made.append(capacity)
            super().__init__(decoder, batch, capacity)

    plain, model = twins("llama", make_step)
    ids = prompt(model)
    expected = plain.generate(ids, max_new_tokens=90, do_sample=False)
    monkeypatch.setattr(pooling, "Buffers", Small)
    for decoded in (lambda: model.generate(ids, max_new_tokens=90, do_sample=False), lambda: decode(model, ids, max_new_tokens=90)):
        refusals, pool_of(model).idle = 0, None
        made.clear()
        with counted(89):
            assert torch.equal(expected, decoded())
        assert made[0] == 16 and len(made) > 2 and made[-1] >= 98
    refusals = 0
    with pytest.raises(torch.OutOfMemoryError):
        Pool(DECODER, CountedStep).lend(1, 200)


@pytest.mark.parametrize("make_step", [CountedStep, GreedyStep])
def test_a_long_text_takes_memory_as_it_grows(make_step: type, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Ledger(monkeypatch)
    monkeypatch.setattr(caching, "AHEAD", 16)
    plain, model = twins("llama", make_step)
    ids, slot_bytes = prompt(model, 2), 2 * 2 * 2 * 2 * 10 * 4
    first = plain.generate(ids[:1], max_new_tokens=9, do_sample=False)
    call = {"max_new_tokens": 100_000, "do_sample": False, "eos_token_id": int(first[0, 14]), "pad_token_id": 0}
    assert torch.equal(plain.generate(ids[:1], **call), model.generate(ids[:1], **call))
    assert torch.equal(plain.generate(ids[:1], **call), decode(model, ids[:1], max_new_tokens=100_000, eos_token_id=int(first[0, 14])))
    assert ledger.most <= (9 + 16 + 8) * slot_bytes
    made = CountedStep.made
    with counted(2 * 109):
        found = model.generate(ids, max_new_tokens=110, do_sample=False)
        assert torch.equal(found, decode(model, ids, max_new_tokens=110))
    assert torch.equal(plain.generate(ids, max_new_tokens=110, do_sample=False), found) and CountedStep.made - made == 3
    assert ledger.most <= 3 * 64 * slot_bytes


def test_after_a_launch_that_failed_the_device_is_told_its_length_again() -> None:
    model = tiny_llama()
    engine, cache = Engine(FailingStep), None
    assert engine.check(model) is None
    cache = engine.new_cache(20)
    ids = prompt(model, 2)
    with torch.no_grad():
        model(ids, past_key_values=cache)
    engine.feed(cache, torch.tensor([7, 8]), None)
    FailingStep.fails = True
    try:
        with pytest.raises(KeyboardInterrupt):
            engine.feed(cache, torch.tensor([7, 8]), None)
    finally:
        FailingStep.fails = False
    assert cache.get_seq_length() == 10 and int(cache.lease.buffers.length) == 11
    found = engine.feed(cache, torch.tensor([7, 8]), None)
    with torch.no_grad():
        expected = model(torch.cat((ids, torch.tensor([[7, 7], [8, 8]])), -1)).logits[:, -1]
    assert int(cache.lease.buffers.length) == cache.get_seq_length() == 11
    torch.testing.assert_close(found, expected, rtol=2e-4, atol=2e-4)


class FailingStep(GreedyStep):
    """Interrupted, if it is told to, when all is done but the host does not know it."""

    fails = False

    def run_greedy(self) -> None:
        super().run_greedy()
        if FailingStep.fails:
            raise KeyboardInterrupt


class Stream:
    """Stands for one of a GPU: who waited for whom."""

    waits: list[tuple[str, str]]

    def __init__(self, name: str) -> None:
        self.name = name

    def wait_stream(self, other: Stream) -> None:
        Stream.waits.append((self.name, other.name))


def test_buffers_that_change_streams_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, third = Stream("first"), Stream("second"), Stream("third")
    Stream.waits = []
    now = first
    monkeypatch.setattr(pooling, "current_stream", lambda device: now)
    pool = Pool(DECODER, CountedStep)
    lease = pool.lend(2, 30)
    pool.prepare(lease)
    lease.launch(torch.tensor([5, 6]))
    pool.returned(lease)
    assert pool.lend(2, 20) is lease and Stream.waits == []
    pool.returned(lease)
    now = second
    assert pool.lend(2, 20) is lease and Stream.waits == [("second", "first")]
    now = third
    lease.launch()
    lease.launch()
    assert Stream.waits[1:] == [("third", "second")]
    # The memory goes back to the first stream, which may hand it out while the third still works on it.
    pool.returned(lease)
    del lease
    pool.lend(3, 20)
    assert Stream.waits[2:] == [("first", "third")]


def test_idle_buffers_that_do_not_fit_go_first() -> None:
    pool = Pool(DECODER, CountedStep)
    first = pool.lend(2, 30)
    pool.returned(first)
    assert pool.lend(2, 8) is first and pool.idle is None
    pool.returned(first)
    gone = weakref.ref(first)
    del first
    second = pool.lend(3, 8)
    assert gone() is None and pool.idle is None and second.buffers.batch == 3
    pool.returned(second)
    other = pool.lend(3, 8)
    third = pool.lend(3, 8)
    pool.returned(other)
    pool.returned(third)
    assert pool.idle is third


def swap_head(model: PreTrainedModel) -> None:
    model.lm_head = nn.Linear(60, 101, bias=False)


def load_assigned(model: PreTrainedModel) -> None:
    model.load_state_dict({name: value.clone() for name, value in tiny_llama(3).state_dict().items()}, assign=True)


def load_in_place(model: PreTrainedModel) -> None:
    model.load_state_dict(tiny_llama(3).state_dict())


def convert(model: PreTrainedModel) -> None:
    # Held, so that the converted ones cannot come to lie at the same addresses.
    held = [weight.data for weight in model.parameters()]
    model.bfloat16().float()
    del held


def train_a_little(model: PreTrainedModel) -> None:
    model(prompt(model), labels=prompt(model)).loss.backward()
    torch.optim.SGD(model.parameters(), lr=0.1).step()


@pytest.mark.parametrize(
    "change, is_read_again",
    [
        (swap_head, True),
        (load_assigned, True),
        (load_in_place, False),
        (train_a_little, False),
        (convert, True),
        (lambda model: model.model.layers.__delitem__(1), True),
    ],
    ids=["module", "assigned", "in place", "trained", "dtype", "layer"],
)
def test_weights_that_move_are_read_again(change, is_read_again: bool) -> None:
    plain, model = twins("llama")
    call = {"max_new_tokens": 6, "do_sample": False}
    before = model.generate(prompt(model), **call)
    pool = pool_of(model)
    for one in (plain, model):
        torch.manual_seed(0)
        change(one)
    with counted(5):
        found = model.generate(prompt(model), **call)
    assert torch.equal(plain.generate(prompt(model), **call), found)
    assert not torch.equal(before, found) or change is convert
    assert (pool_of(model) is not pool) == is_read_again


def test_reading_again_what_is_the_same_keeps_buffers_and_steps() -> None:
    _, model = twins("llama", attn_implementation="eager")
    model.generate(prompt(model), max_new_tokens=3)
    pool, made = pool_of(model), CountedStep.made
    with torch.no_grad():
        # Hugging Face leaves a hook on every layer that does nothing unless it is asked.
        model(prompt(model), output_hidden_states=True)
    with counted(2):
        model.generate(prompt(model), max_new_tokens=3)
    assert pool_of(model) is pool and CountedStep.made == made
    assert signature(read_decoder(model)) == signature(pool.decoder) != signature(read_decoder(tiny_llama()))


def test_half_precision() -> None:
    plain, model = (one.bfloat16() for one in twins("llama"))
    output = model.generate(prompt(model), max_new_tokens=4, do_sample=False, return_dict_in_generate=True, output_logits=True)
    expected = plain.generate(prompt(model), max_new_tokens=4, do_sample=False, return_dict_in_generate=True, output_logits=True)
    assert output.past_key_values.lease.buffers.cache.dtype is torch.bfloat16
    torch.testing.assert_close(output.logits[1], expected.logits[1], rtol=0.05, atol=0.5)


def test_why_a_model_runs_plain_is_found_once_and_again_when_it_changes() -> None:
    model = tiny_llama().double()
    engine = Engine(CountedStep)
    assert "float64" in str(engine.check(model)) and engine.pool is None
    model.float()
    assert engine.check(model) is None and engine.pool is not None
    model.model.layers[0].register_forward_hook(lambda *_: None)
    assert "forward hook" in str(engine.check(model))


def test_without_a_gpu_there_are_no_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(Unsupported, match="its weights are on the CPU, and the kernels need a GPU"):
        kernel_steps(DECODER)
    assert Engine().check(tiny_llama()) == "its weights are on the CPU, and the kernels need a GPU (model.to('cuda'), where there is one)"


def test_state_before_a_step() -> None:
    model = tiny_opt()
    engine = read(model)
    cache = engine.new_cache(20)
    mask = torch.tensor([[0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1]])
    with torch.no_grad():
        model(torch.ones(2, 5, dtype=torch.long), attention_mask=mask[:, :5], past_key_values=cache)
    assert engine.why_not_settled(cache, mask, None) is None
    engine.feed(cache, torch.tensor([7, 8]), None)
    buffers = cache.lease.buffers
    assert (buffers.starts.tolist(), buffers.positions.tolist(), buffers.length.tolist()) == ([2, 0], [4, 6], [6])
    assert cache.get_seq_length() == 6
    # Positions of the caller's are taken as they are, up to the cache's end.
    engine.feed(cache, torch.tensor([7, 8]), torch.tensor([[3], [99]]))
    assert buffers.positions.tolist() == [4, 7] and buffers.length.tolist() == [7]


def test_starts() -> None:
    mask = torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1], [0, 0, 0, 1]])
    starts, reason = read_starts(mask, torch.tensor([[1], [3], [0]]), 4)
    assert reason is None and starts.tolist() == [2, 0, 3]
    assert read_starts(None, None, 4) == (None, None)
    assert read_starts(mask.flip(1), None, 4)[1] == "its attention_mask is not left padding alone"
    assert read_starts(torch.tensor([[1, 0, 1, 1]]), None, 4)[1] == "its attention_mask is not left padding alone"
    assert read_starts(torch.tensor([[0, 0], [0, 1]]), None, 2)[1] == NOT_BEGUN
    assert read_starts(mask, torch.tensor([[1], [4], [0]]), 4)[1] == "its position_ids run ahead of the cache"
