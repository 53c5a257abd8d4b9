"""One layer: norms, attention, MLP, sums and the communication between them, in the order of its norm placement.

pre: x + Attn(N(x)), then x + MLP(N(x)); sandwich: x + N(Attn(N(x))); post: N(x + Attn(x)) in BERT and x + N(Attn(x)) in OLMo 2;
parallel: x + Attn(N(x)) + MLP(N(x)). Compiled code adds to the stream in the kernel of the norm that follows, so a layer's
sums are counted in its norms (its own first norm stands for the one that follows the layer).
"""

from __future__ import annotations

from ..shape import LayerKind
from .attention import attention_units
from .mlp import mlp_units
from .moe import moe_units
from .norms import norm
from .parallel import gather_input, reduce_output, zero3_units
from .pointwise import dropout, residual
from .scope import Scope, Unit


def layer_units(scope: Scope, kind: LayerKind) -> tuple[Unit, ...]:
    """All units of one layer of `kind`."""
    attention = attention_units(scope)
    mlp = moe_units(scope) if kind.mlp == "moe" else mlp_units(scope)
    units = _parallel(scope, attention, mlp) if scope.shape.is_parallel else _sequential(scope, attention, mlp)
    return (*zero3_units(scope, units), *units)


def _sequential(scope: Scope, attention: tuple[Unit, ...], mlp: tuple[Unit, ...]) -> tuple[Unit, ...]:
    return (*_half(scope, "attention", attention, "1"), *_half(scope, "mlp", mlp, "2"))


def _half(scope: Scope, name: str, inside: tuple[Unit, ...], number: str) -> tuple[Unit, ...]:
    """Attention or MLP with its norms (`norm1`, `post_norm1`, ...), communication and residual sum."""
    shape = scope.shape
    placement = shape.norm_placement
    units: list[Unit] = []
    if placement != "post":
        units.append(_norm(scope, f"norm{number}", num_residuals=1))
    units += [*gather_input(scope, name), *inside, *reduce_output(scope, name), *_output_dropout(scope, name)]
    adds = () if scope.is_compiled else (residual(scope, f"{name}_residual"),)
    if placement == "sandwich":
        units.append(_norm(scope, f"post_norm{number}"))
    if placement != "post":
        return (*units, *adds)
    # BERT norms the sum, OLMo 2 what is added.
    after = _norm(scope, f"norm{number}", num_residuals=1)
    return (*units, *adds, after) if shape.kind == "encoder" else (*units, after, *adds)


def _parallel(scope: Scope, attention: tuple[Unit, ...], mlp: tuple[Unit, ...]) -> tuple[Unit, ...]:
    """Attention and MLP of the same stream, added in one sum and, over GPUs, in one reduction (GPT-J, GPT-NeoX)."""
    is_sandwich = scope.shape.norm_placement == "sandwich"
    units = [_norm(scope, "norm1", num_residuals=2), *gather_input(scope, "layer"), *attention]
    if is_sandwich:
        units.append(_norm(scope, "post_norm1"))
    if scope.shape.num_parallel_norms == 2:
        units += [_norm(scope, "norm2"), *gather_input(scope, "mlp")]
    units += mlp
    if is_sandwich:
        units.append(_norm(scope, "post_norm2"))
    units += [*reduce_output(scope, "layer"), *_output_dropout(scope, "attention"), *_output_dropout(scope, "mlp")]
    return tuple(units) if scope.is_compiled else (*units, residual(scope, "layer_residual", num_terms=2))


def _norm(scope: Scope, name: str, num_residuals: int = 0) -> Unit:
    rows, width = scope.residual_tokens, scope.shape.hidden_size
    return norm(scope, name, rows=rows, width=width, num_residuals=num_residuals if scope.is_compiled else 0)


def _output_dropout(scope: Scope, name: str) -> tuple[Unit, ...]:
    elements = scope.residual_tokens * scope.shape.hidden_size
    return dropout(scope, f"{name}_output_dropout", num_elements=elements, probability=scope.shape.hidden_dropout)
