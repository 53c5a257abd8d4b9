"""Activations, dropout and residual sums: kernels that touch every element once or a few times.

Counts are those of eager PyTorch 2.11 with transformers 5.17's activation functions (`gelu_new` is written out in Python, `gelu` and
`silu` are one kernel). `runtime="compiled"` fuses each chain into one pass.
"""

from __future__ import annotations

from dataclasses import dataclass

from .scope import MASK_BYTES, Kernel, Scope, Unit, chain


@dataclass(frozen=True, slots=True, kw_only=True)
class Activation:
    """An activation in eager mode: for each kernel the tensors it reads (each writes one), forward and backward.

    `num_saved` tensors are kept for the backward pass besides the result, which the next product keeps.
    """

    forward: tuple[int, ...]
    backward: tuple[int, ...]
    num_saved: int


_ONE_KERNEL = Activation(forward=(1,), backward=(2,), num_saved=1)
#: Activations that are not one kernel with its input kept; every other name is.
_ACTIVATIONS = {
    # 0.5 x, x^3, * c, + x, * c, tanh, + 1, product
    "gelu_new": Activation(forward=(1, 1, 1, 2, 1, 1, 1, 2), backward=(2, 2, 2, 1, 1, 1, 1, 2, 2, 1, 2), num_saved=4),
    # 0.5 x, x * c, x * c, product, + 1, product, tanh, + 1, product
    "gelu_fast": Activation(forward=(1, 1, 1, 2, 1, 2, 1, 1, 2), backward=(2, 2, 2, 2, 2, 2, 2, 1, 2, 1, 2, 1, 2), num_saved=6),
    "quick_gelu": Activation(forward=(1, 1, 2), backward=(2, 2, 2, 1, 2), num_saved=2),
    "relu2": Activation(forward=(1, 1), backward=(1, 1, 2, 2), num_saved=1),
    "relu": Activation(forward=(1,), backward=(2,), num_saved=0),
    "sigmoid": Activation(forward=(1,), backward=(2,), num_saved=0),
    "tanh": Activation(forward=(1,), backward=(2,), num_saved=0),
    "linear": Activation(forward=(), backward=(), num_saved=0),
}


#: Activations whose one kernel computes more than it loads.
ERROR_FUNCTIONS = ("gelu", "gelu_pytorch_tanh")


def activation(scope: Scope, name: str, *, num_elements: int, is_gated: bool) -> Unit:
    """act(x), or act(gate) * up, on `num_elements` inner elements."""
    act = _ACTIVATIONS.get(scope.shape.hidden_act, _ONE_KERNEL)
    size, num_saved = scope.size, act.num_saved
    forward, backward = _kernels(scope, act)
    if is_gated:
        # up and act(gate) are kept; backward forms both products' gradients before the activation's own.
        forward.append(_pass(size, 2))
        backward[:0] = [_pass(size, 2), _pass(size, 2)]
        num_saved += 2
    if scope.is_compiled:
        inputs = 2 if is_gated else 1
        fused: Kernel = ("elementwise", (1 + inputs) * size, inputs * size)
        forward, backward = [_pass(size, inputs)], [fused]
        num_saved = inputs
    if not forward:
        return Unit()
    works = chain(num_elements, *forward), chain(num_elements, *backward)
    return scope.unit(name, "activation", *works, saved_bytes=num_elements * num_saved * size)


def _kernels(scope: Scope, act: Activation) -> tuple[list[Kernel], list[Kernel]]:
    """Of the activation alone, forward and backward."""
    size, name = scope.size, scope.shape.hidden_act
    if name in ERROR_FUNCTIONS:
        return [("gelu", size, size)], [("gelu", 2 * size, size)]
    backward = [_pass(size, reads) for reads in act.backward]
    if name == "silu":
        return [("silu", size, size)], backward
    return [_pass(size, reads) for reads in act.forward], backward


def dropout(scope: Scope, name: str, *, num_elements: int, probability: float) -> tuple[Unit, ...]:
    """Reads x, writes y and a one-byte mask, which the backward pass reads; nothing outside training mode."""
    if not probability or not scope.workload.has_dropout:
        return ()
    size = scope.size
    forward = chain(num_elements, ("dropout", size, size + MASK_BYTES))
    backward = chain(num_elements, ("elementwise", size + MASK_BYTES, size))
    return (scope.unit(name, "dropout", forward, backward, saved_bytes=num_elements * MASK_BYTES),)


def residual(scope: Scope, name: str, *, num_terms: int = 1) -> Unit:
    """x + f(x), or x + f(x) + g(x); backward adds the gradients that meet where the stream forked."""
    elements = scope.residual_tokens * scope.shape.hidden_size
    work = chain(elements, *[_pass(scope.size, 2)] * num_terms)
    return scope.unit(name, "residual", work, work)


def gradient_sum(scope: Scope, name: str, *, num_elements: int, num_terms: int) -> Unit:
    """Where `num_terms` products share an input, autograd adds their gradients pairwise; nothing runs forward."""
    kernels = [_pass(scope.size, 2)] * (num_terms - 1)
    return Unit(backward=(scope.operator(name, "residual", chain(num_elements, *kernels), "backward"),))


def softcap(scope: Scope, name: str, *, num_elements: int, kind: str) -> Unit:
    """cap * tanh(x / cap) in three kernels."""
    size = scope.size
    forward = [_pass(size, 1)] * (1 if scope.is_compiled else 3)
    backward = [_pass(size, 2)] if scope.is_compiled else [_pass(size, 1), _pass(size, 2), _pass(size, 1)]
    return scope.unit(name, kind, chain(num_elements, *forward), chain(num_elements, *backward), saved_bytes=num_elements * size)


def _pass(size: int, num_reads: int) -> Kernel:
    return "elementwise", num_reads * size, size
