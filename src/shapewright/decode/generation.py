"""Greedy and sampling loops of `generate`, with the semantics of Hugging Face's `_sample` and without its waits.

Hugging Face prepares inputs anew for every token, and then waits for the device to learn whether to stop. Here the ids have their place
from the start, the state of a step stands on the device, and the step for the next token is queued before the stop flag of this one is
read; if it turns out to be one too many, it is forgotten: the slot that it filled never counts. Processors, criteria and streamers are
called with what `_sample` calls them with, each as often and in the same order; only a streamer gets a token after the next step is queued
rather than before. Random numbers are drawn alike, so seeded samples are the same.

Shapes: ids `[batch, length]`, logits and scores `[batch, vocab_size]` in fp32, tokens `[batch]`.
Source: transformers/generation/utils.py, `GenerationMixin._sample`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList
from transformers.generation.utils import GenerateDecoderOnlyOutput

from shapewright.decode.cache import PooledCache
from shapewright.decode.engine import Engine, Run, read_starts
from shapewright.decode.flags import Flag, pinned

# What a step knows how to honour: any other argument goes to Hugging Face's own loop.
KNOWN = {"attention_mask", "position_ids", "past_key_values", "use_cache", "logits_to_keep"}
# Ids grow by this many columns where no length is known.
MAX_AHEAD = 4096


def lean_sample(  # the arguments are those that `generate` calls a decoding loop with
    model: Any,
    input_ids: Tensor,
    logits_processor: LogitsProcessorList,
    stopping_criteria: StoppingCriteriaList,
    generation_config: GenerationConfig,
    synced_gpus: bool = False,
    streamer: Any = None,
    *,
    engine: Engine,
    **model_kwargs: Any,
) -> GenerateDecoderOnlyOutput | Tensor:
    """`_sample` over steps; `_sample` itself wherever a step is not enough."""
    cache: Any = model_kwargs.get("past_key_values")

    def plain() -> Any:
        arguments = (input_ids, logits_processor, stopping_criteria, generation_config, synced_gpus, streamer)
        return type(model)._sample(model, *arguments, **model_kwargs)

    state = None if synced_gpus or not engine.made(cache) else next_state(engine, input_ids, generation_config, model_kwargs)
    if state is None:
        return plain()
    past = cache.get_seq_length()
    # A copy: _prefill takes keys out while it works through chunks.
    outputs = model._prefill(input_ids, generation_config, dict(model_kwargs), is_first_iteration=not generation_config.is_assistant)
    if not engine.owns(cache) or cache.get_seq_length() != state[2] or outputs.past_key_values is not cache:
        # The cache left its buffers on the way: what the prefill added goes, and Hugging Face starts over.
        cache.crop(past - cache.get_seq_length())
        return plain()
    is_seen = generation_config.return_dict_in_generate or getattr(cache, "_is_user_defined", False)
    text = Text(input_ids, logits_processor, stopping_criteria, generation_config)
    text.takes_likeliest &= not is_seen
    run = engine.begin(cache, starts=state[0], positions=state[1])
    logits = outputs.logits[:, -1]
    del outputs
    _loop(text, run, logits, streamer)
    return text.result(cache)


def next_state(engine: Engine, ids: Tensor, config: GenerationConfig, kwargs: dict[str, Any]) -> tuple[Tensor, Tensor, int] | None:
    """Starts and positions `[batch]` of the first token after the prompt, and the cache's length then; None: not for steps."""
    if any(key not in KNOWN and value is not None for key, value in kwargs.items()):
        return None
    cache, mask, positions = kwargs["past_key_values"], kwargs.get("attention_mask"), kwargs.get("position_ids")
    past = cache.get_seq_length()
    batch, given = ids.shape
    if mask is None or positions is None or mask.dim() != 2 or positions.dim() != 2 or given == 0:
        return None
    length = given if mask.shape[1] == given else past + given
    is_beyond = config.max_length is not None and engine.why_not_longer(config.max_length - 1) is not None
    if mask.shape != (batch, length) or length <= past or positions.shape[1] != length or is_beyond:
        return None
    starts, reason = read_starts(mask, positions, length)
    if reason is not None or starts is None:
        return None
    return starts, (positions[:, -1] + 1).expand(batch), length


def _loop(text: Text, run: Run, logits: Tensor, streamer: Any) -> None:
    """Choose, queue the step for what was chosen, then learn whether that was the last."""
    flag, seen = Flag(text.ids.device), pinned(torch.zeros(len(text.ids), dtype=torch.long), text.ids.device)
    is_chosen = False
    while True:
        tokens = text.choose(logits, run.chosen if is_chosen else None)
        is_stopped = text.append(tokens)
        if streamer is not None:
            seen.copy_(tokens, non_blocking=True)
        flag.post(is_stopped)
        # Nothing is queued beyond a length that is known here.
        is_last = text.is_full
        if not is_last:
            logits = run.feed(None if is_chosen else tokens)
        is_over = flag.read()
        if streamer is not None:
            streamer.put(seen.clone())
        if is_over:
            break
        if is_last:
            logits = run.feed(None if is_chosen else tokens)
        run.commit()
        is_chosen = text.takes_likeliest
    if streamer is not None:
        streamer.end()


class Text:
    """The ids so far, what chooses the next ones, and what is kept of the choices for the caller."""

    def __init__(self, ids: Tensor, processors: Any, criteria: Any, config: Any) -> None:
        self.processors, self.criteria, self.config = processors, criteria, config
        batch, self.length = ids.shape
        self.max_length = criteria.max_length
        self.buffer = ids.new_empty(batch, self._columns())
        self.buffer[:, : self.length].copy_(ids)
        self.ids = ids
        keeps = config.return_dict_in_generate
        self.scores: tuple[Tensor, ...] | None = () if keeps and config.output_scores else None
        self.logits: tuple[Tensor, ...] | None = () if keeps and config.output_logits else None
        self.has_eos = any(hasattr(one, "eos_token_id") for one in criteria)
        self.pad: Any = None if config._pad_token_tensor is None else config._pad_token_tensor.to(ids.device)
        self.unfinished = torch.ones(batch, dtype=torch.long, device=ids.device)
        # Nothing stands between the logits and their largest, and nobody sees them: the step's own choice will do. Rows that are done
        # then go on with that choice instead of padding, which no other row can see, but a cache that is returned would.
        self.takes_likeliest = not (config.do_sample or len(processors) or keeps)

    @property
    def is_full(self) -> bool:
        """Whether `max_length` is reached."""
        return self.max_length is not None and self.length >= self.max_length

    def choose(self, logits: Tensor, likeliest: Tensor | None) -> Tensor:
        """The next tokens, drawn or largest; padding in rows that are done. `likeliest`: they are known already."""
        # Not a copy: they are read, in the order of the device's queue, before the next step writes its own choice there.
        tokens = self._draw(logits) if likeliest is None else likeliest
        if self.has_eos:
            tokens = tokens * self.unfinished + self.pad * (1 - self.unfinished)
        return tokens

    def append(self, tokens: Tensor) -> Tensor:
        """Take the tokens in, and ask the criteria: whether all rows are done, on the device."""
        if self.length == self.buffer.shape[1]:
            self.buffer = torch.cat((self.buffer, self.buffer.new_empty(len(tokens), self._columns() - self.length)), -1)
        self.buffer[:, self.length].copy_(tokens)
        self.length += 1
        # Contiguous, as a criterion or processor of the caller's may expect; with one row it is without copying.
        self.ids = self.buffer[:, : self.length].contiguous()
        self.unfinished = self.unfinished & ~self.criteria(self.ids, self.scores)
        return self.unfinished.max() == 0

    def result(self, cache: PooledCache) -> GenerateDecoderOnlyOutput | Tensor:
        """What `generate` returns."""
        # Not a view: the ids would hold on to all the columns that were set aside.
        ids = self.ids.clone()
        if not self.config.return_dict_in_generate:
            return ids
        kept: dict[str, Any] = {"sequences": ids, "scores": self.scores, "logits": self.logits, "past_key_values": cache}
        return GenerateDecoderOnlyOutput(**kept)

    def _draw(self, logits: Tensor) -> Tensor:
        # The step writes its next logits to the same place: these are a copy.
        raw = logits.to(copy=True, dtype=torch.float32, device=self.ids.device)
        scores = self.processors(self.ids, raw)
        if self.scores is not None:
            self.scores += (scores,)
        if self.logits is not None:
            self.logits += (raw,)
        if self.config.do_sample:
            return torch.multinomial(torch.softmax(scores, dim=-1), num_samples=1).squeeze(1)
        return torch.argmax(scores, dim=-1)

    def _columns(self) -> int:
        most = self.length + MAX_AHEAD
        return most if self.max_length is None else max(self.length, min(self.max_length, most))
