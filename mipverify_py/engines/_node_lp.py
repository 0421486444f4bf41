"""One linear program that moves from node to node of a target's tree, with its cuts."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from bounds import NetworkBounds
from mipverify_py.engines._cut_bound import BackwardPass, Duals, Proved, State
from mipverify_py.engines._cuts import Cut
from mipverify_py.engines._problem import Problem
from onnx_models import Array
from onnx_models.errors import BackendMissingError

if TYPE_CHECKING:
    import highspy

TOLERANCE = 1e-9
"""Feasibility tolerance of the LP: its optimum and the bound that its duals prove then agree to about that."""

IDLE_SOLVES = 5
"""A cut that bound nothing in this many solves in a row leaves the LP; it can be found again."""

RAY_SCALES = tuple(10.0**k for k in range(-2, 9))
"""Multiples of a ray that are tried until they bring the bound of an empty node below the threshold."""


@dataclass(frozen=True, slots=True, eq=False)
class LpOutcome:
    """What a solve of a node's LP gave.

    Attributes:
        optimum: the LP's optimum; None where it was cut short or is infeasible. It proves nothing.
        proved: the bound by the LP's duals.
        columns: value of every column of the problem, shape (n + units,); None if the LP is infeasible.
    """

    optimum: float | None
    proved: Proved
    columns: Array | None


class NodeLp:
    """max f_j - f_c over a node's relaxation, by HiGHS' dual simplex from the last basis.

    Columns: x, outputs y, and negative parts p of the units, z = y - p. Each unit has one row that defines it,
    y - p - w.v = b; so being active is p = 0, being inactive y = 0, the state's bounds l <= z <= u are bounds of what
    is left, and the triangle's line y <= s z + t is the row (1 - s) y + s p <= t of two entries. Moving to another node
    changes column bounds and those entries alone.

    Raises:
        BackendMissingError: highspy is not installed.
    """

    def __init__(self, problem: Problem, target: int, bounds: NetworkBounds, state: State) -> None:
        try:
            import highspy
        except ImportError as error:
            raise BackendMissingError(
                'The LP engine needs HiGHS, which is not installed: pip install "mipverify-py[highs]".'
            ) from error
        self._status, self._basic = highspy.HighsModelStatus, highspy.HighsBasisStatus.kBasic
        self.backward = BackwardPass(problem, target)
        self._n, self._units = problem.inputs, problem.unit_count
        self._constant = float(problem.margin_constant[problem.targets.index(target)])
        self._first_row = 2 * self._units
        self._state = state
        self._last = Duals(np.zeros(self._units), np.zeros(self._units), np.zeros(0))
        self.cuts: list[Cut] = []
        self._idle = np.zeros(0, np.intp)
        self._input = bounds.nodes[0]
        self.iterations = 0
        self._highs = self._load(problem, problem.targets.index(target))

    def move(self, bounds: NetworkBounds, offsets: Array) -> None:
        """Goes on with another box, over which the planes of the cuts have these offsets."""
        self._input = bounds.nodes[0]
        self._highs.changeColsBounds(self._n, np.arange(self._n, dtype=np.int32), self._input.lower, self._input.upper)
        for k, (cut, offset) in enumerate(zip(self.cuts, offsets.tolist(), strict=True)):
            cut.offset = offset
            self._highs.changeRowBounds(self._first_row + k, -self._infinity, cut.right)

    def solve(self, state: State, cutoff: float, deadline: float | None = None) -> LpOutcome:
        """Solves the node's LP, or stops once its bound is known to be below `cutoff`, or at `deadline`."""
        self._enter(state)
        left = np.inf if deadline is None else max(0.0, deadline - time.monotonic())
        self._highs.setOptionValue("time_limit", self._highs.getRunTime() + left)  # it adds up the time of all its runs
        status, info = self._run(self._constant - cutoff)
        if status == self._status.kObjectiveBound:
            proved = self._bound(state, self._duals(np.asarray(self._highs.getSolution().row_dual, np.float64)))
            if proved.bound >= cutoff:  # rounding alone, or cuts over outputs of stable units, which have no columns
                status, info = self._run(np.inf)
        if status == self._status.kInfeasible:
            return LpOutcome(None, self._from_ray(state, cutoff), None)
        solution = self._highs.getSolution()
        if not solution.dual_valid:
            return LpOutcome(None, self._bound(state, self._last), None)
        self._last = self._duals(np.asarray(solution.row_dual, np.float64))
        proved = self._bound(state, self._last)
        optimal = status == self._status.kOptimal
        optimum = self._constant - info.objective_function_value if optimal else None
        columns = np.asarray(solution.col_value, np.float64)[: self._n + self._units]
        if optimal:
            self._age()
        return LpOutcome(optimum, proved, columns)

    def _run(self, objective_bound: float) -> tuple[highspy.HighsModelStatus, highspy.HighsInfo]:
        """Runs HiGHS until it minimised, or its dual objective exceeds `objective_bound`."""
        self._highs.setOptionValue("objective_bound", objective_bound)
        self._highs.run()
        self.iterations += self._highs.getInfoValue("simplex_iteration_count")[1]
        return self._highs.getModelStatus(), self._highs.getInfo()

    def add(self, cuts: list[Cut]) -> None:
        """Adds rows y - values . v <= right."""
        if not cuts:
            return
        lengths = [len(cut.columns) + 1 for cut in cuts]
        starts = np.concatenate([[0], np.cumsum(lengths)])
        columns, values = np.zeros(starts[-1], np.int32), np.zeros(starts[-1])
        for cut, start in zip(cuts, starts, strict=False):
            end = start + len(cut.columns)
            columns[start:end], values[start:end] = cut.columns, -cut.values
            columns[end], values[end] = self._n + cut.plane.unit, 1.0
        lower, upper = np.full(len(cuts), -self._infinity), np.array([cut.right for cut in cuts])
        self._highs.addRows(len(cuts), lower, upper, len(columns), starts[:-1].astype(np.int32), columns, values)
        self.cuts += cuts
        self._idle = np.concatenate([self._idle, np.zeros(len(cuts), np.intp)])
        more = np.zeros(len(cuts))
        self._last = Duals(self._last.lines, self._last.triangles, np.concatenate([self._last.cuts, more]))

    def purge(self) -> None:
        """Removes cuts that have long bound nothing, once they are a quarter of all."""
        if 4 * np.count_nonzero(self._idle >= IDLE_SOLVES) <= len(self.cuts):
            return
        basis = self._highs.getBasis()
        status = list(basis.row_status)
        slack = np.array([s == self._basic for s in status[self._first_row :]])
        gone = np.flatnonzero((self._idle >= IDLE_SOLVES) & slack)  # without these rows the rest is still a basis
        rows = (self._first_row + gone).tolist()
        self._highs.deleteRows(len(rows), np.array(rows, np.int32))
        dead = set(rows)
        basis.row_status = [s for k, s in enumerate(status) if k not in dead]
        self._highs.setBasis(basis)
        kept = np.setdiff1d(np.arange(len(self.cuts)), gone)
        self.cuts = [self.cuts[k] for k in kept]
        self._idle = self._idle[kept]
        self._last = Duals(self._last.lines, self._last.triangles, self._last.cuts[kept])

    def _bound(self, state: State, duals: Duals) -> Proved:
        box = self._input
        middle, radius = 0.5 * (box.lower + box.upper), 0.5 * (box.upper - box.lower)
        return self.backward.run(state, duals, self.cuts, (middle, radius))

    def _duals(self, rows: Array) -> Duals:
        """HiGHS minimises c_j - f_c, so the duals of rows  <= right  come with a minus."""
        first, units = self._first_row, self._units
        upper = np.maximum(-rows[units:], 0.0)
        return Duals(-rows[:units], upper[:units], upper[first - units :])

    def _from_ray(self, state: State, cutoff: float) -> Proved:
        """The bound by the last duals plus a multiple of the ray that proves the node empty."""
        best, last = self._bound(state, self._last), self._last
        _, known, ray = self._highs.getDualRay()
        if not known:
            return best
        step = self._duals(np.asarray(ray, np.float64))
        for scale in RAY_SCALES:
            lines, triangles = last.lines + scale * step.lines, last.triangles + scale * step.triangles
            found = self._bound(state, Duals(lines, triangles, last.cuts + scale * step.cuts))
            best = min(best, found, key=lambda proved: proved.bound)
            if best.bound < cutoff:
                break
        return best

    def _age(self) -> None:
        self._idle = np.where(self._last.cuts > 0, 0, self._idle + 1)

    def _column_bounds(self, state: State) -> tuple[Array, Array]:
        """Bounds of the columns y, then p, for l <= z <= u."""
        active, inactive = state.active, state.inactive
        lower_y, upper_y = np.where(active, state.lower, 0.0), np.where(inactive, 0.0, state.upper)
        lower_p, upper_p = np.where(inactive, -state.upper, 0.0), np.where(active, 0.0, -state.lower)
        return np.concatenate([lower_y, lower_p]), np.concatenate([upper_y, upper_p])

    def _triangle(self, state: State) -> tuple[Array, Array, Array]:
        """Entries of y and p and the right-hand side of each unit's line; those of fixed units restrict nothing."""
        free = state.free
        width = np.where(free, state.upper - state.lower, 1.0)
        slope = np.where(free, state.upper / width, 0.0)
        return 1.0 - slope, slope, np.where(free, -slope * state.lower, self._infinity)

    def _enter(self, state: State) -> None:
        """Moves the LP from its present node to another."""
        n, units, highs = self._n, self._units, self._highs
        (old_lower, old_upper), (lower, upper) = self._column_bounds(self._state), self._column_bounds(state)
        changed = np.flatnonzero((old_lower != lower) | (old_upper != upper))
        if len(changed):
            highs.changeColsBounds(len(changed), (n + changed).astype(np.int32), lower[changed], upper[changed])
        now, before = state.free, self._state.free
        moved = (state.lower != self._state.lower) | (state.upper != self._state.upper)
        of_y, of_p, right = self._triangle(state)
        for unit in np.flatnonzero((now & moved) | (now != before)).tolist():
            row = units + unit
            if now[unit]:
                highs.changeCoeff(row, n + unit, of_y[unit])
                highs.changeCoeff(row, n + units + unit, of_p[unit])
            highs.changeRowBounds(row, -self._infinity, right[unit])
        self._state = state

    def _load(self, problem: Problem, position: int) -> highspy.Highs:
        """HiGHS with the columns and the units' rows for the present state and box."""
        import highspy

        self._infinity = highspy.kHighsInf
        n, units = self._n, self._units
        of_y, of_p, right = self._triangle(self._state)
        matrix = _unit_rows(problem, (of_y, of_p))
        bias = np.concatenate([np.zeros(0), *(layer.bias for layer in problem.layers)])
        lower, upper = self._column_bounds(self._state)
        lp = highspy.HighsLp()
        lp.num_col_, lp.num_row_ = n + 2 * units, 2 * units
        lp.col_cost_ = np.concatenate([-problem.margin[position], np.zeros(units)])
        lp.col_lower_ = np.concatenate([self._input.lower, lower])
        lp.col_upper_ = np.concatenate([self._input.upper, upper])
        lp.row_lower_ = np.concatenate([bias, np.full(units, -self._infinity)])
        lp.row_upper_ = np.concatenate([bias, right])
        lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
        lp.a_matrix_.num_col_, lp.a_matrix_.num_row_ = n + 2 * units, 2 * units
        lp.a_matrix_.start_, lp.a_matrix_.index_, lp.a_matrix_.value_ = matrix.indptr, matrix.indices, matrix.data
        highs = highspy.Highs()
        for name, value in (
            ("output_flag", False),
            ("threads", 1),
            ("solver", "simplex"),
            ("random_seed", 0),
            ("presolve", "off"),
            ("primal_feasibility_tolerance", TOLERANCE),
            ("dual_feasibility_tolerance", TOLERANCE),
        ):
            highs.setOptionValue(name, value)
        highs.passModel(lp)
        return highs


def _unit_rows(problem: Problem, triangle: tuple[Array, Array]) -> sparse.csr_array:
    """Rows  y - p - w.v  of all units, then the triangles' rows, shape (2 units, n + 2 units)."""
    n, units = problem.inputs, problem.unit_count
    size = n + 2 * units
    empty = sparse.csr_array((0, size))
    weights = []
    for layer in problem.layers:
        weight = layer.weight
        weights.append(sparse.csr_array((weight.data, weight.indices, weight.indptr), shape=(layer.size, size)))
    inputs = sparse.csr_array(sparse.vstack([empty, *weights], format="csr"))
    none = sparse.csr_array((units, n))
    one = sparse.eye_array(units)
    define = sparse.hstack([none, one, -one], format="csr") - inputs
    lines = sparse.hstack([none, sparse.diags_array(triangle[0]), sparse.diags_array(triangle[1])], format="csr")
    return sparse.csr_array(sparse.vstack([define, lines], format="csr"))
