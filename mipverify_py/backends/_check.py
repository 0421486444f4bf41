"""How far a point is from satisfying a model: numpy only, no solver."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bounds import MipModel
from onnx_models import Array


@dataclass(frozen=True, slots=True)
class Violations:
    """Largest violation of each kind, 0 where all hold; NaN points count as infinitely wrong.

    Attributes:
        rows: of row_lower <= A v <= row_upper and of the quadratic rows.
        columns: of column_lower <= v <= column_upper.
        integrality: distance of an integer column from the nearest whole number.
    """

    rows: float
    columns: float
    integrality: float

    @property
    def largest(self) -> float:
        """The largest of the three."""
        return max(self.rows, self.columns, self.integrality)


def violations(model: MipModel, point: Array, *, relative: bool = False) -> Violations:
    """Violations of `model` at `point`, shape (columns,).

    Absolute by default; with `relative`, the miss of a bound b is divided by max(1, |b|), the measure that solvers use
    for their tolerances. The activity A v is a float64 sum: differences of about 1e-16 times its terms are noise.
    """
    assert point.shape == (model.columns,)
    if not np.all(np.isfinite(point)):
        return Violations(np.inf, np.inf, np.inf)
    whole = point[model.integer]
    squares = np.array([row.activity(point) for row in model.quadratic_rows])
    limits = np.array([row.upper for row in model.quadratic_rows])
    linear = _outside(model.matrix @ point, model.row_lower, model.row_upper, relative)
    return Violations(
        rows=max(linear, _outside(squares, np.full(len(limits), -np.inf), limits, relative)),
        columns=_outside(point, model.column_lower, model.column_upper, relative),
        integrality=float(np.abs(whole - np.round(whole)).max(initial=0.0)),
    )


def _outside(values: Array, lower: Array, upper: Array, relative: bool) -> float:
    worst = 0.0
    for bound, sign in ((lower, 1.0), (upper, -1.0)):
        finite = np.isfinite(bound)
        missing = sign * (bound[finite] - values[finite])
        if relative:
            missing = missing / np.maximum(1.0, np.abs(bound[finite]))
        worst = max(worst, float(missing.max(initial=0.0)))
    return worst
