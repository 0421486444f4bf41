"""How well a kind of buffer does on pairs that it was not fitted on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from counter_attack.detection._buffers import BufferKind
from counter_attack.detection._pairs import Pairs
from onnx_models import Array
from onnx_models.errors import InputError


@dataclass(frozen=True, slots=True)
class FoldScore:
    """One fold: the buffer is fitted on all other pairs and tried on these, with e(h) the estimate of t.

    Attributes:
        pairs: pairs in the fold.
        coverage: share of them with t <= e(h); near tau for a quantile buffer.
        r2: coefficient of determination of e(h) for t, at most 1, None where all t are equal.
        mean_absolute_error: mean of |t - e(h)|.
        root_mean_squared_error: root of the mean of (t - e(h))^2.
    """

    pairs: int
    coverage: float
    r2: float | None
    mean_absolute_error: float
    root_mean_squared_error: float


@dataclass(frozen=True, slots=True)
class Validation:
    """The scores of k folds.

    Attributes:
        kind: what was fitted.
        folds: one score each.
    """

    kind: BufferKind
    folds: tuple[FoldScore, ...]

    def mean(self, score: str) -> float | None:
        """Mean over the folds of a score, by its name in `FoldScore`; None if a fold has none."""
        values = self._values(score)
        return None if values is None else float(values.mean())

    def deviation(self, score: str) -> float | None:
        """Its standard deviation over the folds (of the population, as published); None if a fold has none."""
        values = self._values(score)
        return None if values is None else float(values.std())

    def _values(self, score: str) -> Array | None:
        values = [getattr(fold, score) for fold in self.folds]
        return None if None in values else np.array(values, dtype=np.float64)


def validate(kind: BufferKind, pairs: Pairs, *, folds: int = 5, seed: int = 0) -> Validation:
    """Scores of `folds` folds, at least 2, drawn at random with this seed (scikit-learn's KFold).

    Raises:
        InputError: fewer than two pairs per fold, or too few different ones to fit on.
    """
    from sklearn.model_selection import KFold

    if folds < 2:
        raise InputError(f"Validation takes at least 2 folds; got {folds}.")
    pairs.require(2 * folds, f"Validation in {folds} folds")
    splits = KFold(folds, shuffle=True, random_state=seed).split(pairs.heuristic)
    return Validation(kind, tuple(_score(kind, pairs.at(train), pairs.at(test)) for train, test in splits))


def _score(kind: BufferKind, train: Pairs, test: Pairs) -> FoldScore:
    from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

    estimate, exact = kind.fit(train).line(test.heuristic), test.exact
    return FoldScore(
        pairs=len(test),
        coverage=float(np.mean(exact <= estimate)),
        r2=float(r2_score(exact, estimate)) if exact.min() < exact.max() else None,
        mean_absolute_error=float(mean_absolute_error(exact, estimate)),
        root_mean_squared_error=float(root_mean_squared_error(exact, estimate)),
    )
