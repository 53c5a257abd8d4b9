"""Networks trained in numpy: they learn, they repeat, and they ignore what never changed."""

from __future__ import annotations

import numpy as np
import pytest

from shapewright.calibrate.network import Plan, distil, predict, train

PLAN = Plan(hidden=(16, 16), epochs=40, rows_per_step=64, step_size=5e-3, decay=0.01)


def sawtooth(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Three features, the last of which never changes, and a target that no straight line follows."""
    random = np.random.default_rng(seed)
    x = random.uniform(-1, 1, (3, count)).astype(np.float32)
    x[2] = 5
    return x, (0.3 * np.abs(x[0]) - 0.2 * np.maximum(x[1], 0)).astype(np.float32)


def test_a_network_learns_what_no_line_does() -> None:
    x, target = sawtooth(2000, seed=0)
    fresh, truth = sawtooth(500, seed=1)
    network = train(x, target, PLAN, seed=0)
    design = np.vstack([x, np.ones(x.shape[1])]).T
    line = np.vstack([fresh, np.ones(500)]).T @ np.linalg.lstsq(design, target, rcond=None)[0]
    assert np.abs(predict([network], fresh) - truth).mean() < 0.1 * np.abs(line - truth).mean()


def test_the_same_rows_give_the_same_network_and_another_seed_another() -> None:
    x, target = sawtooth(500, seed=0)
    first, again, other = (predict([train(x, target, PLAN, seed=seed)], x) for seed in (0, 0, 1))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_a_feature_that_never_changed_changes_nothing() -> None:
    x, target = sawtooth(500, seed=0)
    network = train(x, target, PLAN, seed=0)
    moved = x.copy()
    moved[2] = -40
    assert predict([network], moved) == pytest.approx(predict([network], x))


def test_one_network_learns_to_answer_like_several() -> None:
    x, target = sawtooth(2000, seed=0)
    noisy = target + 0.1 * np.random.default_rng(3).standard_normal(len(target)).astype(np.float32)
    teachers = [train(x, noisy, PLAN, seed=seed) for seed in range(3)]
    student = distil(teachers, x, PLAN)
    assert np.abs(predict([student], x) - predict(teachers, x)).mean() < 0.02
    assert np.abs(predict(teachers, x) - target).mean() < np.abs(noisy - target).mean() / 2
