"""`explain(shape, gpu, workload)`: every operator of a step with its time and reasons, and what they add up to."""

from __future__ import annotations

from dataclasses import replace

from ..dtypes import load_dtype
from ..errors import InputError
from ..hardware.gpu import Gpu
from ..hardware.load import default_node, load_gpu, load_node
from ..hardware.node import Node
from ..operators.lower import lower
from ..operators.math_attention import falls_to_math, math_note
from ..operators.memory import MemoryUse, memory_use
from ..shape import ModelShape
from ..workload import Workload
from .explanation import Explanation
from .operators import Machine, estimate_operators
from .profiles import load_profile
from .stacks import load_stack
from .step import layer_times, overall_provenance, step_time, with_shares


def explain(
    shape: ModelShape, gpu: Gpu | str, workload: Workload | None = None, *, node: Node | str | None = None, library: str | None = None
) -> Explanation:
    """The operators of `shape` on `gpu` under `workload` (default: a training step).

    `node` (default: the GPU's usual one) gives the links where several GPUs work together; `library` picks one of the GPU's profiles. A
    model that does not fit the memory, or a sequence beyond the model's positions, is a note, not an error. Errors: `InputError` for a
    dtype the GPU cannot multiply or an unknown library.
    """
    machine = load_machine(gpu, node=node, library=library)
    workload = runnable(shape, workload or Workload(), machine.gpu)
    assert workload.dtype is not None
    dtype, gpu = workload.dtype, machine.gpu
    operators = lower(shape, workload, dtype)
    times = with_shares(operators, estimate_operators(operators, machine), workload.num_micro_batches)
    memory = memory_use(shape, workload)
    return Explanation(
        shape=shape,
        workload=workload,
        gpu=gpu,
        operators=times,
        layers=layer_times(times, shape, workload),
        step=step_time(times, shape, workload, dtype, machine),
        memory=memory,
        provenance=overall_provenance(times),
        notes=_notes(shape, workload, machine, memory),
        profile=machine.profile.path,
    )


def load_machine(gpu: Gpu | str, *, node: Node | str | None = None, library: str | None = None) -> Machine:
    """The GPU with the constants of `library` (None: its default) and the node around it (None: its usual one)."""
    gpu = load_gpu(gpu)
    return Machine(gpu=gpu, profile=load_profile(gpu, library), node=load_node(node) if node is not None else default_node(gpu))


def runnable(shape: ModelShape, workload: Workload, gpu: Gpu) -> Workload:
    """`workload` with its dtype filled in; refuses a dtype that the GPU cannot multiply and what no GPU could run.

    That is a split finer than what there is to split, or decoding with an encoder.
    """
    dtype = load_dtype(workload.dtype or gpu.default_dtype).name
    gpu.peak_flops_per_s(dtype)
    limits = (
        ("tensor_parallel", shape.num_attention_heads, "attention heads"),
        ("pipeline_parallel", shape.num_hidden_layers, "layers"),
        ("expert_parallel", shape.moe.num_experts if shape.moe else 1, "experts" if shape.moe else "MLP (it has no experts)"),
    )
    for field, most, things in limits:
        if getattr(workload, field) > most:
            raise InputError(
                f"{field} {getattr(workload, field)} exceeds the model's {most} {things}", hint=f"use at most {most}", field=field
            )
    if shape.kind == "encoder" and workload.phase == "decode":
        raise InputError(f"{shape.name} is an encoder: it has no decode phase", hint="use --phase forward or prefill", field="phase")
    return replace(workload, dtype=dtype)


def machine_notes(shape: ModelShape, workload: Workload, machine: Machine) -> tuple[str, ...]:
    """What a user should know of a runnable workload before trusting numbers about it."""
    return _notes(shape, workload, machine, memory_use(shape, workload))


def _notes(shape: ModelShape, workload: Workload, machine: Machine, memory: MemoryUse) -> tuple[str, ...]:
    """What a user should know before trusting the numbers."""
    notes = []
    gpu, profile = machine.gpu, machine.profile
    if memory.total > gpu.memory_bytes:
        need, has = memory.total / 1e9, gpu.memory_bytes / 1e9
        notes.append(f"does not fit: needs {need:.1f} GB a GPU, {gpu.name} has {has:.0f} GB (--fit finds the largest micro-batch)")
    limit = shape.max_position_embeddings
    tokens = workload.kv_len
    if limit is not None and tokens > limit:
        notes.append(f"{tokens} tokens exceed the model's {limit} positions")
    if profile.inherited_from:
        notes.append(f"no measurement of {gpu.name}: constants of {profile.inherited_from} scaled by the datasheet, wide intervals")
    if workload.num_gpus > 1 and machine.node is not None:
        overlap = "communication is not overlapped with computation" if workload.stack == "none" else "overlap is the stack's"
        notes.append(f"links of {machine.node.full_name} are assumed; {overlap}")
    if workload.stack != "none" and workload.is_training:
        notes.append(f"the step is that of {workload.stack}, fitted to whole steps of {load_stack(workload.stack).origin}")
    if shape.num_hidden_layers % workload.pipeline_parallel:
        notes.append(f"{shape.num_hidden_layers} layers do not divide by pipeline_parallel {workload.pipeline_parallel}: stages are uneven")
    if shape.latent_attention and workload.phase == "decode":
        notes.append(
            "latent attention expands the whole context every token, as transformers runs it; engines that absorb kv_up are faster"
        )
    if falls_to_math(shape, workload):
        notes.append(f"{math_note(shape.num_attention_heads, shape.num_key_value_heads)} (--has-fused-gqa shows what that saves)")
    if shape.num_attention_heads % workload.tensor_parallel:
        notes.append(f"{shape.num_attention_heads} heads do not divide by tensor_parallel {workload.tensor_parallel}")
    return tuple(notes)
