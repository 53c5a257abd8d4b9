"""Which rows are fitted for GPUs with thin data or none, class by class, and what is left out in turn.

The alignment classes of layouts NT and NN/TN are fitted as one here: too few rows tell them apart. `LEFT_OUT` names the GPUs that are left
out together (both A100 are one chip). Held out are the (n, k) of `gemm.is_held_out`, as everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from ..hardware.gpu import Gpu
from ..predict.gemm import product_rates
from .gemm import Rows
from .products import Products, classes_of
from .protocols import CLASSES
from .scored import Array
from .sources import SourceRows
from .transfer import Sample, SharedFit, Values, fit_pooled, fit_protocol, fit_thin, protocol_values, start_values

#: Classes whose rows a thin fit of the aligned class takes too. AMD's kernels load element by element where they must: products of
#: k = 9,375 or n = 158 take the time of their aligned neighbours, but for a factor by pattern that is fitted.
JOINED: Mapping[str, tuple[str, ...]] = {"amd": ("aligned", "half", "odd"), "nvidia": ("aligned",)}
BASE_EFFICIENCY = {"half": 0.28, "odd": 0.14}
#: GPUs left out in turn, with the other forms of the same chip.
LEFT_OUT: Mapping[str, tuple[str, ...]] = {
    "v100-16gb": ("v100-16gb",),
    "a100-80gb": ("a100-80gb", "a100-40gb"),
    "h100": ("h100",),
    "h200": ("h200",),
    "mi210": ("mi210",),
    "mi250x": ("mi250x",),
    "mi300x": ("mi300x",),
}
#: Sources whose rows hold more than the kernel, and where the fit of that time starts (seconds).
OFFSETS_S = {
    "authors": 20e-6,
    "deepbench": 1e-6,
    "hipblaslt_logic": 0.5e-6,
    "hipblaslt_logic with bias, fp16": 31e-6,
    "hipblaslt_logic with bias, bf16": 38e-6,
}
#: Source and GPU whose pace is free. In a pooled fit the authors' 200 calls in a row run at the clock that the card keeps; in a GPU's own
#: fit they are the reference, and other cards and libraries have a pace.
POOLED_PACE = ("authors/a100-40gb", "authors/v100-16gb", "authors/mi250x")
THIN_PACE = (
    "deepbench/v100-16gb", "hipblaslt_logic/mi250x", "hipblaslt_logic with bias, fp16/mi250x",
    "hipblaslt_logic with bias, bf16/mi210", "aiter_tuned/mi300x",
)  # fmt: skip
#: Rows of one source, GPU and class that a pooled fit takes: more change its error by less than a percent.
MOST_ROWS = 300


def class_samples(sources: Iterable[SourceRows], name: str) -> list[Sample]:
    """The products of one entry of `CLASSES`, a sample for each source, GPU and dtype. Products of fp8 are known aligned only."""
    samples = []
    for each in sources:
        for dtype in np.unique(each.products.dtype).tolist():
            products = each.products.take(each.products.dtype == dtype)
            rates = product_rates(each.gpu, dtype)
            classes, groups = classes_of(products, rates.size_bytes, rates.vector_bytes)
            inside = np.isin(classes, CLASSES[name])
            if inside.any():
                rows = rows_of(products, groups)
                samples.append(Sample(gpu=each.gpu, source=each.source, rates=rates, rows=rows.take(np.flatnonzero(inside))))
    return samples


def rows_of(products: Products, groups: Array) -> Rows:
    """The products as the fit takes them."""
    return Rows(batch=products.batch, m=products.m, n=products.n, k=products.k, time_s=products.time_s, groups=groups)


def thinned(samples: Iterable[Sample], most: int = MOST_ROWS) -> list[Sample]:
    """At most `most` rows a sample, drawn at random with a fixed seed."""
    generator = np.random.default_rng(0)
    return [
        each if len(each.rows) <= most else each.take(np.sort(generator.choice(len(each.rows), most, replace=False))) for each in samples
    ]


def fit_shared(samples: Sequence[Sample], name: str, vendor: str) -> SharedFit:
    """Constants for all GPUs of a vendor: Nvidia's from its GPUs alone, AMD's, whose rows are few, from all."""
    used = thinned([each for each in samples if each.rates.size_bytes == 2 and (vendor == "amd" or each.gpu.vendor == "nvidia")])
    start = start_values(used, OFFSETS_S, POOLED_PACE, base_efficiency=BASE_EFFICIENCY.get(name, 0.85))
    return fit_pooled(used, start, grain=16 if name in BASE_EFFICIENCY else 64)


def fit_own(samples: Sequence[Sample], prior: SharedFit, gpu: Gpu) -> SharedFit:
    """Constants of `gpu` from `prior` and its own rows among `samples`."""
    own = thinned([each for each in samples if each.gpu.name == gpu.name])
    # The only source there is sets the pace.
    paced = THIN_PACE if len({each.source for each in own}) > 1 else ()
    return fit_thin(own, prior, protocol_values(own, OFFSETS_S, paced))


def map_protocol(samples: Sequence[Sample], shared: SharedFit) -> SharedFit:
    """`shared` with the offsets and paces of the sources of `samples`, fitted to their rows; no constant of a kernel moves."""
    protocol: Values = protocol_values(samples, OFFSETS_S, POOLED_PACE)
    return fit_protocol(samples, shared, protocol) if protocol else shared
