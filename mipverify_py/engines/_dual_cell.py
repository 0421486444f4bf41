"""The multipliers of a node whose units are all fixed: one linear program, since first-order steps come only near."""

from __future__ import annotations

import numpy as np

from bounds import Bounds
from mipverify_py.engines._problem import Problem
from onnx_models import Array

PRICE = 1e4
"""Price of violating a half-space, in units of the margin's variation over the box: what closes an empty cell."""


def cell_beta(problem: Problem, row: int, box: Bounds, signs: Array, lower: Array) -> Array | None:
    """The beta that make the bound of f_j - f_c on a cell its maximum there, shape (units,); None if the solver fails.

    On the cell every column is affine in x: y = z where z >= 0, else y = 0. The beta are the duals of
    max f_j - f_c - price s  over the box  subject to  +-z >= -s  for the split units. Any beta >= 0 gives a bound, so
    nothing rests on the solver.

    Args:
        problem: the problem.
        row: position of the target in it.
        box: the present box.
        signs: +1, -1 for split units and 0 for others, shape (units,).
        lower: pre-activation bounds; those at least 0 fix a unit, shape (units,).
    """
    from scipy.optimize import linprog

    n, beta = problem.inputs, np.zeros(len(signs))
    slopes, constant = np.eye(n), np.zeros(n)  # of the columns, as functions of x
    z_slopes, z_constant = [np.zeros((0, n))], [np.zeros(0)]
    for layer in problem.layers:
        part = slice(layer.first, layer.first + layer.size)
        z_slopes.append(layer.weight @ slopes)
        z_constant.append(layer.weight @ constant + layer.bias)
        active = ((lower[part] >= 0) | (signs[part] > 0)).astype(np.float64)
        slopes = np.vstack([slopes, z_slopes[-1] * active[:, None]])
        constant = np.concatenate([constant, z_constant[-1] * active])
    split = np.flatnonzero(signs)
    if not len(split):
        return beta
    cost = problem.margin[row] @ slopes
    price = PRICE * float(np.abs(cost) @ (box.upper - box.lower)) or 1.0
    rows = signs[split, None] * np.vstack(z_slopes)[split]
    answer = linprog(
        np.append(-cost, price),
        A_ub=np.hstack([-rows, -np.ones((len(split), 1))]),
        b_ub=signs[split] * np.concatenate(z_constant)[split],
        bounds=[*zip(box.lower, box.upper, strict=True), (0.0, None)],
        method="highs",
    )
    if answer.status != 0:
        return None
    beta[split] = np.maximum(-answer.ineqlin.marginals, 0.0)
    return beta
