"""Gurobi through gurobipy.

The wheel carries a licence for models of at most 2,000 variables and 2,000 rows (both included; 2,001 of either is
refused), and of at most 200 variables if anything is squared. Whether a larger model may be solved is asked of Gurobi
itself, by solving an empty model of 2,001 variables: so every kind of real licence (named user, academic, web, token
server, compute server) is recognised, wherever it is. The environment is opened for each solve and closed after it, so
that a floating licence is not held in between.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from scipy import sparse

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
from mipverify_py.backends._one_sided import OneSidedRows, count_one_sided
from onnx_models.errors import BackendError, BackendLimitError

if TYPE_CHECKING:
    import gurobipy

BUNDLED_LIMIT = 2000
"""Most variables and most rows that the licence inside the wheel accepts."""

QUADRATIC_LIMIT = 200
"""Most variables that it accepts in a model with a quadratic objective or row."""

SEEDS = 2_000_000_001
"""Gurobi's seeds end at two billion."""


_LICENCE_VARIABLES = ("GRB_WLS", "GRB_COMPUTESERVER", "GRB_TOKENSERVER", "GRB_CLOUD")


class GurobiBackend(Backend):
    """Gurobi: branch and cut for integer models, simplex or barrier for linear programs."""

    name: ClassVar[str] = "gurobi"
    module: ClassVar[str] = "gurobipy"
    distribution: ClassVar[str] = "gurobipy"
    licence: ClassVar[str] = "commercial"
    capabilities: ClassVar[Capabilities] = Capabilities(
        row_duals=True,
        start=True,
        cutoff=True,
        node_limit=True,
        threads=True,
        progress=True,
        quadratic_objective=True,
        quadratic_integer=True,
        quadratic_rows=True,
    )
    statuses: ClassVar[Mapping[str, SolveStatus]] = {
        "LOADED": SolveStatus.UNKNOWN,
        "OPTIMAL": SolveStatus.OPTIMAL,
        "INFEASIBLE": SolveStatus.INFEASIBLE,
        "INF_OR_UNBD": SolveStatus.INFEASIBLE_OR_UNBOUNDED,
        "UNBOUNDED": SolveStatus.UNBOUNDED,
        "CUTOFF": SolveStatus.CUTOFF,
        "ITERATION_LIMIT": SolveStatus.UNKNOWN,  # this and the limits below are never set
        "NODE_LIMIT": SolveStatus.NODE_LIMIT,
        "TIME_LIMIT": SolveStatus.TIME_LIMIT,
        "SOLUTION_LIMIT": SolveStatus.UNKNOWN,
        "INTERRUPTED": SolveStatus.INTERRUPTED,
        "NUMERIC": SolveStatus.UNKNOWN,
        "SUBOPTIMAL": SolveStatus.UNKNOWN,
        "INPROGRESS": SolveStatus.UNKNOWN,
        "USER_OBJ_LIMIT": SolveStatus.UNKNOWN,
        "WORK_LIMIT": SolveStatus.UNKNOWN,
        "MEM_LIMIT": SolveStatus.UNKNOWN,
        "LOCALLY_OPTIMAL": SolveStatus.UNKNOWN,
        "LOCALLY_INFEASIBLE": SolveStatus.UNKNOWN,
    }

    @classmethod
    def licence_note(cls) -> str:
        """Where a licence would come from; only a solve can tell whether it is valid."""
        found = _licence_file()
        if found is not None:
            return f"{cls.licence}, licence file {found}"
        if any(name.startswith(_LICENCE_VARIABLES) for name in os.environ):
            return f"{cls.licence}, licence from the environment"
        return f"{cls.licence}, bundled licence: at most {BUNDLED_LIMIT:,} variables and {BUNDLED_LIMIT:,} rows"

    def check_size(self, model: MipModel) -> None:
        """See `Backend.check_size`; a row with two different finite ends counts twice, as it is passed."""
        rows = count_one_sided(model)
        most = BUNDLED_LIMIT if model.is_linear else QUADRATIC_LIMIT
        if (rows > BUNDLED_LIMIT or model.columns > most) and self.licence_is_restricted():
            raise BackendLimitError(_too_large(model, rows))

    def licence_is_restricted(self) -> bool:
        """Whether Gurobi refuses an empty model of one variable more than the bundled licence allows.

        Raises:
            BackendError: there is no valid licence at all.
        """
        import gurobipy

        with _environment() as environment, gurobipy.Model(env=environment) as probe:
            probe.addMVar(BUNDLED_LIMIT + 1)
            try:
                probe.optimize()
            except gurobipy.GurobiError as error:
                if error.errno == gurobipy.GRB.Error.SIZE_LIMIT_EXCEEDED:
                    return True
                raise BackendError(f"Backend 'gurobi' could not start: {error}") from error
        return False

    def solve(self, model: MipModel, limits: SolveLimits, report: Report) -> Answer:
        """See `Backend.solve`."""
        import gurobipy

        started = time.monotonic()
        rows = OneSidedRows.of(model)
        with _environment() as environment, gurobipy.Model(env=environment) as gurobi:
            variables: Any = gurobi.addMVar(
                model.columns,
                lb=model.column_lower,
                ub=model.column_upper,
                obj=model.cost,
                vtype=np.where(model.integer, "I", "C"),
            )
            gurobi.ObjCon = model.offset
            _add_squares(gurobi, variables, model)
            matrix: Any = rows.matrix
            constraints = gurobi.addMConstr(matrix, variables, rows.sense, rows.right) if rows.count else None
            for option, value in _options(limits, bool(model.integer.any())).items():
                gurobi.setParam(option, value)
            if limits.start is not None:
                variables.Start = np.where(np.isfinite(limits.start), limits.start, gurobipy.GRB.UNDEFINED)
            if limits.seconds is not None:
                gurobi.setParam("TimeLimit", max(0.0, limits.seconds - (time.monotonic() - started)))
            try:
                gurobi.optimize(_callback(report))
            except gurobipy.GurobiError as error:
                if error.errno == gurobipy.GRB.Error.SIZE_LIMIT_EXCEEDED:
                    raise BackendLimitError(_too_large(model, rows.count)) from error
                raise
            return self._read(model, gurobi, variables, constraints, rows)

    def _read(self, model: MipModel, gurobi: Any, variables: Any, constraints: Any, rows: OneSidedRows) -> Answer:
        integral = bool(model.integer.any())
        status = self.translate(_status_name(gurobi.Status))
        duals = None
        curved = status is SolveStatus.OPTIMAL and not model.is_linear
        if status is SolveStatus.OPTIMAL and not integral and model.is_linear:
            values = np.zeros(0) if constraints is None else np.asarray(constraints.Pi, np.float64)
            duals = rows.collect(values, model.rows)
        return Answer(
            status=status,
            point=np.asarray(variables.X, np.float64) if gurobi.SolCount else None,
            dual_bound=gurobi.ObjBound if integral or curved else None,
            row_duals=duals,
            nodes=int(gurobi.NodeCount),
            iterations=int(gurobi.IterCount),
        )


@contextmanager
def _environment() -> Iterator[gurobipy.Env]:
    """A silent environment; GurobiError says why there is none (no licence, expired, no token left)."""
    import gurobipy

    with gurobipy.Env(empty=True) as environment:
        environment.setParam("OutputFlag", 0)
        environment.start()
        yield environment


def _options(limits: SolveLimits, integral: bool) -> dict[str, Any]:
    options: dict[str, Any] = {
        "Threads": limits.threads,
        "Seed": limits.seed % SEEDS,
        "FeasibilityTol": SOLVER_FEASIBILITY,
        "OptimalityTol": SOLVER_FEASIBILITY,
        "IntFeasTol": SOLVER_FEASIBILITY,
        "BarQCPConvTol": SOLVER_FEASIBILITY,
        "MIPGapAbs": limits.gap_absolute,
        "MIPGap": limits.gap_relative,
    }
    if limits.nodes is not None:
        options["NodeLimit"] = limits.nodes
    if limits.cutoff is not None and integral:
        options["Cutoff"] = limits.cutoff
    return options


def _add_squares(gurobi: Any, variables: Any, model: MipModel) -> None:
    """Adds the quadratic objective, the linear one being there already, and the quadratic rows."""
    for row in model.quadratic_rows:
        weights = sparse.diags_array(row.weights).tocsr()
        gurobi.addMQConstr(weights, None, "<", row.upper, variables[row.columns], variables[row.columns])
    if model.quadratic is not None:
        weights = sparse.diags_array(model.quadratic).tocsr()
        gurobi.setMObjective(weights, model.cost, model.offset, variables, variables, variables)


def _callback(report: Report) -> Any:
    """Reports each improved point and bound; runs in the solver's thread, which holds the interpreter then."""
    import gurobipy

    codes = gurobipy.GRB.Callback
    best = -np.inf

    def callback(gurobi: Any, where: int) -> None:
        nonlocal best
        if where == codes.MIPSOL:
            point = np.asarray(gurobi.cbGetSolution(gurobi.getVars()), np.float64)
            report(SolveProgress(gurobi.cbGet(codes.MIPSOL_OBJBND), gurobi.cbGet(codes.MIPSOL_OBJ), point))
        elif where == codes.MIP and gurobi.cbGet(codes.MIP_OBJBND) > best:
            best = gurobi.cbGet(codes.MIP_OBJBND)
            report(SolveProgress(best, None, None))

    return callback


def _status_name(code: int) -> str:
    import gurobipy

    names = {value: name for name, value in vars(type(gurobipy.GRB.Status)).items() if isinstance(value, int)}
    return names.get(code, f"status {code}")


def _too_large(model: MipModel, rows: int) -> str:
    squares = "" if model.is_linear else f", and {QUADRATIC_LIMIT} variables where there are squares"
    return (
        f"The model has {model.columns:,} variables and {rows:,} rows; the licence that comes with gurobipy allows at "
        f"most {BUNDLED_LIMIT:,} of each{squares}. Install a full licence (free for academics, "
        "https://www.gurobi.com/academia), tighten the bounds so that fewer units need a binary variable, or choose "
        "another backend."
    )


def _licence_file() -> Path | None:
    """The licence file that Gurobi would read first, None if only the bundled one is left."""
    named = os.environ.get("GRB_LICENSE_FILE")
    if named:
        return Path(named)
    for folder in (Path.home(), Path("/opt/gurobi"), Path("/Library/gurobi")):
        candidate = folder / "gurobi.lic"
        if candidate.is_file():
            return candidate
    return None
