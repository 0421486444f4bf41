"""Sizes and shapes of boxes, against figures by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from counter_attack.amoeba import AsymmetricBox, compare_classes, compare_shapes, mean_side
from onnx_models.errors import InputError


def box(e1: list[float], e2: list[float]) -> AsymmetricBox:
    return AsymmetricBox(np.zeros(len(e1)), np.array(e1), np.array(e2))


def test_sizes_are_averaged() -> None:
    assert mean_side([box([1.0, 1.0], [1.0, 7.0]), box([1.0, 0.0], [0.0, 1.0])]) == pytest.approx((4.0 + 1.0) / 2)
    assert math.isnan(mean_side([]))


def test_shapes_of_two_boxes() -> None:
    # Widths (4, 2) and (2, 4), skews (2, 0) and (0, -2).
    found = compare_shapes(box([1.0, 1.0], [3.0, 1.0]), box([1.0, 3.0], [1.0, 1.0]))
    assert found.cosine_width == pytest.approx(16 / 20) and found.cosine_skew == pytest.approx(0.0)
    assert found.wasserstein_width == pytest.approx(0.0)  # the same widths, on other features
    assert found.wasserstein_skew == pytest.approx(2.0)


def test_a_box_is_like_itself_and_like_its_double() -> None:
    one = box([1.0, 0.5], [2.0, 0.0])
    assert compare_shapes(one, one).wasserstein_skew == 0.0
    found = compare_shapes(one, one.scaled(2.0))
    assert found.cosine_width == pytest.approx(1.0) and found.cosine_skew == pytest.approx(1.0)
    assert found.wasserstein_width == pytest.approx((3.0 + 0.5) / 2)


def test_symmetric_boxes_have_no_direction() -> None:
    found = compare_shapes(box([1.0, 1.0], [1.0, 1.0]), box([1.0, 2.0], [0.0, 1.0]))
    assert found.cosine_skew is None and found.cosine_width is not None


def test_pairs_are_split_by_class() -> None:
    boxes = [box([1.0, 0.0], [1.0, 1.0]), box([2.0, 0.0], [2.0, 2.0]), box([0.0, 1.0], [1.0, 1.0])]
    same, different = compare_classes(boxes, [4, 4, 7])
    assert (same.pairs, different.pairs) == (1, 2)
    assert same.cosine_width == pytest.approx(1.0) and same.cosine_skew == pytest.approx(1.0)
    assert different.cosine_width == pytest.approx(4 / 5) and different.cosine_skew == pytest.approx(0.0)
    nothing, _ = compare_classes(boxes[:1], [4])
    assert nothing.pairs == 0 and nothing.cosine_width is None


def test_bad_comparisons_are_refused() -> None:
    with pytest.raises(InputError, match="features"):
        compare_shapes(box([1.0], [1.0]), box([1.0, 1.0], [1.0, 1.0]))
    with pytest.raises(InputError, match="one class per box"):
        compare_classes([box([1.0], [1.0])], [1, 2])
