"""Small networks for the correction of the tile model: trained with Adam in numpy, averaged, and distilled into one.

A network is a tuple of (matrix [out, in], bias [out, 1]); its hidden layers end in max(0, .). It predicts ln(measured / tile model) of a
product; the loss of a row is |measured time - predicted| / measured, the error that accuracy is stated in. Seeds are fixed: the same rows
give the same network. Source of the method: Kingma and Ba 2014 (Adam), Loshchilov and Hutter 2017 (decoupled weight decay), Hinton et al.
2015 (distillation).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..predict.gemm_correction import Network, forward

Array = NDArray[Any]
BETAS, EPSILON = (0.9, 0.999), 1e-8
#: Share of the steps in which the step size rises; then it falls along a half cosine.
WARM_UP = 0.1
#: Standard deviation below which a feature counts as constant.
LEAST_SPREAD = 1e-4
#: Products predicted at once.
CHUNK = 16384


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How a network is trained: hidden widths, passes over the rows, rows a step, greatest step, weight decay."""

    hidden: tuple[int, ...]
    epochs: float
    rows_per_step: int = 512
    step_size: float = 2e-3
    decay: float = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class TunePlan:
    """How a trained network is trained on: passes over the rows, greatest step, and how strongly its weights are drawn back."""

    epochs: float
    step_size: float
    pull: float
    rows_per_step: int = 64


def train(x: Array, target: Array, plan: Plan, seed: int) -> Network:
    """The network of features x [feature, row] for `target` [row] = ln(measured / tile model)."""
    random = np.random.default_rng(seed)
    center, scale = x.mean(axis=1, keepdims=True), x.std(axis=1, keepdims=True)
    # A feature that never changes teaches nothing: its weights stay at 0, so that another value of it changes nothing either.
    scale = np.where(scale > LEAST_SPREAD, scale, np.float32(np.inf))
    rows = np.ascontiguousarray(((x - center) / scale).T)
    parameters = _initial((len(x), *plan.hidden, 1), random)
    optimizer = _AdamW(parameters, plan)
    steps = max(1, int(plan.epochs * len(rows) / plan.rows_per_step))
    for step, index in zip(range(steps), _batches(len(rows), plan.rows_per_step, random), strict=False):
        optimizer.step(_gradients(parameters, rows[index].T, target[index]), step, _rate(plan, step / steps))
    return _unscaled(parameters, center, scale)


def tune(network: Network, x: Array, target: Array, plan: TunePlan, seed: int = 0) -> Network:
    """`network` trained on with features x [feature, row] for `target` [row], each weight drawn back to what it was.

    What the rows do not vary keeps its weights: it may vary elsewhere.
    """
    random = np.random.default_rng(seed)
    center, scale = x.mean(axis=1, keepdims=True), x.std(axis=1, keepdims=True)
    varies = scale > LEAST_SPREAD
    rows = np.ascontiguousarray(np.where(varies, (x - center) / np.where(varies, scale, 1), 0).T.astype(np.float32))
    (first, first_bias), *others = network
    parameters = [(first * scale.T).astype(np.float32), (first_bias + first @ center).astype(np.float32)]
    parameters += [each.copy() for layer in others for each in layer]
    anchor = [each.copy() for each in parameters]
    steps = max(1, int(plan.epochs * len(rows) / plan.rows_per_step))
    schedule = Plan(hidden=(), epochs=plan.epochs, step_size=plan.step_size, decay=0.0)
    optimizer = _AdamW(parameters, schedule)
    for step, index in zip(range(steps), _batches(len(rows), plan.rows_per_step, random), strict=False):
        rate = _rate(schedule, step / steps)
        optimizer.step(_gradients(parameters, rows[index].T, target[index]), step, rate)
        for value, start in zip(parameters, anchor, strict=True):
            value -= np.float32(min(rate * plan.pull, 1.0)) * (value - start)
    plain = np.where(varies.T, parameters[0] / np.where(varies, scale, 1).T, first).astype(np.float32)
    bias = (parameters[1] - plain @ center).astype(np.float32)
    return ((plain, bias), *zip(parameters[2::2], parameters[3::2], strict=True))


def _batches(count: int, size: int, random: np.random.Generator) -> Iterator[Array]:
    """Indices of `size` rows again and again, every row once before any comes twice."""
    while True:
        order = random.permutation(count)
        for at in range(0, max(count - size, 0) + 1, size):
            yield order[at : at + size]


def predict(networks: Sequence[Network], x: Array) -> Array:
    """Mean output of several networks for features [feature, row]."""
    parts = [
        np.mean([forward(each, x[:, at : at + CHUNK]) for each in networks], axis=0, dtype=np.float32) for at in range(0, x.shape[1], CHUNK)
    ]
    return np.concatenate(parts)


def distil(teachers: Sequence[Network], x: Array, plan: Plan) -> Network:
    """One small network that answers as the mean of `teachers` on the products of x [feature, row]."""
    return train(x, predict(teachers, x), plan, seed=0)


def _initial(widths: tuple[int, ...], random: np.random.Generator) -> list[Array]:
    """He's scale for hidden layers; the last starts small, so that the correction starts near none."""
    parameters: list[Array] = []
    for width_in, width_out in itertools.pairwise(widths):
        scale = np.sqrt(2 / width_in) * (0.1 if width_out == 1 else 1)
        parameters.append((random.standard_normal((width_out, width_in)) * scale).astype(np.float32))
        parameters.append(np.zeros((width_out, 1), np.float32))
    return parameters


def _gradients(parameters: list[Array], x: Array, target: Array) -> list[Array]:
    """Gradient of the mean relative error by backpropagation."""
    activations = [x]
    for matrix, bias in zip(parameters[0:-2:2], parameters[1:-2:2], strict=True):
        hidden = matrix @ activations[-1]
        hidden += bias
        activations.append(np.maximum(hidden, 0, out=hidden))
    error = np.clip((parameters[-2] @ activations[-1] + parameters[-1])[0] - target, -2, 2)
    grad = (np.sign(error) * np.exp(error) / len(error)).astype(np.float32)[None, :]
    gradients: list[Array] = []
    for layer in range(len(activations) - 1, -1, -1):
        gradients[:0] = [grad @ activations[layer].T, grad.sum(axis=1, keepdims=True)]
        if layer:
            grad = parameters[2 * layer].T @ grad
            grad *= activations[layer] > 0
    return gradients


class _AdamW:
    """Changes `parameters` in place by running means of their gradients."""

    def __init__(self, parameters: list[Array], plan: Plan) -> None:
        self.parameters, self.decay = parameters, plan.decay
        self.moments = [(np.zeros_like(each), np.zeros_like(each)) for each in parameters]

    def step(self, gradients: list[Array], number: int, rate: float) -> None:
        first_bias, second_bias = (1 - beta ** (number + 1) for beta in BETAS)
        for value, gradient, (first, second) in zip(self.parameters, gradients, self.moments, strict=True):
            first += (1 - BETAS[0]) * (gradient - first)
            second += (1 - BETAS[1]) * (np.square(gradient) - second)
            value *= 1 - rate * self.decay
            value -= np.float32(rate / first_bias) * first / (np.sqrt(second / np.float32(second_bias)) + np.float32(EPSILON))


def _rate(plan: Plan, done: float) -> float:
    if done < WARM_UP:
        return plan.step_size * (0.04 + 0.96 * done / WARM_UP)
    return plan.step_size * (1e-4 + 0.5 * (1 + np.cos(np.pi * (done - WARM_UP) / (1 - WARM_UP))))


def _unscaled(parameters: list[Array], center: Array, scale: Array) -> Network:
    """The network on plain features: the first layer takes up their centre and scale."""
    layers = [(matrix, bias) for matrix, bias in zip(parameters[::2], parameters[1::2], strict=True)]
    matrix, bias = layers[0]
    plain = (matrix / scale.T).astype(np.float32)
    layers[0] = (plain, (bias - plain @ center).astype(np.float32))
    return tuple(layers)
