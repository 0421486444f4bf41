"""The activation cells of a network over a box as one linear program, which moves from cell to cell by its bounds."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from bounds import Bounds, NetworkBounds, linear_bounds
from mipverify_py._gradients import Gradients
from mipverify_py._query import Query
from mipverify_py.engines._problem import Problem, compile_problem
from onnx_models import Affine, Array, Relu, ReluNetwork
from onnx_models._interruptions import interruptions_held
from onnx_models.errors import BackendMissingError

Pattern = NDArray[np.bool_]
"""Which of the units that are unstable over the model's box are active, in the order of the problem's columns."""

TOLERANCE = 1e-9
"""Feasibility tolerance of the LP, primal and dual, and how near 0 a unit counts as at 0."""

LARGEST = 5_000_000
"""Most coefficients of an LP that is still built: a larger one takes seconds to load and to solve."""

FLIPS = 200
"""Most cells that one climb visits; on MNIST and digits networks it visits 1 to 5 of them."""

GAIN = 1e-9
"""Least gain for which a unit is flipped, as a share of the largest margin's slope in the radius."""


@dataclass(frozen=True, slots=True, eq=False)
class Optimum:
    """The largest f_j - f_c within one cell and box.

    Attributes:
        margin: f_j - f_c.
        point: where it is attained, shape (n,), in the box.
        slope: by how much the margin grows per unit of the radius, >= 0: the duals of those sides of the box that are
            not sides of the query's own box.
        gains: for every unit that is at 0 there, by how much the margin grows per unit of its pre-activation once the
            point crosses to the unit's other side; 0 for other units, shape (units,).
    """

    margin: float
    point: Array
    slope: float
    gains: Array


class CellModel:
    """max f_j - f_c over (activation cell) intersected with (box), by HiGHS' simplex from the last basis.

    Within a cell the network is affine, so this is an LP. Columns are the inputs x and the outputs y of the units that
    are unstable over the model's box; each unit has the row  w.v - y  with its pre-activation z = w.v + b:

        active:    w.v - y = -b,  y >= 0
        inactive:  w.v - y <= -b, y = 0

    So a unit is flipped by changing bounds alone, in networks of any depth, and a box by the bounds of x.

    The duals tell exactly which neighbouring cells hold larger margins, if no more units are at 0 than the basis says:
    an active unit at 0 gains by the other side minus the dual of its row, an inactive one the reduced cost of y. It is
    the derivative of the Lagrangian along the side that the row or the bound has shut.

    Raises:
        BackendMissingError: highspy is not installed.
    """

    def __init__(self, query: Query, problem: Problem) -> None:
        self._query, self._problem = query, problem
        self.box = problem.box
        self._inputs, self._units = problem.inputs, problem.unit_count
        self._bias = np.concatenate([np.zeros(0), *(layer.bias for layer in problem.layers)])
        self._load()
        self._pattern: Pattern | None = None
        self._region = problem.box

    @classmethod
    def over(cls, query: Query, box: Bounds) -> CellModel | None:
        """The model over a box, or None where it would have more than `LARGEST` coefficients."""
        bounds = linear_bounds(query.network, box)
        if _estimate(query.network, bounds) > LARGEST:
            return None
        problem = compile_problem(query.network, query.reference, query.target_classes, box, bounds)
        if sum(layer.weight.nnz + layer.size for layer in problem.layers) > LARGEST:
            return None
        return cls(query, problem)

    @property
    def units(self) -> int:
        """Number of units that are unstable over the model's box."""
        return self._units

    def patterns(self, values: list[Array]) -> NDArray[np.bool_]:
        """The cells of N points whose node values are given (see `Gradients.values`), shape (units, N)."""
        return self.pre_activations(values) > 0

    def pre_activations(self, values: list[Array]) -> Array:
        """Pre-activations of the units at N points whose node values are given, shape (units, N)."""
        nodes, layers = self._query.network.nodes, self._problem.layers
        parts = [values[nodes[layer.relu].input][layer.units] for layer in layers]  # type: ignore[union-attr]
        return np.concatenate([np.zeros((0, values[0].shape[1])), *parts])

    def unit_gradients(self, values: list[Array], units: NDArray[np.intp]) -> Array:
        """Gradients, shape (n, k), of the pre-activations of these units at the one point whose values are given."""
        nodes = self._query.network.nodes
        seeds: dict[int, Array] = {}
        for layer in self._problem.layers:
            mine = np.flatnonzero((units >= layer.first) & (units < layer.first + layer.size))
            node = nodes[layer.relu].input  # type: ignore[union-attr]
            seed = seeds.setdefault(node, np.zeros((nodes[node].size, len(units))))
            seed[layer.units[units[mine] - layer.first], mine] = 1.0
        columns = [np.repeat(v, len(units), axis=1) for v in values]
        return Gradients.of(self._query.network).backward(columns, seeds)

    def aim(self, target: int) -> None:
        """Goes on with the target at this position of `query.target_classes`."""
        columns = self._inputs + self._units
        self._highs.changeColsCost(columns, np.arange(columns, dtype=np.int32), self._problem.margin[target])
        self._highs.changeObjectiveOffset(float(self._problem.margin_constant[target]))

    def restrict(self, box: Bounds) -> None:
        """Goes on with this box, which must lie in the model's."""
        self._region = box
        self._highs.changeColsBounds(self._inputs, np.arange(self._inputs, dtype=np.int32), box.lower, box.upper)

    def enter(self, pattern: Pattern) -> None:
        """Goes on with this cell."""
        known = ~pattern if self._pattern is None else self._pattern
        for unit in np.flatnonzero(pattern != known):
            self._set(int(unit), active=bool(pattern[unit]))
        self._pattern = pattern.copy()

    def solve(self, deadline: float | None) -> Optimum | None:
        """The largest margin within the cell and the box; None if they are disjoint or the solver did not finish."""
        if deadline is not None:  # HiGHS counts the time of all its runs together
            self._highs.setOptionValue("time_limit", self._highs.getRunTime() + max(0.0, deadline - time.monotonic()))
        self._highs.run()
        if self._highs.getModelStatus() != self._optimal:
            return None
        assert self._pattern is not None
        solution, region, n = self._highs.getSolution(), self._region, self._inputs
        columns, costs = np.asarray(solution.col_value, np.float64), np.asarray(solution.col_dual, np.float64)
        rows, duals = np.asarray(solution.row_value, np.float64), np.asarray(solution.row_dual, np.float64)
        at_zero = np.where(self._pattern, columns[n:] <= TOLERANCE, rows >= -self._bias - TOLERANCE)
        rising = np.where(region.upper < self._query.box.upper, np.maximum(costs[:n], 0.0), 0.0)
        falling = np.where(region.lower > self._query.box.lower, np.minimum(costs[:n], 0.0), 0.0)
        return Optimum(
            float(self._highs.getInfo().objective_function_value),
            np.clip(columns[:n], region.lower, region.upper),
            float(rising.sum() - falling.sum()),
            np.where(at_zero, np.where(self._pattern, -duals, costs[n:]), 0.0),
        )

    def climb(self, deadline: float | None) -> Optimum | None:
        """The largest margin met on a way from cell to cell within the box; None if the first cell has no point there.

        Each step crosses the unit with the largest gain. The margin never falls, and at the end no neighbouring cell of
        the vertex that the LP is at holds a larger one: it is a local maximum, degenerate vertices apart.
        """
        found = self.solve(deadline)
        for _ in range(FLIPS):
            if found is None or not self._units:
                return found
            unit = int(found.gains.argmax())
            if found.gains[unit] <= GAIN * max(found.slope, 1.0):
                return found
            self._flip(unit)
            beyond = self.solve(deadline)
            if beyond is None or beyond.margin < found.margin:  # rounding, or the deadline
                self._flip(unit)
                return found
            found = beyond
        return found

    def _flip(self, unit: int) -> None:
        assert self._pattern is not None
        self._pattern[unit] = not self._pattern[unit]
        self._set(unit, active=bool(self._pattern[unit]))

    def _set(self, unit: int, *, active: bool) -> None:
        row = -float(self._bias[unit])
        self._highs.changeRowBounds(unit, row if active else -self._infinity, row)
        self._highs.changeColBounds(self._inputs + unit, 0.0, self._infinity if active else 0.0)

    def _load(self) -> None:
        """Puts the rows of all units into a silent single-threaded HiGHS, without a cell or a target yet."""
        try:
            with interruptions_held():
                import highspy
        except ImportError as error:
            raise BackendMissingError(
                'The search over activation cells needs HiGHS: pip install "mipverify-py[highs]".'
            ) from error
        self._optimal, self._infinity = highspy.HighsModelStatus.kOptimal, highspy.kHighsInf
        self._highs = highspy.Highs()
        for name, value in (
            ("output_flag", False),
            ("threads", 1),
            ("random_seed", 0),
            ("solver", "simplex"),
            ("presolve", "off"),  # it would cost more than the few iterations from the last basis
            ("primal_feasibility_tolerance", TOLERANCE),
            ("dual_feasibility_tolerance", TOLERANCE),
        ):
            self._highs.setOptionValue(name, value)
        width, free = self._inputs + self._units, np.full(self._units, self._infinity)
        rows = [_widened(layer.weight, width) for layer in self._problem.layers]
        outputs = sparse.csr_array(
            (-np.ones(self._units), (np.arange(self._units), self._inputs + np.arange(self._units))),
            shape=(self._units, width),
        )
        matrix = sparse.csr_array(sparse.vstack([sparse.csr_array((0, width)), *rows], format="csr") + outputs)
        self._highs.passModel(
            width,
            self._units,
            matrix.nnz,
            int(highspy.MatrixFormat.kRowwise),
            int(highspy.ObjSense.kMaximize),
            0.0,
            np.zeros(width),
            np.concatenate([self.box.lower, np.zeros(self._units)]),
            np.concatenate([self.box.upper, free]),
            -free,
            free,
            matrix.indptr.astype(np.int32),
            matrix.indices.astype(np.int32),
            matrix.data,
            np.zeros(width, np.int32),  # every column continuous
        )


def _estimate(network: ReluNetwork, bounds: NetworkBounds) -> int:
    """About how many coefficients the rows of the unstable units have if no unit before them is stable."""
    total = 0
    for index, count in zip(network.relu_indices, bounds.unstable_counts(network), strict=True):
        node = network.nodes[index]
        read = network.nodes[node.input] if isinstance(node, Relu) else node
        entries = sum(m.entries for m in read.maps) if isinstance(read, Affine) else read.size
        total += entries * count // max(node.size, 1)
    return total


def _widened(matrix: sparse.csr_array, columns: int) -> sparse.csr_array:
    """The matrix with columns of zeros behind."""
    return sparse.csr_array((matrix.data, matrix.indices, matrix.indptr), shape=(matrix.shape[0], columns))
