"""From a solver's answer to a `MipSolution`: the rules that hold whatever the solver says."""

from __future__ import annotations

import logging
import math

import numpy as np

from bounds import MipModel
from mipverify_py._tolerances import POINT_FEASIBILITY, SOLVER_FEASIBILITY
from mipverify_py.backends._base import Answer, MipSolution, SolveLimits, SolveProgress, SolveStatus
from mipverify_py.backends._check import violations
from mipverify_py.backends._duality import dual_value
from onnx_models import Array

logger = logging.getLogger(__name__)

INFINITE = 1e20
"""Solvers write "no bound" as +-1e20, 1e30, 1e50 or 1e100; a bound this large is none."""


def conclude(model: MipModel, limits: SolveLimits, answer: Answer, seconds: float) -> MipSolution:
    """The solution that an answer amounts to.

    - A point that misses the model by more than `POINT_FEASIBILITY` is dropped, and "optimal" with it becomes UNKNOWN.
    - The objective is recomputed from the point. The dual bound of a linear program is recomputed from its row duals.
    - The dual bound is lowered to the objective, and to the cutoff: under one, solvers discard whatever is no better.
    - "Infeasible" under a cutoff only says that nothing is better than the cutoff: CUTOFF, with the cutoff as bound.
      So does an optimum that is not better than the cutoff, so that all backends answer alike.
    - A point of an unbounded model is dropped: its objective, often 1e30, would read like a result.
    - "Infeasible" beside a point that satisfies the model is a contradiction, and "optimal" beside a dual bound that
      does not close the gap asked for is not optimal: both are UNKNOWN.
    """
    point = None if answer.status is SolveStatus.UNBOUNDED else _accepted(model, answer.point)
    objective = None if point is None else cost_of(model, point)
    status = _status(limits, answer, objective)
    bound = _finite(answer.dual_bound)
    row_duals = None
    linear = model.is_linear and not model.integer.any()  # only then do row duals alone prove a bound
    if linear and answer.row_duals is not None and answer.status is SolveStatus.OPTIMAL:
        row_duals = np.asarray(answer.row_duals, np.float64)
        bound = dual_value(model, row_duals)
    if status is SolveStatus.CUTOFF:
        bound = limits.cutoff
    elif status in (SolveStatus.INFEASIBLE, SolveStatus.UNBOUNDED, SolveStatus.INFEASIBLE_OR_UNBOUNDED):
        bound = None
    bound = _lowered(bound, objective, limits.cutoff)
    if status is SolveStatus.OPTIMAL and model.integer.any() and not _closed(limits, objective, bound):
        logger.warning("A solver called %r optimal beside a dual bound of %r: counted as unknown.", objective, bound)
        status = SolveStatus.UNKNOWN
    nodes, iterations = max(0, int(answer.nodes)), max(0, int(answer.iterations))
    return MipSolution(status, objective, bound, point, row_duals, nodes, seconds, iterations)


def cost_of(model: MipModel, point: Array) -> float:
    """The objective at a point, offset included."""
    return model.objective(point)


class Bracket:
    """The best bound and point that a running solve has reported so far, for when it never gets to answer."""

    def __init__(self, model: MipModel, limits: SolveLimits) -> None:
        self._model, self._limits = model, limits
        self._bound: float | None = None
        self._point: Array | None = None
        self._point_cost: float | None = None
        self._objective: float | None = None

    def update(self, progress: SolveProgress) -> SolveProgress | None:
        """What is new in a report, checked as in `conclude`; None if nothing is."""
        bound = _lowered(_finite(progress.dual_bound), None, self._limits.cutoff)
        bound_news = bound is not None and (self._bound is None or bound > self._bound)
        if bound_news:
            self._bound = bound
        point = _accepted(self._model, progress.point)
        if point is not None:
            cost = cost_of(self._model, point)
            if self._point_cost is None or cost < self._point_cost:
                self._point, self._point_cost = point, cost
            else:
                point = None
        objective = _finite(progress.objective) if point is None else self._point_cost
        objective_news = objective is not None and (self._objective is None or objective < self._objective)
        if objective_news:
            self._objective = objective
        if not bound_news and not objective_news and point is None:
            return None
        shown = _lowered(self._bound, self._objective, self._limits.cutoff)
        return SolveProgress(shown, self._objective, point)

    def answer(self, status: SolveStatus) -> Answer:
        """The answer to give when the solver was stopped from outside."""
        return Answer(status, self._point, self._bound)


def _accepted(model: MipModel, point: Array | None) -> Array | None:
    if point is None:
        return None
    values = np.asarray(point, np.float64)
    if values.shape != (model.columns,):
        logger.warning("A solver's point has shape %s instead of (%d,): dropped.", values.shape, model.columns)
        return None
    missed = violations(model, values, relative=True)
    if missed.largest > POINT_FEASIBILITY:
        logger.info("A solver's point misses the model by %s: dropped.", missed)
        return None
    return values


def _status(limits: SolveLimits, answer: Answer, objective: float | None) -> SolveStatus:
    status, cutoff = answer.status, limits.cutoff
    if status is SolveStatus.INFEASIBLE and cutoff is not None:
        status = SolveStatus.CUTOFF
    if status is SolveStatus.OPTIMAL:
        if objective is None:
            return SolveStatus.UNKNOWN
        return status if cutoff is None or objective < cutoff else SolveStatus.CUTOFF
    if status is SolveStatus.INFEASIBLE and objective is not None:
        logger.warning("A solver called a model infeasible beside a feasible point: counted as unknown.")
        return SolveStatus.UNKNOWN
    if status is SolveStatus.CUTOFF and (cutoff is None or (objective is not None and objective < cutoff)):
        return SolveStatus.UNKNOWN
    return status


def _closed(limits: SolveLimits, objective: float | None, bound: float | None) -> bool:
    # Solvers measure the gap in their own roundings: a millionth of it, and their feasibility tolerance, are let pass.
    assert objective is not None
    rounding = SOLVER_FEASIBILITY * (1 + abs(objective))
    return bound is not None and objective - bound <= limits.allowed_gap(objective) * (1 + 1e-6) + rounding


def _finite(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) or abs(value) >= INFINITE else float(value)


def _lowered(bound: float | None, *ends: float | None) -> float | None:
    return None if bound is None else min([bound, *(end for end in ends if end is not None)])
