"""Tightened pre-activation bounds: valid in rational arithmetic, and as tight as the linear program."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.optimize import linprog

from bounds import Bounds, LinearForms
from mipverify_py.proof._tighten import AffineUnits
from onnx_models import Array
from tests.helpers.proofs import random_box, samples, spoiled

seeds = st.integers(0, 2**32 - 1)


def exact(row: Array, point: Array, constant: float) -> Fraction:
    """row @ point + constant."""
    pairs = zip(row, point, strict=True)
    return sum((Fraction(float(a)) * Fraction(float(b)) for a, b in pairs), Fraction(float(constant)))


def random_units(rng: np.random.Generator, n: int, filled: float, scale: int) -> tuple[Array, Array]:
    """Weights of shape (4, n), a share of them not 0, and biases."""
    weight = rng.normal(size=(4, n)) * (rng.random((4, n)) < filled) * 10.0 ** rng.integers(-scale, scale + 1, (4, 1))
    return weight, rng.normal(size=4)


def random_form(rng: np.random.Generator, n: int, scale: int) -> LinearForms:
    """Two forms; only slopes and constants matter."""
    slopes = rng.normal(size=(2, n)) * 10.0 ** rng.integers(-scale, scale + 1, (2, 1)) * (rng.random((2, n)) < 0.8)
    return LinearForms(slopes, rng.normal(size=2), np.full(2, np.inf))


@settings(max_examples=75, deadline=None)
@given(seeds, st.sampled_from([3, 30]), st.sampled_from([0.1, 1.0]), st.sampled_from([0, 6, 150]), st.booleans())
def test_points_that_reach_the_threshold_are_inside(
    seed: int, n: int, filled: float, scale: int, hostile: bool
) -> None:
    """For n = 30 and few weights only entries that are not 0 are kept; a tenth of the points reaches the threshold."""
    rng = np.random.default_rng(seed)
    weight, bias = random_units(rng, n, filled, scale)
    forms, box = random_form(rng, n, scale), random_box(rng, n, 1.0)
    points = samples(rng, box, 20)
    heights = [[exact(row, x, k) for x in points] for row, k in zip(forms.slopes, forms.constant, strict=True)]
    threshold = float(sorted(heights[0])[-4])
    gammas = rng.random((2, 2, 4)) * 10.0 ** rng.integers(-scale - 1, scale + 2, (2, 2, 4))
    with np.errstate(all="ignore"):
        units = AffineUnits(sparse.csr_array(weight), bias, box)
        lower, upper = units.bounds(forms, threshold, spoiled(rng, gammas) if hostile else gammas)
    for form, row in enumerate(heights):
        for x in (x for x, height in zip(points, row, strict=True) if height >= Fraction(threshold)):
            for unit in range(4):
                z = exact(weight[unit], x, bias[unit])
                assert lower[form, unit] == -np.inf or Fraction(float(lower[form, unit])) <= z
                assert upper[form, unit] == np.inf or z <= Fraction(float(upper[form, unit]))


@pytest.mark.parametrize(("n", "filled"), [(5, 1.0), (40, 0.1)])
@pytest.mark.parametrize("seed", range(6))
def test_the_best_multiplier_gives_the_optimum_of_the_linear_program(n: int, filled: float, seed: int) -> None:
    """max and min of z over the box with L >= threshold; as a function of gamma the bound has kinks at |w_i / g_i|."""
    rng = np.random.default_rng(seed)
    weight, bias = random_units(rng, n, filled, 0)
    forms, box = random_form(rng, n, 0), random_box(rng, n, 1.0)
    slope, constant = forms.slopes[0], forms.constant[0]
    highest = np.maximum(slope * box.lower, slope * box.upper).sum() + constant
    lowest = np.minimum(slope * box.lower, slope * box.upper).sum() + constant
    threshold = lowest + 0.8 * (highest - lowest)
    units = AffineUnits(sparse.csr_array(weight), bias, box)
    limits = list(zip(box.lower, box.upper, strict=True))
    for unit, row in enumerate(weight):
        used = slope != 0
        kinks = np.unique(np.append(np.abs(row[used] / slope[used]), 1e-30))
        kinks = kinks[kinks > 0]
        gammas = np.zeros((len(kinks), 2, 4))
        gammas[:, :, unit] = kinks[:, None]
        repeated = LinearForms(
            *(np.repeat(a[:1], len(kinks), axis=0) for a in (forms.slopes, forms.constant, forms.bound))
        )
        lower, upper = units.bounds(repeated, threshold, gammas)
        for sign, best in ((1.0, lower[:, unit].max()), (-1.0, -upper[:, unit].min())):
            answer = linprog(sign * row, A_ub=-slope[None], b_ub=[constant - threshold], bounds=limits, method="highs")
            assert best == pytest.approx(answer.fun + sign * bias[unit], abs=1e-6)


@pytest.mark.parametrize("gamma", [0.0, -0.0, -1.0, np.nan, np.inf, -np.inf])
def test_what_is_no_positive_number_tightens_nothing(gamma: float) -> None:
    units = AffineUnits(sparse.csr_array(np.array([[1.0, 2.0]])), np.zeros(1), Bounds.of([0, 0], [1, 1]))
    lower, upper = units.bounds(LinearForms(np.ones((1, 2)), np.zeros(1), np.ones(1)), 1.5, np.full((1, 2, 1), gamma))
    assert lower.tolist() == [[-np.inf]] and upper.tolist() == [[np.inf]]


@pytest.mark.parametrize("constant", [np.inf, 1e308])
def test_a_form_without_a_finite_constant_tightens_nothing(constant: float) -> None:
    units = AffineUnits(sparse.csr_array(np.array([[1.0, 2.0]])), np.zeros(1), Bounds.of([0, 0], [1, 1]))
    with np.errstate(all="ignore"):
        forms = LinearForms(np.ones((1, 2)), np.array([constant]), np.array([np.inf]))
        lower, upper = units.bounds(forms, -1e308, np.ones((1, 2, 1)))
    assert lower.tolist() == [[-np.inf]] and upper.tolist() == [[np.inf]]


def test_an_example_by_hand() -> None:
    """x1 + x2 >= 1.5 on the unit square leaves x1 >= 0.5, and x1 + 2 x2 from 2 to 3."""
    units = AffineUnits(sparse.csr_array(np.array([[1.0, 0.0], [1.0, 2.0]])), np.zeros(2), Bounds.of([0, 0], [1, 1]))
    lower, upper = units.bounds(LinearForms(np.ones((1, 2)), np.zeros(1), np.ones(1)), 1.5, np.ones((1, 2, 2)))
    assert lower[0] == pytest.approx([0.5, 1.5]) and upper[0] == pytest.approx([1.5, 3.5])
    lower, _ = units.bounds(LinearForms(np.ones((1, 2)), np.zeros(1), np.ones(1)), 1.5, np.full((1, 2, 2), 2.0))
    assert lower[0, 1] == pytest.approx(2.0)
