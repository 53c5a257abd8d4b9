"""The layers do not divide by the pipeline stages.

A pipeline is as fast as its slowest stage. 30 layers over four stages are 8, 8, 7 and 7: every micro-batch takes the time of 8, as if the
model had 32 layers.

The price is what the idle places could hold: the step beside that of a model whose layers divide, at an equal number of parameters.
Numbers of stages that divide are named beside it where they save GPU-seconds per token; their other bubble is no part of the price.

**Fix.** For a new model a number of layers that divides; for a trained one a number of stages that divides its layers. Where the job has
replicas or several nodes, one of which replicas make up its number of GPUs: 32 GPUs of which 8 share a layer have no three stages.

**Caution.** Frameworks that let stages differ may give the first and the last, which also hold the embedding and the head, fewer layers:
then uneven layers can be even time.

**Paper.** Section VI-B: the number of layers should be divisible by the number of pipeline stages in all cases.

**Where it holds.** Every GPU and library: it is arithmetic.

**Measured.** Nothing on several GPUs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ...units import ceil_div
from ..case import Case
from ..change import RETRAINED, Change, Fault
from ..splits import divisors_near, fits, keeps_gpus


def check(case: Case) -> Iterator[Fault]:
    """Stages of different numbers of layers."""
    layers, stages = case.shape.num_hidden_layers, case.workload.pipeline_parallel
    if layers % stages == 0:
        return
    most = ceil_div(layers, stages)
    yield Fault(
        field="num_hidden_layers", value=layers,
        message=f"num_hidden_layers {layers} does not divide by pipeline_parallel {stages}: "
        f"the fullest stage holds {most} layers, as if the model had {most * stages}",
        changes=tuple(_changes(case)),
    )  # fmt: skip


def _changes(case: Case) -> Iterator[Change]:
    """As many layers as there is room for, which sets the price; other numbers of stages that fit the memory; fewer layers."""
    layers, stages = case.shape.num_hidden_layers, case.workload.pipeline_parallel
    more = ceil_div(layers, stages) * stages
    yield Change(model=(("num_hidden_layers", more),), compare="equal_params", caution=RETRAINED)
    for size in divisors_near(layers, stages, lambda each: keeps_gpus(case, case.workload.tensor_parallel, each)):
        if fits(case, replace(case.workload, pipeline_parallel=size)):
            yield Change(workload=(("pipeline_parallel", size),), is_alternative=True)
    if more > stages:
        yield Change(model=(("num_hidden_layers", more - stages),), compare="equal_params", caution=RETRAINED)
