"""What can be said of a model before any solver sees it: malformed numbers, a canonical matrix, trivial answers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import sparse

from bounds import MipModel
from mipverify_py.backends._base import Answer, SolveStatus
from onnx_models import Array
from onnx_models.errors import InputError


def canonical(model: MipModel) -> MipModel:
    """The same model with int32 indices, sorted, without duplicates or stored zeros: what every solver accepts.

    Raises:
        InputError: NaN anywhere, an infinite coefficient, cost or offset, a bound infinite on the wrong side, or a
            negative weight of a square, which would make the model non-convex.
    """
    _check_numbers(model)
    quadratic = model.quadratic if model.quadratic is not None and np.any(model.quadratic) else None
    matrix = model.matrix.astype(np.float64, copy=True)
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    indices, starts = matrix.indices.astype(np.int32), matrix.indptr.astype(np.int32)
    return replace(
        model, matrix=sparse.csr_array((matrix.data, indices, starts), shape=matrix.shape), quadratic=quadratic
    )


def trivial_answer(model: MipModel) -> Answer | None:
    """The answer to a model that needs no solver, or None.

    Solvers disagree most on these: bounds that cross, rows without coefficients, no columns at all. Exact comparisons
    settle them.
    """
    empty = np.diff(model.matrix.indptr) == 0
    if (
        np.any(model.column_lower > model.column_upper)
        or np.any(model.row_lower > model.row_upper)
        or np.any(model.row_lower[empty] > 0)
        or np.any(model.row_upper[empty] < 0)
        or any(row.upper < 0 for row in model.quadratic_rows)
    ):
        return Answer(SolveStatus.INFEASIBLE)
    if model.columns == 0:
        return Answer(SolveStatus.OPTIMAL, np.zeros(0), model.offset, np.zeros(model.rows))
    return None


def _check_numbers(model: MipModel) -> None:
    squares = [row.weights for row in model.quadratic_rows]
    squares += [] if model.quadratic is None else [model.quadratic]
    finite: dict[str, Array] = {
        "matrix": model.matrix.data,
        "cost": model.cost,
        "offset": np.asarray([model.offset], np.float64),
        "quadratic": np.concatenate([np.zeros(0), *squares]),
        "quadratic rows": np.array([row.upper for row in model.quadratic_rows], np.float64),
    }
    for name, values in finite.items():
        if not np.all(np.isfinite(values)):
            raise InputError(f"The model's {name} holds {_first(values, ~np.isfinite(values))}; it must be finite.")
    if np.any(finite["quadratic"] < 0):
        raise InputError("The model has a square with a negative weight, so it is not convex.")
    lower = {"row_lower": model.row_lower, "column_lower": model.column_lower}
    upper = {"row_upper": model.row_upper, "column_upper": model.column_upper}
    for name, values in (lower | upper).items():
        wrong = np.isnan(values) | (values == (np.inf if name in lower else -np.inf))
        if np.any(wrong):
            raise InputError(f"The model's {name} holds {_first(values, wrong)}, which bounds nothing sensibly.")


def _first(values: Array, wrong: np.ndarray) -> str:
    index = int(np.argmax(wrong))
    return f"{float(values[index])!r} at index {index}"
