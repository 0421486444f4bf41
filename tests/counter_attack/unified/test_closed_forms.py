"""The closed forms against linear programs, a solver for L2, and points drawn at random."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linprog, minimize

from counter_attack.unified import constrained, dual_size, nearest, room_of, steepest, steepest_in_box
from mipverify_py import Norm
from onnx_models import Array
from tests.helpers.attacks import size

NORMS = list(Norm)
DUAL = {Norm.LINF: Norm.L1, Norm.L1: Norm.LINF, Norm.L2: Norm.L2}


def tensor(values: Array) -> torch.Tensor:
    return torch.from_numpy(np.asarray(values, dtype=np.float64))


def gradients(rng: np.random.Generator, count: int, n: int) -> Array:
    found = rng.normal(size=(count, n))
    found[0] = 0.0
    found[1] = np.round(found[1])  # zeros and equally large entries
    return found


def largest_by_program(g: Array, up: Array, down: Array, eps: float, norm: Norm) -> float:
    """max g.(a - b) over 0 <= a <= up, 0 <= b <= down with |a - b| <= eps, in L1 and L-infinity."""
    n = len(g)
    ends = [min(float(r), eps) if norm is Norm.LINF else float(r) for r in (*up, *down)]
    rows = {} if norm is Norm.LINF else {"A_ub": np.ones((1, 2 * n)), "b_ub": [eps]}
    answer = linprog(np.concatenate([-g, g]), bounds=[(0.0, end) for end in ends], **rows)
    assert answer.status == 0
    return -float(answer.fun)


def largest_by_solver(g: Array, up: Array, down: Array, eps: float) -> float:
    """The same in L2: a smooth concave problem after squaring the constraint."""
    answer = minimize(
        lambda v: -g @ v,
        np.zeros(len(g)),
        jac=lambda _: -g,
        bounds=list(zip(-down, up, strict=True)),
        constraints={"type": "ineq", "fun": lambda v: eps**2 - v @ v, "jac": lambda v: -2 * v},
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
    )
    return -float(answer.fun)


@pytest.mark.parametrize("norm", NORMS)
@given(seed=st.integers(0, 2**32 - 1))
def test_no_vector_of_size_one_gains_more(norm: Norm, seed: int) -> None:
    rng = np.random.default_rng(seed)
    g = gradients(rng, 6, 4)
    s = steepest(tensor(g), norm).numpy()
    assert np.all(size(s, norm) <= 1 + 1e-12)
    gain = (g * s).sum(axis=1)
    np.testing.assert_allclose(gain, size(g, DUAL[norm]), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(dual_size(tensor(g), norm), gain, rtol=1e-12, atol=1e-15)
    others = rng.normal(size=(200, 4))
    others /= size(others, norm)[:, None]
    assert np.all(g @ others.T <= gain[:, None] + 1e-12)


def test_ties_are_broken_as_documented() -> None:
    g = tensor(np.array([[1.0, -2.0, 2.0, 0.0], [0.0, 0.0, 0.0, 0.0]]))
    assert steepest(g, Norm.LINF).tolist() == [[1, -1, 1, 0], [0, 0, 0, 0]]
    assert steepest(g, Norm.L1).tolist() == [[0, -1, 0, 0], [0, 0, 0, 0]]
    np.testing.assert_allclose(steepest(g, Norm.L2), [[1 / 3, -2 / 3, 2 / 3, 0], [0, 0, 0, 0]], atol=1e-15)


@pytest.mark.parametrize("norm", NORMS)
def test_the_best_step_in_a_box_is_that_of_a_program(norm: Norm) -> None:
    rng = np.random.default_rng(3)
    g, points, eps = gradients(rng, 25, 5), rng.random((25, 5)), rng.random(25) * np.array([0.2, 1, 3, 6, 0.01] * 5)
    points[2] = np.round(points[2])
    g[3] *= 1e-180  # squares of it are nothing
    room = room_of(tensor(g), tensor(points), (torch.zeros(5), torch.ones(5)))
    step = steepest_in_box(tensor(g), room, tensor(eps), norm).numpy()
    assert np.all(size(step, norm) <= eps * (1 + 1e-12))
    assert np.all((points + step >= -1e-15) & (points + step <= 1 + 1e-15))
    for k in range(25):
        scale = np.abs(g[k]).max() or 1.0
        unit, ends = g[k] / scale, (1 - points[k], points[k])
        found = float(unit @ step[k])
        if norm is Norm.L2:
            assert found == pytest.approx(largest_by_solver(unit, *ends, eps[k]), abs=1e-6)
        else:
            assert found == pytest.approx(largest_by_program(unit, *ends, eps[k], norm), abs=1e-9)


@pytest.mark.parametrize("norm", NORMS)
def test_a_wide_box_is_none(norm: Norm) -> None:
    rng = np.random.default_rng(4)
    g, eps = tensor(gradients(rng, 10, 6)), tensor(rng.random(10) + 0.1)
    wide = room_of(g, torch.zeros_like(g), (torch.full((6,), -99.0), torch.full((6,), 99.0)))
    np.testing.assert_allclose(constrained(g, wide, eps, norm), constrained(g, None, eps, norm), rtol=1e-12)


@pytest.mark.parametrize("norm", NORMS)
def test_the_smallest_perturbation_is_that_of_a_program(norm: Norm) -> None:
    """Against a program that minimises the norm itself; in L2 against the projection onto a half-space."""
    rng = np.random.default_rng(5)
    g, gap = gradients(rng, 12, 5), rng.random(12)
    gap[2] = -0.3
    length, direction = (part.numpy() for part in nearest(tensor(g), tensor(gap), norm))
    assert length[0] == np.inf and length[2] == 0
    for k in range(1, 12):
        assert g[k] @ (length[k] * direction[k]) >= gap[k] - 1e-12
        if norm is Norm.L2:
            assert length[k] == pytest.approx(max(gap[k], 0) / np.linalg.norm(g[k]))
            continue
        # eta = a - b, t >= entries (L-infinity) or t >= their sum (L1); minimise t with g.eta >= gap.
        bound = np.hstack([np.eye(5), np.eye(5)]) if norm is Norm.LINF else np.ones((1, 10))
        limits = np.vstack([np.hstack([bound, -np.ones((len(bound), 1))]), np.concatenate([-g[k], g[k], [0.0]])])
        answer = linprog([0.0] * 10 + [1.0], A_ub=limits, b_ub=[0.0] * len(bound) + [-gap[k]])
        assert length[k] == pytest.approx(answer.fun, abs=1e-9)
