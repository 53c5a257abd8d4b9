"""How the dearest products of a step fall into tiles and waves, and which dimensions of the model could change that.

The output of a product is cut into tiles of tile_m x tile_n elements, a block each; a GPU runs as many blocks at once as it has SMs, a
wave.

    tiles = batch ceil(m / tile_m) ceil(n / tile_n)        waves = tiles x k-splits / SMs
    used  = batch m n / (tiles tile_m tile_n)              idle  = 1 - waves / paid waves

Paid waves are ceil(waves), softened as far as the GPU's measured products say that an unfilled last wave costs less than a full one.
Tiles are those of the fitted tile model (`predict/gemm_model.py`), not the names of kernels. Sizes in elements, times in seconds.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..dtypes import load_dtype
from ..operators.types import Gemm, Operator
from ..predict.gemm import Product, estimate_gemms, product_rates
from ..predict.gemm_classes import CLASSES, gemm_class
from ..predict.gemm_model import candidate_times, filled_waves
from ..predict.operators import Machine
from ..units import ceil_div
from ..workload import Workload
from .case import Case
from .change import Change, Fault
from .splits import fits
from .whole_heads import hidden_changes
from .widths import STEPS

#: Products of a step that are looked at, and better values of a field that are offered to be priced.
NUM_PRODUCTS, NUM_VALUES = 4, 3
#: Share of its time that a product must be predicted to save, a FLOP, for a value to be offered: less is seldom found when measured.
LEAST_GAIN = 0.02
#: How far a better value may lie, as a share of the present one; micro-batches are few, so that theirs lie farther apart.
MAX_CHANGE, MAX_BATCH_CHANGE = 0.06, 0.25
#: Alignment classes whose every load and store is a whole vector.
ALIGNED = ("aligned_nt", "aligned_nn_tn", "batched")
#: Operators whose products have a width of the model as output, by the beginning of their names.
FAMILIES = {"intermediate_size": "mlp_", "vocab_size": "logits"}


@dataclass(frozen=True, slots=True, kw_only=True)
class TiledProduct:
    """A product of the step, and the tiles that the tile model gives it."""

    operator: Operator
    work: Gemm
    tile_m: int
    tile_n: int
    num_tiles: int
    num_splits: int
    num_sms: int
    softness: float
    is_compute_bound: bool

    @property
    def used(self) -> float:
        """Share of the tiles' area that the output covers."""
        return self.work.batch * self.work.m * self.work.n / (self.num_tiles * self.tile_m * self.tile_n)

    @property
    def waves(self) -> float:
        """Blocks over SMs."""
        return self.num_tiles * self.num_splits / self.num_sms

    @property
    def idle(self) -> float:
        """Share of the paid waves that the unfilled last one leaves idle."""
        return 1 - self.waves / float(filled_waves(np.array(self.waves), self.softness))

    @property
    def last_wave(self) -> float:
        """How full the last wave is."""
        return 1 - (math.ceil(self.waves) - self.waves)


def dearest_products(case: Case) -> tuple[TiledProduct, ...]:
    """The distinct products with weights that take most of the step, dearest first; misaligned ones are faults of other rules."""
    first: dict[Gemm, Operator] = {}
    counts: dict[Gemm, int] = defaultdict(int)
    for operator in case.operators:
        if operator.kind == "gemm" and isinstance(operator.work, Gemm):
            first.setdefault(operator.work, operator)
            counts[operator.work] += operator.count
    works = [work for work in first if _class_name(work, case.machine) in ALIGNED]
    estimates = estimate_gemms(works, case.machine.gpu, case.machine.profile)
    seconds = {work: estimate.time_s * counts[work] for work, estimate in zip(works, estimates, strict=True)}
    dearest = sorted(works, key=lambda work: -seconds[work])[:NUM_PRODUCTS]
    return tuple(tiled(first[work], work, case.machine) for work in dearest)


def tiled(operator: Operator, work: Gemm, machine: Machine) -> TiledProduct:
    """The tiles of the quickest candidate of the tile model."""
    rates = product_rates(machine.gpu, work.dtype)
    menu = Product(gpu=machine.gpu, profile=machine.profile, dtype=work.dtype, rates=rates).menu(_class_name(work, machine))
    size = tuple(np.array([value], np.float32) for value in (work.batch, work.m, work.n, work.k))
    times = candidate_times(size, np.ones(1, np.float32), menu, rates)  # type: ignore[arg-type]
    best = int(times.time_s[:, 0].argmin())
    splits, blocks = int(times.splits[best, 0]), int(times.blocks[best, 0])
    return TiledProduct(
        operator=operator, work=work, tile_m=menu.candidates[best].tile_m, tile_n=menu.candidates[best].tile_n, num_splits=splits,
        num_tiles=blocks // splits, num_sms=rates.num_sms, softness=menu.softness,
        is_compute_bound=bool(times.sm_s[best, 0] >= times.dram_s[best, 0]),
    )  # fmt: skip


def _class_name(work: Gemm, machine: Machine) -> str:
    code, _ = gemm_class(work, load_dtype(work.dtype).size_bytes, machine.gpu.alignment_bytes)
    return CLASSES[code]


def tile_faults(case: Case, *, is_faulty: Callable[[TiledProduct], bool], words: Callable[[TiledProduct], str]) -> Iterator[Fault]:
    """A fault for each field behind the output of a faulty product; a field speaks for its dearest product."""
    spoken: set[str] = set()
    for product in dearest_products(case):
        if not is_faulty(product):
            continue
        for field in output_fields(case, product):
            if field in spoken:
                continue
            spoken.add(field)
            changes = batch_changes(case, product, is_faulty) if field == "micro_batch" else width_changes(case, field)
            if changes:
                yield _fault(case, field, product, words(product), changes)


def _fault(case: Case, field: str, product: TiledProduct, words: str, changes: tuple[Change, ...]) -> Fault:
    value = case.workload.micro_batch if field == "micro_batch" else getattr(case.shape, field)
    work = product.work
    name = f"{product.operator.name} ({work.m} x {work.n} x {work.k})"
    return Fault(field=field, value=value, message=f"{field} {value} leaves {name} {words} on {case.machine.gpu.name}", changes=changes)


def output_fields(case: Case, product: TiledProduct) -> tuple[str, ...]:
    """What sets the columns and rows of a product's output: widths of the model, or the micro-batch (rows of all but weight gradients)."""
    widths = (product.work.n, product.work.m) if product.work.layout == "TN" else (product.work.n,)
    fields = [field for size in widths if (field := _field_of(case, product.operator, size))]
    return tuple(dict.fromkeys(fields if product.work.layout == "TN" else (*fields, "micro_batch")))


def _field_of(case: Case, operator: Operator, size: int) -> str | None:
    """The width of the model that a dimension of an operator's output is, or a share of; None for heads and others."""
    shape, t = case.shape, case.workload.tensor_parallel
    family = next((name for name, prefix in FAMILIES.items() if operator.name.startswith(prefix)), None)
    if family and size in _shares(getattr(shape, family), t):
        return family
    return "hidden_size" if size == shape.hidden_size else None


def _shares(value: int, t: int) -> tuple[int, int]:
    """A width's share per GPU, alone and where gate and up projection are one product."""
    share = ceil_div(value, t)
    return share, 2 * share


def width_changes(case: Case, field: str) -> tuple[Change, ...]:
    """Better widths of the model nearby, in whole multiples of 64 a GPU."""
    t = case.workload.tensor_parallel
    if field == "hidden_size":
        # A new width moves heads and a plain MLP too: where those are uneven or misaligned, the price would be theirs.
        is_even = case.shape.num_attention_heads % t == 0 and _has_aligned_layers(case)
        return hidden_changes(case.shape, step=STEPS[0] * t, parts=t, most=NUM_VALUES, keeps_head_dim=True) if is_even else ()
    is_padding = field == "vocab_size"
    values = best_values(case, field, multiples(getattr(case.shape, field), STEPS[0] * t, is_padding=is_padding))
    return tuple(Change(model=((field, value),), compare="as_is" if is_padding else "equal_work", is_safe=is_padding) for value in values)


def _has_aligned_layers(case: Case) -> bool:
    works = [each.work for each in case.operators if each.kind == "gemm" and each.layer != "head"]
    return all(_class_name(work, case.machine) in ALIGNED for work in dict.fromkeys(works) if isinstance(work, Gemm))


def multiples(value: int, step: int, *, is_padding: bool = False) -> tuple[int, ...]:
    """Multiples of `step` within `MAX_CHANGE` of `value`, which is left out; padding only grows."""
    low = value if is_padding else math.ceil(value * (1 - MAX_CHANGE))
    found = range(ceil_div(low, step) * step, math.floor(value * (1 + MAX_CHANGE)) + 1, step)
    return tuple(each for each in found if each != value)


def best_values(case: Case, field: str, values: Sequence[int]) -> tuple[int, ...]:
    """The few of `values` at which the products of the field's family are predicted quickest, a FLOP (padding: whole); nearest first."""
    t, now = case.workload.tensor_parallel, getattr(case.shape, field)
    family = [(each.work, each.count) for each in case.operators if each.name.startswith(FAMILIES[field]) and isinstance(each.work, Gemm)]
    tried = (now, *values)
    works = [_resized(work, now, value, t) for value in tried for work, _ in family]
    estimates = iter(estimate_gemms(works, case.machine.gpu, case.machine.profile))
    scale = {value: 1.0 if field == "vocab_size" else now / value for value in tried}
    seconds = {value: scale[value] * sum(next(estimates).time_s * count for _, count in family) for value in tried}
    quickest = sorted(values, key=lambda value: seconds[value])[:NUM_VALUES]
    better = [value for value in quickest if seconds[value] <= (1 - LEAST_GAIN) * seconds[now]]
    return tuple(sorted(better, key=lambda value: abs(value - now)))


def _resized(work: Gemm, now: int, value: int, t: int) -> Gemm:
    """The product with the share of a width changed from that of `now` to that of `value`."""
    old, new = _shares(now, t), _shares(value, t)
    changed = {name: new[old.index(size)] for name in ("m", "n", "k") if (size := getattr(work, name)) in old}
    # A micro-batch or hidden_size as large as the width stays: one dimension of a product is the width.
    name = next((each for each in _width_first(work) if each in changed), None)
    return replace(work, **{name: changed[name]}) if name else work


def _width_first(work: Gemm) -> tuple[str, ...]:
    """Dimensions of a product in the order in which a width is looked for: in m only where the product's rows are no tokens."""
    return ("m", "n") if work.layout == "TN" else ("n", "k")


def batch_changes(case: Case, product: TiledProduct, is_faulty: Callable[[TiledProduct], bool]) -> tuple[Change, ...]:
    """Micro-batches near the present one that free `product` of its fault and fit the memory, nearest first.

    None for products that memory bounds, which any larger batch speeds up; none where nobody chose the micro-batch, where a global batch is
    set, which few sizes divide, nor in a pipeline, whose bubble changes too.
    """
    workload, batch = case.workload, case.workload.micro_batch
    is_free = "micro_batch" in case.given and workload.global_batch is None and workload.pipeline_parallel == 1
    if not is_free or not product.is_compute_bound:
        return ()
    near = range(math.ceil(batch * (1 - MAX_BATCH_CHANGE)), math.floor(batch * (1 + MAX_BATCH_CHANGE)) + 1)
    works = {each: replace(product.work, m=each * workload.query_len) for each in near}
    estimates = estimate_gemms(list(works.values()), case.machine.gpu, case.machine.profile)
    seconds = {each: estimate.time_s / each for each, estimate in zip(works, estimates, strict=True)}
    quick = [each for each in near if seconds[each] <= (1 - LEAST_GAIN) * seconds[batch]]
    cured = [each for each in quick if not is_faulty(tiled(product.operator, works[each], case.machine))]
    chosen = sorted(cured, key=lambda each: abs(each - batch))[:NUM_VALUES]
    return tuple(_batch_change(workload, each) for each in chosen if each < batch or fits(case, replace(workload, micro_batch=each)))


def _batch_change(workload: Workload, batch: int) -> Change:
    """The optimizer counts alike on both sides: over the least common multiple of the two micro-batches."""
    if not workload.is_training:
        return Change(workload=(("micro_batch", batch),))
    together = ("global_batch", math.lcm(batch, workload.micro_batch) * workload.data_parallel)
    caution = "without gradient accumulation the optimizer sees another global batch"
    return Change(workload=(("micro_batch", batch), together), against=(together,), caution=caution)
