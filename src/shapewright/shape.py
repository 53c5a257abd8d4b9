"""What a transformer is: `ModelShape`, its parts, and the kinds of layer it is made of.

Dimensions carry Hugging Face's names; the symbols of "The Case for Co-Designing Model Architectures with Hardware" stand beside
them: `hidden_size` h, `num_hidden_layers` L, `num_attention_heads` a, `head_dim` h/a, `intermediate_size` (4h for GPT-2), `vocab_size` v.
All widths count elements, all `num_` fields count things. Objects are frozen: derive with `override(shape, vocab_size=50304)`.

Errors: a shape that cannot exist is refused with `InputError`, whose `field` names the field at fault.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args

from .errors import InputError, shown, unknown_name
from .units import ceil_div

#: Largest value accepted per field: far above any model, far below what would overflow or hang.
MAX_WIDTH, MAX_COUNT, MAX_VOCABULARY, MAX_POSITIONS = 2**24, 2**16, 2**30, 2**31

ModelKind = Literal["decoder", "encoder"]
Norm = Literal["layernorm", "layernorm_no_bias", "rmsnorm", "nonparametric"]
NormPlacement = Literal["pre", "post", "sandwich"]
Position = Literal["learned", "rotary", "alibi", "none"]
QueryKeyNorm = Literal["head", "each_head", "full"]
LayerAttention = Literal["full", "sliding"]
LayerMlp = Literal["dense", "moe"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LatentAttention:
    """Multi-head latent attention (DeepSeek-V2, section 2.1): queries and keys/values pass through low ranks.

    `q_lora_rank` is None where queries come straight from the hidden state (DeepSeek-V2-Lite). Query and key heads are
    `qk_nope_head_dim + qk_rope_head_dim` wide, value heads `v_head_dim`.
    """

    q_lora_rank: int | None
    kv_lora_rank: int
    qk_nope_head_dim: int
    qk_rope_head_dim: int
    v_head_dim: int

    def __post_init__(self) -> None:
        if self.q_lora_rank is not None:
            require_integer("q_lora_rank", self.q_lora_rank, 1, MAX_WIDTH)
        for name in ("kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim"):
            require_integer(name, getattr(self, name), 1, MAX_WIDTH)


@dataclass(frozen=True, slots=True, kw_only=True)
class MixtureOfExperts:
    """A routed MLP: each token visits `num_experts_per_tok` of `num_experts` MLPs of width `moe_intermediate_size`.

    `shared_expert_intermediate_size` is the total width of the experts that every token visits (0: none). Layer i is routed where
    i >= `first_k_dense` and (i + 1 + `layer_offset`) % `layer_step` == 0; the others keep the dense MLP of
    `ModelShape.intermediate_size`.
    """

    num_experts: int
    num_experts_per_tok: int
    moe_intermediate_size: int
    shared_expert_intermediate_size: int = 0
    first_k_dense: int = 0
    layer_step: int = 1
    has_router_bias: bool = False
    has_expert_bias: bool = False
    has_shared_expert_gate: bool = False
    layer_offset: int = 0
    """0: the last layer of each step is routed (Qwen2-MoE); layer_step - 1: the first one (GPT-NeoX, Megatron-LM)."""

    def __post_init__(self) -> None:
        require_integer("num_experts", self.num_experts, 1, MAX_COUNT)
        require_integer("num_experts_per_tok", self.num_experts_per_tok, 1, MAX_COUNT)
        require_integer("moe_intermediate_size", self.moe_intermediate_size, 1, MAX_WIDTH)
        require_integer("shared_expert_intermediate_size", self.shared_expert_intermediate_size, 0, MAX_WIDTH)
        require_integer("first_k_dense", self.first_k_dense, 0, MAX_COUNT)
        require_integer("layer_step", self.layer_step, 1, MAX_COUNT)
        require_integer("layer_offset", self.layer_offset, 0, MAX_COUNT)
        if self.num_experts_per_tok > self.num_experts:
            raise InputError(
                f"num_experts_per_tok {self.num_experts_per_tok} exceeds num_experts {self.num_experts}",
                field="num_experts_per_tok",
            )

    def is_routed(self, layer: int) -> bool:
        """Whether layer number `layer` (from 0) is a mixture of experts."""
        return layer >= self.first_k_dense and (layer + 1 + self.layer_offset) % self.layer_step == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerKind:
    """One kind of layer of a model, and how many layers are of it (`count`); `first` is the lowest such layer number."""

    attention: LayerAttention
    mlp: LayerMlp
    count: int
    first: int

    @property
    def name(self) -> str:
        """`full+dense`, `sliding+moe`, ...: what operators and reports call it."""
        return f"{self.attention}+{self.mlp}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelShape:
    """A decoder-only or encoder-only transformer, as far as its operators, parameters and memory depend on it.

    Widths are per whole model, not per GPU. `None` means that the model has no such part. What is not described by a field
    (initialisation, rotary base, tokenizer) does not change which operators run.
    """

    name: str
    hidden_size: int
    """h: width of the residual stream."""
    num_hidden_layers: int
    """L."""
    num_attention_heads: int
    """a: query heads."""
    num_key_value_heads: int
    """Key and value heads: a for MHA, 1 for MQA, between for GQA."""
    head_dim: int
    """Width of one query/key head; h/a in most models, but independent of it (Gemma, Qwen3)."""
    intermediate_size: int
    """Width of the dense MLP's inner layer: 4h in GPT-2, near 8h/3 in gated MLPs."""
    vocab_size: int
    """v: rows of the embedding table."""
    architecture: str = "transformer"
    """The family as Hugging Face's `model_type` calls it; a label, on which only the product of the rotary angle table depends."""
    kind: ModelKind = "decoder"
    max_position_embeddings: int | None = None
    """Longest sequence the positions cover; None: unbounded."""

    position_embedding: Position = "rotary"
    num_extra_positions: int = 0
    """Rows of a learned position table beyond `max_position_embeddings` (OPT keeps 2)."""
    rotary_dim: int | None = None
    """Leading elements of each head that are rotated; None: all of them (0 without rotary positions)."""
    norm: Norm = "rmsnorm"
    norm_placement: NormPlacement = "pre"
    """pre: before attention and MLP; post: after them (BERT, OLMo 2); sandwich: both (Gemma 2)."""
    has_final_norm: bool = True
    has_embedding_norm: bool = False
    qk_norm: QueryKeyNorm | None = None
    """A norm on queries and keys: over each head, with one weight (Qwen3) or one a head and no bias (StableLM), or over all (OLMo 2)."""
    is_parallel: bool = False
    """Attention and MLP both read the layer's input (GPT-J, Falcon): y = x + Attn(N(x)) + MLP(N(x))."""
    num_parallel_norms: int = 1
    """Norms of a parallel layer: 1 shared (GPT-J) or 2 (GPT-NeoX)."""

    hidden_act: str = "silu"
    is_gated: bool = True
    """Gated MLP (SwiGLU, GeGLU): three matrices instead of two."""
    is_qkv_fused: bool = False
    """One product makes queries, keys and values, rather than one each."""
    is_gate_up_fused: bool = False
    """One product makes the gate and the up projection, rather than one each."""
    is_weight_transposed: bool = False
    """Linear weights are stored k x n (GPT-2's Conv1D, layout NN) rather than n x k (`F.linear`, layout NT)."""
    has_qkv_bias: bool = False
    has_attention_output_bias: bool = False
    has_mlp_bias: bool = False
    has_lm_head: bool = True
    has_lm_head_bias: bool = False
    has_lm_head_transform: bool = False
    """A dense layer, activation and norm before the logits (BERT's masked-language-model head)."""
    tie_word_embeddings: bool = False
    embedding_size: int | None = None
    """Width of the embedding table where it differs from h (OPT-350M); projected in and out."""
    num_token_types: int = 0
    """Rows of BERT's segment embedding table."""
    has_attention_sinks: bool = False
    """One learned logit a head joins the softmax (gpt-oss)."""
    has_fused_gqa: bool = True
    """Shared key heads reach a fused kernel; False: SDPA gets them without `enable_gqa`, and math kernels run (Falcon-7B)."""
    attention_softcap: float | None = None
    final_softcap: float | None = None
    """tanh caps on scores and logits (Gemma 2)."""
    attention_dropout: float = 0.0
    hidden_dropout: float = 0.0
    """Dropout probabilities; an operator runs wherever they are positive, in training mode."""

    sliding_window: int | None = None
    """Keys that a token of a sliding layer sees, itself included."""
    attention_pattern: tuple[LayerAttention, ...] = ("full",)
    """Kinds of attention, repeated over the layers: ("sliding", "full") alternates."""
    latent_attention: LatentAttention | None = None
    moe: MixtureOfExperts | None = None

    def __post_init__(self) -> None:
        for name, low, high in _BOUNDS:
            require_integer(name, getattr(self, name), low, high)
        for name in _OPTIONAL_WIDTHS:
            if getattr(self, name) is not None:
                require_integer(name, getattr(self, name), 0 if name == "rotary_dim" else 1, MAX_POSITIONS)
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise unknown_name(name, getattr(self, name), [str(c) for c in choices], field=name)
        _require_types(self)
        _require_consistent(self)

    @property
    def q_size(self) -> int:
        """Width of all query heads together."""
        return self.num_attention_heads * self.qk_head_dim

    @property
    def kv_size(self) -> int:
        """Width of all key heads together (and of all value heads, without latent attention)."""
        return self.num_key_value_heads * self.head_dim

    @property
    def qk_head_dim(self) -> int:
        """Width over which one score is summed."""
        latent = self.latent_attention
        return latent.qk_nope_head_dim + latent.qk_rope_head_dim if latent else self.head_dim

    @property
    def v_head_dim(self) -> int:
        """Width of one value head."""
        return self.latent_attention.v_head_dim if self.latent_attention else self.head_dim

    @property
    def num_rotary_dims(self) -> int:
        """Elements of each query head that rotary positions turn; 0 without rotary positions."""
        if self.position_embedding != "rotary":
            return 0
        if self.latent_attention:
            return self.latent_attention.qk_rope_head_dim
        return self.head_dim if self.rotary_dim is None else self.rotary_dim

    @property
    def table_size(self) -> int:
        """Width of the token embedding table."""
        return self.embedding_size or self.hidden_size

    def window(self, attention: LayerAttention) -> int | None:
        """Keys that a token may see in such a layer; None: all."""
        return self.sliding_window if attention == "sliding" else None

    def layer_attention(self, layer: int) -> LayerAttention:
        """Kind of attention of layer number `layer` (from 0)."""
        return self.attention_pattern[layer % len(self.attention_pattern)]

    @property
    def layer_kinds(self) -> tuple[LayerKind, ...]:
        """The distinct kinds of layer, most frequent first (then by first appearance); their counts add up to L."""
        # From the first routed layer on, kinds repeat with a fixed period: one period is enough, however many layers there are.
        first_k_dense = min(self.moe.first_k_dense, self.num_hidden_layers) if self.moe else 0
        period = math.lcm(len(self.attention_pattern), self.moe.layer_step if self.moe else 1)
        counts: dict[tuple[LayerAttention, LayerMlp], list[int]] = {}
        for layer in range(min(self.num_hidden_layers, first_k_dense + period)):
            mlp: LayerMlp = "moe" if self.moe and self.moe.is_routed(layer) else "dense"
            repeats = 1 if layer < first_k_dense else ceil_div(self.num_hidden_layers - layer, period)
            counts.setdefault((self.layer_attention(layer), mlp), [0, layer])[0] += repeats
        kinds = [LayerKind(attention=a, mlp=mlp, count=count, first=first) for (a, mlp), (count, first) in counts.items()]
        return tuple(sorted(kinds, key=lambda kind: (-kind.count, kind.first)))

    @property
    def num_params(self) -> int:
        """Parameters, each tied tensor once."""
        from .parameters import count_parameters

        return count_parameters(self)

    @property
    def num_active_params(self) -> int:
        """Parameters that one token touches: experts that it does not visit are left out."""
        from .parameters import count_active_parameters

        return count_active_parameters(self)


_BOUNDS = (
    ("hidden_size", 1, MAX_WIDTH), ("num_hidden_layers", 1, MAX_COUNT), ("num_attention_heads", 1, MAX_COUNT),
    ("num_key_value_heads", 1, MAX_COUNT), ("head_dim", 1, MAX_COUNT), ("intermediate_size", 1, MAX_WIDTH),
    ("vocab_size", 1, MAX_VOCABULARY), ("num_extra_positions", 0, MAX_COUNT), ("num_parallel_norms", 1, 2),
    ("num_token_types", 0, MAX_COUNT),
)  # fmt: skip
_OPTIONAL_WIDTHS = ("max_position_embeddings", "rotary_dim", "embedding_size", "sliding_window")
_CHOICES: Mapping[str, tuple[str | None, ...]] = {
    "kind": get_args(ModelKind),
    "position_embedding": get_args(Position),
    "norm": get_args(Norm),
    "norm_placement": get_args(NormPlacement),
    "qk_norm": (None, *get_args(QueryKeyNorm)),
}
_FLAGS = (
    "has_final_norm", "has_embedding_norm", "is_parallel", "is_gated", "is_qkv_fused", "is_gate_up_fused", "is_weight_transposed",
    "has_qkv_bias", "has_attention_output_bias", "has_mlp_bias", "has_lm_head", "has_lm_head_bias", "has_lm_head_transform",
    "tie_word_embeddings", "has_attention_sinks", "has_fused_gqa",
)  # fmt: skip


def require_integer(field: str, value: object, low: int, high: int) -> None:
    """Refuse anything but an integer from `low` to `high`; the message names the field and the value."""
    if isinstance(value, bool) or not isinstance(value, int):
        kind = "a positive integer" if low > 0 else "a non-negative integer"
        raise InputError(f"{field} is {shown(value)}", hint=f"expected {kind}", field=field)
    if value < low:
        raise InputError(f"{field} is {shown(value)}", hint=f"expected at least {low}", field=field)
    if value > high:
        raise InputError(f"{field} is {shown(value)}", hint=f"expected at most {high}", field=field)


def whole_head_dim(hidden_size: int, num_attention_heads: int) -> int:
    """h / a, the width of a head where nothing else is said; refused where it is no whole number."""
    if hidden_size % num_attention_heads:
        what = f"num_attention_heads {num_attention_heads} does not divide hidden_size {hidden_size}"
        raise InputError(what, hint="choose a divisor or give --head-dim too", field="num_attention_heads")
    return hidden_size // num_attention_heads


def _require_consistent(shape: ModelShape) -> None:
    """Relations between fields that every model keeps."""
    if shape.num_attention_heads % shape.num_key_value_heads:
        raise InputError(
            f"num_key_value_heads {shape.num_key_value_heads} does not divide num_attention_heads {shape.num_attention_heads}",
            hint="each key/value head serves a whole number of query heads",
            field="num_key_value_heads",
        )
    if shape.rotary_dim is not None and shape.rotary_dim > shape.head_dim:
        raise InputError(f"rotary_dim {shape.rotary_dim} exceeds head_dim {shape.head_dim}", field="rotary_dim")
    if not shape.attention_pattern or any(kind not in get_args(LayerAttention) for kind in shape.attention_pattern):
        raise InputError(f"attention_pattern is {shown(shape.attention_pattern)}", field="attention_pattern")
    if "sliding" in shape.attention_pattern and shape.sliding_window is None:
        raise InputError("sliding layers need a sliding_window", field="sliding_window")
    if shape.position_embedding == "learned" and shape.max_position_embeddings is None:
        raise InputError("learned positions need max_position_embeddings", field="max_position_embeddings")


def _require_types(shape: ModelShape) -> None:
    """Fields that are neither counts nor words: flags, probabilities, caps and parts."""
    for name in ("attention_dropout", "hidden_dropout"):
        value = getattr(shape, name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
            raise InputError(f"{name} is {shown(value)}", hint="expected a number from 0 to below 1", field=name)
    for name in ("attention_softcap", "final_softcap"):
        value = getattr(shape, name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf")):
            raise InputError(f"{name} is {shown(value)}", hint="expected a positive number", field=name)
    for name in _FLAGS:
        if not isinstance(getattr(shape, name), bool):
            raise InputError(f"{name} is {shown(getattr(shape, name))}", hint="expected true or false", field=name)
    for name, part in (("latent_attention", LatentAttention), ("moe", MixtureOfExperts)):
        if getattr(shape, name) is not None and not isinstance(getattr(shape, name), part):
            raise InputError(f"{name} is {shown(getattr(shape, name))}", hint=f"expected a {part.__name__}", field=name)
    if not isinstance(shape.attention_pattern, tuple):
        raise InputError(f"attention_pattern is {shown(shape.attention_pattern)}", hint="expected a tuple", field="attention_pattern")


def override(shape: ModelShape, **changes: Any) -> tuple[ModelShape, tuple[str, ...]]:
    """`shape` with fields changed and what hangs on them moved along; returns the new shape and a note for each field moved.

    - New heads of an MHA model move its key/value heads; a GQA model keeps its own while they divide, else takes the largest
      divisor below.
    - New heads or width where head_dim was h/a move head_dim to the new h/a, which must be whole.
    - A new width of a plain MLP that was exactly 4h moves it to the new 4h. A rotary_dim that covered a share of the head keeps it.
    """
    known = {field.name for field in fields(ModelShape)}
    for name in changes:
        if name not in known:
            raise unknown_name("model field", name, known)
    for name in ("hidden_size", "num_attention_heads", "num_key_value_heads", "head_dim"):
        if name in changes:
            require_integer(name, changes[name], 1, MAX_WIDTH)
    derived = _derived_fields(shape, changes)
    notes = tuple(f"{name} {getattr(shape, name)} -> {value} ({why})" for name, (value, why) in derived.items())
    return replace(shape, **changes, **{name: value for name, (value, _) in derived.items()}), notes


def _derived_fields(shape: ModelShape, changes: Mapping[str, Any]) -> dict[str, tuple[Any, str]]:
    """Fields that follow from `changes`: name -> (new value, why). Fields that the user set himself are left alone."""
    derived: dict[str, tuple[Any, str]] = {}

    def move(name: str, value: object, why: str) -> None:
        if name not in changes and value != getattr(shape, name):
            derived[name] = (value, why)

    hidden = changes.get("hidden_size", shape.hidden_size)
    heads = changes.get("num_attention_heads", shape.num_attention_heads)
    had_plain_heads = shape.head_dim * shape.num_attention_heads == shape.hidden_size and not shape.latent_attention
    if had_plain_heads and "head_dim" not in changes and ("hidden_size" in changes or "num_attention_heads" in changes):
        move("head_dim", whole_head_dim(hidden, heads), "hidden_size / num_attention_heads")
    if shape.num_key_value_heads == shape.num_attention_heads:
        move("num_key_value_heads", heads, "the model has as many key/value heads as heads")
    elif heads % shape.num_key_value_heads:
        largest = max(d for d in range(1, shape.num_key_value_heads + 1) if heads % d == 0)
        move("num_key_value_heads", largest, "must divide num_attention_heads")
    if not shape.is_gated and shape.intermediate_size == 4 * shape.hidden_size:
        move("intermediate_size", 4 * hidden, "4 x hidden_size")
    if shape.rotary_dim is not None:
        head_dim = changes.get("head_dim", derived.get("head_dim", (shape.head_dim, ""))[0])
        if head_dim != shape.head_dim:
            move("rotary_dim", shape.rotary_dim * head_dim // shape.head_dim // 2 * 2, "the same share of head_dim")
    return derived
