"""The lower bound that row multipliers prove for a linear program."""

from __future__ import annotations

import numpy as np

from bounds import MipModel
from mipverify_py._tolerances import SOLVER_FEASIBILITY
from onnx_models import Array


def dual_value(model: MipModel, row_duals: Array) -> float | None:
    """The Lagrangian bound  offset + min over the row and column boxes of  y . r + (cost - A^T y) . v.

    By weak duality it is at most the optimum of the model (integer or not) for *any* multipliers y, whoever they come
    from; at optimal ones of a linear program it equals the optimum. So the bound of a linear program need not be taken
    on trust. Computed in float64 without directed rounding; where a box is unbounded, a reduced cost below the dual
    tolerance asked of the solvers counts as zero.

    Args:
        model: the linear or mixed-integer program.
        row_duals: y, shape (rows,), signs as in `MipSolution.row_duals`; an entry whose sign asks for an infinite end
            of its row is taken as zero.

    Returns:
        The bound, or None if it is minus infinity.
    """
    ends = np.where(row_duals > 0, model.row_lower, model.row_upper)
    duals = np.where(np.isfinite(ends), row_duals, 0.0)
    reduced = model.cost - model.matrix.T @ duals
    columns = np.where(reduced > 0, model.column_lower, model.column_upper)
    open_ended = ~np.isfinite(columns)
    scale = np.maximum(1.0, np.abs(model.cost))
    if np.any(np.abs(reduced[open_ended]) > SOLVER_FEASIBILITY * scale[open_ended]):
        return None
    rows = float(duals @ np.where(np.isfinite(ends), ends, 0.0))
    return model.offset + rows + float(reduced @ np.where(open_ended, 0.0, columns))
