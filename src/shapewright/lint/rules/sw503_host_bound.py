"""The host issues kernels more slowly than the GPU runs them.

In eager mode Python issues every kernel of every layer, some 16 microseconds each; where kernels are shorter, the GPU waits. A decode
step of a small model is hundreds of kernels of a few microseconds: the step then takes what the host takes, whatever the GPU. A CUDA
graph replays all of them at once; compiled code has fewer and may be replayed too.

**Fix.** A captured graph (vLLM, TensorRT-LLM and `torch.compile(mode="reduce-overhead")` do it for decode). The price is that of the
graph alone; what fusing saves beyond it is shown with `compiled`, but not counted.

**Caution.** A graph has fixed shapes: decode needs a static KV cache, and one graph a batch size.

**Paper.** Not as such: it times single kernels. Section VII-C's ranking of Pythia-1B before Pythia-410M is that of models bound by
launches, latency by layers.

**Where it holds.** Every GPU, the more the faster it is; `runtime eager` alone, which is how Hugging Face code runs. The default runtime
of this program, `graph`, is GPU time alone, and nobody is told of a host that was not asked about: add `--runtime eager` to see what
transformers' own loop costs.

**Measured.** On an H200 host the layer of Pythia-410M, forward and backward at b = 4, s = 2048, was bound by the host: 2.54 ms (rounds 64
% apart) where the GPU needs 2.24 by prediction. Decoding 8 sequences at 2,048 tokens in transformers 5.17, eager against `torch.compile`
in its default mode, which captures no graphs: Pythia-410M 12.8 and 7.0 ms, Llama-3.2-1B 12.1 and 6.6, Llama-2-7B 23.5 and 12.4; the host
sets the pace of both, so that compiling alone saves 45 to 47 % and a graph more (`docs/measuring.md`). The time of a launch is the
profile's, for its host.
"""

from __future__ import annotations

from collections.abc import Iterator

from ...predict.step import step_launches
from ..case import Case
from ..change import Change, Fault


def check(case: Case) -> Iterator[Fault]:
    """Any eager workload: the price is nothing where the GPU is the limit."""
    workload = case.workload
    if workload.runtime != "eager" or (workload.stack != "none" and workload.is_training):
        return
    launches = step_launches(case.operators, workload)
    each_us = case.machine.profile.launch_host_s * 1e6
    yield Fault(
        field="runtime", value="eager",
        message=f"runtime eager: the host issues {launches} kernels a step, {each_us:.0f} us each, longer than the GPU takes to run them",
        changes=(
            Change(workload=(("runtime", "graph"),), caution="a graph has fixed shapes: decode needs a static KV cache"),
            Change(workload=(("runtime", "compiled"),), is_alternative=True, caution="without graphs the host still sets the pace"),
        ),
    )  # fmt: skip
