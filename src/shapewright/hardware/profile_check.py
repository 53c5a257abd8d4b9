"""Whether the numbers of a profile can be predicted with: a file that was edited or cut is refused where it is read, not amid a prediction.

Every number is finite and none is negative, sizes and rates are above 0, intervals and ranges have an entry for each bin. Errors: a
`ValueError` that names the part.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from ..errors import shown

#: Fields that something is divided by.
_ABOVE_ZERO = frozenset({
    "bandwidth_share", "bytes_per_clock", "rows_per_sm", "reread_fill", "unaligned", "link_share", "efficiency", "forward_efficiency",
    "backward_efficiency", "feed", "sharpness", "l2_sharpness", "grain", "head_dim", "tile_m", "tile_n", "tile_q", "tile_kv", "bound",
    "groups", "fit_range", "fit_step", "k_step", "k_share",
})  # fmt: skip
_KINDS = {"float": (int, float), "float | None": (int, float, type(None)), "int": (int,), "bool": (bool,), "str": (str,)}
#: Parts of a profile that only describe it.
_WORDS = frozenset({"accuracy", "sources", "notes"})


def check_profile(part: Any, name: str = "profile", *, num_bins: int) -> None:
    """Every field of a part and of the parts in it; `num_bins` intervals belong to a menu, a memory pattern, an attention kernel."""
    for each in fields(part):
        value, place = getattr(part, each.name), f"{name}.{each.name}"
        kinds = _KINDS.get(str(each.type))
        if kinds is not None:
            _require_kind(value, kinds, place)
        if each.name not in _WORDS:
            _check_value(value, place, num_bins=num_bins, is_divisor=each.name in _ABOVE_ZERO)
    _check_counts(part, name, num_bins)


def _check_value(value: Any, place: str, *, num_bins: int, is_divisor: bool) -> None:
    if is_dataclass(value):
        check_profile(value, place, num_bins=num_bins)
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            _check_value(inner, f"{place}.{key}", num_bins=num_bins, is_divisor=is_divisor)
            if is_divisor:
                _require_kind(inner, _KINDS["float"], f"{place}.{key}")
    elif isinstance(value, tuple):
        for index, inner in enumerate(value):
            _check_value(inner, f"{place}.{index}", num_bins=num_bins, is_divisor=is_divisor)
    elif isinstance(value, (int, float)) and not (math.isfinite(value) and (value > 0 if is_divisor else value >= 0)):
        raise ValueError(f"{place} is {shown(value)}")


def _require_kind(value: Any, kinds: tuple[type, ...], place: str) -> None:
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise ValueError(f"{place} is {shown(value)}")


def _check_counts(part: Any, name: str, num_bins: int) -> None:
    """Intervals by predicted time, the range of the fit, kernels to choose from."""
    counts = {"spreads": {num_bins} if hasattr(part, "candidates") else {0, num_bins}, "fit_range": {0, 5}}
    for field, allowed in counts.items():
        value = getattr(part, field, None)
        if isinstance(value, tuple) and len(value) not in allowed:
            raise ValueError(f"{name}.{field} has {len(value)} entries")
    for field in ("candidates", "heads", "kernels"):
        if getattr(part, field, None) == ():
            raise ValueError(f"{name}.{field} is empty")
