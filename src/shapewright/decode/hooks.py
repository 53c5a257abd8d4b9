"""One line: `accelerate(model)` puts three hooks before the methods of a Hugging Face model, `restore(model)` takes them off.

`forward`: a call with one token a row on a cache of ours is a step; all others are Hugging Face's. `_prepare_cache_for_generation` hands
out such a cache where a `DynamicCache` would be. `generate` passes a loop without waits for greedy decoding and sampling. What cannot be
accelerated runs as if there were no hooks, with one `DecodeWarning` a model and reason.

The hooks hold the model weakly, so that it goes with its last name: of `accelerate(model).generate(...)` on a model without one nothing is
left to run. They come along when it is copied or pickled: the copy is accelerated by an engine of its own.
"""

from __future__ import annotations

import functools
import inspect
import re
import warnings
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import transformers
from torch import Tensor
from transformers import DynamicCache, GenerationConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithCrossAttentions, CausalLMOutputWithPast

from shapewright.decode.cache import PooledCache
from shapewright.decode.engine import COMPILED, MAX_BATCH, NOT_BEGUN, Engine
from shapewright.decode.families import read_decoder
from shapewright.decode.generation import lean_sample
from shapewright.decode.layers import Unsupported
from shapewright.decode.pool import MakeStep

OLDEST, TOO_NEW = (5, 17), (6,)
CACHE_ARGUMENTS = ("generation_config", "model_kwargs", "generation_mode", "batch_size", "max_cache_length")
# Arguments of a forward that a step honours, if they have these values (None: any).
HONOURED: dict[str, tuple[object, ...] | None] = {
    "input_ids": None,
    "attention_mask": None,
    "position_ids": None,
    "past_key_values": None,
    "use_cache": (True, None),
    "return_dict": None,
    "output_attentions": (False, None),
    "output_hidden_states": (False, None),
    # Hugging Face's loop hands these on to every forward, which looks at neither.
    "tokenizer": None,
    "assistant_tokenizer": None,
}
# Methods that the loop stands in for: where a model has its own, Hugging Face's loop calls them.
REPLACED = ("_sample", "_prefill", "prepare_inputs_for_generation", "_update_model_kwargs_for_generation", "_has_unfinished_sequences")


class DecodeWarning(UserWarning):
    """A model, or a call of it, runs plain."""


class Acceleration:
    """What the hooks of one model share: its engine, what stood in their place, and what it was warned of."""

    def __init__(self, model: PreTrainedModel, make_step: MakeStep | None, before: dict[str, Any]) -> None:
        self._model = weakref.ref(model)
        self.engine = Engine(make_step)
        self.before = before
        self.warned: set[str] = set()

    @property
    def model(self) -> Any:
        """The model; it is gone only where somebody kept a hook of it."""
        model = self._model()
        if model is None:
            raise ReferenceError("the accelerated model that this method belongs to is gone; keep it in a variable as long as it runs")
        return model

    def original(self, name: str) -> Callable[..., Any]:
        """The method that a hook stands before."""
        return self.before[name] if name in self.before else getattr(type(self.model), name).__get__(self.model)

    def check(self) -> str | None:
        """Why the model runs plain, whatever the call; None if it does not."""
        forwards = (self.before.get("forward"), vars(self.model).get("forward"))
        if any(hasattr(forward, "_torchdynamo_orig_callable") for forward in forwards):
            return COMPILED
        # What it does, for every token perhaps, no step would do.
        if "forward" in self.before:
            return "its forward was replaced before"
        return self.engine.check(self.model)

    def warn(self, what: str, reason: str, *, stacklevel: int = 3) -> None:
        """Once a reason, whatever its numbers."""
        kind = re.sub(r"\d+", "", reason)
        if kind not in self.warned:
            self.warned.add(kind)
            warnings.warn(f"shapewright.decode: {what} runs plain: {reason}", DecodeWarning, stacklevel=stacklevel)

    @contextmanager
    def off(self) -> Iterator[None]:
        """The model as if it had no hooks: what compiles its forward then sees Hugging Face's alone."""
        model = self.model
        hooks = {name: vars(model).pop(name) for name in HOOKS if is_hook(vars(model).get(name))}
        vars(model).update({name: self.before[name] for name in hooks if name in self.before})
        try:
            yield
        finally:
            vars(model).update(hooks)

    def __reduce__(self) -> tuple[Any, ...]:
        return Acceleration, (self.model, self.engine.make_step, self.before)


class Hook:
    """Called in the place of one method of one model; to `inspect.signature` it looks like that method."""

    name = ""

    def __init__(self, acceleration: Acceleration) -> None:
        self.acceleration = acceleration

    @functools.cached_property
    def __signature__(self) -> inspect.Signature:  # pyright: ignore[reportIncompatibleVariableOverride]
        return inspect.signature(self.original)

    @property
    def original(self) -> Callable[..., Any]:
        """The method itself."""
        return self.acceleration.original(self.name)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.acceleration,)

    def arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """All of a call's arguments by name."""
        if not args:
            return dict(kwargs)
        bound = self.__signature__.bind(*args, **kwargs).arguments
        loose = [name for name, parameter in self.__signature__.parameters.items() if parameter.kind is parameter.VAR_KEYWORD]
        rest = bound.pop(loose[0], {}) if loose else {}
        return {**bound, **rest}


class Forward(Hook):
    """A step, where a call is one."""

    name = "forward"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        cache = kwargs.get("past_key_values")
        if args and cache is None:
            cache = next((value for value in args if isinstance(value, PooledCache)), None)
        # Who compiles the forward wants Hugging Face's.
        if not isinstance(cache, PooledCache) or torch.compiler.is_compiling():
            return self.original(*args, **kwargs)
        call = self.arguments(args, kwargs)
        ids = call.get("input_ids")
        is_one_token = isinstance(ids, Tensor) and ids.dim() == 2 and ids.shape[1] == 1 and cache.get_seq_length() > 0
        if not is_one_token or not self.acceleration.engine.made(cache):
            return self.original(*args, **kwargs)
        reason = self._why_plain(call, cache)
        if reason is None:
            return self._step(call, cache)
        if reason != NOT_BEGUN:
            self.acceleration.warn("this call", reason)
        return self.original(*args, **kwargs)

    def _why_plain(self, call: dict[str, Any], cache: PooledCache) -> str | None:
        model, engine = self.acceleration.model, self.acceleration.engine
        if not cache.is_pooled:
            return "its cache left the fixed buffers"
        if not (cache.store.is_settled and engine.is_as_read(model)) and (reason := self.acceleration.check()) is not None:
            return reason
        # Reading the model anew may have made another pool.
        if not engine.owns(cache):
            return "the model has changed since its cache was made"
        length = cache.get_seq_length()
        return (
            why_not_now(model)
            or why_not_arguments(model, call)
            or engine.why_not_longer(length + 1)
            or engine.why_not_rows(cache, call["input_ids"])
            or engine.why_not_settled(cache, call.get("attention_mask"), call.get("position_ids"))
        )

    def _step(self, call: dict[str, Any], cache: PooledCache) -> Any:
        model = self.acceleration.model
        logits = self.acceleration.engine.feed(cache, call["input_ids"][:, 0], call.get("position_ids"))
        # Another step writes to the same place, and callers keep what they are given.
        output_type = CausalLMOutputWithCrossAttentions if model.config.model_type == "gpt2" else CausalLMOutputWithPast
        kept: dict[str, Any] = {"logits": logits.clone()[:, None], "past_key_values": cache}
        output = output_type(**kept)
        is_dict = call.get("return_dict")
        return output if (model.config.return_dict if is_dict is None else is_dict) else output.to_tuple()


class PrepareCache(Hook):
    """A cache over fixed buffers, where Hugging Face would make a `DynamicCache`."""

    name = "_prepare_cache_for_generation"

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        self.original(*args, **kwargs)
        call, engine = self.arguments(args, kwargs), self.acceleration.engine
        config, model_kwargs, slots = call["generation_config"], call["model_kwargs"], call["max_cache_length"]
        cache = model_kwargs.get("past_key_values")
        if engine.made(cache):
            cache.announce(slots)
            # A text that goes on where it ended: all of its forwards may be steps.
            cache.store.forget()
        is_new = type(cache) is DynamicCache and not cache.offloading and not getattr(cache, "_is_user_defined", False)
        if not is_new or engine.pool is None:
            return
        rows = call["batch_size"] * max(config.num_beams or 1, config.num_return_sequences or 1)
        if rows > MAX_BATCH:
            self.acceleration.warn("this call", f"its batch of {rows} is larger than {MAX_BATCH}")
            return
        model_kwargs["past_key_values"] = engine.new_cache(slots)


class Generate(Hook):
    """Hugging Face's `generate`, with a loop that does not wait."""

    name = "generate"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        acceleration = self.acceleration
        call = self.arguments(args, kwargs)
        reason = acceleration.check()
        what, config = "the model", None
        if reason is None:
            what, (config, reason) = "this call", self._read(call)
        if reason is not None:
            acceleration.warn(what, reason)
            with acceleration.off():
                return self.original(*args, **kwargs)
        if config is not None and self._is_lean(call, config):
            call["custom_generate"] = functools.partial(lean_sample, engine=acceleration.engine, streamer=call.get("streamer"))
        return self.original(**call)

    def _read(self, call: dict[str, Any]) -> tuple[GenerationConfig | None, str | None]:
        """The configuration that the call will run with, and why it cannot be accelerated."""
        model = self.acceleration.model
        if call.get("cache_implementation") == "paged":
            return None, "continuous batching is asked for"
        named = self.__signature__.parameters
        try:
            config, rest = model._prepare_generation_config(
                call.get("generation_config"), **{key: value for key, value in call.items() if key not in named}
            )
        except Exception:  # generate raises it again, from its own place
            return None, None
        return config, why_not_now(model) or why_not_call(self.acceleration.engine, config, rest, call)

    def _is_lean(self, call: dict[str, Any], config: GenerationConfig) -> bool:
        """Whether the loop honours all of it. A tokenizer goes with stop strings or healing, which a loop of ours is not handed."""
        model = self.acceleration.model
        asks_for_more = any(call.get(name) is not None for name in ("custom_generate", "tokenizer", "assistant_tokenizer"))
        is_single = config.get_generation_mode(call.get("assistant_model")) in ("greedy_search", "sample")
        return is_single and not (asks_for_more or why_not_past(model) or _is_distributed())


HOOKS: dict[str, type[Hook]] = {hook.name: hook for hook in (Forward, PrepareCache, Generate)}


def accelerate(model: PreTrainedModel, *, make_step: MakeStep | None = None) -> PreTrainedModel:
    """Let `model` decode with kernels, in place; returns it. `model.generate(...)` is called as before.

    A model that cannot be accelerated, here or yet, runs plain, and a `DecodeWarning` says why; if it can later (it was moved to a GPU), it
    will be. `make_step(decoder, buffers)` takes the place of the kernels.

    A model belongs to one thread at a time: buffers and steps are shared by its calls, and a call that runs plain takes the hooks off the
    model, for every thread, until it returns.
    """
    if (reason := why_no_hooks(model)) is not None:
        warnings.warn(f"shapewright.decode: the model runs plain: {reason}", DecodeWarning, stacklevel=2)
        return model
    acceleration = acceleration_of(model)
    if acceleration is None:
        acceleration = new_acceleration(model, make_step)
        vars(model).update({name: hook(acceleration) for name, hook in HOOKS.items()})
    if (reason := acceleration.check()) is not None:
        acceleration.warn("the model", reason)
    return model


def restore(model: PreTrainedModel) -> PreTrainedModel:
    """Take the hooks off, and let go of buffers and graphs. A model without hooks is returned as it is."""
    if not isinstance(model, PreTrainedModel):
        return model
    for name in HOOKS:
        hook = vars(model).get(name)
        if isinstance(hook, Hook):
            del vars(model)[name]
            if name in hook.acceleration.before:
                vars(model)[name] = hook.acceleration.before[name]
            # A wrapper that somebody put around a hook still calls it: without a pool it passes everything on.
            hook.acceleration.engine.drop()
    return model


def why_not(model: PreTrainedModel) -> str | None:
    """Why `model` runs plain, as a clause about it; None if it is, or would be, accelerated."""
    return why_no_hooks(model) or (acceleration_of(model) or new_acceleration(model)).check()


def acceleration_of(model: PreTrainedModel) -> Acceleration | None:
    """What the hooks on `model` share; None if it has none."""
    return next((vars(model)[name].acceleration for name in HOOKS if is_hook(vars(model).get(name))), None)


def new_acceleration(model: PreTrainedModel, make_step: MakeStep | None = None) -> Acceleration:
    """What the hooks of a model without any would share."""
    return Acceleration(model, make_step, {name: vars(model)[name] for name in HOOKS if name in vars(model)})


def engine_of(model: PreTrainedModel) -> Engine | None:
    """The engine of an accelerated model."""
    return None if (acceleration := acceleration_of(model)) is None else acceleration.engine


def is_hook(value: object) -> bool:
    """Whether an attribute of a model is one of ours."""
    return isinstance(value, Hook)


def why_no_hooks(model: object) -> str | None:
    """Why there is nothing to put hooks on: not such a model, or a transformers whose private methods are not the known ones."""
    if not isinstance(model, PreTrainedModel) or not hasattr(model, "generate"):
        try:
            read_decoder(model)
        except Unsupported as unsupported:
            return str(unsupported)
        return f"it is a {type(model).__name__}, which does not generate"
    version = tuple(int(part) for part in transformers.__version__.split(".")[:2] if part.isdigit())
    if not OLDEST <= version < TOO_NEW:
        return f"transformers {transformers.__version__} is not one that it knows (5.17 to 5.x)"
    needed = {
        "_prepare_cache_for_generation": CACHE_ARGUMENTS,
        "_prepare_generation_config": ("generation_config",),
        "_prefill": ("input_ids", "generation_config", "model_kwargs", "is_first_iteration"),
        "_sample": ("input_ids", "logits_processor", "stopping_criteria", "generation_config", "synced_gpus", "streamer"),
        "generate": ("inputs", "generation_config", "assistant_model", "streamer", "custom_generate"),
    }
    for name, arguments in needed.items():
        method = getattr(type(model), name, None)
        if method is None or not set(arguments) <= set(inspect.signature(method).parameters):
            return f"its {name} is not the one of transformers 5.17"
    return None


def why_not_now(model: PreTrainedModel) -> str | None:
    """Why nothing is accelerated in the state that torch and the model are in."""
    if model.training:
        return "it is in training mode (model.eval() ends that)"
    if torch.is_autocast_enabled(model.device.type):
        return "autocast is on"
    return None


def why_not_past(model: PreTrainedModel) -> str | None:
    """Why a loop may not pass by the model's own methods: somebody put something of theirs there, which sees every token."""
    if own := [name for name in REPLACED if name in vars(model)]:
        return f"it has a {own[0]} of its own"
    if "forward" in vars(model) and not is_hook(vars(model)["forward"]):
        return "its forward was replaced"
    return "it has forward hooks" if model._forward_hooks or model._forward_pre_hooks else None


def why_not_arguments(model: PreTrainedModel, call: dict[str, Any]) -> str | None:
    """Why a forward of one token is not a step."""
    if torch.is_grad_enabled() and any(weight.requires_grad for weight in model.parameters()):
        return "gradients are on (torch.no_grad() turns them off)"
    if model.config.output_attentions or model.config.output_hidden_states:
        return "its configuration asks for attentions or hidden states"
    for name, value in call.items():
        if name == "logits_to_keep" and isinstance(value, int):
            continue
        if name not in HONOURED and value is not None:
            return f"{name} is passed"
        allowed = HONOURED.get(name)
        if allowed is not None and value not in allowed:
            return f"{name} is asked for" if value else f"{name} is {value}"
    return None


def why_not_call(engine: Engine, config: GenerationConfig, rest: dict[str, Any], call: dict[str, Any]) -> str | None:
    """Why a call of `generate` is not accelerated."""
    for name in ("output_attentions", "output_hidden_states"):
        if getattr(config, name):
            return f"{name} is asked for"
    if config.cache_implementation not in (None, "dynamic"):
        return f'cache_implementation is "{config.cache_implementation}"'
    if config.use_cache is False:
        return "use_cache is off"
    if call.get("synced_gpus"):
        return "synced_gpus is asked for"
    cache = rest.get("past_key_values")
    if cache is not None and not engine.made(cache):
        return f"its past_key_values is a {type(cache).__name__} of the caller's own"
    return None


def _is_distributed() -> bool:
    is_ready = torch.distributed.is_available() and torch.distributed.is_initialized()
    return is_ready and torch.distributed.get_world_size() > 1
