"""Names of kernels as a table shows them: the function's own name, without namespaces, template arguments and parameters."""

from __future__ import annotations

import re

#: Characters of one name, which fits a line of 80 under its row; and kernels that are named.
MAX_NAME, MOST_NAMES = 64, 4
#: A wrapper that says nothing, around the name of what it runs.
_WRAPPED = re.compile(r"cutlass::Kernel2?<(\w+)")


def kernels_text(kernels: str) -> str:
    """`2 x splitKreduce_kernel + cutlass_80_tensorop_...` of the names that a row keeps in full, joined by " + "."""
    names = [_short(each) for each in kernels.split(" + ") if each]
    more = len(names) - MOST_NAMES
    return " + ".join(names[:MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


def _short(name: str) -> str:
    count, rest = re.fullmatch(r"(\d+ x )?(.*)", name, re.DOTALL).groups()  # type: ignore[union-attr]
    wrapped = _WRAPPED.match(rest)
    plain = rest.removeprefix("void ").replace("(anonymous namespace)::", "")
    own = wrapped[1] if wrapped else re.split(r"[<(]", plain, maxsplit=1)[0].rpartition("::")[2] or plain
    return (count or "") + (own if len(own) <= MAX_NAME else own[: MAX_NAME - 3] + "...")
