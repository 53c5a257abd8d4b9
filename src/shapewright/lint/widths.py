"""Better values of a width near the one there is: multiples of 64 elements a GPU, or of less where the width is small.

64 elements of 16 bits are the 128 bytes that the paper asks for (section VI-B); a split over t GPUs wants them in each share. Elements.
"""

from __future__ import annotations

from ..units import ceil_div

#: Elements of the paper's rule, and the smallest step that is offered.
STEPS = (64, 32, 16, 8)
#: How far a better value may lie, as a share of the width.
MAX_CHANGE = 0.05


def neighbours(value: int, *, parts: int = 1, largest: int = STEPS[0]) -> tuple[int, ...]:
    """The nearest multiples above and below `value` of the largest step that stays within `MAX_CHANGE`; nearer one first."""
    return multiples(value, _step(value, parts, largest))


def multiples(value: int, step: int) -> tuple[int, ...]:
    """The nearest multiples of `step` above and below `value`, the nearer first, as near the one above; `value` itself is left out."""
    above = ceil_div(value, step) * step
    found = {each for each in (above, above - step) if each > 0 and each != value}
    return tuple(sorted(found, key=lambda each: (abs(each - value), -each)))


def padded(value: int, *, parts: int = 1, largest: int = STEPS[0]) -> int:
    """`value` rounded up to whole steps in each of `parts`."""
    step = _step(value, parts, largest)
    return ceil_div(value, step) * step


def _step(value: int, parts: int, largest: int) -> int:
    """The largest step that some multiple near `value` keeps within `MAX_CHANGE`."""
    sizes = [size * parts for size in STEPS if size <= largest]
    return next((step for step in sizes if ceil_div(value, step) * step - value <= MAX_CHANGE * value), sizes[-1])


def power_of_two(value: int, most: int = 64) -> int:
    """The largest power of two, up to `most`, that divides `value`."""
    return min(value & -value, most)


def divisibility(value: int, vector: int) -> str:
    """How a width divides, in words: "odd", "a multiple of 2 only", ..."""
    power = power_of_two(value, vector)
    return "odd" if power == 1 else f"a multiple of {power} only"


def misalignment(value: int, vector: int, what: str) -> str:
    """How a width divides and what that means, in words: off the `vector` elements of one load, or only off the paper's 64."""
    if value % vector:
        return f"{divisibility(value, vector)}: {what} leave the tensor cores' fast path"
    return f"{divisibility(value, STEPS[0])}: rows of {what} do not begin on multiples of {STEPS[0]} elements"
