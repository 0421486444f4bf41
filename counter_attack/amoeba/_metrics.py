"""Figures about boxes: how large they are, and how alike the shapes of two of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike

from counter_attack.amoeba._box import AsymmetricBox
from onnx_models import Array
from onnx_models.errors import InputError


def mean_side(boxes: Sequence[AsymmetricBox]) -> float:
    """Mean over boxes of the geometric mean of their sides: the paper's measure of size; NaN without boxes."""
    return float(np.mean([box.geometric_mean for box in boxes])) if boxes else float("nan")


@dataclass(frozen=True, slots=True)
class ShapeComparison:
    """How alike two boxes are in widths e2 + e1, how robust each feature is, and skews e2 - e1, in which direction.

    Attributes:
        cosine_width: cosine of the angle between the widths as vectors, in [0, 1]; None where one is zero.
        cosine_skew: likewise of the skews, in [-1, 1].
        wasserstein_width: Wasserstein-1 distance between the distributions of the widths over the features, which does
            not see which feature has which; in units of the input, >= 0.
        wasserstein_skew: likewise of the skews.
    """

    cosine_width: float | None
    cosine_skew: float | None
    wasserstein_width: float
    wasserstein_skew: float


def compare_shapes(first: AsymmetricBox, second: AsymmetricBox) -> ShapeComparison:
    """The comparison of two boxes over the same features; raises InputError for other ones."""
    from scipy.stats import wasserstein_distance

    if first.size != second.size:
        raise InputError(f"The boxes have {first.size} and {second.size} features; only boxes of one model compare.")
    widths, skews = (first.sides, second.sides), (first.e2 - first.e1, second.e2 - second.e1)
    return ShapeComparison(
        _cosine(*widths),
        _cosine(*skews),
        float(wasserstein_distance(*widths)),
        float(wasserstein_distance(*skews)),
    )


def _cosine(first: Array, second: Array) -> float | None:
    size = float(np.linalg.norm(first) * np.linalg.norm(second))
    return None if size == 0.0 else float(np.clip(first @ second / size, -1.0, 1.0))


@dataclass(frozen=True, slots=True)
class PairMeans:
    """Means of comparisons over pairs of boxes.

    Attributes:
        pairs: how many.
        cosine_width: mean over those pairs that have one; None if none has. The others likewise.
        cosine_skew: see `ShapeComparison`.
        wasserstein_width: see `ShapeComparison`.
        wasserstein_skew: see `ShapeComparison`.
    """

    pairs: int
    cosine_width: float | None
    cosine_skew: float | None
    wasserstein_width: float | None
    wasserstein_skew: float | None


def compare_classes(boxes: Sequence[AsymmetricBox], classes: ArrayLike) -> tuple[PairMeans, PairMeans]:
    """Means over all pairs of boxes of one class, and over all pairs of different classes; `classes` of shape (N,)."""
    kept = np.asarray(classes)
    if kept.shape != (len(boxes),):
        raise InputError(f"There are {len(boxes)} boxes and {kept.size} classes; give one class per box.")
    same: list[ShapeComparison] = []
    different: list[ShapeComparison] = []
    for (first, j), (second, k) in combinations(zip(boxes, kept, strict=True), 2):
        (same if j == k else different).append(compare_shapes(first, second))
    return _means(same), _means(different)


def _means(found: Sequence[ShapeComparison]) -> PairMeans:
    def mean(name: str) -> float | None:
        values = [value for one in found if (value := getattr(one, name)) is not None]
        return float(np.mean(values)) if values else None

    return PairMeans(len(found), *(mean(name) for name in ShapeComparison.__dataclass_fields__))
