"""Products of a layer take so little time that starting them is most of it.

A kernel takes some microseconds to start, to fill the SMs and to drain them, whatever it computes. A product whose operands could be
read, or whose FLOPs could be done, in less than 5 microseconds spends much of its time there: queries, keys and values of a decode step,
or every product of a narrow model. Joining products (one for queries, keys and values, one for gate and up projection) does the same work
in fewer and larger ones; a wider model with fewer layers has fewer and larger ones throughout.

The rule speaks where every product of a layer is so small and no GPUs share it: then it is the shape that makes small products. Where
only some are, as keys and values of a larger model in decode, no field of its config is at fault, and the rule is silent.

**Fix.** A shape a quarter wider with fewer layers, compared at equal parameters, which sets the price. Beside it, where they save,
products that share an input joined into one, `is_qkv_fused` and `is_gate_up_fused`: the function stays, only how the code stores the
weights changes (vLLM and Megatron-LM do it; Hugging Face's Llama does not), so that no key of a config says it. A larger micro-batch is
SW501's.

**Caution.** Fewer layers may cost accuracy; Pythia-1B's loss is in line with its family all the same (section VII-C).

**Paper.** Section VII-C: Pythia-1B (16 layers, hidden size 2048) infers faster than Pythia-410M (24 layers, hidden size 1024). Section
VI-B: hidden sizes below the saturation of Figure 10 leave the GPU idle.

**Where it holds.** Every GPU; the faster it is, the larger a product must be. Training with thousands of tokens seldom has such products.

**Measured.** On an H200 a product of up to 8 rows with weights of about 4096 x 1024 (n from 992 to 1064, k from 3552 to 4560), 1.6 to 1.9
microseconds at the roofline, takes 6.8 to 7.3 in graph replay; one of n = 6304 to 6384, as queries, keys and values of Llama-3-8B joined,
15.7 to 16.4 (`benchmarks/h200`). One layer of Pythia-410M takes 0.74 ms forward at b = 4, s = 2048, one of Pythia-1B 1.84 ms with four
times the weights. Pythia-410M as 15 layers of 1280 instead of 24 of 1024, 4.6 % more parameters, as they are: 16.4 % ± 1.1 less time
in prefill (14.4 predicted), 11.2 ± 3.1 in a training step (9.8), 37.4 in eager decoding, where the host sets the pace (36.8)
(`docs/measuring.md`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from ...operators.types import Gemm
from ..case import Case
from ..change import RETRAINED, Change, Fault
from ..whole_heads import has_plain_heads

#: Seconds at the roofline below which a product is mostly start and end.
SMALL_S = 5e-6
#: Width of the offered shape over the one there is, layers fewer by its square.
WIDER = 1.25
EVEN = 64
JOINED_ALREADY = "no field of the config says it: it is how the code stores the weights; Megatron-LM and vLLM join these products already"
JOINED = {"is_qkv_fused": ("query", "key", "value"), "is_gate_up_fused": ("mlp_gate", "mlp_up")}


def check(case: Case) -> Iterator[Fault]:
    """Layers of nothing but small products."""
    seconds = _seconds(case)
    if not seconds:
        return
    # Over several GPUs fewer layers also mean fewer collectives, which is no matter of products.
    if max(seconds.values()) < SMALL_S and case.workload.tensor_parallel == 1:
        yield _too_narrow(case, seconds)


def _seconds(case: Case) -> dict[str, float]:
    """The products of a layer, forward, and the least time of each."""
    layers = {kind.name for kind in case.shape.layer_kinds}
    forward = [each for each in case.operators if each.part == "forward" and each.layer in layers and each.kind == "gemm"]
    return {each.name: _roofline_s(case, each.work) for each in forward if isinstance(each.work, Gemm)}


def _roofline_s(case: Case, work: Gemm) -> float:
    """The least time of a product: FLOPs at the peak, or bytes at the full bandwidth."""
    gpu = case.machine.gpu
    return max(work.flops / gpu.peak_flops_per_s(work.dtype), work.bytes / gpu.memory_bytes_per_s)


def _too_narrow(case: Case, seconds: Mapping[str, float]) -> Fault:
    shape = case.shape
    message = (
        f"hidden_size {shape.hidden_size} in {shape.num_hidden_layers} layers makes many small products: "
        f"the largest of a layer is {max(seconds.values()) * 1e6:.2g} us at the roofline"
    )
    return Fault(field="hidden_size", value=shape.hidden_size, message=message, changes=(*_wider(case), *_joins(seconds)))


def _joins(seconds: Mapping[str, float]) -> Iterator[Change]:
    """Products of one input made one, where they are several now."""
    for field, names in JOINED.items():
        if all(name in seconds for name in names):
            yield Change(model=((field, True),), is_safe=True, is_alternative=True, caution=JOINED_ALREADY)


def _wider(case: Case) -> Iterator[Change]:
    """A quarter wider, as many weights in fewer layers: L h^2 stays, head_dim too, and the MLP's width over h."""
    shape = case.shape
    if shape.moe or not has_plain_heads(shape):
        return
    group = shape.num_attention_heads // shape.num_key_value_heads
    step = math.lcm(group, EVEN // math.gcd(EVEN, shape.head_dim))
    heads = max(round(WIDER * shape.num_attention_heads / step), shape.num_attention_heads // step + 1) * step
    width = heads * shape.head_dim
    layers = max(1, round(shape.num_hidden_layers * (shape.hidden_size / width) ** 2))
    inner = round(shape.intermediate_size * width / shape.hidden_size / EVEN) * EVEN
    fields = (("hidden_size", width), ("num_hidden_layers", layers), ("num_attention_heads", heads),
              ("num_key_value_heads", heads // group), ("intermediate_size", inner))  # fmt: skip
    yield Change(model=fields, compare="equal_params", caution=f"{RETRAINED}; fewer layers may cost accuracy")
