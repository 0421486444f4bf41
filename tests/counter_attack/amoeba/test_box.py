"""Asymmetric boxes: their ends, their size, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from counter_attack.amoeba import AsymmetricBox
from onnx_models.errors import InputError

finite = st.floats(0.0, 1.0, allow_subnormal=False)


def test_figures_of_a_box() -> None:
    box = AsymmetricBox(np.array([0.5, 0.25]), np.array([0.25, 0.0]), np.array([0.25, 0.125]))
    assert box.lower.tolist() == [0.25, 0.25] and box.upper.tolist() == [0.75, 0.375]
    assert box.sides.tolist() == [0.5, 0.125]
    assert box.log_volume == pytest.approx(math.log(0.5 * 0.125))
    assert box.geometric_mean == pytest.approx(0.25)
    assert box.contains([[0.25, 0.3], [0.8, 0.3]]).tolist() == [True, False]
    assert box.scaled(0.5).sides.tolist() == [0.25, 0.0625]


def test_a_side_without_length_has_no_volume() -> None:
    box = AsymmetricBox(np.zeros(2), np.zeros(2), np.array([0.0, 1.0]))
    assert box.log_volume == -math.inf and box.geometric_mean == 0.0


def test_boxes_end_where_the_domain_does() -> None:
    box = AsymmetricBox.clipped([0.1, 0.5, 1.0], 0.3, 0.3)
    assert box.lower.tolist() == pytest.approx([0.0, 0.2, 0.7])
    assert box.upper.tolist() == pytest.approx([0.4, 0.8, 1.0])
    assert box.lower[0] == 0.0 and box.upper[2] == 1.0


@given(finite, finite, finite)
def test_ends_are_those_given_or_one_rounding_inside(first: float, second: float, third: float) -> None:
    low, x, high = sorted((first, second, third))
    box = AsymmetricBox.between([x], [low], [high])
    assert low <= box.lower[0] <= x <= box.upper[0] <= high
    # No larger e1 or e2 would do, and the unit interval's own ends are always reached.
    assert x - np.nextafter(box.e1[0], math.inf) < low or box.lower[0] == low
    assert x + np.nextafter(box.e2[0], math.inf) > high or box.upper[0] == high
    whole = AsymmetricBox.between([x], [0.0], [1.0])
    assert whole.lower[0] == 0.0 and whole.upper[0] == 1.0


def test_a_side_without_length_has_no_sign() -> None:
    box = AsymmetricBox.between([0.0, 1.0], [0.0, 0.0], [1.0, 1.0])
    assert not np.signbit(box.e1).any() and not np.signbit(AsymmetricBox([0.5], [-0.0], [-0.0]).sides).any()


def test_boxes_are_frozen_copies() -> None:
    e1 = np.ones(2)
    box = AsymmetricBox(np.zeros(2), e1, np.ones(2))
    e1[0] = 7.0
    assert box.e1.tolist() == [1.0, 1.0]
    with pytest.raises(ValueError, match="read-only"):
        box.e1[0] = 2.0


@pytest.mark.parametrize(
    ("e1", "e2", "said"),
    [([-0.1, 0.1], [0.1, 0.1], "at least 0"), ([0.1], [0.1, 0.1], "shape"), ([np.nan, 0.1], [0.1, 0.1], "finite")],
)
def test_bad_boxes_are_refused(e1: list[float], e2: list[float], said: str) -> None:
    with pytest.raises(InputError, match=said):
        AsymmetricBox(np.zeros(2), np.array(e1), np.array(e2))


def test_the_centre_has_to_be_inside() -> None:
    with pytest.raises(InputError, match="outside"):
        AsymmetricBox.clipped([1.5], 0.1, 0.1)
