"""LP bounds of single units over the triangle relaxation, accepted only as far as a backward pass re-proves them."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from bounds._bounds import Bounds, NetworkBounds
from bounds._formulation import Formulation
from bounds._linear import both_signs, linear_bounds, refined, upper_bounds
from bounds._model import MipModel
from bounds._sweep import sweep
from onnx_models import Array, ReluNetwork
from onnx_models.errors import BackendMissingError

if TYPE_CHECKING:
    import highspy


def lp_bounds(
    network: ReluNetwork, region: Bounds, *, start: NetworkBounds | None = None, deadline: float | None = None
) -> NetworkBounds:
    """Bounds of every node over the box `region`, by linear programming where `start` leaves a ReLU unstable.

    For each such unit the LP solver maximises and minimises its pre-activation over the triangle relaxation of the
    nodes before it. The solver's objective is never used: its row duals choose the lower lines of a backward pass,
    which is rounded outward, and the tighter of that and the old bound is kept. So a wrong solver costs tightness only.

    Args:
        network: the network.
        region: the box of inputs.
        start: bounds known for the same region; None means `linear_bounds`.
        deadline: value of `time.monotonic()` from which units keep the bounds they have.

    Raises:
        BackendMissingError: highspy is not installed.
        InputError, InvalidBoundsError: as in `sweep`.
    """
    return LpTightening(network, deadline).run(region, start)


@dataclass(eq=False)
class LpTightening:
    """One run of `lp_bounds` over a network, which also counts its LPs."""

    network: ReluNetwork
    deadline: float | None = None
    solves: int = field(default=0, init=False)

    def run(self, region: Bounds, start: NetworkBounds | None) -> NetworkBounds:
        """The bounds; see `lp_bounds`."""
        first = start or linear_bounds(self.network, region)
        return sweep(self.network, region, self._refine, start=first)

    def _refine(self, known: NetworkBounds, index: int, units: NDArray[np.intp]) -> Bounds:
        form = Formulation(self.network, known, integral=False, last=index)
        if not form.relus:  # nothing before this node is relaxed, so the LP cannot add to the linear bounds
            return known.nodes[index]
        session = LpSession(form.builder.build())
        value = form.value(index)
        rows = both_signs(known, index, units)
        multipliers = {i: np.zeros((rows.shape[0], known.nodes[i].size)) for i in form.relus}
        solved = []
        for k in range(rows.shape[0]):
            if self.deadline is not None and time.monotonic() >= self.deadline:
                break
            duals = session.maximise((rows[[k]] @ value.matrix).toarray()[0], self.deadline)
            self.solves += 1
            if duals is None:
                continue
            for i, columns in form.relus.items():
                multipliers[i][k, columns.units] = np.abs(duals[columns.lower_rows])
            solved.append(k)
        both = np.full(rows.shape[0], np.inf)
        if solved:
            chosen = {i: m[solved] for i, m in multipliers.items()}
            both[solved] = upper_bounds(self.network, known, index, rows[solved], multipliers=chosen)
        return refined(self.network, known, index, units, both)


class LpSession:
    """A HiGHS linear program whose objective changes from solve to solve; each solve starts from the last basis.

    Raises:
        BackendMissingError: highspy is not installed.
    """

    def __init__(self, model: MipModel) -> None:
        try:
            import highspy
        except ImportError as error:
            raise BackendMissingError(
                'LP bounds need HiGHS, which is not installed: pip install "mipverify-py[highs]", '
                "or choose tightening 'linear'."
            ) from error
        self._optimal = highspy.HighsModelStatus.kOptimal
        self._highs = _load(model)
        self._columns = np.arange(model.columns, dtype=np.int32)

    def maximise(self, cost: Array, deadline: float | None = None) -> Array | None:
        """Row duals at a maximum of cost . v, shape (rows,), or None if the solver did not reach one.

        It stops at `deadline`, a value of `time.monotonic()`.
        """
        if deadline is not None:  # HiGHS counts the time of all its runs together
            self._highs.setOptionValue("time_limit", self._highs.getRunTime() + max(0.0, deadline - time.monotonic()))
        self._highs.changeColsCost(len(cost), self._columns, -cost)
        self._highs.run()
        if self._highs.getModelStatus() != self._optimal:
            return None
        return np.asarray(self._highs.getSolution().row_dual, np.float64)


def _load(model: MipModel) -> highspy.Highs:
    """A silent single-threaded HiGHS that holds `model` as a minimisation."""
    import highspy

    lp = highspy.HighsLp()
    lp.num_col_, lp.num_row_ = model.columns, model.rows
    lp.col_cost_ = model.cost
    lp.col_lower_, lp.col_upper_ = _infinite(model.column_lower), _infinite(model.column_upper)
    lp.row_lower_, lp.row_upper_ = _infinite(model.row_lower), _infinite(model.row_upper)
    matrix = sparse.csr_array(model.matrix)
    lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    lp.a_matrix_.num_col_, lp.a_matrix_.num_row_ = model.columns, model.rows
    lp.a_matrix_.start_, lp.a_matrix_.index_, lp.a_matrix_.value_ = matrix.indptr, matrix.indices, matrix.data
    highs = highspy.Highs()
    for name, value in (("output_flag", False), ("threads", 1), ("solver", "simplex"), ("random_seed", 0)):
        highs.setOptionValue(name, value)
    highs.passModel(lp)
    return highs


def _infinite(values: Array) -> Array:
    import highspy

    return np.clip(values, -highspy.kHighsInf, highspy.kHighsInf)
