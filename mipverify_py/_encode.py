"""A query as a mixed-integer program: the encoding of MIPVerify (Tjeng, Xiao and Tedrake, 2019)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from bounds import Bounds, Expression, Formulation, MipModel, NetworkBounds, upper_bounds
from mipverify_py._enums import Objective
from mipverify_py._query import Query
from onnx_models import Array


@dataclass(frozen=True, slots=True, eq=False)
class Encoding:
    """A MIP and the meaning of its columns.

    Attributes:
        model: always a minimisation. Its objective is the distance (closest), 0 (feasibility), minus the largest
            margin (worst).
        inputs: the columns of x, in the order of the flat input.
        targets: the classes that the model considers; classes that bounds exclude are absent.
        margin_rows: the rows that make D_j reach the margin, one per target; empty for worst.
        unstable, stable: units of each ReLU node with and without a binary, in topological order.
    """

    model: MipModel
    inputs: NDArray[np.intp]
    targets: tuple[int, ...]
    margin_rows: NDArray[np.intp]
    unstable: tuple[int, ...]
    stable: tuple[int, ...]


def margin_rows(query: Query, targets: tuple[int, ...]) -> sparse.csr_array:
    """The matrix whose row k maps logits to f_j - f_c for j = targets[k]; shape (len(targets), classes)."""
    rows = np.zeros((len(targets), query.network.output_size))
    rows[np.arange(len(targets)), list(targets)] = 1.0
    rows[:, query.reference] -= 1.0
    return sparse.csr_array(rows)


def margin_bounds(query: Query, bounds: NetworkBounds, targets: tuple[int, ...]) -> Bounds:
    """Bounds of f_j - f_c for each target j over the box of `bounds`, by backward substitution."""
    rows, last = margin_rows(query, targets), len(query.network.nodes) - 1
    both = upper_bounds(query.network, bounds, last, sparse.csr_array(sparse.vstack([rows, -rows])))
    return Bounds(-both[len(targets) :], both[: len(targets)])


def encode(query: Query, bounds: NetworkBounds, *, targets: tuple[int, ...] | None = None) -> Encoding:
    """The MIP of a query over the box of inputs that `bounds` holds on.

    Over ReLU units as in `bounds.Formulation`; with D_j = f_j - f_c in [l_j, u_j] over the box and one binary b_j per
    target (none if there is only one):

        sum_j b_j = 1,   D_j >= margin + (l_j - margin) (1 - b_j)                       closest, feasibility
        sum_j b_j = 1,   t <= D_j + (max_k u_k - l_j) (1 - b_j),   maximise t           worst
        -d <= x_i - x0_i <= d for every i that can move,           minimise d           closest

    Args:
        query: objective, margin, reference class and x0 are taken from it.
        bounds: bounds of every node over the box to search; its first entry is that box. For `closest` a box of radius
            r around x0 restricts the search to distances up to r.
        targets: classes to consider, default all of the query's.
    """
    chosen = query.target_classes if targets is None else targets
    form = Formulation(query.network, bounds, integral=True)
    output = form.value(len(query.network.nodes) - 1)
    rows = margin_rows(query, chosen)
    margins = Expression(sparse.csr_array(rows @ output.matrix), rows @ output.constant)
    limits = margin_bounds(query, bounds, chosen)
    choice = _choose_one(form, chosen)
    cost: sparse.csr_array | None = None
    reach: NDArray[np.intp] = np.zeros(0, np.intp)
    if query.objective is Objective.WORST:
        cost = _largest_margin(form, margins, limits, choice)
    else:
        reach = _reach_margin(form, margins, limits.lower, choice, query.margin)
        if query.objective is Objective.CLOSEST:
            cost = _distance_column(form, query.x0)
    return Encoding(form.builder.build(cost), form.inputs, chosen, reach, *_unit_counts(form))


def _choose_one(form: Formulation, targets: tuple[int, ...]) -> NDArray[np.intp]:
    """Binaries b_j that sum to 1; none for a single target."""
    if len(targets) == 1:
        return np.zeros(0, np.intp)
    b = form.builder.add_columns(0.0, 1.0, [f"b_{j}" for j in targets], integer=True)
    form.add_rows(sparse.csr_array(form.builder.unit(b).sum(axis=0).reshape(1, -1)), 1.0, 1.0)
    return b


def _reach_margin(
    form: Formulation, margins: Expression, lower: Array, b: NDArray[np.intp], margin: float
) -> NDArray[np.intp]:
    if not len(b):
        return form.add_rows(margins.matrix, margin - margins.constant, np.inf)
    slack = np.minimum(lower - margin, 0.0)  # what D_j may fall short of the margin where b_j = 0
    matrix = _plus(form, margins.matrix, _scaled_unit(form, b, slack))
    return form.add_rows(matrix, margin + slack - margins.constant, np.inf)


def _largest_margin(form: Formulation, margins: Expression, limits: Bounds, b: NDArray[np.intp]) -> sparse.csr_array:
    top = float(limits.upper.max())
    t = form.builder.add_columns(float(limits.lower.min()), top, ["t"])
    t_rows = form.builder.unit(np.repeat(t, margins.size))
    spare = top - limits.lower if len(b) else np.zeros(1)
    matrix = _plus(form, t_rows, -margins.matrix)
    if len(b):
        matrix = _plus(form, matrix, _scaled_unit(form, b, spare))
    form.add_rows(matrix, -np.inf, margins.constant + spare)
    return sparse.csr_array(-form.builder.unit(t))


def _distance_column(form: Formulation, x0: Array) -> sparse.csr_array:
    """Adds d >= |x_i - x0_i| for all i; entries that cannot move only bound d from below. Returns the cost row."""
    box = form.bounds.nodes[0]
    reach = np.maximum(np.abs(box.lower - x0), np.abs(box.upper - x0))
    fixed = box.lower == box.upper
    least = float(reach[fixed].max(initial=0.0))
    d = form.builder.add_columns(least, max(float(reach.max(initial=0.0)), least), ["d"])
    live = np.flatnonzero(~fixed)
    x, distance = form.builder.unit(form.inputs[live]), form.builder.unit(np.repeat(d, len(live)))
    form.add_rows(sparse.csr_array(x - distance), -np.inf, x0[live])
    form.add_rows(sparse.csr_array(x + distance), x0[live], np.inf)
    return form.builder.unit(d)


def _scaled_unit(form: Formulation, columns: NDArray[np.intp], scale: Array) -> sparse.csr_array:
    return sparse.csr_array(sparse.diags_array(scale) @ form.builder.unit(columns))


def _plus(form: Formulation, first: sparse.csr_array, second: sparse.csr_array) -> sparse.csr_array:
    """The sum of two blocks of rows that may lack the model's last columns."""
    width = form.builder.columns
    parts = [sparse.csr_array((m.data, m.indices, m.indptr), shape=(m.shape[0], width)) for m in (first, second)]
    return sparse.csr_array(parts[0] + parts[1])


def _unit_counts(form: Formulation) -> tuple[tuple[int, ...], tuple[int, ...]]:
    unstable = form.bounds.unstable_counts(form.network)
    sizes = tuple(form.network.nodes[i].size for i in form.network.relu_indices)
    return unstable, tuple(n - k for n, k in zip(sizes, unstable, strict=True))
