"""Points that tell most of a GPU in a few minutes, drawn from a seed: products first of all, then attention, memory-bound kernels, host.

    points = calibration_points(reach, seed=0, count=8000)      # any prefix is a balanced sample of the same mixture

Points come in rounds: products of every alignment class, layout and size, then some memory-bound kernels, then some attention. Each round
draws from a generator of its own, so that a longer list starts with the shorter one. Products follow the mixture that models ask for:
sizes log-uniform in multiples of a power of two (two in five off the grid of 8 elements), decode sizes, batched products of attention, and
runs of near neighbours, which show what a small change of shape does. Sizes in elements, times in seconds; the same seed on the same GPU
gives the same points. `Reach` bounds what is measured: large products tell little for their time.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from ..errors import ShapewrightError
from ..hardware.gpu import Gpu
from ..measure.memory_ops import check_memory, work_of
from ..measure.points import AttentionBackend, AttentionPoint, GemmPoint, HostPoint, MemoryPoint, Point
from ..operators.types import Layout

Random = np.random.Generator
#: Points of a round: products in groups that one profile names, then the others.
PRODUCTS, KERNELS, CALLS = 768, 96, 64
#: Draws for each point at most, where many lie beyond the device's reach.
MOST_DRAWS = 20
#: Products before the first kernels of another kind: a run of half a minute holds some of each.
FIRST_PRODUCTS = 256
#: Multiples that sizes come in, and how often.
STEPS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
STEP_SHARES = (0.12, 0.15, 0.15, 0.13, 0.09, 0.08, 0.13, 0.08, 0.07)
BATCHES = (8, 12, 16, 24, 32, 40, 64, 80, 96, 128, 160, 256)
SEQUENCES = (128, 256, 512, 1024, 2048, 4096)
#: Shares of the draws: products of layers, of decoding (few rows), of attention; the rest are runs of `RUN` neighbours.
LINEAR, DECODE, BATCHED, RUN = 0.66, 0.10, 0.16, 4
FP16_SHARE = 0.1
#: Share of attention's products whose sequence is any length.
ANY_SEQUENCE = 0.4
#: Seconds at the datasheet's peak of the longest product: a misaligned one takes ten times as long, and six replays of it are timed.
MOST_S = 5e-3
#: One kernel each, by name, and whether it goes backward: every pattern that PyTorch has an operation for.
KERNEL_NAMES = (
    ("add", False), ("gelu", False), ("copy", False), ("heads_copy", False), ("layer_norm", False), ("softmax", False), ("to_fp32", False),
    ("cat", False), ("embedding", False), ("sum_columns", False), ("fill", False), ("index_add", False), ("mul_column", False),
    ("softmax", True), ("pow", False), ("pow_tensor", False),
)  # fmt: skip
WIDTHS = (128, 512, 1000, 1024, 2048, 3000, 4096, 8192, 12288, 16384, 32768)
HEAD_DIMS, HEADS = (64, 128, 256, 80), (8, 16, 32, 64)
#: Memory operations that torch measures in fp32, as `measure.memory_ops` has their pattern.
FP32_OPS = ("mul_column",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """What a device can be asked for: `max_flops` of a product, `max_elements` of a matrix, `max_size` of a dimension."""

    dtype: str
    has_fp16: bool
    max_flops: float
    max_elements: int
    max_size: int
    max_bytes: float
    """Largest kernel bound by memory; and the smallest that the last-level cache does not hold."""
    cold_bytes: float
    backend: AttentionBackend


def reach_of(gpu: Gpu, *, is_cpu: bool = False) -> Reach:
    """The reach of a GPU: products of at most `MOST_S` at the datasheet's peak. A CPU runs the same mixture in miniature."""
    dtype = "bf16" if "bf16" in gpu.flops_per_s else "fp16"
    if is_cpu:
        return Reach(
            dtype=dtype, has_fp16=False, max_flops=4e7, max_elements=2**20, max_size=512, max_bytes=2e6, cold_bytes=1e5, backend="math"
        )
    # torch's SDPA runs cuDNN's kernels from Hopper on, FlashAttention-2 and its kin before.
    return Reach(
        dtype=dtype, has_fp16=dtype != "fp16" and "fp16" in gpu.flops_per_s, max_flops=MOST_S * gpu.flops_per_s[dtype],
        max_elements=min(2**30, gpu.memory_bytes // 128), max_size=65536, max_bytes=min(1e9, gpu.memory_bytes / 64),
        cold_bytes=float(max(2**20, gpu.l2_bytes // 24)), backend="sdpa",
    )  # fmt: skip


def calibration_points(reach: Reach, seed: int, count: int) -> list[Point]:
    """The first `count` points of the seed, each once."""
    points: dict[Point, None] = {HostPoint(what=what): None for what in ("launch", "module", "replay")}
    number = 0
    while len(points) < count:
        before = len(points)
        points.update(dict.fromkeys(_round(reach, seed, number)))
        number += 1
        assert len(points) > before, "a round holds new points"
    return list(points)[:count]


def _round(reach: Reach, seed: int, number: int) -> Iterator[Point]:
    """One round; the others follow the first `FIRST_PRODUCTS` products of it."""
    products = _products(np.random.default_rng([seed, number, 0]), reach, PRODUCTS)
    yield from products[:FIRST_PRODUCTS]
    yield from _drawn(np.random.default_rng([seed, number, 1]), KERNELS, lambda random: _kernel(random, reach))
    yield from _drawn(np.random.default_rng([seed, number, 2]), CALLS, lambda random: _call(random, reach))
    yield from products[FIRST_PRODUCTS:]


def _drawn(random: Random, count: int, draw: Callable[[Random], Point | None]) -> list[Point]:
    """At most `count` points of a draw that may give none: a small device holds few of some kinds."""
    points = (draw(random) for _ in range(MOST_DRAWS * count))
    return list(itertools.islice((point for point in points if point is not None), count))


def _products(random: Random, reach: Reach, count: int) -> list[Point]:
    found: list[Point] = []
    for _ in range(MOST_DRAWS * count):
        if len(found) >= count:
            break
        choice = random.random()
        if choice < LINEAR + DECODE:
            drawn = [_linear(random, reach, most_rows=64 if choice < DECODE else 16384)]
        elif choice < LINEAR + DECODE + BATCHED:
            drawn = [_batched(random, reach)]
        else:
            drawn = _neighbours(random, reach)
        found += [point for point in drawn if _is_within(point, reach)]
    return found[:count]


def _linear(random: Random, reach: Reach, most_rows: int) -> GemmPoint:
    layout: Layout = ("NT", "NN", "TN")[int(random.choice(3, p=[0.6, 0.2, 0.2]))]
    m = _size(random, 1, min(most_rows, reach.max_size))
    n, k = _size(random, 64, min(65536, reach.max_size)), _size(random, 64, min(32768, reach.max_size))
    dtype = "fp16" if reach.has_fp16 and random.random() < FP16_SHARE else reach.dtype
    return GemmPoint(m=m, n=n, k=k, dtype=dtype, layout=layout)


def _batched(random: Random, reach: Reach) -> GemmPoint:
    """Scores (s x s x head) or their product with the values (s x head x s) of all heads of a batch."""
    if random.random() < ANY_SEQUENCE:
        batch, sequence = round(_log_uniform(random, 2, 256)), _size(random, 64, min(4096, reach.max_size))
    else:
        batch, sequence = int(random.choice(BATCHES)), int(random.choice([each for each in SEQUENCES if each <= reach.max_size]))
    head, is_score = _size(random, 8, 256), random.random() < 0.5
    n, k = (sequence, head) if is_score else (head, sequence)
    return GemmPoint(batch=batch, m=sequence, n=n, k=k, dtype=reach.dtype, layout="NT" if is_score else "NN", call="bmm")


def _neighbours(random: Random, reach: Reach) -> list[GemmPoint]:
    """Products that differ by small steps in one dimension."""
    base = _batched(random, reach) if random.random() < 0.15 else _linear(random, reach, 16384)
    axis, step = ("m", "n", "k")[int(random.integers(3))], int(random.choice([1, 2, 4, 8, 16, 32, 64, 128]))
    start = max(step, getattr(base, axis) // step * step)
    settings = {name: getattr(base, name) for name in ("batch", "m", "n", "k", "dtype", "layout", "call")}
    return [GemmPoint(**{**settings, axis: start + index * step}) for index in range(RUN)]


def _is_within(point: GemmPoint, reach: Reach) -> bool:
    largest = point.batch * max(point.m * point.k, point.k * point.n, point.m * point.n)
    return 2.0 * point.batch * point.m * point.n * point.k <= reach.max_flops and largest <= reach.max_elements


def _kernel(random: Random, reach: Reach) -> MemoryPoint | None:
    """A kernel bound by memory: one in four so small that its fixed time is all, the others larger than the cache keeps."""
    op, is_backward = KERNEL_NAMES[int(random.integers(len(KERNEL_NAMES)))]
    width = int(random.choice([each for each in WIDTHS if each <= max(reach.max_size, 512)]))
    span = (2.0**13, 2.0**16) if random.random() < 0.25 else (reach.cold_bytes, reach.max_bytes)
    size = _log_uniform(random, *span)
    dtype = "fp32" if op in FP32_OPS else reach.dtype
    try:
        one = MemoryPoint(op=op, rows=1, width=width, dtype=dtype, is_backward=is_backward)
        rows = max(1, round(size / max(work_of(one).bytes, 1)))
        point = MemoryPoint(op=op, rows=rows, width=width, dtype=dtype, is_backward=is_backward)
        check_memory(point)
    except ShapewrightError:
        return None
    return point


def _call(random: Random, reach: Reach) -> AttentionPoint | None:
    """Fused attention: prefill, its backward pass, decoding, and now and then every key visible."""
    head_dim, num_heads = int(random.choice(HEAD_DIMS, p=[0.3, 0.4, 0.2, 0.1])), int(random.choice(HEADS))
    num_kv_heads = num_heads // int(random.choice([1, 1, 4, 8]))
    batch, use = int(2 ** random.integers(0, 5)), random.random()
    most = min(8192, 16 * reach.max_size)
    length = int(_log_uniform(random, 128, most)) // 64 * 64 or 64
    is_decode, is_backward = use < 0.3, 0.6 <= use < 0.85
    longest = 4 * length if is_decode else length
    flops = 4.0 * batch * num_heads * (1 if is_decode else length) * longest * head_dim
    held = batch * longest * max(num_heads, 2 * num_kv_heads) * head_dim
    if flops > reach.max_flops or held > reach.max_elements // 8:
        return None
    return AttentionPoint(
        batch=batch, num_heads=num_heads, num_kv_heads=num_kv_heads, query_len=1 if is_decode else length, kv_len=longest,
        head_dim=head_dim, dtype=reach.dtype, is_causal=is_decode or use < 0.92, is_backward=is_backward, backend=reach.backend,
    )  # fmt: skip


def _size(random: Random, low: int, high: int) -> int:
    """A log-uniform size in multiples of a random power of two."""
    step = int(random.choice(STEPS, p=STEP_SHARES))
    return int(min(high, max(step, low, round(_log_uniform(random, low, high) / step) * step)))


def _log_uniform(random: Random, low: float, high: float) -> float:
    return float(np.exp(random.uniform(np.log(low), np.log(max(high, low)))))
