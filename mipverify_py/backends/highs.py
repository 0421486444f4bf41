"""HiGHS through highspy.

Pinned to 1.12.0, on this evidence (versions are of HiGHS, numbers of issues on github.com/ERGO-Code/HiGHS):

- 1.14.0 returns wrong optima with its default presolve (2957, 2995, 3002, 3043, 3073: an activity that presolve does
  not recompute), and 1.14.1 never came. The models of those issues are in `tests/helpers/mips.py`.
- 1.13.0 and later give a wrong MILP optimum in 2980, still open, where 1.12.0 is right.
- 1.15 fixes the first, not the second, and its wheel brings a shared libhighs that clashes with the one inside ortools
  in either import order. Each backend has a process of its own, but the LP bounds use highspy in the user's.
- 1.12.0 may end in "Solve error" on badly scaled models (2782): that is UNKNOWN here, never an answer.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

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
    import highspy

SMALLEST_COEFFICIENT = 1e-12
"""HiGHS drops smaller matrix entries (default 1e-9); this is the least it can be told to."""


WRONG_VERSION = "1.14."
"""See the top of this file."""


class HighsBackend(Backend):
    """HiGHS: branch and cut for integer models, simplex for linear programs."""

    name: ClassVar[str] = "highs"
    module: ClassVar[str] = "highspy"
    distribution: ClassVar[str] = "highspy"
    licence: ClassVar[str] = "MIT"
    capabilities: ClassVar[Capabilities] = Capabilities(
        row_duals=True,
        start=True,
        cutoff=True,
        node_limit=True,
        threads=True,
        progress=True,
        quadratic_objective=True,
    )
    statuses: ClassVar[Mapping[str, SolveStatus]] = {
        "kNotset": SolveStatus.UNKNOWN,
        "kLoadError": SolveStatus.UNKNOWN,
        "kModelError": SolveStatus.UNKNOWN,
        "kPresolveError": SolveStatus.UNKNOWN,
        "kSolveError": SolveStatus.UNKNOWN,
        "kPostsolveError": SolveStatus.UNKNOWN,
        "kModelEmpty": SolveStatus.UNKNOWN,  # empty models are answered before they get here
        "kOptimal": SolveStatus.OPTIMAL,
        "kInfeasible": SolveStatus.INFEASIBLE,
        "kUnboundedOrInfeasible": SolveStatus.INFEASIBLE_OR_UNBOUNDED,
        "kUnbounded": SolveStatus.UNBOUNDED,
        "kObjectiveBound": SolveStatus.CUTOFF,
        "kObjectiveTarget": SolveStatus.UNKNOWN,  # we set no target
        "kTimeLimit": SolveStatus.TIME_LIMIT,
        "kIterationLimit": SolveStatus.UNKNOWN,  # we set no iteration limit
        "kUnknown": SolveStatus.UNKNOWN,
        "kSolutionLimit": SolveStatus.NODE_LIMIT,  # HiGHS's word for its node limit; we set no solution limit
        "kInterrupt": SolveStatus.INTERRUPTED,
        "kMemoryLimit": SolveStatus.UNKNOWN,
        "kHighsInterrupt": SolveStatus.INTERRUPTED,
    }

    def load(self) -> None:
        """Imports highspy; raises ImportError for the version that is known to give wrong optima."""
        version = self.version() or ""
        if version.startswith(WRONG_VERSION):
            raise ImportError(f"version {version} returns wrong optima (HiGHS issue 3043); install another")
        super().load()

    def solve(self, model: MipModel, limits: SolveLimits, report: Report) -> Answer:
        """See `Backend.solve`."""
        import highspy

        started = time.monotonic()
        highspy.Highs.resetGlobalScheduler(True)  # a scheduler of an earlier solve refuses another thread count
        highs = highspy.Highs()
        integral = bool(model.integer.any())
        for option, value in _options(limits, integral).items():
            _checked(highs.setOptionValue(option, value), f"option {option}={value!r}")
        _checked(highs.passModel(_translate(model)), "the model")
        if model.quadratic is not None:
            _checked(highs.passHessian(_hessian(model.quadratic)), "the quadratic objective")
        if limits.start is not None and integral:
            _pass_start(highs, limits.start)
        if limits.seconds is not None:
            left = limits.seconds - (time.monotonic() - started)
            highs.setOptionValue("time_limit", max(left, 0.0))
        if integral:
            _subscribe(highs, report)
        highs.run()
        return self._read(highs, integral)

    def _read(self, highs: highspy.Highs, integral: bool) -> Answer:
        import highspy

        info, solution = highs.getInfo(), highs.getSolution()
        status = self.translate(highs.getModelStatus().name)
        has_point = info.primal_solution_status == highspy.kSolutionStatusFeasible
        return Answer(
            status=status,
            point=np.asarray(solution.col_value, np.float64) if has_point else None,
            # After an error HiGHS reports a bound of 0, whatever the model.
            dual_bound=info.mip_dual_bound if integral and status is not SolveStatus.UNKNOWN else None,
            row_duals=None if integral or not solution.dual_valid else np.asarray(solution.row_dual, np.float64),
            nodes=max(0, info.mip_node_count),
            iterations=max(0, info.simplex_iteration_count),
        )


def _options(limits: SolveLimits, integral: bool) -> dict[str, Any]:
    options: dict[str, Any] = {
        "output_flag": False,
        "threads": limits.threads,
        "random_seed": limits.seed,
        "primal_feasibility_tolerance": SOLVER_FEASIBILITY,
        "dual_feasibility_tolerance": SOLVER_FEASIBILITY,
        "mip_feasibility_tolerance": SOLVER_FEASIBILITY,
        "mip_abs_gap": limits.gap_absolute,
        "mip_rel_gap": limits.gap_relative,
        "small_matrix_value": SMALLEST_COEFFICIENT,
    }
    if limits.nodes is not None:
        options["mip_max_nodes"] = min(limits.nodes, 2**31 - 1)
    if limits.cutoff is not None and integral:  # for a linear program it would end the dual simplex without duals
        options["objective_bound"] = limits.cutoff
    return options


def _translate(model: MipModel) -> highspy.HighsLp:
    import highspy

    lp = highspy.HighsLp()
    lp.num_col_, lp.num_row_ = model.columns, model.rows
    lp.col_cost_, lp.offset_ = model.cost, model.offset
    lp.col_lower_, lp.col_upper_ = model.column_lower, model.column_upper
    lp.row_lower_, lp.row_upper_ = model.row_lower, model.row_upper
    lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    lp.a_matrix_.num_col_, lp.a_matrix_.num_row_ = model.columns, model.rows
    lp.a_matrix_.start_, lp.a_matrix_.index_ = model.matrix.indptr, model.matrix.indices
    lp.a_matrix_.value_ = model.matrix.data
    if model.integer.any():
        kinds = (highspy.HighsVarType.kContinuous, highspy.HighsVarType.kInteger)
        lp.integrality_ = [kinds[int(whole)] for whole in model.integer]
    return lp


def _hessian(quadratic: Array) -> highspy.HighsHessian:
    """The diagonal Q for which HiGHS's objective, cost . v + v . Q v / 2, has these weights of the squares."""
    import highspy

    hessian = highspy.HighsHessian()
    hessian.dim_ = len(quadratic)
    hessian.format_ = highspy.HessianFormat.kTriangular
    hessian.start_ = np.arange(len(quadratic) + 1, dtype=np.int32)
    hessian.index_ = np.arange(len(quadratic), dtype=np.int32)
    hessian.value_ = 2.0 * quadratic
    return hessian


def _pass_start(highs: highspy.Highs, start: np.ndarray) -> None:
    """Hands over the known entries; HiGHS completes them, and refuses (without harm) values outside the bounds."""
    known = np.flatnonzero(np.isfinite(start)).astype(np.int32)
    highs.setSolution(len(known), known, start[known])


def _subscribe(highs: highspy.Highs, report: Report) -> None:
    """Reports each improved point and bound, from the thread that solves."""
    best = -np.inf

    def on_point(event: Any) -> None:
        data = event.data_out
        report(SolveProgress(data.mip_dual_bound, data.objective_function_value, np.array(data.mip_solution)))

    def on_node(event: Any) -> None:
        nonlocal best
        if event.data_out.mip_dual_bound > best:
            best = event.data_out.mip_dual_bound
            report(SolveProgress(best, None, None))

    highs.cbMipImprovingSolution.subscribe(on_point)
    highs.cbMipInterrupt.subscribe(on_node)


def _checked(status: highspy.HighsStatus, what: str) -> None:
    import highspy

    if status == highspy.HighsStatus.kError:
        raise RuntimeError(f"HiGHS refused {what}")
