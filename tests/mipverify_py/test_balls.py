"""Balls of the L1 and L2 norm: membership against rational arithmetic, projection, and what they become in a MIP."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hn
from scipy import sparse

from bounds import Bounds, Formulation, interval_bounds
from mipverify_py import L1Ball, L2Ball, LinfBall, PerturbationSet
from mipverify_py._balls import NormBall, into_ball
from mipverify_py.backends import SolveLimits, solve_isolated
from onnx_models import Array
from onnx_models.errors import InputError
from tests.helpers.norms import dense_network, half_space

BALLS = pytest.mark.parametrize("kind", [L1Ball, L2Ball])
unit = hn.arrays(np.float64, 4, elements=st.floats(0, 1))
radii = st.floats(0, 3) | st.sampled_from([0.0, 0.1, 0.3, 0.5, 1e-12, 5e-324])


def is_member(ball: NormBall, x: Array, x0: Array) -> bool:
    differences = [abs(Fraction(a) - Fraction(b)) for a, b in zip(x.tolist(), x0.tolist(), strict=True)]
    if isinstance(ball, L1Ball):
        return sum(differences) <= Fraction(ball.radius)
    return sum(d * d for d in differences) <= Fraction(ball.radius) ** 2


@BALLS
@given(x=unit, x0=unit, radius=radii)
def test_membership_is_exact(kind: type[NormBall], x: Array, x0: Array, radius: float) -> None:
    ball = kind(radius)
    assert ball.contains(x, x0) == is_member(ball, x, x0)


def test_membership_on_the_boundary() -> None:
    x0 = np.zeros(2)
    assert L2Ball(5.0).contains(np.array([3.0, 4.0]), x0)
    assert not L2Ball(np.nextafter(5.0, 0)).contains(np.array([3.0, 4.0]), x0)
    assert not L1Ball(0.3).contains(np.array([0.1, 0.2]), x0)  # the float 0.3 is less than the floats 0.1 + 0.2
    assert L1Ball(np.nextafter(0.3, 1)).contains(np.array([0.1, 0.2]), x0)


@BALLS
@given(x=hn.arrays(np.float64, 4, elements=st.floats(-2, 3)), x0=unit, radius=radii)
def test_projections_are_members_of_the_domain(kind: type[NormBall], x: Array, x0: Array, radius: float) -> None:
    ball, domain = kind(radius), Bounds(np.zeros(4), np.ones(4))
    inside = ball.project(x, x0, domain)
    assert is_member(ball, inside, x0) and domain.contains(inside)
    assert ball.bounding_box(x0, domain).contains(inside)


@BALLS
@given(x=unit, x0=unit)
def test_members_stay_where_they_are(kind: type[NormBall], x: Array, x0: Array) -> None:
    np.testing.assert_array_equal(kind(5.0).project(x, x0, Bounds(np.zeros(4), np.ones(4))), x)


@BALLS
def test_projections_are_near(kind: type[NormBall]) -> None:
    """No random member is nearer, beyond rounding."""
    rng = np.random.default_rng(3)
    ball, x0, x = kind(0.4), np.zeros(3), np.array([0.9, -0.3, 0.1])
    domain = Bounds(np.full(3, -1.0), np.ones(3))
    reached = np.linalg.norm(ball.project(x, x0, domain) - x)
    others = into_ball(rng.normal(size=(3, 2000)), 0.4, ball.norm)
    assert reached <= np.linalg.norm(others - x[:, None], axis=0).min() + 1e-9


@BALLS
@pytest.mark.parametrize("radius", [-0.1, float("nan"), float("inf"), "1", True])
def test_radii_are_checked(kind: type[NormBall], radius: float) -> None:
    with pytest.raises(InputError, match="radius"):
        kind(radius)


@BALLS
def test_balls_are_no_boxes(kind: type[NormBall]) -> None:
    x0, domain = np.full(2, 0.5), Bounds(np.zeros(2), np.ones(2))
    assert not kind(0.2).is_box and LinfBall(0.2).is_box
    box, cube = kind(0.2).bounding_box(x0, domain), LinfBall(0.2).bounding_box(x0, domain)
    np.testing.assert_array_equal([box.lower, box.upper], [cube.lower, cube.upper])


@BALLS
@pytest.mark.parametrize("x0", [[0.5, 0.5], [0.0, 1.0], [0.0, 0.5]], ids=["inside", "corner", "edge"])
def test_rows_confine_a_program_to_the_ball(kind: type[NormBall], x0: list[float]) -> None:
    """The farthest point in a random direction is where the closed form of the dual norm says."""
    origin, ball = np.array(x0), kind(0.25)
    network = half_space(np.ones(2), 0.0)
    box = ball.bounding_box(origin, Bounds(np.zeros(2), np.ones(2)))
    rng = np.random.default_rng(4)
    for _ in range(5):
        direction = rng.normal(size=2)
        free = np.where(direction > 0, box.upper > origin, box.lower < origin) * direction
        reach = 0.25 * (np.abs(free).max() if kind is L1Ball else np.linalg.norm(free))
        form = Formulation(network, interval_bounds(network, box), integral=True)
        ball.restrict(form, origin)
        cost = np.zeros((1, form.builder.columns))
        cost[0, form.inputs] = -direction
        found = solve_isolated("scip", form.builder.build(sparse.csr_array(cost)), SolveLimits())
        assert found.objective == pytest.approx(-(direction @ origin + reach), abs=1e-6)


class Unencoded(PerturbationSet):
    """A set that says nothing of its rows."""

    def bounding_box(self, x0: Array, domain: Bounds) -> Bounds:
        return domain

    def contains(self, x: Array, x0: Array) -> bool:
        return bool(x[0] == x0[0])

    def project(self, x: Array, x0: Array, domain: Bounds) -> Array:
        return np.concatenate([x0[:1], x[1:]])


def test_a_set_without_rows_is_not_taken_for_its_box() -> None:
    network = dense_network(0)
    x0 = np.full(3, 0.5)
    form = Formulation(network, interval_bounds(network, Bounds(np.zeros(3), np.ones(3))), integral=True)
    with pytest.raises(InputError, match="Unencoded has no MIP encoding"):
        Unencoded().restrict(form, x0)
