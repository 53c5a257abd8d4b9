"""What judges of several sections share: verdicts from a yes or no, rank correlation, and numbers as words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..judging import Verdict, Word


def verdict(is_true: bool | Word, value: float | None, unit: str, reading: str) -> Verdict:
    """A verdict from its word, or from whether the claim holds."""
    word: Word = is_true if isinstance(is_true, str) else "agrees" if is_true else "disagrees"
    return Verdict(word=word, value=value, unit=unit, reading=reading)


def graded(value: float, agrees: float, depends: float) -> Word:
    """agrees from the one threshold on, depends from the other (lower) one on, disagrees below both."""
    return "agrees" if value >= agrees else "depends" if value >= depends else "disagrees"


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float:
    """Spearman's: 1 where both order alike, -1 where one is the other reversed; values without ties."""
    ranks = np.array([np.argsort(np.argsort(values)) for values in (first, second)])
    return round(float(np.asarray(np.corrcoef(ranks))[0, 1]), 12)


def percent(ratio: float) -> str:
    """A ratio as its change: 1.187 is `+18.7 %`."""
    return f"{100 * (ratio - 1):+.1f} %"


def listed(values: Sequence[object]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    words = [str(value) for value in values]
    return ", ".join(words[:-1]) + " and " + words[-1] if len(words) > 1 else "".join(words)


def power_of_two(value: int) -> int:
    """The largest power of two that divides `value`."""
    return value & -value
