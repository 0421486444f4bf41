"""The largest change of linearised outputs: against all corners, a dense search, singular values, and each other."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

from counter_attack.unified import _output_change as module
from counter_attack.unified import is_solved, largest_change
from mipverify_py import Norm
from onnx_models import Array
from tests.helpers.attacks import size

NORMS = list(Norm)
PAIRS = [(p, q) for p in NORMS for q in NORMS]


def drawn(seed: int, outputs: int = 3, n: int = 4) -> tuple[Array, Array, float]:
    rng = np.random.default_rng(seed)
    change = rng.normal(size=outputs) * rng.choice([0.0, 0.3, 3.0])
    return rng.normal(size=(outputs, n)), change, float(rng.random() + 0.05)


def solved(j: Array, d: Array, eps: float, p: Norm, q: Norm) -> tuple[Array, float, bool]:
    parts = (torch.from_numpy(np.stack([part, part])) for part in (j, d, np.float64(eps)))
    found = largest_change(*parts, p, q)
    return found.step[1].numpy(), float(found.value[1]), found.exact


def searched(j: Array, d: Array, eps: float, p: Norm, q: Norm) -> float:
    """The convex function's maximum is at an extreme point: all corners, or many local searches on the sphere."""
    n = j.shape[1]
    if p is Norm.LINF:
        points = np.array(np.meshgrid(*[[-1.0, 1.0]] * n)).reshape(n, -1).T
    elif p is Norm.L1:
        points = np.concatenate([np.eye(n), -np.eye(n)])
    else:
        starts = np.random.default_rng(0).normal(size=(12, n))

        def negative(v: Array) -> float:
            return -float(size((d + eps * j @ (v / np.linalg.norm(v)))[None], q)[0])

        ends = [minimize(negative, v, method="BFGS") for v in starts]
        return max(-float(end.fun) for end in ends)
    return float(size(d + eps * points @ j.T, q).max())


@pytest.mark.parametrize(("p", "q"), PAIRS)
@given(seed=st.integers(0, 2**32 - 1))
def test_no_extreme_point_changes_the_outputs_more(p: Norm, q: Norm, seed: int) -> None:
    j, d, eps = drawn(seed)
    step, value, exact = solved(j, d, eps, p, q)
    assert exact
    assert size(step[None], p)[0] <= eps * (1 + 1e-12)
    assert value == pytest.approx(size((d + j @ step)[None], q)[0])
    points = np.random.default_rng(seed).normal(size=(300, 4))
    points *= eps / size(points, p)[:, None]
    assert np.all(size(d + points @ j.T, q) <= value * (1 + 1e-9))
    if p is not Norm.L2:
        assert value == pytest.approx(searched(j, d, eps, p, q))


@pytest.mark.parametrize("q", NORMS)
@pytest.mark.parametrize("seed", range(2))
def test_on_the_sphere_no_local_search_finds_more(q: Norm, seed: int) -> None:
    j, d, eps = drawn(seed)
    assert solved(j, d, eps, Norm.L2, q)[1] == pytest.approx(searched(j, d, eps, Norm.L2, q), rel=1e-6)


def test_without_a_change_so_far_it_is_the_largest_singular_value() -> None:
    j, _, eps = drawn(7, 5, 9)
    step, value, _ = solved(j, np.zeros(5), eps, Norm.L2, Norm.L2)
    assert value == pytest.approx(eps * np.linalg.norm(j, 2))
    np.testing.assert_allclose(np.abs(step), eps * np.abs(np.linalg.svd(j)[2][0]), atol=1e-9)


def test_the_hard_case_of_the_secular_equation() -> None:
    """The change so far has no part along the first singular vector, and eps is longer than the rest needs."""
    _, value, _ = solved(np.diag([2.0, 1.0]), np.array([0.0, 0.3]), 1.0, Norm.L2, Norm.L2)
    angle = np.linspace(0, 2 * np.pi, 200_001)
    assert value == pytest.approx(np.hypot(2 * np.cos(angle), 0.3 + np.sin(angle)).max(), rel=1e-9)


def test_a_zero_jacobian_leaves_the_change() -> None:
    for p, q in PAIRS:
        d = np.array([3.0, -1.0])
        step, value, _ = solved(np.zeros((2, 3)), d, 0.5, p, q)
        assert value == pytest.approx(size(d[None], q)[0]) and np.isfinite(step).all()


@pytest.mark.parametrize(("p", "q"), [(Norm.LINF, Norm.L1), (Norm.LINF, Norm.L2), (Norm.L2, Norm.L1)])
def test_a_climb_claims_nothing_and_finds_most(p: Norm, q: Norm, monkeypatch: pytest.MonkeyPatch) -> None:
    truths = [solved(*drawn(seed), p, q)[1] for seed in range(40)]
    monkeypatch.setattr(module, "ENUMERATED", 0)
    climbed = [solved(*drawn(seed), p, q) for seed in range(40)]
    assert not any(exact for _, _, exact in climbed)
    share = np.array([value for _, value, _ in climbed]) / truths
    assert np.all(share <= 1 + 1e-9) and np.mean(share > 1 - 1e-9) > 0.5 and share.min() > 0.7


def test_what_is_solved_depends_on_sizes() -> None:
    assert is_solved(Norm.LINF, Norm.L1, 10, 784) and not is_solved(Norm.LINF, Norm.L1, 13, 784)
    assert is_solved(Norm.LINF, Norm.L2, 10, 12) and not is_solved(Norm.LINF, Norm.L2, 10, 13)
    assert all(is_solved(p, q, 99, 999) for p, q in PAIRS if p is Norm.L1 or q is Norm.LINF or p is q is Norm.L2)
