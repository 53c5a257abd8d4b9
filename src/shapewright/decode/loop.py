"""A decoding loop of our own: after the prefill the host queues steps and little else.

Greedy steps choose their token themselves and move on, so a token costs the host one launch; sampling adds its few operations behind each
step. Whether all rows have ended is looked at every `LOOK_EVERY` steps, without waiting: a text may be computed up to twice that far
beyond its end, and is cut there. Shapes: ids `[batch, length]`, logits `[batch, vocab_size]`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessorList, PreTrainedModel, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from shapewright.decode.cache import PooledCache
from shapewright.decode.engine import MAX_BATCH, Engine, Run, read_starts
from shapewright.decode.flags import Flag
from shapewright.decode.hooks import Acceleration, acceleration_of, new_acceleration, why_no_hooks, why_not_now, why_not_past
from shapewright.errors import InputError, shown

LOOK_EVERY = 16


@torch.no_grad()
def decode(
    model: PreTrainedModel,
    input_ids: Tensor,
    *,
    attention_mask: Tensor | None = None,
    max_new_tokens: int,
    do_sample: bool = False,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    eos_token_id: int | list[int] | None = None,
    pad_token_id: int | None = None,
    seed: int | None = None,
) -> Tensor:
    """`input_ids` `[batch, prompt]` and up to `max_new_tokens` after them, `[batch, prompt + new]`.

    A row that has ended is filled up with `pad_token_id` (the first `eos_token_id` unless told). Prompts are padded on the left, as
    `attention_mask` says. `seed` draws from a generator of its own, so that a call repeats; without it the global one is used. Nothing of
    the model's `generation_config` counts. An accelerated model keeps buffers and graphs between calls. What steps cannot do, and a model
    with a forward or hooks of somebody's own, is left to `generate`, with a `DecodeWarning`. `InputError` for what is no model that
    generates, for what are no ids, and for shapes that do not fit.
    """
    check_call(model, input_ids, attention_mask, max_new_tokens)
    acceleration = acceleration_of(model) or new_acceleration(model)
    ends = [eos_token_id] if isinstance(eos_token_id, int) else eos_token_id or None
    pad = pad_token_id if pad_token_id is not None or not ends else ends[0]
    chooser = Chooser(model, (temperature, top_k, top_p) if do_sample else None, seed)
    mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
    reason = why_not_decode(acceleration, model, mask, max_new_tokens)
    if reason is not None:
        # Two frames further up: this function has a decorator.
        acceleration.warn("decode", reason, stacklevel=4)
        return _plain(model, input_ids, mask, max_new_tokens, (chooser, ends, pad))
    run, logits = _prefilled(acceleration.engine, model, input_ids, mask, max_new_tokens)
    new = _steps(run, chooser, logits, max_new_tokens, ends or [])
    return torch.cat((input_ids, ended(new, ends or [], pad)), -1)


def check_call(model: object, ids: object, mask: Tensor | None, new: int) -> None:
    """`InputError` unless there is a model that generates, a prompt, a mask of its shape, and something to add."""
    if not isinstance(model, PreTrainedModel) or not hasattr(model, "generate"):
        raise InputError(
            f"a {type(model).__name__} does not generate", where="decode", hint="pass a model of transformers with a language head"
        )
    if not isinstance(ids, Tensor) or ids.is_floating_point():
        what = f"of {ids.dtype}" if isinstance(ids, Tensor) else f"a {type(ids).__name__}"
        raise InputError(f"input_ids is {what}", where="decode", hint="pass a tensor of token numbers [batch, prompt]")
    if ids.dim() != 2 or 0 in ids.shape:
        raise InputError(
            f"input_ids has shape {list(ids.shape)}, not [batch, prompt]", where="decode", hint="pass one row of tokens a text"
        )
    if mask is not None and mask.shape != ids.shape:
        what = f"attention_mask has shape {list(mask.shape)}, and input_ids {list(ids.shape)}"
        raise InputError(what, where="decode", hint="pass the mask that came with these ids, or none")
    if not isinstance(new, int) or new < 1:
        raise InputError(f"max_new_tokens is {shown(new)}", where="decode", hint="ask for 1 or more, a whole number")


def why_not_decode(acceleration: Acceleration, model: PreTrainedModel, mask: Tensor, new: int) -> str | None:
    """Why this is for `generate`."""
    engine = acceleration.engine
    reason = why_no_hooks(model) or acceleration.check() or why_not_now(model) or why_not_past(model)
    if reason is not None:
        return reason
    batch, length = mask.shape
    if batch > MAX_BATCH:
        return f"its batch of {batch} is larger than {MAX_BATCH}"
    return engine.why_not_longer(length + new - 1) or read_starts(mask, None, length)[1]


class Chooser:
    """The next tokens from logits: the largest, or drawn from what `sampling` (temperature, top k, top p) leaves."""

    def __init__(self, model: PreTrainedModel, sampling: tuple[float, int | None, float | None] | None, seed: int | None) -> None:
        self.samples = sampling is not None
        self.settings: dict[str, Any] = {}
        self.seed = seed
        self.warpers = LogitsProcessorList()
        self.generator = None
        if sampling is None:
            return
        temperature, top_k, top_p = sampling
        self.settings = {"temperature": temperature, "top_k": top_k or 0, "top_p": 1.0 if top_p is None else top_p}
        if temperature != 1:
            self.warpers.append(TemperatureLogitsWarper(temperature))
        if top_k:
            self.warpers.append(TopKLogitsWarper(top_k))
        if top_p is not None and top_p < 1:
            self.warpers.append(TopPLogitsWarper(top_p))
        if seed is not None:
            self.generator = torch.Generator(model.device).manual_seed(seed)

    def __call__(self, logits: Tensor) -> Tensor:
        """`[batch]`."""
        if not self.samples:
            return logits.argmax(-1)
        # None of the three warpers looks at the ids.
        scores = self.warpers(logits.new_empty(0), logits.float())  # pyright: ignore[reportArgumentType]
        return torch.multinomial(torch.softmax(scores, -1), 1, generator=self.generator).squeeze(1)


def ended(new: Tensor, ends: list[int], pad: int | None) -> Tensor:
    """`new` `[batch, tokens]` with `pad` after each row's first end, cut where the last row has ended."""
    if not ends:
        return new
    is_end = torch.isin(new, torch.tensor(ends, device=new.device))
    is_after = is_end.cumsum(-1) - is_end.long() > 0
    lengths = (~is_after).sum(-1)
    return new.masked_fill(is_after, ends[0] if pad is None else pad)[:, : int(lengths.max())]


def _prefilled(engine: Engine, model: PreTrainedModel, ids: Tensor, mask: Tensor, new: int) -> tuple[Run, Tensor]:
    """Hugging Face's own forward over the prompt: what runs on from there, and the logits `[batch, vocab_size]` of its last token."""
    length = ids.shape[1]
    cache: PooledCache = engine.new_cache(length + new - 1)
    positions = (mask.long().cumsum(-1) - 1).clamp(min=0)
    kwargs = {"attention_mask": mask, "position_ids": positions, "past_key_values": cache, "use_cache": True}
    logits = model(input_ids=ids, logits_to_keep=1, return_dict=True, **kwargs).logits[:, -1]
    run = engine.begin(cache, starts=length - mask.sum(-1), positions=positions[:, -1] + 1)
    run.lease.count_from(length)
    return run, logits


def _steps(run: Run, chooser: Chooser, logits: Tensor, count: int, ends: list[int]) -> Tensor:
    """Up to `count` tokens `[batch, tokens]`, some of them perhaps beyond the end."""
    tokens = chooser(logits)
    new = torch.empty(count, len(tokens), dtype=torch.int64, device=tokens.device)
    new[0].copy_(tokens)
    look = Look(ends, tokens)
    done = 1
    while done < count and not look.is_over():
        logits = run.feed(tokens if chooser.samples or done == 1 else None)
        run.commit()
        if chooser.samples:
            tokens = chooser(logits)
            new[done].copy_(tokens)
        done += 1
        look.at(run, new, done, is_greedy=not chooser.samples)
    if not chooser.samples:
        new[1:done].copy_(run.lease.buffers.generated[: done - 1])
    return new[:done].T


class Look:
    """Whether every row has ended, asked now and then."""

    def __init__(self, ends: list[int], like: Tensor) -> None:
        self.ends = torch.tensor(ends, device=like.device)
        self.flag = Flag(like.device)

    def at(self, run: Run, new: Tensor, done: int, *, is_greedy: bool) -> None:
        """Ask, every `LOOK_EVERY` tokens, about the `done` first of `new` `[tokens, batch]`."""
        if not len(self.ends) or done % LOOK_EVERY:
            return
        # The question before this one is waited for, so that the host is never more than two of them ahead of the device.
        self.flag.read()
        if is_greedy:
            new[1:done].copy_(run.lease.buffers.generated[: done - 1])
        self.flag.post(torch.isin(new[:done], self.ends).any(0).all())

    def is_over(self) -> bool:
        """What the last question was answered with; False until it is."""
        return self.flag.is_here() and bool(self.flag.value)


def _plain(model: PreTrainedModel, ids: Tensor, mask: Tensor, new: int, how: tuple[Chooser, list[int] | None, int | None]) -> Tensor:
    chooser, ends, pad = how
    settings = {"max_new_tokens": new, "do_sample": chooser.samples, "eos_token_id": ends, "pad_token_id": pad, **chooser.settings}
    devices = [model.device] if model.device.type == "cuda" else []
    with torch.random.fork_rng(devices, enabled=chooser.seed is not None):
        if chooser.seed is not None:
            torch.manual_seed(chooser.seed)
        return model.generate(ids, attention_mask=mask, **settings)  # pyright: ignore
