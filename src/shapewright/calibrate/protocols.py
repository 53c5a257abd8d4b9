"""How each source timed products of the GPUs that few rows are published of: its pace, and what its time holds besides the kernel.

The profile of a GPU keeps both, class by class (`accuracy`): predictions are mapped by them as pace x time + offset, seconds. Mapping
needs numpy alone; what fits them is `thin`.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..hardware.gpu import Gpu
from ..predict.profiles import load_profile
from .products import Products, classes_of
from .scored import Array

#: Classes that share a fit, under the name of the fit.
CLASSES: Mapping[str, tuple[str, ...]] = {
    "aligned": ("aligned_nt", "aligned_nn_tn"),
    "batched": ("batched",),
    "half": ("half",),
    "odd": ("odd",),
}
ELEMENT_BYTES = 2


def protocol_of(products: Products, gpu: Gpu, source: str) -> tuple[Array, Array]:
    """Pace and seconds added by which a source times products of the GPU, as its profile keeps them; 1 and 0 where it keeps none."""
    classes, _ = classes_of(products, ELEMENT_BYTES)
    pace, offset = np.ones(len(classes)), np.zeros(len(classes))
    kept = load_profile(gpu).accuracy
    for inner in CLASSES.values():
        # A class without a fit of its own was timed as aligned products were.
        protocols = (kept.get(inner[-1]) or kept.get(CLASSES["aligned"][-1], {})).get("protocols", {})
        inside = np.isin(classes, inner)
        pace[inside] = protocols.get(f"pace:{source}/{gpu.name}", 1.0)
        offset[inside] = protocols.get(f"offset:{source}", 0.0)
    return pace, offset
