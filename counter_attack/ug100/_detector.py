"""How well a threshold on the attacks' distance tells which inputs are not robust."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from onnx_models import Array


def f1_curve(found: ArrayLike, exact: ArrayLike, eps: ArrayLike) -> Array:
    """F1 = 2 TP / (2 TP + FP + FN) of the detector `found <= eps` against the truth `exact <= eps`, per eps.

    Args:
        found: distances by attacks, shape (N,); NaN (a failure) is never at most eps.
        exact: exact distances, finite, shape (N,).
        eps: radii, shape (K,).

    Returns:
        Shape (K,); NaN where no input is near enough by either distance, so that there is nothing to detect.
    """
    radii = np.asarray(eps, dtype=np.float64)[:, None]
    told, true = np.asarray(found, dtype=np.float64) <= radii, np.asarray(exact, dtype=np.float64) <= radii
    hits, either = (told & true).sum(axis=1), told.sum(axis=1) + true.sum(axis=1)
    return np.where(either > 0, 2 * hits / np.maximum(either, 1), np.nan)
