"""Small mixed-integer programs with known answers, random ones, and exact oracles for them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import swiglpk as glpk
from numpy.typing import ArrayLike
from scipy import sparse

from bounds import MipModel
from onnx_models import Array

INF = np.inf


def mip(
    matrix: ArrayLike,
    rows: tuple[ArrayLike, ArrayLike],
    columns: tuple[ArrayLike, ArrayLike],
    cost: ArrayLike,
    *,
    integer: Sequence[int] = (),
    offset: float = 0.0,
) -> MipModel:
    """A model from dense arrays; scalars of `rows` and `columns` stand for every row or column."""
    dense = np.atleast_2d(np.asarray(matrix, np.float64))
    m, n = dense.shape
    whole = np.zeros(n, bool)
    whole[list(integer)] = True
    return MipModel(
        matrix=sparse.csr_array(dense),
        row_lower=np.broadcast_to(np.asarray(rows[0], np.float64), (m,)).copy(),
        row_upper=np.broadcast_to(np.asarray(rows[1], np.float64), (m,)).copy(),
        column_lower=np.broadcast_to(np.asarray(columns[0], np.float64), (n,)).copy(),
        column_upper=np.broadcast_to(np.asarray(columns[1], np.float64), (n,)).copy(),
        cost=np.broadcast_to(np.asarray(cost, np.float64), (n,)).copy(),
        offset=offset,
        integer=whole,
        names=tuple(f"x{j}" for j in range(n)),
    )


@dataclass(frozen=True)
class Known:
    """A model whose optimum follows from the argument in `why`."""

    name: str
    model: MipModel
    optimum: float
    why: str
    duals: tuple[float, ...] | None = None

    def __str__(self) -> str:
        return self.name


LINEAR = (
    Known(
        "lower end of a row",
        mip([[1, 1]], (4.5, INF), ([0, 0], [10, INF]), [2, 3], offset=7),
        16,
        "x = 4.5 is the cheaper way to reach the row; one more unit of it costs 2",
        (2,),
    ),
    Known(
        "upper end of a range",
        mip([[1, 1]], (1, 2), (0, INF), [-1, -2]),
        -4,
        "y = 2 fills the row; one more unit gains 2",
        (-2,),
    ),
    Known(
        "lower end of a range",
        mip([[1, 1]], (1, 2), (0, INF), [1, 2]),
        1,
        "x = 1 just reaches the row; one more unit costs 1",
        (1,),
    ),
    Known(
        "equality and free columns",
        mip([[1, 1], [1, -1]], ([3, -INF], [3, 1]), (-INF, INF), [1, 2]),
        4,
        "both rows hold with equality at (2, 1); their duals solve y1 + y2 = 1, y1 - y2 = 2",
        (1.5, -0.5),
    ),
    Known(
        "row that does not bind",
        mip([[1, 0], [0, 1]], ([1, -5], [INF, 5]), (0, 9), [1, 1]),
        1,
        "only the first row keeps x from 0",
        (1, 0),
    ),
    Known(
        "row without coefficients, free row, column without rows",
        mip([[0, 0, 0], [1, 0, 0], [1, 1, 0]], ([-1, -INF, 1], [1, INF, INF]), ([0, 0, -2], [5, 5, 5]), [1, 2, 3]),
        -5,
        "x = 1 reaches the third row, the third column sits at its lower bound -2",
        (0, 0, 1),
    ),
    Known(
        "no rows", mip(np.zeros((0, 2)), ([], []), (0, 5), [-1, 2], offset=3), -2, "each column at its better end", ()
    ),
    Known(
        "fixed columns",
        mip([[1, 1, 1]], (6, 6), ([0, 2, 0], [5, 2, 9]), [1, 2, 3]),
        4 + 4,
        "y is 2, so x takes the other 4",
        (1,),
    ),
    Known(
        "explicit zeros and repeated entries",
        replace(
            mip([[1.0, 1.0]], (4, INF), (0, INF), [1, 3]),
            matrix=sparse.csr_array((np.array([0.5, 0.5, 0.0]), np.array([0, 0, 1]), np.array([0, 3])), shape=(1, 2)),
        ),
        4,
        "the two halves make one coefficient 1 and the stored zero is none",
        (1,),
    ),
)
"""Linear programs with unique duals."""

KNAPSACK = mip([[4, 3, 5, 6, 2]], (-INF, 10), (0, 1), [-10, -7, -12, -14, -3], integer=range(5))
"""Weights 4, 3, 5, 6, 2 in 10; the best choice is items 0 and 3 (4 + 6 = 10, worth 24)."""

INTEGER = (
    Known("knapsack", KNAPSACK, -24, "24 for the items of weight 4 and 6; checked by enumeration in test_oracles"),
    Known(
        "integer and continuous",
        mip([[1, 1]], (1, 2.5), (0, INF), [-1, -2], integer=[1]),
        -4.5,
        "y = 2 is the largest whole number, x takes the half that is left",
    ),
    Known(
        "general integers with negative bounds",
        mip([[2, 5]], (-INF, -7), ([-6, -6], [6, 6]), [3, 1], integer=[0, 1]),
        -24,
        "both at -6: 2 * -6 + 5 * -6 <= -7 holds",
    ),
    Known(
        "fractional bounds of integers",
        mip([[1, 1]], (-INF, 9), ([0.2, -0.7], [3.9, 4.5]), [-1, -1], integer=[0, 1]),
        -7,
        "the whole numbers inside are 1..3 and 0..4",
    ),
    Known(
        "nothing left to decide",
        mip([[1, 1]], (3, 3), ([1, 2], [1, 2]), [5, 7], integer=[0]),
        19,
        "both columns are fixed",
    ),
)

REPORTED = (
    Known(
        "HiGHS 3043",
        mip([[1, 1]], (4.5, INF), (0, 10), [2, 3], integer=[1]),
        9,
        "x = 4.5, z = 0; version 1.14.0 says 15",
    ),
    Known(
        "HiGHS 3043, z unbounded",
        mip([[1, 1]], (4.5, INF), ([0, 0], [10, INF]), [2, 3], integer=[1]),
        9,
        "x = 4.5, z = 0",
    ),
    Known(
        "HiGHS 2957",
        mip([[1, 1]], (20.1, INF), ([0, 8], [20, 20]), [1, 2], integer=[0]),
        28.2,
        "x = 12, y = 8.1; version 1.14.0 says 29",
    ),
    Known(
        "HiGHS 3002",
        mip(
            [[1, 1, 0], [1, 0, 1], [0, -1, 1]],
            ([-INF, 10, 7.5], [5, INF, 7.5]),
            ([0, -1, 0], [4, 1, INF]),
            [1, 4, 9],
            integer=[2],
        ),
        64,
        "z = 7, y = -0.5, x = 3; version 1.14.0 says 76",
    ),
    Known(
        "HiGHS 3073",
        mip(
            [[1, 0, 1], [0, -1, 1], [0, -1, -1], [0, 0, 1], [0, 0, -1]],
            ([3, -INF, -INF, -INF, -INF], [3, 0, 0, 3, -0.45]),
            ([0, -INF, 0], INF),
            [100, 0.01, 0],
            integer=[2],
        ),
        0.03,
        "gap = 0, t = x = 3; version 1.14.0 says 200.01",
    ),
    Known(
        "linopy 651",
        mip(
            np.hstack([2 * np.eye(10), np.eye(10)]),
            (10, INF),
            ([0] * 10 + [9] * 10, [1] * 10 + [INF] * 10),
            [2] * 10 + [1] * 10,
            integer=range(10),
        ),
        100,
        "each of ten pairs costs 10 at best (x = 0, y = 10); HiGHS 1.14.0 takes 11",
    ),
    Known(
        "CBC 740",
        mip(
            [[41, 49], [22, -64], [0, 83]],
            ([-INF, -INF, 506], [-508, -943, INF]),
            (-200, 200),
            [1, 0],
            integer=[1],
        ),
        -200,
        "x at its lower bound with y = 7 satisfies all rows; development versions of CBC call it infeasible",
    ),
    Known(
        "CBC preprocessing",
        mip(
            [[0, 0, 1.25], [-0.5, -1, 0], [0, 0.75, 0.5]],
            (-INF, [0.625, -0.28125, 0.90625]),
            ([0, -0.9375, -1.25], [1, 0.5625, 1.125]),
            [-3, -4, -7],
            integer=[0],
            offset=-3,
        ),
        -11.75,
        "the first two columns at their upper ends, the third at 0.5; CBC 2.10.3 with preprocessing says infeasible",
    ),
    Known(
        "differences below CBC's increment",
        mip([[4, 3, 5, 6, 2]], (-INF, 10), (0, 1), 1e-7 * np.array([-10, -7, -12, -14, -3]), integer=range(5)),
        -24e-7,
        "the knapsack, worth less: CBC's default discards improvements below 1e-5",
    ),
)
"""Models that some version of some solver gets wrong, with the issue in which it says so."""


def planted(n: int = 50, m: int = 5, seed: int = 0) -> tuple[MipModel, Array]:
    """A market split problem with a hidden solution of objective 2 (all of it offset), far too hard to solve.

    Columns are n binaries, then m slacks up, then m slacks down; each row must be split exactly, and the slacks cost 1.
    """
    rng = np.random.default_rng(seed)
    weights = rng.integers(0, 100, (m, n)).astype(np.float64)
    hidden = rng.integers(0, 2, n).astype(np.float64)
    target = weights @ hidden
    matrix = np.hstack([weights, np.eye(m), -np.eye(m)])
    upper = np.concatenate([np.ones(n), np.full(2 * m, INF)])
    cost = np.concatenate([np.zeros(n), np.ones(2 * m)])
    model = mip(matrix, (target, target), (np.zeros(n + 2 * m), upper), cost, integer=range(n), offset=2.0)
    return model, np.concatenate([hidden, np.zeros(2 * m)])


def relu_model(seed: int, inputs: int = 5, units: int = 8) -> MipModel:
    """min c . relu(W x + b) over a box of x, with big-M rows: the shape of models that this project solves.

    Columns are the inputs x, then y = relu(h) for each unit of h = W x + b, then one binary z for each. The rows, with
    l <= h <= u, are  y >= h,  y <= h - l (1 - z)  and  y <= u z.
    """
    rng = np.random.default_rng(seed)
    weights, bias = rng.normal(size=(units, inputs)), rng.normal(size=units) / 2
    reach = np.abs(weights).sum(axis=1)
    low, high = bias - reach, bias + reach
    eye, none = np.eye(units), np.zeros((units, units))
    matrix = np.block(
        [[-weights, eye, none], [-weights, eye, np.diag(-low)], [np.zeros((units, inputs)), eye, np.diag(-high)]]
    )
    lower = np.concatenate([bias, np.full(2 * units, -INF)])
    upper = np.concatenate([np.full(units, INF), bias - low, np.zeros(units)])
    columns = (
        np.concatenate([-np.ones(inputs), np.zeros(2 * units)]),
        np.concatenate([np.ones(inputs), np.maximum(high, 0), np.ones(units)]),
    )
    cost = np.concatenate([np.zeros(inputs), rng.normal(size=units), np.zeros(units)])
    return mip(matrix, (lower, upper), columns, cost, integer=range(inputs + units, inputs + 2 * units))


def random_mip(seed: int) -> MipModel:
    """A random model of up to 4 binaries, 3 continuous columns in boxes and 4 rows; now and then infeasible.

    All numbers are multiples of 1/64, so that rows which just touch the box do so exactly.
    """
    rng = np.random.default_rng(seed)
    binaries, others, m = int(rng.integers(0, 5)), int(rng.integers(1, 4)), int(rng.integers(0, 5))
    n = binaries + others
    matrix = rng.integers(-5, 6, (m, n)) * rng.integers(0, 2, (m, n)) / 4.0
    middle = matrix @ (rng.integers(-16, 17, n) / 16.0)
    lower = np.where(rng.random(m) < 0.4, -INF, middle - rng.integers(0, 3, m))
    upper = np.where(rng.random(m) < 0.4, INF, middle + rng.integers(0, 3, m))
    box = (
        np.concatenate([np.zeros(binaries), -rng.integers(0, 49, others) / 16.0]),
        np.concatenate([np.ones(binaries), rng.integers(0, 49, others) / 16.0]),
    )
    offset = float(rng.integers(-9, 10))
    return mip(matrix, (lower, upper), box, rng.integers(-9, 10, n), integer=range(binaries), offset=offset)


def brute_force(model: MipModel, reach: int = 20) -> float | None:
    """The optimum by trying every value of the integer columns with an exact LP each; None if infeasible.

    Integer columns without an end are tried from -reach to reach.
    """
    whole = np.flatnonzero(model.integer)
    ranges = [
        range(int(np.ceil(max(low, -reach))), int(np.floor(min(high, reach))) + 1)
        for low, high in zip(model.column_lower[whole], model.column_upper[whole], strict=True)
    ]
    best: float | None = None
    for choice in itertools.product(*ranges):
        lower, upper = model.column_lower.copy(), model.column_upper.copy()
        lower[whole] = upper[whole] = choice
        value = exact_lp(replace(model, column_lower=lower, column_upper=upper))
        if value is not None and (best is None or value < best):
            best = value
    return best


def exact_lp(model: MipModel) -> float | None:
    """The optimum of the linear relaxation by GLPK's rational simplex; None if it is infeasible."""
    glpk.glp_term_out(glpk.GLP_OFF)
    problem = glpk.glp_create_prob()
    try:
        _load(problem, model)
        assert glpk.glp_exact(problem, None) == 0
        status = glpk.glp_get_status(problem)
        assert status in (glpk.GLP_OPT, glpk.GLP_NOFEAS)
        return float(glpk.glp_get_obj_val(problem)) if status == glpk.GLP_OPT else None
    finally:
        glpk.glp_delete_prob(problem)


def _load(problem: object, model: MipModel) -> None:
    def bounds(low: float, high: float) -> tuple[int, float, float]:
        kinds = {
            (False, False): glpk.GLP_FR,
            (True, False): glpk.GLP_LO,
            (False, True): glpk.GLP_UP,
            (True, True): glpk.GLP_FX if low == high else glpk.GLP_DB,
        }
        return kinds[bool(np.isfinite(low)), bool(np.isfinite(high))], low, high

    glpk.glp_set_obj_coef(problem, 0, model.offset)
    glpk.glp_add_rows(problem, model.rows + 1)  # the last row stays empty: GLPK refuses a problem without rows
    glpk.glp_add_cols(problem, model.columns)
    for i in range(model.rows):
        glpk.glp_set_row_bnds(problem, i + 1, *bounds(float(model.row_lower[i]), float(model.row_upper[i])))
    for j in range(model.columns):
        glpk.glp_set_col_bnds(problem, j + 1, *bounds(float(model.column_lower[j]), float(model.column_upper[j])))
        glpk.glp_set_obj_coef(problem, j + 1, float(model.cost[j]))
    matrix = model.matrix.copy()
    matrix.sum_duplicates()
    entries = sparse.coo_array(matrix)
    count = entries.nnz
    rows, columns, values = glpk.intArray(count + 1), glpk.intArray(count + 1), glpk.doubleArray(count + 1)
    for k, (i, j, value) in enumerate(zip(entries.row, entries.col, entries.data, strict=True), start=1):
        rows[k], columns[k], values[k] = int(i) + 1, int(j) + 1, float(value)
    glpk.glp_load_matrix(problem, count, rows, columns, values)
