"""SCIP through pyscipopt.

SCIP gives no row duals here: it turns a row with one variable into a bound even with presolve off, and the dual of such
a row then reads 0 or minus infinity (PySCIPOpt issues 136, 395, 684). Its exact rational mode is not compiled into the
wheel.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bounds import MipModel
from mipverify_py._tolerances import SOLVER_FEASIBILITY
from mipverify_py.backends._base import (
    Answer,
    Backend,
    Capabilities,
    Report,
    SolveLimits,
    SolveProgress,
    SolveStatus,
)
from onnx_models import Array

if TYPE_CHECKING:
    import pyscipopt

SEEDS = 2**30
"""SCIP adds small numbers to the seed for its sub-problems and aborts the solve when the sum leaves 31 bits."""


class ScipBackend(Backend):
    """SCIP: branch and cut, one thread (the wheel has no parallel task interface)."""

    name: ClassVar[str] = "scip"
    module: ClassVar[str] = "pyscipopt"
    distribution: ClassVar[str] = "pyscipopt"
    licence: ClassVar[str] = "Apache-2.0"
    capabilities: ClassVar[Capabilities] = Capabilities(
        row_duals=False,
        start=True,
        cutoff=True,
        node_limit=True,
        threads=False,
        progress=True,
        quadratic_objective=True,
        quadratic_integer=True,
        quadratic_rows=True,
    )
    statuses: ClassVar[Mapping[str, SolveStatus]] = {
        "unknown": SolveStatus.UNKNOWN,
        "optimal": SolveStatus.OPTIMAL,
        "infeasible": SolveStatus.INFEASIBLE,
        "unbounded": SolveStatus.UNBOUNDED,
        "inforunbd": SolveStatus.INFEASIBLE_OR_UNBOUNDED,
        "userinterrupt": SolveStatus.INTERRUPTED,
        "nodelimit": SolveStatus.NODE_LIMIT,
        "totalnodelimit": SolveStatus.NODE_LIMIT,
        "stallnodelimit": SolveStatus.UNKNOWN,  # this and the limits below are never set
        "timelimit": SolveStatus.TIME_LIMIT,
        "memlimit": SolveStatus.UNKNOWN,
        "gaplimit": SolveStatus.OPTIMAL,  # the gap asked for is closed
        "primallimit": SolveStatus.UNKNOWN,
        "duallimit": SolveStatus.UNKNOWN,
        "sollimit": SolveStatus.UNKNOWN,
        "bestsollimit": SolveStatus.UNKNOWN,
        "restartlimit": SolveStatus.UNKNOWN,
    }

    def solve(self, model: MipModel, limits: SolveLimits, report: Report) -> Answer:
        """See `Backend.solve`."""
        started = time.monotonic()
        with _problem(model) as (scip, variables):
            for option, value in _options(limits).items():
                scip.setParam(option, value)
            if limits.cutoff is not None:
                scip.setObjlimit(limits.cutoff)
            if limits.start is not None:
                _pass_start(scip, variables, limits.start)
            if limits.seconds is not None:
                scip.setParam("limits/time", max(0.0, limits.seconds - (time.monotonic() - started)))
            with _listening(scip, variables, report):
                scip.optimizeNogil()  # without the interpreter lock, so that the worker sees its input close
            return Answer(
                status=self.translate(scip.getStatus()),
                point=_best_point(scip, variables),
                dual_bound=scip.getDualbound(),
                nodes=scip.getNTotalNodes(),
                iterations=scip.getNLPIterations(),
            )


def _options(limits: SolveLimits) -> dict[str, Any]:
    options: dict[str, Any] = {
        "numerics/feastol": SOLVER_FEASIBILITY,
        "numerics/dualfeastol": SOLVER_FEASIBILITY,
        "numerics/epsilon": SOLVER_FEASIBILITY / 10,  # SCIP wants it below the tolerances it serves
        "numerics/sumepsilon": SOLVER_FEASIBILITY,
        "limits/absgap": limits.gap_absolute,
        "limits/gap": limits.gap_relative,
        "randomization/randomseedshift": limits.seed % SEEDS,
        "parallel/maxnthreads": 1,
        "misc/catchctrlc": False,
    }
    if limits.nodes is not None:
        options["limits/totalnodes"] = limits.nodes
    return options


@contextmanager
def _problem(model: MipModel) -> Iterator[tuple[pyscipopt.Model, list[pyscipopt.Variable]]]:
    """What `_translate` gives; the problem is freed at the end, not in the middle of a later solve.

    Model and event handler refer to each other, so it would stay until the garbage collector comes by.
    """
    scip, variables = _translate(model)
    try:
        yield scip, variables
    finally:
        scip.freeProb()


def _translate(model: MipModel) -> tuple[pyscipopt.Model, list[pyscipopt.Variable]]:
    """SCIP's model and its variables, in the order of the columns; rows without bounds or coefficients are left out."""
    from pyscipopt import Model
    from pyscipopt.scip import Expr, ExprCons, Term

    scip = Model()
    scip.hideOutput()
    columns = zip(
        model.column_lower.tolist(), model.column_upper.tolist(), model.cost.tolist(), model.integer, strict=True
    )
    variables = [
        scip.addVar(lb=_end(lower), ub=_end(upper), obj=cost, vtype="I" if whole else "C")
        for lower, upper, cost, whole in columns
    ]
    terms = [Term(variable) for variable in variables]
    indptr, indices, data = model.matrix.indptr, model.matrix.indices.tolist(), model.matrix.data.tolist()
    for row, (lower, upper) in enumerate(zip(model.row_lower.tolist(), model.row_upper.tolist(), strict=True)):
        first, last = indptr[row], indptr[row + 1]
        if first < last and (np.isfinite(lower) or np.isfinite(upper)):
            expression = Expr({terms[indices[k]]: data[k] for k in range(first, last)})
            scip.addCons(ExprCons(expression, _end(lower), _end(upper)))
    for quadratic in model.quadratic_rows:
        scip.addCons(ExprCons(_squares(variables, quadratic.columns, quadratic.weights), None, quadratic.upper))
    if model.quadratic is not None:  # SCIP takes linear objectives only: the squares go below a column of their own
        squared = np.flatnonzero(model.quadratic)
        top = Term(scip.addVar(lb=0.0, obj=1.0))
        scip.addCons(ExprCons(_squares(variables, squared, model.quadratic[squared]) - Expr({top: 1.0}), None, 0.0))
    scip.addObjoffset(model.offset)
    return scip, variables


def _squares(variables: list[pyscipopt.Variable], columns: NDArray[np.intp], weights: Array) -> Any:
    from pyscipopt.scip import Expr, Term

    pairs = zip(columns.tolist(), weights.tolist(), strict=True)
    return Expr({Term(variables[j], variables[j]): weight for j, weight in pairs})


def _end(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _pass_start(scip: pyscipopt.Model, variables: list[pyscipopt.Variable], start: Array) -> None:
    """Hands over the known entries; SCIP completes a partial point and drops a wrong one."""
    known = np.flatnonzero(np.isfinite(start))
    solution = scip.createSol() if len(known) == scip.getNVars() else scip.createPartialSol()
    for k in known:
        scip.setSolVal(solution, variables[k], float(start[k]))
    scip.addSol(solution)


def _best_point(scip: pyscipopt.Model, variables: list[pyscipopt.Variable]) -> Array | None:
    if scip.getNSols() == 0:
        return None
    best = scip.getBestSol()
    return np.array([scip.getSolVal(best, variable) for variable in variables], np.float64)


@contextmanager
def _listening(scip: pyscipopt.Model, variables: list[pyscipopt.Variable], report: Report) -> Iterator[None]:
    """Reports each improved point and bound until the solve ends.

    Not after: SCIP frees the nodes that a limit left open one by one, and each time that the least bound among the
    rest rises it tells of an improved dual bound, up to the cost of its best point or infinity.
    """
    from pyscipopt import Eventhdlr
    from pyscipopt.scip import PY_SCIP_EVENTTYPE as KIND

    solving = True
    watched = (KIND.BESTSOLFOUND, KIND.DUALBOUNDIMPROVED)

    class Listener(Eventhdlr):
        def eventinit(self) -> None:
            for kind in watched:
                self.model.catchEvent(kind, self)

        def eventexit(self) -> None:
            for kind in watched:
                self.model.dropEvent(kind, self)

        def eventexec(self, event: Any) -> None:
            if not solving:
                return
            bound = self.model.getDualbound()
            if event.getType() == KIND.BESTSOLFOUND:
                point = _best_point(self.model, variables)
                report(SolveProgress(bound, self.model.getPrimalbound(), point))
            else:
                report(SolveProgress(bound, None, None))

    scip.includeEventhdlr(Listener(), "progress", "reports improved points and bounds")
    try:
        yield
    finally:
        solving = False
