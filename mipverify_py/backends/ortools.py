"""OR-Tools through MathOpt: its own build of SCIP for models with integer columns, GLOP for linear programs.

CP-SAT scales continuous columns to integers and so cannot promise 1e-9; PDLP is a first-order method; the HiGHS inside
is the one that `highs.py` offers. What this file knows about MathOpt 9.15, by experiment:

- A cutoff that nothing beats makes its Python layer fail ("12 is not a valid Limit"), so the cutoff is passed as a row.
- Registering a callback with GSCIP makes its event handler print an error and go on half registered, so there is none.
- Errors of the C++ layer surface as AttributeError; the worker reports whatever is raised.
- Its libraries bring a HiGHS of their own, which is why nothing here is imported into the user's process.
"""

from __future__ import annotations

import datetime
import importlib
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from bounds import MipModel
from mipverify_py._tolerances import SOLVER_FEASIBILITY
from mipverify_py.backends._base import (
    Answer,
    Backend,
    Capabilities,
    Report,
    SolveLimits,
    SolveStatus,
)
from onnx_models import Array

if TYPE_CHECKING:
    from ortools.math_opt.python import mathopt

MATHOPT = "ortools.math_opt.python.mathopt"

SEEDS = 2**30
"""As in `scip.py`: larger seeds make SCIP abort."""


class OrtoolsBackend(Backend):
    """OR-Tools MathOpt: GSCIP for integer models, GLOP for linear programs, one thread each."""

    name: ClassVar[str] = "ortools"
    module: ClassVar[str] = "ortools"
    distribution: ClassVar[str] = "ortools"
    licence: ClassVar[str] = "Apache-2.0"
    capabilities: ClassVar[Capabilities] = Capabilities(
        row_duals=True,
        start=True,
        cutoff=True,
        node_limit=True,
        threads=False,
        progress=False,
        quadratic_objective=True,
        quadratic_integer=True,
        quadratic_rows=True,
    )
    statuses: ClassVar[Mapping[str, SolveStatus]] = {
        "OPTIMAL": SolveStatus.OPTIMAL,
        "INFEASIBLE": SolveStatus.INFEASIBLE,
        "UNBOUNDED": SolveStatus.UNBOUNDED,
        "INFEASIBLE_OR_UNBOUNDED": SolveStatus.INFEASIBLE_OR_UNBOUNDED,
        "IMPRECISE": SolveStatus.UNKNOWN,
        "FEASIBLE": SolveStatus.UNKNOWN,  # these two name a limit, see below
        "NO_SOLUTION_FOUND": SolveStatus.UNKNOWN,
        "NUMERICAL_ERROR": SolveStatus.UNKNOWN,
        "OTHER_ERROR": SolveStatus.UNKNOWN,
        # the limit that stopped a solve
        "limit UNDETERMINED": SolveStatus.UNKNOWN,
        "limit ITERATION": SolveStatus.UNKNOWN,  # only the limits on time and nodes are ever set
        "limit TIME": SolveStatus.TIME_LIMIT,
        "limit NODE": SolveStatus.NODE_LIMIT,
        "limit SOLUTION": SolveStatus.UNKNOWN,
        "limit MEMORY": SolveStatus.UNKNOWN,
        "limit OBJECTIVE": SolveStatus.UNKNOWN,
        "limit NORM": SolveStatus.UNKNOWN,
        "limit INTERRUPTED": SolveStatus.INTERRUPTED,
        "limit SLOW_PROGRESS": SolveStatus.UNKNOWN,
        "limit OTHER": SolveStatus.UNKNOWN,
    }

    def load(self) -> None:
        """Imports MathOpt."""
        importlib.import_module(MATHOPT)

    def solve(self, model: MipModel, limits: SolveLimits, report: Report) -> Answer:
        """See `Backend.solve`."""
        from ortools.math_opt.python import mathopt

        started = time.monotonic()
        integral = bool(model.integer.any()) or not model.is_linear  # GLOP knows no squares
        problem = _translate(model, limits.cutoff if integral and model.quadratic is None else None)
        parameters = _parameters(limits, integral)
        hints = _hints(problem, limits.start if integral else None)
        if limits.seconds is not None:
            left = max(0.0, limits.seconds - (time.monotonic() - started))
            parameters.time_limit = datetime.timedelta(seconds=min(left, _LONGEST))
        solver = mathopt.SolverType.GSCIP if integral else mathopt.SolverType.GLOP
        result = mathopt.solve(problem, solver, params=parameters, model_params=hints)
        return self._read(model, result, integral)

    def _read(self, model: MipModel, result: mathopt.SolveResult, integral: bool) -> Answer:
        termination = result.termination
        limit = termination.limit
        status = self.translate(termination.reason.name if limit is None else f"limit {limit.name}")
        duals = None
        if not integral and result.has_dual_feasible_solution():
            values = result.dual_values()
            duals = np.zeros(model.rows)
            for constraint, value in values.items():
                duals[constraint.id] = value
        return Answer(
            status=status,
            point=_vector(result.variable_values(), model.columns) if result.has_primal_feasible_solution() else None,
            dual_bound=termination.objective_bounds.dual_bound,
            row_duals=duals,
            nodes=result.solve_stats.node_count,
            iterations=result.solve_stats.simplex_iterations,
        )


_LONGEST = 1e8
"""Three years: time deltas overflow far beyond it."""


def _translate(model: MipModel, cutoff: float | None) -> mathopt.Model:
    """MathOpt's model, built as one message because its Python calls are slow; ids are our indices."""
    from ortools.math_opt import model_pb2
    from ortools.math_opt.python import mathopt

    proto = model_pb2.ModelProto()
    proto.variables.ids.extend(range(model.columns))
    proto.variables.lower_bounds.extend(model.column_lower.tolist())
    proto.variables.upper_bounds.extend(model.column_upper.tolist())
    proto.variables.integers.extend(model.integer.tolist())
    costly = np.flatnonzero(model.cost)
    proto.objective.offset = model.offset
    proto.objective.linear_coefficients.ids.extend(costly.tolist())
    proto.objective.linear_coefficients.values.extend(model.cost[costly].tolist())
    matrix, lower, upper = model.matrix, model.row_lower.tolist(), model.row_upper.tolist()
    if cutoff is not None:
        matrix = sparse.csr_array(sparse.vstack([matrix, sparse.csr_array(model.cost[None, :])], format="csr"))
        lower, upper = [*lower, -np.inf], [*upper, cutoff - model.offset]
    proto.linear_constraints.ids.extend(range(len(lower)))
    proto.linear_constraints.lower_bounds.extend(lower)
    proto.linear_constraints.upper_bounds.extend(upper)
    entries = matrix.tocoo()
    proto.linear_constraint_matrix.row_ids.extend(entries.row.tolist())
    proto.linear_constraint_matrix.column_ids.extend(entries.col.tolist())
    proto.linear_constraint_matrix.coefficients.extend(entries.data.tolist())
    if model.quadratic is not None:
        squared = np.flatnonzero(model.quadratic)
        _set_squares(proto.objective.quadratic_coefficients, squared, model.quadratic[squared])
    for k, row in enumerate(model.quadratic_rows):
        constraint = proto.quadratic_constraints[k]
        constraint.lower_bound, constraint.upper_bound = -np.inf, row.upper
        order = np.argsort(row.columns)
        _set_squares(constraint.quadratic_terms, row.columns[order], row.weights[order])
    return mathopt.Model.from_model_proto(proto)


def _set_squares(terms: Any, columns: NDArray[np.intp], weights: Array) -> None:
    """Fills one of MathOpt's sparse matrices with the weights of squared columns."""
    terms.row_ids.extend(columns.tolist())
    terms.column_ids.extend(columns.tolist())
    terms.coefficients.extend(weights.tolist())


def _parameters(limits: SolveLimits, integral: bool) -> mathopt.SolveParameters:
    from ortools.math_opt.python import mathopt

    parameters = mathopt.SolveParameters(random_seed=limits.seed % SEEDS)
    if not integral:
        parameters.glop.primal_feasibility_tolerance = SOLVER_FEASIBILITY
        parameters.glop.dual_feasibility_tolerance = SOLVER_FEASIBILITY
        parameters.glop.solution_feasibility_tolerance = SOLVER_FEASIBILITY
        return parameters
    parameters.absolute_gap_tolerance = limits.gap_absolute
    parameters.relative_gap_tolerance = limits.gap_relative
    parameters.node_limit = limits.nodes
    for name, value in (
        ("feastol", SOLVER_FEASIBILITY),
        ("dualfeastol", SOLVER_FEASIBILITY),
        ("epsilon", SOLVER_FEASIBILITY / 10),  # as in `scip.py`
        ("sumepsilon", SOLVER_FEASIBILITY),
    ):
        parameters.gscip.real_params[f"numerics/{name}"] = value
    return parameters


def _hints(problem: mathopt.Model, start: Array | None) -> mathopt.ModelSolveParameters:
    """The known entries of a start point; SCIP completes them and drops them if they are wrong."""
    from ortools.math_opt.python import mathopt

    if start is None:
        return mathopt.ModelSolveParameters()
    known = np.flatnonzero(np.isfinite(start)).tolist()
    values = {problem.get_variable(j): float(start[j]) for j in known}
    return mathopt.ModelSolveParameters(solution_hints=[mathopt.SolutionHint(variable_values=values)])


def _vector(values: Mapping[mathopt.Variable, float], columns: int) -> Array:
    vector = np.zeros(columns)
    for variable, value in values.items():
        vector[variable.id] = value
    return vector
