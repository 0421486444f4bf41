"""How well distances found by attacks stand for exact ones: the three figures of the UG100 tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from onnx_models import Array
from onnx_models.errors import InputError

EIGHT_BIT: Final = 1 / 255
"""One step of an 8-bit pixel."""


@dataclass(frozen=True, slots=True)
class Quality:
    """Distances a by attacks against exact distances t, over the inputs where an attack succeeded.

    Attributes:
        inputs: inputs that have an exact distance.
        success: share of them, in [0, 1], with a success; None without inputs. The other figures are about these.
        difference: (mean(a) - mean(t)) / mean(t): a relative difference of means, not a mean of relative differences;
            None without a success, or where mean(t) is 0.
        below: share, in [0, 1], with |t - a| < 1/255; None without a success.
        r2: squared Pearson correlation of a and t, in [0, 1]; None where either does not vary.
    """

    inputs: int
    success: float | None
    difference: float | None
    below: float | None
    r2: float | None


def quality(found: ArrayLike, exact: ArrayLike) -> Quality:
    """The quality of distances found (NaN: failure) for exact ones (finite, >= 0), both of shape (N,).

    Raises:
        InputError: shapes that do not fit, or an exact distance that is not a finite number of at least 0.
    """
    a, t = np.asarray(found, dtype=np.float64), np.asarray(exact, dtype=np.float64)
    if a.ndim != 1 or a.shape != t.shape:
        raise InputError(f"Distances found have shape {a.shape} and exact ones {t.shape}; expected (N,) twice.")
    if not np.all(np.isfinite(t) & (t >= 0)):
        raise InputError("Exact distances have to be finite and at least 0; leave out the inputs that have none.")
    return measured(a, t)


def measured(a: Array, t: Array) -> Quality:
    """As `quality`, for arguments known to be sound."""
    success = ~np.isnan(a)
    count, successes = len(t), int(success.sum())
    share = successes / count if count else None
    if not successes:
        return Quality(count, share, None, None, None)
    a, t = a[success], t[success]
    mean = t.mean()
    return Quality(
        inputs=count,
        success=share,
        difference=float((a.mean() - mean) / mean) if mean > 0 else None,
        below=float((np.abs(t - a) < EIGHT_BIT).mean()),
        r2=_r2(a, t),
    )


def _r2(a: Array, t: Array) -> float | None:
    if np.ptp(a) == 0 or np.ptp(t) == 0:
        return None
    x, y = a - a.mean(), t - t.mean()
    # Scaled first, so that squares of tiny deviations do not vanish; rounding must not lift a share above 1.
    x, y = x / np.abs(x).max(), y / np.abs(y).max()
    return min(float((x @ y) ** 2 / ((x @ x) * (y @ y))), 1.0)
