"""Buffers: fits against closed forms and brute force, what a chance constraint guarantees, and bad pairs."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from counter_attack.detection import (
    KINDS,
    Avoid,
    ChanceConstrained,
    FunctionBuffer,
    LeastSquares,
    LineBuffer,
    Multiplicative,
    Pairs,
    Quantile,
    Zero,
    buffer_kind,
    fit_buffer,
)
from onnx_models.errors import InputError

EVERY = [kind() for kind in KINDS.values()]


def some_pairs(count: int, seed: int, *, scale: float = 1.0) -> Pairs:
    """Heuristic distances that exceed exact ones by a random share."""
    rng = np.random.default_rng(seed)
    exact = rng.gamma(4.0, 0.02, count) * scale
    return Pairs(exact * (1 + rng.gamma(0.5, 0.05, count)), exact)


def cost(pairs: Pairs, slope: float, intercept: float) -> float:
    return float(np.sum((pairs.exact - slope * pairs.heuristic - intercept) ** 2))


def violations(pairs: Pairs, buffer: LineBuffer, avoid: Avoid) -> int:
    """Pairs on the wrong side of the line, as the detector computes it."""
    estimate = buffer.estimate(np.empty((len(pairs), 0)), np.empty((len(pairs), 0)), pairs.heuristic)
    wrong = estimate > pairs.exact if avoid is Avoid.FALSE_NEGATIVES else estimate < pairs.exact
    return int(wrong.sum())


def brute_force(pairs: Pairs, exempt: int, avoid: Avoid) -> float:
    """The least cost under the chance constraint: every choice of exempt pairs, each a quadratic program.

    With two variables, an optimum has at most two active constraints: the free optimum, that of the lines through one
    point, or the line through two.
    """
    sign = 1.0 if avoid is Avoid.FALSE_NEGATIVES else -1.0
    h, t = pairs.heuristic, pairs.exact
    lines = [tuple(np.polyfit(h, t, 1))]
    for i in range(len(h)):
        dh, dt = h - h[i], t - t[i]
        slope = float(dh @ dt / (dh @ dh))
        lines.append((slope, t[i] - slope * h[i]))
        lines += [
            ((t[j] - t[i]) / (h[j] - h[i]), t[i] - (t[j] - t[i]) / (h[j] - h[i]) * h[i])
            for j in range(i)
            if h[i] != h[j]
        ]
    best = np.inf
    for slope, intercept in lines:
        short = np.sort(sign * (t - slope * h - intercept))
        if short[exempt] >= -1e-12:
            best = min(best, cost(pairs, slope, intercept))
    return best


def test_least_squares_is_the_closed_form() -> None:
    pairs = some_pairs(200, 1)
    found = LeastSquares().fit(pairs)
    slope, intercept = np.polyfit(pairs.heuristic, pairs.exact, 1)
    assert found.slope == pytest.approx(slope, rel=1e-9) and found.intercept == pytest.approx(intercept, abs=1e-12)
    assert found.pairs == 200


def test_multiplicative_is_the_closed_form() -> None:
    pairs = some_pairs(200, 2)
    found = Multiplicative().fit(pairs)
    h, t = pairs.heuristic, pairs.exact
    assert found.slope == pytest.approx(float(h @ t / (h @ h)), rel=1e-12)
    assert found.intercept == 0.0


@pytest.mark.parametrize("scale", [1.0, 1e-6])
@pytest.mark.parametrize("tau", [0.01, 0.3, 0.5, 0.99])
def test_quantile_minimises_the_pinball_loss(tau: float, scale: float) -> None:
    pairs = some_pairs(120, 3, scale=scale)
    found = Quantile(tau).fit(pairs)

    def loss(slope: float, intercept: float) -> float:
        over = pairs.exact - slope * pairs.heuristic - intercept
        return float(np.sum(np.where(over >= 0, tau * over, (tau - 1) * over)))

    # an optimum of this linear program goes through two of the points
    best = np.inf
    for i, j in combinations(range(len(pairs)), 2):
        slope = (pairs.exact[i] - pairs.exact[j]) / (pairs.heuristic[i] - pairs.heuristic[j])
        best = min(best, loss(slope, pairs.exact[i] - slope * pairs.heuristic[i]))
    assert loss(found.slope, found.intercept) <= best * (1 + 1e-5)
    share = np.mean(pairs.exact <= found.line(pairs.heuristic) + 1e-9 * scale)
    assert abs(share - tau) <= 2.5 / len(pairs)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(2, 14),
    delta=st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9]),
    avoid=st.sampled_from(list(Avoid)),
    grid=st.booleans(),
)
def test_chance_constraint_holds_and_is_met_at_least_cost(
    seed: int, count: int, delta: float, avoid: Avoid, grid: bool
) -> None:
    rng = np.random.default_rng(seed)
    # on a grid points coincide, lie on common lines and have equal heuristic distances
    h, t = (rng.integers(0, 6, (2, count)) / 4 if grid else rng.random((2, count))).astype(float)
    if h.min() == h.max():
        h[0] += 0.25
    pairs, kind = Pairs(h, t), ChanceConstrained(delta, avoid)
    found = kind.fit(pairs)
    exempt = kind.exempt(count)
    assert violations(pairs, found, avoid) <= exempt
    assert cost(pairs, found.slope, found.intercept) == pytest.approx(brute_force(pairs, exempt, avoid), abs=1e-9)


@pytest.mark.parametrize("avoid", list(Avoid))
@pytest.mark.parametrize("delta", [0.0, 0.01, 0.05, 0.3])
def test_chance_constraint_on_many_pairs(avoid: Avoid, delta: float) -> None:
    pairs = some_pairs(1500, 4)
    kind = ChanceConstrained(delta, avoid)
    found = kind.fit(pairs)
    assert violations(pairs, found, avoid) <= kind.exempt(1500)
    best = cost(pairs, found.slope, found.intercept)
    # no line nearby with as few violations is cheaper: for a slope, the intercept is given by an order statistic
    for slope in found.slope + np.linspace(-0.2, 0.2, 2001):
        rest = pairs.exact - slope * pairs.heuristic
        free = float(rest.mean())
        low_first = np.sort(rest)
        limit = low_first[kind.exempt(1500)] if avoid is Avoid.FALSE_NEGATIVES else low_first[-1 - kind.exempt(1500)]
        intercept = min(free, limit) if avoid is Avoid.FALSE_NEGATIVES else max(free, limit)
        assert cost(pairs, float(slope), intercept) >= best * (1 - 1e-9)


def test_chance_constraint_that_does_not_bind_is_least_squares() -> None:
    pairs = some_pairs(300, 5)
    free = LeastSquares().fit(pairs)
    share = violations(pairs, free, Avoid.FALSE_NEGATIVES) / 300
    bound = ChanceConstrained(share + 1e-3).fit(pairs)
    assert (bound.slope, bound.intercept) == pytest.approx((free.slope, free.intercept), rel=1e-12)


def test_many_equal_pairs_are_no_trouble() -> None:
    h = np.repeat([0.1, 0.2, 0.3], 200)
    t = np.repeat([0.1, 0.15, 0.3], 200)
    found = ChanceConstrained(0.4).fit(Pairs(h, t))  # 200 may be above the line, and 200 are 240 at most
    assert violations(Pairs(h, t), found, Avoid.FALSE_NEGATIVES) <= 240
    assert cost(Pairs(h, t), found.slope, found.intercept) == pytest.approx(
        brute_force(Pairs(h[::200], t[::200]), 1, Avoid.FALSE_NEGATIVES) * 200, rel=1e-9
    )


def test_zero_is_no_buffer() -> None:
    buffer = Zero().fit(some_pairs(5, 0))
    distance = np.array([0.0, 0.1, 0.3])
    x = np.zeros((3, 2))
    assert np.array_equal(buffer(x, x, distance), np.zeros(3))
    assert np.array_equal(buffer.estimate(x, x, distance), distance)


def test_buffer_and_estimate_add_up_to_the_distance() -> None:
    buffer = LeastSquares().fit(some_pairs(50, 6))
    x, distance = np.zeros((4, 1)), np.array([0.0, 0.01, 0.2, 3.0])
    assert buffer(x, x, distance) + buffer.estimate(x, x, distance) == pytest.approx(distance)


def test_function_buffer_sees_inputs_and_examples() -> None:
    buffer = FunctionBuffer(lambda x, adversarial, distance: np.abs(adversarial - x).sum(axis=1) * distance)
    x, found = np.zeros((2, 3)), np.ones((2, 3))
    assert np.array_equal(buffer.estimate(x, found, np.array([1.0, 2.0])), [-2.0, -4.0])


@pytest.mark.parametrize(
    ("heuristic", "exact", "part"),
    [
        ([0.1, np.nan], [0.1, 0.2], "Row 1 has the heuristic distance nan"),
        ([0.1, 0.2], [np.inf, 0.2], "Row 0 has the exact distance inf"),
        ([0.1, -0.2], [0.1, 0.2], "Row 1 has the heuristic distance -0.2"),
        ([0.1, 0.2, 0.3], [0.1, 0.2], "3 heuristic and 2 exact"),
        ([], [], "shape (0,)"),
        ([[0.1]], [[0.1]], "shape (1, 1)"),
        (["a"], [0.1], "not numbers"),
    ],
)
def test_bad_pairs_are_named(heuristic: list, exact: list, part: str) -> None:
    with pytest.raises(InputError) as error:
        fit_buffer(Zero(), heuristic, exact)
    assert part in str(error.value)


@pytest.mark.parametrize("kind", [LeastSquares(), Quantile(0.1), ChanceConstrained()], ids=lambda kind: kind.name)
def test_a_line_needs_two_different_heuristic_distances(kind: LeastSquares) -> None:
    with pytest.raises(InputError, match="at least 2 pairs"):
        fit_buffer(kind, [0.1], [0.1])
    with pytest.raises(InputError, match="All 3 heuristic distances are 0.1"):
        fit_buffer(kind, [0.1, 0.1, 0.1], [0.1, 0.2, 0.3])


def test_multiplicative_needs_a_distance_above_zero() -> None:
    with pytest.raises(InputError, match="are 0"):
        fit_buffer(Multiplicative(), [0.0, 0.0], [0.1, 0.2])
    assert fit_buffer(Multiplicative(), [0.2, 0.2], [0.1, 0.1]).slope == pytest.approx(0.5)


@pytest.mark.parametrize("bad", [0.0, 1.0, -0.1, float("nan"), "0.1", True])
def test_tau_and_delta_are_shares(bad: object) -> None:
    with pytest.raises(InputError, match="tau"):
        Quantile(bad)
    if bad != 0.0 or isinstance(bad, bool):
        with pytest.raises(InputError, match="delta"):
            ChanceConstrained(bad)


def test_unknown_kinds_and_parameters_are_named() -> None:
    with pytest.raises(InputError, match="no buffer of kind 'cubic'; there are zero, least-squares, quantile"):
        buffer_kind("cubic")
    with pytest.raises(InputError, match="quantile buffer has no parameter 'delta'; it has tau"):
        buffer_kind("quantile", delta=0.1)
    with pytest.raises(InputError, match="false-negatives or false-positives"):
        buffer_kind("chance-constrained", avoid="nothing")
    assert buffer_kind("chance-constrained", avoid="false-positives").avoid is Avoid.FALSE_POSITIVES


def test_contradictions_are_pairs_whose_example_is_nearer_than_the_truth() -> None:
    assert Pairs(np.array([0.1, 0.2, 0.3]), np.array([0.1 + 1e-9, 0.21, 0.3])).contradictions == 1


@pytest.mark.parametrize("kind", EVERY, ids=lambda kind: kind.name)
def test_fits_do_not_depend_on_the_order_of_the_pairs(kind: Zero) -> None:
    pairs = some_pairs(80, 7)
    order = np.random.default_rng(0).permutation(80)
    one, other = kind.fit(pairs), kind.fit(pairs.at(order))
    assert (one.slope, one.intercept) == pytest.approx((other.slope, other.intercept), rel=1e-6, abs=1e-9)


def test_infinite_slopes_are_refused() -> None:
    with pytest.raises(InputError, match="slope is inf"):
        LineBuffer(Zero(), float("inf"))
