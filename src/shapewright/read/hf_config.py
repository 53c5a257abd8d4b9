"""Typed access to one Hugging Face config: which key says what, its default, its line, and what is wrong with it.

`Family` is the data that tells one `model_type` from another; `HfConfig` reads a config through it. Keys and defaults are facts of the
config classes of transformers 5.17 (`transformers/models/*/configuration_*.py`), checked against them by `tests/unit/read/test_hf.py`.

Errors: a value of the wrong kind or size is an `InputError` that names the key as the file does, and its line where that is known.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NoReturn

from ..errors import InputError, shown
from ..shape import MAX_COUNT, MAX_POSITIONS, MAX_VOCABULARY, MAX_WIDTH
from .located import Spot

#: Spellings that files use beside the keys of their own family, for every family.
_COMMON_SPELLINGS: Mapping[str, tuple[str, ...]] = {"num_experts_per_tok": ("num_experts_per_tok", "num_experts_per_token")}

#: Values of fields of a `ModelShape`.
ShapeFields = dict[str, Any]

#: Sizes that every config of a model states itself; a file without them is incomplete, not a default model.
CORE_SIZES = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size")
MAX_NAME_CHARACTERS = 64

_LIMITS: Mapping[str, int] = {
    "hidden_size": MAX_WIDTH, "intermediate_size": MAX_WIDTH, "moe_intermediate_size": MAX_WIDTH, "embedding_size": MAX_WIDTH,
    "shared_expert_intermediate_size": MAX_WIDTH, "q_lora_rank": MAX_WIDTH, "kv_lora_rank": MAX_WIDTH,
    "vocab_size": MAX_VOCABULARY, "max_position_embeddings": MAX_POSITIONS, "sliding_window": MAX_POSITIONS,
    "max_window_layers": MAX_POSITIONS,
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """How one `model_type` spells a `ModelShape`.

    `keys` maps a field (or another quantity that a part asks for) to the keys that may hold it, transformers' own first; a quantity that
    is absent is spelled as it is called. `defaults` maps transformers' own keys to the value of an absent key; None stands for "derived
    from other keys". `fixed` holds the fields that the modelling code sets for every config, `parts` compute the rest.
    """

    keys: Mapping[str, tuple[str, ...]]
    defaults: Mapping[str, Any]
    fixed: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    parts: tuple[Callable[[HfConfig], ShapeFields], ...] = ()


class HfConfig:
    """One config read through its `family`.

    `used` collects the line of the key that set each quantity, `assumed` the sizes that came from defaults, by quantity, `notes` remarks.
    """

    def __init__(self, values: Mapping[str, Any], family: Family, spot: Spot) -> None:
        self.values, self.family, self.spot = values, family, spot
        self.used: dict[str, int] = {}
        self.assumed: dict[str, Any] = {}
        self.notes: list[str] = []
        self.looked_up: set[str] = set()
        """Every key that was looked for, whether the config has it or not."""

    def spellings(self, name: str) -> tuple[str, ...]:
        """Keys that may hold `name`, transformers' own first."""
        return self.family.keys.get(name) or _COMMON_SPELLINGS.get(name, (name,))

    def key(self, name: str) -> str:
        """The key of `name` as the file spells it; transformers' own where the file lacks it."""
        spellings = self.spellings(name)
        return next((key for key in spellings if key in self.values), spellings[0])

    def place(self, name: str) -> str:
        """The file, and the line of the key of `name` if it is known."""
        return self.spot.place(self.key(name))

    def fail(self, name: str, what: str, hint: str | None = None) -> NoReturn:
        """Refuse the config for what its key of `name` says."""
        raise InputError(what, where=self.place(name), hint=hint, field=name)

    def refuse(self, name: str, expected: str) -> NoReturn:
        """Refuse the value of `name`, saying what was `expected`."""
        self.fail(name, f"{self.key(name)} is {json_shown(self.values.get(self.key(name)))}", f"expected {expected}")

    def raw(self, name: str) -> Any:
        """The value of `name`, or its default; two keys that disagree are refused."""
        self.looked_up.update(self.spellings(name))
        present = [key for key in self.spellings(name) if key in self.values]
        if not present:
            return self.family.defaults.get(self.spellings(name)[0])
        for other in present[1:]:
            if self.values[other] != self.values[present[0]]:
                first, second = json_shown(self.values[present[0]]), json_shown(self.values[other])
                self.fail(name, f"{present[0]} is {first} but {other} is {second}", "both name the same thing: keep one")
        line = self.spot.line(present[0])
        if line is not None:
            self.used[name] = line
        return self.values[present[0]]

    def has(self, name: str) -> bool:
        """Whether the config itself says `name`."""
        return any(key in self.values for key in self.spellings(name))

    def optional_size(self, name: str, *, low: int = 1) -> int | None:
        """An integer from `low` to the limit of shapes, or None where the config (or its default) says null."""
        value = self.raw(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int):
            self.refuse(name, "a positive integer" if low > 0 else "a non-negative integer")
        high = _LIMITS.get(name, MAX_COUNT)
        if value < low:
            self.refuse(name, "a positive integer" if low == 1 else f"at least {low}")
        if value > high:
            self.refuse(name, f"at most {high}")
        if not self.has(name):
            self.assumed[name] = value
        return value

    def size(self, name: str, *, low: int = 1) -> int:
        """An integer that must be there."""
        if not self.has(name) and ((name in CORE_SIZES and not self.spot.path) or self.raw(name) is None):
            self.fail(name, f"{self.key(name)} is absent", "expected a positive integer")
        value = self.optional_size(name, low=low)
        return self.refuse(name, "a positive integer") if value is None else value

    def flag(self, name: str) -> bool:
        """true or false; null counts as false, as in Python."""
        value = self.raw(name)
        if value is not None and not isinstance(value, bool):
            self.refuse(name, "true or false")
        return bool(value)

    def number(self, name: str) -> float | None:
        """A finite number, or None for null."""
        value = self.raw(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not _is_finite(value):
            self.refuse(name, "a number")
        return float(value)

    def dropout(self, name: str) -> float:
        """A probability below 1; null counts as 0."""
        value = self.number(name) or 0.0
        return value if 0 <= value < 1 else self.refuse(name, "a probability from 0 to below 1")

    def softcap(self, name: str) -> float | None:
        """A tanh cap, or None for null."""
        value = self.number(name)
        return value if value is None or value > 0 else self.refuse(name, "a positive number or null")

    def text(self, name: str) -> str:
        """A short name; null counts as absent."""
        value = self.raw(name)
        if value is None:
            value = self.family.defaults.get(self.spellings(name)[0])
        if not isinstance(value, str) or not 0 < len(value) <= MAX_NAME_CHARACTERS:
            self.refuse(name, "a name")
        return value

    def entries(self, name: str) -> list[Any] | None:
        """A list, or None for null."""
        value = self.raw(name)
        if value is None:
            return None
        return list(value) if isinstance(value, list | tuple) else self.refuse(name, "a list")

    def table(self, name: str) -> Mapping[str, Any]:
        """An object of keys and values; null counts as empty."""
        value = self.raw(name)
        if value is None:
            return {}
        return value if isinstance(value, Mapping) else self.refuse(name, "an object of keys and values")

    def within(self, name: str) -> HfConfig:
        """The object under the key of `name`, read through the same family."""
        return HfConfig(self.table(name), self.family, self.spot.within(self.key(name)))


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond the range of floats
        return False


def json_shown(value: object) -> str:
    """A value as a JSON file writes it, cut to a readable length."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else shown(value)
