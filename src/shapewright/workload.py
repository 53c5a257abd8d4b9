"""What is asked of a model: `Workload`.

Errors: a workload that cannot run is refused with `InputError`, whose `field` names the field at fault.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from .dtypes import load_dtype
from .errors import InputError, shown, unknown_name
from .shape import require_integer

Phase = Literal["forward", "train", "prefill", "decode"]
AttentionKernel = Literal["flash", "unfused"]
Runtime = Literal["graph", "eager", "compiled"]
Recomputation = Literal["none", "selective", "full"]
TrainingStack = Literal["none", "megatron", "llm-foundry"]
PHASES, ATTENTIONS, RUNTIMES, RECOMPUTATIONS = (get_args(words) for words in (Phase, AttentionKernel, Runtime, Recomputation))
STACKS = get_args(TrainingStack)
MAX_BATCH, MAX_SEQUENCE, MAX_GPUS = 2**24, 2**27, 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """One step of a model on one or many GPUs.

    Phases: `forward` one forward pass in training mode (dropout runs), `train` forward, backward and optimizer, `prefill`
    inference over `sequence` prompt tokens with the logits of the last one, `decode` one token for each of `micro_batch`
    sequences that already hold `context` tokens. Runtimes: `graph` GPU time alone, `eager` GPU time or host launches,
    whichever is longer, `compiled` with pointwise operators fused.
    """

    phase: Phase = "train"
    micro_batch: int = 4
    """b: sequences of one pass on one data-parallel replica."""
    global_batch: int | None = None
    """Sequences of one optimizer step over all replicas; None: one micro-batch each."""
    sequence: int = 2048
    """s: tokens a sequence (forward, train, prefill)."""
    context: int | None = None
    """Tokens already in the KV cache (decode); None: `sequence`."""
    dtype: str | None = None
    """Number format of activations and weights; None: bf16, or fp16 on a GPU without it."""
    attention: AttentionKernel = "flash"
    runtime: Runtime = "graph"
    recompute: Recomputation = "none"
    """Activation recomputation: `selective` redoes attention scores (unfused), `full` the whole forward pass."""
    tensor_parallel: int = 1
    """t."""
    pipeline_parallel: int = 1
    data_parallel: int = 1
    expert_parallel: int = 1
    """GPUs over which the experts of one layer are spread; they are data-parallel replicas, so it divides data_parallel."""
    sequence_parallel: bool = False
    """Norms, dropout and residuals split over the tensor-parallel group (Megatron-LM)."""
    zero: int = 0
    """ZeRO stage: 1 shards optimizer states, 2 gradients too, 3 parameters too, over the data-parallel group."""
    stack: TrainingStack = "none"
    """Software whose whole training steps were measured: its host, kernels and overlap (`predict/stacks.py`); none: the operators alone."""

    def __post_init__(self) -> None:
        choices = {"phase": PHASES, "attention": ATTENTIONS, "runtime": RUNTIMES, "recompute": RECOMPUTATIONS, "stack": STACKS}
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise unknown_name(name, getattr(self, name), known, field=name)
        limits = {"micro_batch": MAX_BATCH, "sequence": MAX_SEQUENCE, "tensor_parallel": MAX_GPUS,
                  "pipeline_parallel": MAX_GPUS, "data_parallel": MAX_GPUS, "expert_parallel": MAX_GPUS}  # fmt: skip
        for name, limit in limits.items():
            require_integer(name, getattr(self, name), 1, limit)
        require_integer("zero", self.zero, 0, 3)
        if not isinstance(self.sequence_parallel, bool):
            raise InputError(
                f"sequence_parallel is {shown(self.sequence_parallel)}", hint="expected true or false", field="sequence_parallel"
            )
        if self.context is not None:
            require_integer("context", self.context, 0, MAX_SEQUENCE)
        if self.global_batch is not None:
            require_integer("global_batch", self.global_batch, 1, MAX_BATCH)
            _require_whole_micro_batches(self)
        if self.dtype is not None:
            load_dtype(self.dtype)
        if self.data_parallel % self.expert_parallel:
            raise InputError(
                f"expert_parallel {self.expert_parallel} does not divide data_parallel {self.data_parallel}",
                field="expert_parallel",
            )

    @property
    def num_gpus(self) -> int:
        """GPUs of all replicas; expert parallelism adds none."""
        return self.tensor_parallel * self.pipeline_parallel * self.data_parallel

    @property
    def num_micro_batches(self) -> int:
        """Passes of one replica in one optimizer step."""
        replicas = self.micro_batch * self.data_parallel
        return 1 if self.global_batch is None else self.global_batch // replicas

    @property
    def is_training(self) -> bool:
        """Whether a backward pass and an optimizer run."""
        return self.phase == "train"

    @property
    def has_dropout(self) -> bool:
        """Whether dropout runs: the pass is one in training mode."""
        return self.phase in ("train", "forward")

    @property
    def query_len(self) -> int:
        """Tokens of each sequence that this pass computes."""
        return 1 if self.phase == "decode" else self.sequence

    @property
    def kv_len(self) -> int:
        """Keys that the last token of the pass sees: in decode, the context and the new token."""
        if self.phase != "decode":
            return self.sequence
        return (self.sequence if self.context is None else self.context) + 1

    @property
    def num_tokens(self) -> int:
        """Tokens of one micro-batch: b*s, or b in decode."""
        return self.micro_batch * self.query_len

    @property
    def num_step_tokens(self) -> int:
        """Tokens of all passes of all replicas in one step."""
        return self.num_tokens * self.num_micro_batches * self.data_parallel


def _require_whole_micro_batches(workload: Workload) -> None:
    """Refuse a global batch that the replicas' micro-batches do not add up to."""
    each = workload.micro_batch * workload.data_parallel
    assert workload.global_batch is not None
    if workload.global_batch % each:
        raise InputError(
            f"global_batch {workload.global_batch} is not a multiple of micro_batch x data_parallel = {each}",
            hint=f"the nearest multiple is {max(each, round(workload.global_batch / each) * each)}",
            field="global_batch",
        )
