"""Bounds of boxes, and where to cut them next."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bounds import BatchedForms, BatchedNetwork, RowChoices
from mipverify_py._query import Query
from onnx_models import Array

SLOPE_SHARE = 0.5
"""Weight of a form's own slope beside the triangles' gaps in the choice of a cut; see `BoxBounder`."""

RESOLUTION = 1e-11
"""A bound that a point attains to this share of the logits' size cannot be improved by cutting the box."""


@dataclass(frozen=True, slots=True, eq=False)
class BoundedBoxes:
    """What is known of K boxes.

    Attributes:
        bound: upper bounds of f_j - f_c, shape (K, T); -inf for targets that were not asked for.
        scores: what a cut along each input promises, shape (K, n).
        points: the more promising of the middle and the corner at which the largest bound's form is largest, (K, n).
        margins: max over targets of f_j - f_c there, in floats, shape (K,).
        exact: whether a point of the box attains the largest bound, up to rounding, shape (K,).
    """

    bound: Array
    scores: Array
    points: Array
    margins: Array
    exact: NDArray[np.bool_]

    @classmethod
    def stack(cls, parts: list[BoundedBoxes]) -> BoundedBoxes:
        """All boxes of all parts."""
        names = ("bound", "scores", "points", "margins", "exact")
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


class BoxBounder:
    """Bounds boxes with all targets that are open on them at once: they share the bounds of all hidden units.

    A box's bound is loose by what the lines of unstable units lose. Each unit's loss is divided among the inputs in
    proportion to what they contribute to the width of its pre-activation; an input's score is its part of all losses
    plus a share of what the form itself varies along it, for the target or choice of lines where that is largest.
    """

    def __init__(self, query: Query, device: str) -> None:
        network, targets = query.network, list(query.target_classes)
        rows = np.eye(network.output_size)[targets]
        rows[:, query.reference] -= 1.0
        self._query, self._rows = query, rows
        self._choices, self._batched = RowChoices.of(network, rows), BatchedNetwork(network, device)
        self.boxes_at_once = self._batched.boxes_at_once

    def __call__(self, lower: Array, upper: Array, wanted: NDArray[np.bool_]) -> BoundedBoxes:
        """Bounds of K boxes, shape (K, n), for the targets wanted on each, shape (K, T), at least one."""
        import torch

        device, choices = self._batched.device, self._choices
        box, choice = np.nonzero(wanted[:, choices.owners])
        with torch.no_grad():
            low, high = (torch.tensor(end, device=device) for end in (lower, upper))
            bounds = self._batched.over(low, high, tails=choices.tails, slopes=True)
            numbers = [torch.tensor(part, device=device) for part in (box, choice)]
            forms = bounds.forms(choices, numbers[0], numbers[1], gaps=True)
        return self._judged(lower, upper, wanted, (box, choices.owners[choice]), forms)

    def _judged(
        self,
        lower: Array,
        upper: Array,
        wanted: NDArray[np.bool_],
        where: tuple[NDArray[np.intp], NDArray[np.intp]],
        forms: BatchedForms,
    ) -> BoundedBoxes:
        box, _ = where
        values, slopes = forms.bound.cpu().numpy(), forms.slopes.cpu().numpy()
        assert forms.gaps is not None
        bound = np.where(wanted, np.inf, -np.inf)
        np.minimum.at(bound, where, values)
        scores = np.zeros(lower.shape)
        promise = SLOPE_SHARE * np.abs(slopes) * (upper - lower)[box] + forms.gaps.cpu().numpy()
        np.maximum.at(scores, box, np.where(np.isfinite(promise), promise, 0.0))
        leader = np.argmax(bound, axis=1)
        order = np.lexsort((values, bound[where] < bound[box, leader[box]], box))
        form = order[np.searchsorted(box[order], np.arange(len(lower)))]
        return self._pointed(lower, upper, slopes[form], (bound, leader), scores)

    def _pointed(
        self,
        lower: Array,
        upper: Array,
        slopes: Array,
        found: tuple[Array, NDArray[np.intp]],
        scores: Array,
    ) -> BoundedBoxes:
        bound, leader = found
        corners, middles = np.where(slopes > 0, upper, lower), lower + 0.5 * (upper - lower)
        logits = self._query.network.forward_batch(np.concatenate([corners, middles]))
        margins = (logits @ self._rows.T).reshape(2, len(lower), -1)
        rows = np.arange(len(lower))
        doubt = RESOLUTION * (1.0 + np.abs(logits[: len(lower)]).max(axis=1))
        exact = bound[rows, leader] - margins[0, rows, leader] <= doubt
        best = margins.max(axis=2)
        corner_better = best[0] >= best[1]
        return BoundedBoxes(bound, scores, np.where(corner_better[:, None], corners, middles), best.max(axis=0), exact)
