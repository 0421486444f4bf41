"""A query as a mixed-integer program: the encoding of MIPVerify (Tjeng, Xiao and Tedrake, 2019)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from bounds import Bounds, Expression, Formulation, MipModel, NetworkBounds, ReluColumns, upper_bounds
from mipverify_py._balls import L2Ball
from mipverify_py._distance import root_down
from mipverify_py._enums import Norm, Objective
from mipverify_py._norm_rows import Displacement
from mipverify_py._query import Query
from onnx_models import Array


@dataclass(frozen=True, slots=True, eq=False)
class Encoding:
    """A MIP and the meaning of its columns.

    Attributes:
        model: always a minimisation. Its objective is the distance or, for L2, a multiple of its square (closest), 0
            (feasibility), minus the largest margin (worst).
        inputs: the columns of x, in the order of the flat input.
        targets: the classes that the model considers; classes that bounds exclude are absent.
        margin_rows: the rows that make D_j reach the margin, one per target; empty for worst.
        choice: the columns of b_j, one per target, empty if there is only one.
        relus: the columns of each ReLU node's unstable units, by the node's index.
        scale: None where the objective is the value asked for; otherwise (closest in L2) it is the square of the
            distance divided by this.
        unstable, stable: units of each ReLU node with and without a binary, in topological order.
    """

    model: MipModel
    inputs: NDArray[np.intp]
    targets: tuple[int, ...]
    margin_rows: NDArray[np.intp]
    choice: NDArray[np.intp]
    relus: Mapping[int, ReluColumns]
    scale: float | None
    unstable: tuple[int, ...]
    stable: tuple[int, ...]

    def value_below(self, objective: float) -> float:
        """The value asked for that an objective, or a bound of it, stands for; a root is rounded down."""
        if self.scale is None or not math.isfinite(objective):
            return objective
        return max(0.0, float(np.nextafter(self.scale * root_down(objective), -np.inf)))

    def gaps(self, absolute: float, relative: float) -> tuple[float, float]:
        """Gaps of the objective that make the value's at most the larger of `absolute` and a share `relative` of it.

        For a root: u - l <= (u**2 - l**2) / u, and u - l <= u.
        """
        return (absolute, relative) if self.scale is None else ((absolute / self.scale) ** 2, relative)


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


def squares_in(query: Query) -> tuple[bool, bool]:
    """Whether the objective and whether a row of the query's MIP is quadratic."""
    closest = query.objective is Objective.CLOSEST
    return closest and query.norm is Norm.L2, isinstance(query.perturbation, L2Ball)


def encode(query: Query, bounds: NetworkBounds, *, targets: tuple[int, ...] | None = None) -> Encoding:
    """The MIP of a query over the box of inputs that `bounds` holds on.

    Over ReLU units as in `bounds.Formulation`; with D_j = f_j - f_c in [l_j, u_j] over the box and one binary b_j per
    target (none if there is only one):

        sum_j b_j = 1,   D_j >= margin + (l_j - margin) (1 - b_j)                       closest, feasibility
        sum_j b_j = 1,   t <= D_j + (max_k u_k - l_j) (1 - b_j),   maximise t           worst
        -d <= x_i - x0_i <= d for every i that can move,           minimise d           closest, L-infinity
        -t_i <= x_i - x0_i <= t_i,                                 minimise sum t_i     closest, L1
        s t_i = x_i - x0_i,  s the box's radius,                   minimise sum t_i**2  closest, L2

    and what confines x to the perturbation set where that is not a box.

    Args:
        query: objective, margin, reference class and x0 are taken from it.
        bounds: bounds of every node over the box to search; its first entry is that box. For `closest` a box of radius
            r around x0 restricts the search to distances up to r.
        targets: classes to consider, default all of the query's.
    """
    chosen = query.target_classes if targets is None else targets
    form = Formulation(query.network, bounds, integral=True)
    query.perturbation.restrict(form, query.x0)
    output = form.value(len(query.network.nodes) - 1)
    rows = margin_rows(query, chosen)
    margins = Expression(sparse.csr_array(rows @ output.matrix), rows @ output.constant)
    limits = margin_bounds(query, bounds, chosen)
    choice = _choose_one(form, chosen)
    cost = _Cost()
    reach: NDArray[np.intp] = np.zeros(0, np.intp)
    if query.objective is Objective.WORST:
        cost = _Cost(_largest_margin(form, margins, limits, choice))
    else:
        reach = _reach_margin(form, margins, limits.lower, choice, query.margin)
        if query.objective is Objective.CLOSEST:
            cost = _distance_cost(query, Displacement(form, *_measured(form, query)))
    model = form.builder.build(cost.row, cost.offset, squared=cost.squared)
    columns = (form.inputs, chosen, reach, choice, form.relus)
    return Encoding(model, *columns, cost.scale, *_unit_counts(form))


@dataclass(frozen=True, slots=True, eq=False)
class _Cost:
    """An objective: a row, columns whose squares are added, a constant; `scale` as in `Encoding`."""

    row: sparse.csr_array | None = None
    squared: NDArray[np.intp] | None = None
    offset: float = 0.0
    scale: float | None = None


def _distance_cost(query: Query, displacement: Displacement) -> _Cost:
    if query.norm is Norm.LINF:
        return _Cost(displacement.largest())
    if query.norm is Norm.L1:
        row, offset = displacement.total()
        return _Cost(row, offset=offset)
    scale = float(displacement.reach.max(initial=0.0)) or 1.0
    squared, offset = displacement.scaled(scale)
    return _Cost(squared=squared, offset=offset, scale=scale)


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


def _measured(form: Formulation, query: Query) -> tuple[NDArray[np.intp], Bounds, Array]:
    """The columns between which and the returned origin distance is measured, and a box that they lie in.

    Those of x or, for a query that measures the image of x, new ones for the image, which is node 1 of its network.
    """
    if query.measured is None:
        return form.inputs, form.bounds.nodes[0], query.x0
    image, box = form.value(1), form.bounds.nodes[1]
    columns = form.builder.add_columns(box.lower, box.upper, [f"image_{i}" for i in range(box.size)])
    form.add_rows(_plus(form, form.builder.unit(columns), -image.matrix), image.constant, image.constant)
    return columns, box, query.measured.rounded(query.x0)


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
