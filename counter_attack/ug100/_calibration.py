"""Quantile calibration: how well a quantile of the exact distance can be told from the attacks' distance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from onnx_models import Array
from onnx_models.errors import InputError


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """A quantile regression of exact on found distances, validated on held-out folds.

    Attributes:
        quantile: the share of exact distances that are to lie at or below their prediction.
        shares: the share that does, per held-out fold.
        predicted: the prediction for each input by the model that did not see it, shape (N,).
        fold: the fold that held it out, shape (N,).
    """

    quantile: float
    shares: tuple[float, ...]
    predicted: Array
    fold: Array

    @property
    def mean(self) -> float:
        """Mean of the shares."""
        return float(np.mean(self.shares))

    @property
    def spread(self) -> float:
        """Population standard deviation of the shares."""
        return float(np.std(self.shares))


def calibrate(found: ArrayLike, exact: ArrayLike, quantile: float, *, folds: int = 5, seed: int = 0) -> Calibration:
    """Quantiles of exact distances from found ones, by linear regression (Koenker and Bassett 1978), cross-validated.

    Each model minimises the mean of max(q * u, (q - 1) * u) over u = exact - (slope * found + intercept), without a
    penalty, by linear programming.

    Args:
        found: distances by attacks, finite, shape (N,).
        exact: exact distances, finite, shape (N,).
        quantile: q, between 0 and 1.
        folds: parts of nearly equal size, each held out once, at least 2.
        seed: of the random division into folds.

    Raises:
        InputError: fewer than two inputs per fold, or arguments out of range.
    """
    from sklearn.linear_model import QuantileRegressor

    a, t = np.asarray(found, dtype=np.float64), np.asarray(exact, dtype=np.float64)
    if a.ndim != 1 or a.shape != t.shape or not (np.all(np.isfinite(a)) and np.all(np.isfinite(t))):
        raise InputError(f"Calibration needs two rows of finite distances; got shapes {a.shape} and {t.shape}.")
    if not 0 < quantile < 1:
        raise InputError(f"A quantile lies between 0 and 1; got {quantile}.")
    if folds < 2 or len(t) < 2 * folds:
        raise InputError(f"{len(t)} inputs cannot be divided into {folds} folds; take 2 or more, of 2 inputs or more.")
    scale = float(np.abs(t).mean()) or 1.0  # the tolerances of linear programs are absolute, the regression is not
    parts = np.array_split(np.random.default_rng(seed).permutation(len(t)), folds)
    predicted, fold, shares = np.empty(len(t)), np.empty(len(t)), []
    for number, held in enumerate(parts):
        rest = np.concatenate([part for other, part in enumerate(parts) if other != number])
        model = QuantileRegressor(quantile=quantile, alpha=0.0, solver="highs")
        model.fit(a[rest, None] / scale, t[rest] / scale)
        predicted[held] = scale * model.predict(a[held, None] / scale)
        fold[held] = number
        shares.append(float((t[held] <= predicted[held]).mean()))
    return Calibration(quantile, tuple(shares), predicted, fold)
