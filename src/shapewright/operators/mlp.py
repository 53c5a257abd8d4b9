"""The dense MLP: two products around an activation, or three where it is gated (SwiGLU, GeGLU).

Per GPU: (b s, h)(h, f/t), then (b s, f/t)(f/t, h), with f the inner width; gate and up are one product of 2f where the model fuses them.
"""

from __future__ import annotations

from .linear import linear
from .pointwise import activation, gradient_sum
from .scope import Scope, Unit


def mlp_units(scope: Scope, *, prefix: str = "mlp", width: int | None = None) -> tuple[Unit, ...]:
    """The MLP called `prefix` of inner width `width` (default: the model's own dense MLP)."""
    shape, tokens, h = scope.shape, scope.tokens, scope.shape.hidden_size
    total = width or shape.intermediate_size
    inner, note = scope.share(total), scope.split_note(total, "MLP columns")
    is_fused = shape.is_gated and shape.is_gate_up_fused
    names = [f"{prefix}_gate_up"] if is_fused else [f"{prefix}_gate", f"{prefix}_up"] if shape.is_gated else [f"{prefix}_up"]
    ups = [
        linear(
            scope,
            name,
            m=tokens,
            n=2 * inner if is_fused else inner,
            k=h,
            has_bias=shape.has_mlp_bias,
            kept_rows=scope.residual_tokens if name == names[0] and prefix == "mlp" else 0,
            is_transposed=shape.is_weight_transposed,
            note=note,
        )
        for name in names
    ]
    if len(names) > 1:
        ups.insert(0, gradient_sum(scope, f"{prefix}_gradient_sum", num_elements=tokens * h, num_terms=2))
    act = activation(scope, f"{prefix}_activation", num_elements=tokens * inner, is_gated=shape.is_gated)
    down = linear(
        scope,
        f"{prefix}_down",
        m=tokens,
        n=h,
        k=inner,
        has_bias=shape.has_mlp_bias,
        is_transposed=shape.is_weight_transposed,
        note=note,
    )
    return (*ups, act, down)
