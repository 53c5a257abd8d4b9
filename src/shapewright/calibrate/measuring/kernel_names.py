"""Families of the kernels that ran: library, generation and vector width, read from a row's `kernel` text.

    nvjet_sm90_tst_160x256_64x3_2x1_v_bz_coopA_NTN                               -> nvjet sm90
    cutlass_80_tensorop_bf16_s16816gemm_bf16_128x256_64x3_nn_align2              -> cutlass sm80 align2
    cutlass_75_tensorop_bf16_s1688gemm_bf16_128x128_nn_align1 + splitKreduce...  -> cutlass sm75 align1

The text joins kernels by " + " in launch order, equal neighbours counted ("3 x name"), as `measure.kernels` writes it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

_COUNT = re.compile(r"^\d+ x ")
_LIBRARIES = ("nvjet", "cutlass", "xmma", "gemv", "gemmsn", "gemm", "flash", "fmha", "enable_if")
_GENERATION = re.compile(r"sm_?(\d{2,3})|cutlass_(\d{2})(?=_)")
_ALIGN = re.compile(r"align[ab]?(\d+)")
#: Generation of the old names of a library that says it in words.
_WORDS = {"volta": "70", "turing": "75", "ampere": "80", "hopper": "90"}
#: What runs beside the product itself: parts of split sums are added up, or memory is set.
_HELPERS = ("splitkreduce", "memset", "reduce_kernel", "reduce_1block")


def kernels_of(text: str) -> list[str]:
    """Names of the kernels, each once for a run of equal ones."""
    return [_COUNT.sub("", part).strip() for part in text.split(" + ") if part.strip()]


def is_triton(name: str) -> bool:
    """Whether Inductor wrote the kernel."""
    return name.startswith("triton_")


def main_kernel(text: str) -> str:
    """The kernel that multiplies; "" where none is known."""
    names = [name for name in kernels_of(text) if not is_triton(name) and not any(each in name.lower() for each in _HELPERS)]
    named = [name for name in names if any(library in name.lower() for library in _LIBRARIES)]
    return (named or names or [""])[0]


def family(text: str) -> str:
    """Library, generation and alignment of the multiplying kernel; "" where none is known."""
    name = main_kernel(text)
    lowered = name.lower()
    # cuBLAS's matrix-vector kernels are templates whose name begins with their return type.
    library = (
        "gemv"
        if "enable_if" in lowered
        else next((each for each in _LIBRARIES if each in lowered), name.removeprefix("void ").split("<")[0].split("::")[-1][:24])
    )
    found = _GENERATION.search(lowered)
    generation = (found[1] or found[2]) if found else next((number for word, number in _WORDS.items() if word in lowered), "")
    align = _ALIGN.search(lowered)
    return " ".join(filter(None, (library, f"sm{generation}" if generation else "", f"align{align[1]}" if align else "")))


def families(texts: Iterable[str], *, most: int = 2) -> str:
    """The families of several rows by how often they ran: "nvjet sm90 88 %, cutlass sm80 align8 12 %"; one alone without its share."""
    counted = Counter(filter(None, map(family, texts)))
    if len(counted) == 1:
        return next(iter(counted))
    total = counted.total()
    shown = [f"{name} {100 * count / total:.0f} %" for name, count in counted.most_common(most)]
    return ", ".join(shown) + (" and others" if len(counted) > most else "")
