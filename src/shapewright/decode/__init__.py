"""Decodes Hugging Face models near the memory bandwidth of their GPU, with one line.

    import shapewright.decode as swd

    model = swd.accelerate(model)                       # in place; model.generate(...) as before
    ids = swd.decode(model, ids, max_new_tokens=256)    # a loop of its own, greedy or sampling, with less on the host
    swd.why_not(model)                                  # None, or why it runs plain
    swd.restore(model)                                  # as it was

Weights stay where and what they are: `.to()`, `save_pretrained`, copies and adapters merged in place need nothing. What cannot be
accelerated runs plain, with one `DecodeWarning` a model and reason.

What is assumed of calls, because looking would make the device wait: an `attention_mask` is looked at once after each prefill, and is then
extended by ones; the configuration of a model (its eps, scale, activation) does not change under way; nor do weights, in place, between
two one-token calls, if it has layer norms. `accelerate(model)` keeps one idle set of buffers a model, which `restore(model)` frees.

Names are imported when they are first used: torch and transformers come with them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ..errors import MissingError

if TYPE_CHECKING:
    from .hooks import DecodeWarning, accelerate, restore, why_not
    from .loop import decode

#: Public name -> the module that defines it.
_HOMES = {
    "DecodeWarning": "hooks",
    "accelerate": "hooks",
    "decode": "loop",
    "restore": "hooks",
    "why_not": "hooks",
}

#: What the names need besides the core.
NEEDED = ("torch", "transformers", "triton")

__all__ = ["DecodeWarning", "accelerate", "decode", "restore", "why_not"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    except ModuleNotFoundError as error:
        if error.name not in NEEDED:
            raise
        raise MissingError(f"{__name__}.{name} needs {error.name}", hint="pip install 'shapewright[decode]'") from None
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
