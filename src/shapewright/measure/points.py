"""Points: what is measured once, as plain values that a plan, a row and a program share. No torch here.

Every kind of point is a frozen dataclass; its fields stand in the row under the same names, with `kind`. Sizes in elements, bytes where
the name says so. `point_of(row)` is the inverse of `settings_of(point)`, and two points are the same measurement where `key_of` agrees:
a field that is absent takes its default, so that rows keep their identity when a kind grows a field.

Errors: an unknown kind or field, a value of the wrong type, a size below 1 and a word outside its choices are `InputError`s that name it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal, get_args, get_type_hints

from ..dtypes import load_dtype
from ..errors import InputError, shown, unknown_name
from ..operators.types import Layout

Value = int | float | str | bool
Runtime = Literal["eager", "compiled"]
GemmCall = Literal["mm", "linear", "bmm"]
AttentionBackend = Literal["sdpa", "flash", "efficient", "cudnn", "math", "unfused"]
Order = Literal["bsk", "sbk", "bks", "kbs", "skb", "ksb"]
#: Largest size in elements of one dimension; products of sizes are checked by the runner against the memory there is.
MAX_SIZE = 2**31 - 1
#: Points of an interleaved kind that run in turn.
TOGETHER = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """What every kind shares: its name, and checks of its values."""

    kind: ClassVar[str] = ""

    def __post_init__(self) -> None:
        for name, hint in _hints(type(self)).items():
            _check(name, getattr(self, name), hint)
        self.check()

    def check(self) -> None:
        """Refuse values that do not go together (a kind with such rules has its own)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GemmPoint(Point):
    """y[b,m,n] = x[b,m,k] w[b,k,n] by `torch.mm` (batch 1), `F.linear` (batch 1, NT) or `torch.bmm`; fp8 by `torch._scaled_mm` (NT).

    `split` > 0 gives `linear` a 3-D input (split, m / split, k) whose dimensions lie in memory in `order` (b = split, s = m / split),
    slowest first; 0: the plain 2-D input.
    """

    kind: ClassVar[str] = "gemm"
    m: int
    n: int
    k: int
    batch: int = 1
    dtype: str = "bf16"
    layout: Layout = "NT"
    call: GemmCall = "mm"
    split: int = 0
    order: Order = "bsk"
    runtime: Runtime = "eager"

    def check(self) -> None:
        if self.call != "bmm" and self.batch != 1:
            raise InputError(f"batch is {self.batch}", hint=f"{self.call} multiplies one product; use call bmm", field="batch")
        if self.call == "linear" and self.layout != "NT":
            raise InputError(f"layout is {self.layout}", hint="linear stores its weight n x k: layout NT", field="layout")
        if self.split and (self.call != "linear" or self.m % self.split):
            raise InputError(f"split is {self.split}", hint="it cuts the m rows of a linear into equal parts", field="split")
        if self.dtype == "fp8" and (self.layout != "NT" or self.call == "bmm"):
            raise InputError("fp8 products are NT and not batched", hint="use layout NT and call mm", field="dtype")


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionPoint(Point):
    """softmax(q k^T / sqrt(head_dim)) v of `batch` sequences: SDPA as torch chooses, one of its backends, or separate
    kernels (`unfused`: two products, scale and mask, softmax). `is_backward` times the backward pass alone."""

    kind: ClassVar[str] = "attention"
    batch: int
    num_heads: int
    num_kv_heads: int
    query_len: int
    kv_len: int
    head_dim: int
    dtype: str = "bf16"
    is_causal: bool = True
    is_backward: bool = False
    has_dropout: bool = False
    backend: AttentionBackend = "sdpa"

    def check(self) -> None:
        if self.num_heads % self.num_kv_heads:
            what = f"num_kv_heads {self.num_kv_heads} does not divide num_heads {self.num_heads}"
            raise InputError(what, hint="every key head serves as many query heads", field="num_kv_heads")
        if self.is_causal and self.query_len > self.kv_len:
            what = f"query_len {self.query_len} is more than kv_len {self.kv_len}"
            raise InputError(what, hint="a causal query sees itself and the keys before it", field="query_len")


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPoint(Point):
    """A memory-bound kernel (or eager chain) over a tensor of `rows` x `width` elements; `runners/memory.py` names the operations."""

    kind: ClassVar[str] = "memory"
    op: str
    rows: int
    width: int
    dtype: str = "bf16"
    is_backward: bool = False
    runtime: Runtime = "eager"


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerPoint(Point):
    """One AdamW step over `num_params` parameters in `num_tensors` equal tensors."""

    kind: ClassVar[str] = "optimizer"
    num_params: int
    num_tensors: int = 16
    dtype: str = "bf16"
    variant: Literal["fused", "foreach"] = "fused"


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectivePoint(Point):
    """`message_bytes` (as nccl-tests counts them) communicated over `group_size` processes, one GPU each."""

    kind: ClassVar[str] = "collective"
    name: Literal["all_reduce", "all_gather", "reduce_scatter", "all_to_all", "send"]
    message_bytes: int
    group_size: int
    dtype: str = "bf16"


@dataclass(frozen=True, slots=True, kw_only=True)
class HostPoint(Point):
    """What the host costs: `launch` is the time the host needs to issue one eager elementwise kernel, `module` one `nn.Linear`,
    `replay` the GPU time of an empty kernel in graph replay."""

    kind: ClassVar[str] = "host"
    what: Literal["launch", "module", "replay"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerPoint(Point):
    """One transformer layer, forward or forward + backward: the difference of models of `deep` and `shallow` layers over that of depths.

    `source` hf builds `model` (a name of the catalogue or a config.json) with transformers and random weights; reference builds our own
    plain PyTorch layer of that shape. `changes` are fields of the config over those of the model: "intermediate_size=10922".
    `is_profiled` counts the kernels of a step after the rounds, which takes about a second a point.
    """

    kind: ClassVar[str] = "layer"
    model: str
    changes: str = ""
    source: Literal["hf", "reference"] = "hf"
    phase: Literal["forward", "train"] = "forward"
    micro_batch: int = 4
    sequence: int = 2048
    dtype: str = "bf16"
    attention: Literal["sdpa", "eager", "unfused"] = "sdpa"
    runtime: Runtime = "eager"
    deep: int = 6
    shallow: int = 2
    rounds: int = 7
    is_profiled: bool = True
    vocab_size: int = 256
    """Rows of embedding and logits: few, so that they do not drown the layer; 0: the model's own, where `rest_s` of the row is wanted."""
    has_dropout: bool = False
    """Whether a forward pass drops out as the model trains; training always does."""

    def check(self) -> None:
        if self.attention == "unfused" and (self.source == "hf" or self.phase == "train"):
            what = "unfused attention is the reference layers', forward"
            raise InputError(what, hint="use source reference and phase forward, or attention eager", field="attention")
        if self.deep <= self.shallow:
            raise InputError(f"deep {self.deep} is not more than shallow {self.shallow}", field="deep")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPoint(Point):
    """A whole Hugging Face model with random weights: one forward pass, one training step with its optimizer, the first token of a
    prompt of `sequence` tokens (prefill) or one token after `context` (decode). `num_layers` 0: all of them."""

    kind: ClassVar[str] = "model"
    model: str
    changes: str = ""
    phase: Literal["forward", "train", "prefill", "decode"] = "forward"
    micro_batch: int = 1
    sequence: int = 2048
    context: int = 2048
    num_layers: int = 0
    dtype: str = "bf16"
    attention: Literal["sdpa", "eager"] = "sdpa"
    runtime: Runtime = "eager"
    optimizer: Literal["fused", "foreach", "none"] = "fused"
    rounds: int = 7


POINT_TYPES: dict[str, type[Point]] = {
    each.kind: each for each in (GemmPoint, AttentionPoint, MemoryPoint, OptimizerPoint, CollectivePoint, HostPoint, LayerPoint, ModelPoint)
}
#: Fields that may be 0.
_MAY_BE_ZERO = ("split", "num_layers", "context", "vocab_size")


def point_of(row: Mapping[str, Any]) -> Point:
    """The point of a row or of a plan's entry; keys that are no field of the kind are refused unless the row carries a `status`.

    A row (with `status`) holds results beside the settings, which are left aside.
    """
    kind = row.get("kind")
    if kind not in POINT_TYPES:
        raise unknown_name("kind", kind, POINT_TYPES, field="kind")
    known = {each.name: each for each in fields(POINT_TYPES[kind])}
    if "status" not in row:
        for name in row:
            if name != "kind" and name not in known:
                raise unknown_name(f"field of a {kind} point", name, known, field=name)
    missing = [name for name, each in known.items() if name not in row and not _has_default(each)]
    if missing:
        raise InputError(f"{missing[0]} is missing", hint=f"a {kind} point needs {', '.join(missing)}", field=missing[0])
    return POINT_TYPES[kind](**{name: row[name] for name in known if name in row})


def settings_of(point: Point) -> dict[str, Value]:
    """`kind` and every field: what stands in the point's row."""
    return {"kind": point.kind} | {each.name: getattr(point, each.name) for each in fields(point)}


def key_of(point: Point) -> str:
    """Text that two points share only if they are the same measurement."""
    return json.dumps(settings_of(point), sort_keys=True, separators=(",", ":"))


def _has_default(each: Any) -> bool:
    from dataclasses import MISSING

    return each.default is not MISSING


_HINTS: dict[type, dict[str, Any]] = {}


def _hints(kind: type) -> dict[str, Any]:
    """Types of the fields by name, without class variables."""
    if kind not in _HINTS:
        names = {each.name for each in fields(kind)}
        _HINTS[kind] = {name: hint for name, hint in get_type_hints(kind).items() if name in names}
    return _HINTS[kind]


def _check(name: str, value: object, hint: Any) -> None:
    choices = get_args(hint)
    if choices:
        if value not in choices:
            raise unknown_name(name, value, choices, field=name)
    elif hint is bool:
        if not isinstance(value, bool):
            raise InputError(f"{name} is {shown(value)}", hint="expected true or false", field=name)
    elif hint is int:
        least = 0 if name in _MAY_BE_ZERO else 1
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= MAX_SIZE:
            raise InputError(f"{name} is {shown(value)}", hint=f"expected a whole number from {least} to {MAX_SIZE}", field=name)
    elif not isinstance(value, str):
        raise InputError(f"{name} is {shown(value)}", hint="expected text", field=name)
    if name == "dtype":
        _check_dtype(str(value))


def _check_dtype(value: str) -> None:
    """One name a format, so that rows of the same measurement agree."""
    try:
        known = load_dtype(value).name
    except InputError as error:
        raise InputError(error.what, hint=error.hint, field="dtype") from None
    if known != value:
        raise InputError(f"dtype is {shown(value)}", hint=f"write {known}", field="dtype")
