"""Keys of a training configuration, each with its place, and the `LoadedShape` that they make.

Errors: a value of the wrong kind is an `InputError` at the line that says it, as `pythia.yml:14: num_layers is 'many'; ...`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from ..errors import InputError, shown, unknown_name
from ..shape import MAX_VOCABULARY, ModelShape, require_integer
from ..units import ceil_div
from ..workload import Workload
from .located import place
from .source import LoadedShape


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A value and where it was said; `line` is None for arguments that came from no file."""

    value: Any
    line: int | None
    file: str

    @property
    def place(self) -> str:
        """The file, and the line if it is known."""
        return place(self.file, self.line)


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """The entries of a configuration by key; `origin` names all of its files. `style` turns a key into what the user wrote."""

    entries: Mapping[str, Entry]
    origin: str
    style: str = "{}"

    def first(self, *names: str) -> str | None:
        """The first of `names` that is given a value; null counts as not given."""
        return next((name for name in names if name in self.entries and self.entries[name].value is not None), None)

    def get(self, name: str, default: Any = None) -> Any:
        """The value of `name`; `default` where it is absent or null."""
        entry = self.entries.get(name)
        return default if entry is None or entry.value is None else entry.value

    def where(self, name: str | None) -> str:
        """The place of `name`, else the files' own names."""
        entry = self.entries.get(name or "")
        return entry.place if entry else self.origin

    def written(self, name: str) -> str:
        """`name` as the configuration spells it: num_layers, --num-layers."""
        return self.style.format(name.replace("_", "-") if self.style.startswith("--") else name)

    def require(self, *names: str) -> None:
        """Refuse a configuration that lacks any of `names`; all that are absent are named."""
        absent = [self.written(name) for name in names if self.first(name) is None]
        if absent:
            raise InputError(f"{' and '.join(absent)} {'are' if len(absent) > 1 else 'is'} absent", where=self.origin, hint="add it")

    def integer(self, name: str, default: int, *, low: int = 1, high: int = MAX_VOCABULARY) -> int:
        """The integer called `name`, refused outside `low` to `high`."""
        value = self.get(name, default)
        try:
            require_integer(self.written(name), value, low, high)
        except InputError as error:
            raise error.at(self.where(name)) from None
        return value

    def fraction(self, name: str, default: float) -> float:
        """A number from above 0 to 1."""
        value = self.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
            raise InputError(f"{self.written(name)} is {shown(value)}", where=self.where(name), hint="expected above 0, at most 1")
        return float(value)

    def flag(self, name: str, default: bool = False) -> bool:
        """true or false; anything else is refused."""
        value = self.get(name, default)
        if not isinstance(value, bool):
            raise InputError(f"{self.written(name)} is {shown(value)}", where=self.where(name), hint="expected true or false")
        return value

    def choice(self, name: str, known: Iterable[str], default: str) -> str:
        """One of the words in `known`; another is refused with the nearest."""
        value = self.get(name, default)
        names = list(known)
        if value not in names:
            raise unknown_name(self.written(name), value, names, where=self.where(name))
        return str(value)


def load(
    keys: Keys,
    values: Mapping[str, Any],
    said: Mapping[str, str | None],
    *,
    workload: Mapping[str, object],
    notes: Iterable[str],
    num_micro_batches: int | None = None,
) -> LoadedShape:
    """The shape of `values`; `said` names the key that set each field, for its line. Unusable workload values become notes."""
    try:
        shape = ModelShape(**values)
    except InputError as error:
        raise error.at(keys.where(said.get(error.field or ""))) from None
    found = {field: keys.entries[key] for field, key in said.items() if key and key in keys.entries}
    usable, remarks = _usable_workload(workload, keys.origin)
    several = len({entry.file for entry in keys.entries.values()}) > 1
    return LoadedShape(
        shape=shape,
        origin=keys.origin,
        lines=MappingProxyType({field: entry.line for field, entry in found.items() if entry.line is not None}),
        files=MappingProxyType({field: entry.file for field, entry in found.items()} if several else {}),
        workload=MappingProxyType(usable),
        notes=(*notes, *remarks),
        num_micro_batches=num_micro_batches,
    )


def _usable_workload(workload: Mapping[str, object], origin: str) -> tuple[dict[str, object], tuple[str, ...]]:
    """The values that `Workload` accepts together, in order, and a note for each that it refuses (DeepSpeed's "auto").

    Experts spread over n GPUs need n replicas at least, which stand in for a number of replicas that no file says.
    """
    usable: dict[str, Any] = {}
    remarks: list[str] = []
    stated = {name: value for name, value in workload.items() if value is not None}
    experts = stated.get("expert_parallel")
    if isinstance(experts, int) and experts > 1 and "data_parallel" not in stated:
        stated = {"data_parallel": experts, **stated}
        remarks.append(f"data_parallel {experts}: the fewest replicas that expert_parallel {experts} needs")
    for name, value in stated.items():
        try:
            Workload(**usable, **{name: value})  # type: ignore[arg-type]
        except InputError as error:
            remarks.append(f"{origin}: left out of the workload: {error.what}")
        else:
            usable[name] = value
    return usable, tuple(remarks)


def padded_vocabulary(vocabulary: int, multiple: int, tensor_parallel: int) -> int:
    """Rows of the embedding table: `vocabulary` rounded up to `multiple` x `tensor_parallel`, as Megatron-LM and GPT-NeoX do."""
    return ceil_div(vocabulary, multiple * tensor_parallel) * multiple * tensor_parallel
