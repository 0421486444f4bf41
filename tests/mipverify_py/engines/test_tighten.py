"""Bounds tightened by the target constraint: no point that matters is lost, and the proof tightens as much."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bounds import Bounds, LinearForms
from mipverify_py.engines._problem import Problem
from mipverify_py.engines._tighten import Tightener
from mipverify_py.proof._tighten import AffineUnits
from onnx_models import Array
from tests.helpers.duals import ODD, columns, odd_problem, random_problem, wide_problem
from tests.helpers.networks import FAMILIES
from tests.helpers.proofs import samples

seeds = st.integers(0, 2**32 - 1)


def pre_activations(problem: Problem, inputs: Array) -> Array:
    """Of all units at inputs of shape (B, n)."""
    v = columns(problem, inputs)
    parts = [(layer.weight @ v[:, : problem.inputs + layer.first].T).T + layer.bias for layer in problem.layers]
    return np.hstack([np.zeros((len(inputs), 0)), *parts])


def random_forms(rng: np.random.Generator, problem: Problem, size: int) -> tuple[Array, Array]:
    """Slopes, some of them 0, and constants, scaled from tiny to large."""
    scale = 10.0 ** rng.integers(-2, 3, (size, 1))
    slopes = rng.normal(size=(size, problem.inputs)) * (rng.random((size, problem.inputs)) < 0.8) * scale
    return slopes, rng.normal(size=size) * scale[:, 0]


def state(problem: Problem, size: int) -> tuple[Array, Array]:
    """The units' bounds over the box, once per node."""
    unit = problem.unit_bounds(problem.bounds)
    return np.tile(unit.lower, (size, 1)), np.tile(unit.upper, (size, 1))


def level(rng: np.random.Generator, problem: Problem, form: tuple[Array, Array]) -> float:
    """A threshold that most of the forms reach somewhere in the box, not everywhere."""
    values = samples(rng, problem.box, 50) @ form[0].T + form[1]
    return float(np.quantile(values.max(0), 0.3))


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=30)
@given(seed=seeds)
def test_points_that_reach_the_threshold_stay_and_no_bound_loosens(family: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    problem = random_problem(family, seed)
    form, (lower, upper) = random_forms(rng, problem, 3), state(problem, 3)
    threshold, gammas = level(rng, problem, form), None
    points = samples(rng, problem.box, 300)
    z = pre_activations(problem, points)
    tightener = Tightener(problem, problem.box)
    for _ in range(4):  # warm starts and both directions
        low, high, gammas = tightener.run(*form, threshold, lower, upper, gammas)
        assert np.all(low >= lower) and np.all(high <= upper) and np.all(gammas >= 0)
        for row in range(3):
            kept = z[points @ form[0][row] + form[1][row] >= threshold]
            assert np.all(kept >= low[row] - 1e-9) and np.all(kept <= high[row] + 1e-9)
        lower, upper = low, high


@pytest.mark.parametrize("reads", [None, 3])
def test_tightens_and_agrees_with_the_best_gamma(reads: int | None) -> None:
    """u(gamma) is convex: a fine grid over gamma finds its minimum, which a few calls come close to."""
    rng = np.random.default_rng(1)
    problem = wide_problem(1, reads=reads)
    middle, radius = np.zeros(12), np.ones(12)
    slopes = rng.normal(size=(1, 12))
    constant = -0.7 * np.abs(slopes).sum(axis=1)
    (layer,), (lower, upper) = problem.layers, state(problem, 1)
    weight, gammas, before = layer.weight.toarray()[:, :12], None, upper.copy()
    grid = np.concatenate([[0.0], np.logspace(-3, 3, 4000)])
    tilted = weight[:, None] + grid[None, :, None] * slopes[0]
    tops = tilted @ middle + np.abs(tilted) @ radius + layer.bias[:, None] + grid * constant[0]
    tightener = Tightener(problem, problem.box)
    for _ in range(6):
        lower, upper, gammas = tightener.run(slopes, constant, 0.0, lower, upper, gammas)
    best = tops.min(axis=1)
    assert np.all(upper[0] >= best - 1e-9) and np.any(best < before[0] - 0.1)
    assert (before[0] - upper[0]).sum() >= 0.75 * (before[0] - best).sum()


@pytest.mark.parametrize("reads", [None, 3])
@settings(max_examples=60)
@given(seed=seeds)
def test_the_proof_tightens_at_least_as_much(reads: int | None, seed: int) -> None:
    rng = np.random.default_rng(seed)
    problem = wide_problem(seed, reads=reads)
    form, (lower, upper) = random_forms(rng, problem, 4), state(problem, 4)
    threshold = level(rng, problem, form)
    (layer,), tightener, gammas = problem.layers, Tightener(problem, problem.box), None
    units = AffineUnits(layer.weight, layer.bias, problem.box)
    for _ in range(3):
        before = lower, upper
        lower, upper, gammas = tightener.run(*form, threshold, lower, upper, gammas)
        low, high = units.bounds(LinearForms(*form, np.zeros(4)), threshold, gammas)
        assert np.all(np.maximum(low, before[0]) >= lower) and np.all(np.minimum(high, before[1]) <= upper)


@pytest.mark.parametrize("name", [n for n in ODD if n != "no hidden layer"])
def test_only_units_that_a_replay_tightens_are_tightened(name: str) -> None:
    """Units behind another node stay as they are, even where they are affine in the input."""
    problem = odd_problem(name)
    lower, upper = state(problem, 1)
    low, high, gammas = Tightener(problem, problem.box).run(
        np.ones((1, problem.inputs)), np.zeros(1), float(problem.box.upper.sum()) - 1e-3, lower, upper
    )
    changed = (low > lower) | (high < upper)
    np.testing.assert_array_equal(changed[0], (gammas > 0).any(axis=1)[0])
    for layer in problem.layers:
        part = slice(layer.first, layer.first + layer.size)
        assert layer.direct.sources == (0,) or not changed[0, part].any()


def test_a_region_that_reaches_the_threshold_nowhere_is_empty() -> None:
    problem = wide_problem(2)
    lower, upper = state(problem, 2)
    slopes = np.vstack([np.ones(12), np.zeros(12)])
    low, high, _ = Tightener(problem, problem.box).run(slopes, np.array([0.0, -1.0]), 12.5, lower, upper)
    assert (low > high).any(axis=1).tolist() == [True, True]
    low, high, _ = Tightener(problem, problem.box).run(slopes, np.array([0.0, 13.0]), 12.0, lower, upper)
    assert not (low > high).any()


def test_a_smaller_box_counts_after_a_move() -> None:
    problem = wide_problem(3)
    box = Bounds(problem.box.lower * 0.5, problem.box.upper * 0.25)
    form, (lower, upper) = random_forms(np.random.default_rng(0), problem, 2), state(problem, 2)
    moved = Tightener(problem, problem.box)
    moved.move(box)
    for left, right in zip(
        moved.run(*form, 0.0, lower, upper), Tightener(problem, box).run(*form, 0.0, lower, upper), strict=True
    ):
        np.testing.assert_array_equal(left, right)


def test_arguments_are_not_written_to_and_nodes_do_not_mix() -> None:
    rng = np.random.default_rng(4)
    problem = wide_problem(4)
    form, (lower, upper) = random_forms(rng, problem, 5), state(problem, 5)
    tensors = [torch.from_numpy(a) for a in (*form, lower, upper, np.zeros((5, 2, problem.unit_count)))]
    copies, tightener = [t.clone() for t in tensors], Tightener(problem, problem.box)
    together = tightener.run_tensors(tensors[0], tensors[1], 0.0, *tensors[2:])
    assert all(torch.equal(a, b) for a, b in zip(tensors, copies, strict=True))
    for row in range(5):
        single = [t[row : row + 1] for t in tensors]
        alone = tightener.run_tensors(single[0], single[1], 0.0, *single[2:])
        for a, b in zip(alone, together, strict=True):
            np.testing.assert_allclose(a[0].numpy(), b[row].numpy(), rtol=1e-5, atol=1e-5)
