"""A product's tiles do not fill their last wave, so that most of the GPU waits for a few of them.

A GPU works on as many tiles at once as it has SMs, a wave: 132 on an H200, 108 on an A100. 133 tiles take two waves, the second with one
SM at work and 131 idle. The loss is large where the waves are few and fades where they are many. Newer libraries soften it (smaller
tiles, tiles shared out unevenly, k split); how much an unfilled wave still costs is fitted for each GPU and decides how far this rule
reaches: two to four waves on an H200, seven or eight on an A100, some seventeen on V100 and MI250X; on an H100 it never speaks.

The rule looks at the four products with weights that take most of the step, and speaks where at least 5 % of the waves that are paid for
lie idle and a neighbour is predicted to be 2 % quicker a FLOP.

**Fix.** Multiples of 64 (times the tensor-parallel size) within 6 % of the width behind the product's rows or columns (intermediate_size,
vocab_size, or hidden_size with heads of the same head_dim), or, where you chose it, a micro-batch within 25 %. Prices are at equal work,
those of a micro-batch per token; the latter hold what else a larger micro-batch saves, about 1 % of a step.

**Caution.** A trained model cannot change its widths; its vocabulary can be padded. What suits one GPU's number of SMs need not suit
another's.

**Paper.** Section III-B: 109 tiles on the 108 SMs of an A100 take two waves; section VI-B: the number of tiles divisible by the SMs;
Figure 5b and 5c.

**Where it holds.** GPUs with fitted tile models. Misaligned widths are left to the rules of their own (SW101 to SW106).

**Measured.** H200, PyTorch 2.11, CUDA 13: sweeps of eight products along m or n in steps of 64 and 128 elements, of which nothing was
fitted. 29 products (of 9 sweeps) meet both conditions with a neighbour within 6 %: it is quicker a FLOP in 26 cases, by 16.2 % in the
median where 6.6 % are predicted. Without the idle waves, the same promise of 2 % is kept in 71 % of 107 products, by 2.7 % in the median:
too seldom to speak of, which is why the rule asks for idle waves. The authors' logs, many rows of which were fitted: V100 23 of 25 (3.4 %
where 4.2 are predicted), MI250X 17 of 19 (3.4 of 4.7 %), A100 3 of 3 (1.8 of 3.3 %).
"""

from __future__ import annotations

from collections.abc import Iterator

from ..case import Case
from ..change import Fault
from ..tiles import TiledProduct, tile_faults

YIELDS_TO = ("SW101", "SW102", "SW103", "SW104", "SW105", "SW106", "SW501", "SW504")
#: Share of the paid waves that must lie idle.
LEAST_IDLE = 0.05


def check(case: Case) -> Iterator[Fault]:
    """A dear product of more than one wave whose last is far from full."""
    return tile_faults(case, is_faulty=_is_faulty, words=_words)


def _is_faulty(product: TiledProduct) -> bool:
    return product.waves > 1 and product.idle >= LEAST_IDLE


def _words(product: TiledProduct) -> str:
    tiles = f"{product.num_sms} tiles of {product.tile_m} x {product.tile_n}"
    return f"in {product.waves:.2f} waves of {tiles}, the last {100 * product.last_wave:.0f} % full,"
