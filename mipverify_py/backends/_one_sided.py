"""Rows with two different finite ends as two rows, for solvers and files that know one right-hand side per row."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from bounds import MipModel
from onnx_models import Array


@dataclass(frozen=True, slots=True, eq=False)
class OneSidedRows:
    """Rows  A v  sense  right, equivalent to a model's.

    Nothing is computed, so nothing is rounded (a range written as start and length would be). Rows without a finite end
    are left out.

    Attributes:
        matrix: A, CSR of shape (n, columns).
        sense: shape (n,), one of "=", ">", "<".
        right: right-hand sides, shape (n,).
        source: shape (n,), the row of the model each comes from.
    """

    matrix: sparse.csr_array
    sense: NDArray[np.str_]
    right: Array
    source: NDArray[np.intp]

    @classmethod
    def of(cls, model: MipModel) -> OneSidedRows:
        """The rows of a model: equalities, then lower ends, then upper ends."""
        lower, upper = model.row_lower, model.row_upper
        equal = (lower == upper) & np.isfinite(lower)
        chosen = [
            np.flatnonzero(equal),
            np.flatnonzero(np.isfinite(lower) & ~equal),
            np.flatnonzero(np.isfinite(upper) & ~equal),
        ]
        source = np.concatenate(chosen)
        return cls(
            matrix=sparse.csr_array(model.matrix[source]),
            sense=np.repeat(np.array(["=", ">", "<"]), [len(c) for c in chosen]),
            right=np.concatenate([lower[chosen[0]], lower[chosen[1]], upper[chosen[2]]]),
            source=source,
        )

    @property
    def count(self) -> int:
        """Number of rows."""
        return len(self.source)

    def collect(self, values: Array, rows: int) -> Array:
        """Multipliers of these rows, shape (n,), as multipliers of the model's, shape (rows,): twins are added."""
        return np.bincount(self.source, weights=values, minlength=rows).astype(np.float64)


def count_one_sided(model: MipModel) -> int:
    """How many rows `OneSidedRows.of` would make, without making them."""
    lower, upper = np.isfinite(model.row_lower), np.isfinite(model.row_upper)
    return int(lower.sum() + upper.sum() - (lower & (model.row_lower == model.row_upper)).sum())
