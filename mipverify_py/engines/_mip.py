"""Engine `mip`: bounds, then one mixed-integer program on any backend; the reference that others are compared with."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np

from bounds import Bounds, NetworkBounds, linear_bounds
from mipverify_py._assumed import ASSUMED_DETAIL
from mipverify_py._attack import ball
from mipverify_py._encode import Encoding, encode, margin_bounds, squares_in
from mipverify_py._enums import Evidence, Norm, Objective, StopReason
from mipverify_py._result import layer_statistics
from mipverify_py._search import Search
from mipverify_py._tighten import Tightened, tighten
from mipverify_py._tolerances import RADIUS_SLACK, SOLVER_FEASIBILITY
from mipverify_py.backends import MipSolution, SolveLimits, SolveProgress, SolveStatus, get_backend, solve_isolated
from mipverify_py.engines._cell_program import cell_of, nearest_in_cells
from onnx_models import Array

LOWER_STEPS = 5
"""Bisection steps for the distance that linear bounds prove: to 3 % of the upper end, one linear bound each."""

REPAIR_MARGINS = (1e-8, 1e-7, 1e-6)
"""Extra margins, in logit units, asked for when a solver's point does not survive its check."""

RETRIES = 2
"""How often a solver that ended without an answer is asked again with another seed. HiGHS calls its own optimum a
"Solve error" where a row is missed by a hair more than 1e-9; another seed takes another way there."""

_STOPS = {
    SolveStatus.TIME_LIMIT: StopReason.TIME_LIMIT,
    SolveStatus.NODE_LIMIT: StopReason.NODE_LIMIT,
    SolveStatus.INTERRUPTED: StopReason.INTERRUPTED,
}


def run_mip(search: Search) -> None:
    """Answers the search's query after the attack has had its turn: bounds over the box left, then the MIP."""
    query = search.query
    box = search_region(search)
    if search.assumed is not None:
        search.assumed.check_region(box)
        for point in (query.x0, search.best_point, None if search.witness is None else search.witness.point):
            if point is not None:
                search.assumed.confront(point)

    def settled(bounds: NetworkBounds) -> bool:
        return bool(np.all(margin_bounds(query, bounds, query.target_classes).upper < query.margin))

    # A box that holds a witness is never settled, so asking would only cost time.
    ask = settled if search.witness is None and query.objective is not Objective.WORST else None
    with search.clock.during("bounds"):
        tightened = tighten(
            query.network,
            box,
            search.options,
            deadline=search.deadline,
            settled=ask,
            assumed=search.assumed,
            narrowed=lambda bounds: query.perturbation.narrowed(query.network, bounds),
        )
    search.bounds = tightened.bounds
    limits = margin_bounds(query, tightened.bounds, query.target_classes)
    open_targets = tuple(j for j, u in zip(query.target_classes, limits.upper, strict=True) if u >= query.margin)
    search.statistics = replace(
        search.statistics,
        layers=layer_statistics(query.network, tightened.bounds),
        bound_solves=tightened.solves,
        bound_skips=tightened.skips,
        bound_seconds=tightened.seconds,
        open_targets=open_targets,
    )
    _take_bounds(search, tightened, limits, open_targets)
    if search.closed or search.robust is not None or search.refuted:
        return
    if query.objective is Objective.CLOSEST and query.measured is None:
        with search.clock.during("bounds"):
            _prove_radius(search)
    targets = query.target_classes if query.objective is Objective.WORST else open_targets
    _solve(search, encode(query, tightened.bounds, targets=targets))


def search_region(search: Search) -> Bounds:
    """The box that can hold a better answer than the witness in hand."""
    if search.query.objective is Objective.CLOSEST and search.witness is not None and search.query.measured is None:
        return ball(search.query, search.witness.distance + RADIUS_SLACK)
    return search.query.box


def _take_bounds(search: Search, tightened: Tightened, limits: Bounds, open_targets: tuple[int, ...]) -> None:
    """What the bounds alone settle."""
    query = search.query
    trusted = tightened.claimed or tightened.assumed
    evidence = Evidence.SOLVER_CLAIM if trusted else Evidence.REPLAYED
    detail = _detail(search, solver=tightened.claimed)
    if query.objective is Objective.WORST:
        top = float(limits.upper.max())
        if trusted:
            search.claim(top, detail)
        else:
            search.prove(top)
    elif not open_targets and search.witness is None:
        search.robust, search.claim_detail = evidence, detail
    elif not open_targets:
        search.refuted = "the bounds exclude every target, a checked witness shows one"
        search.stop(StopReason.NUMERICAL, search.refuted)


def _prove_radius(search: Search) -> None:
    """Bisects for the largest radius at which linear bounds exclude every target, as a first lower end."""
    query = search.query
    low, high = 0.0, float(np.abs(_reach(query.box, query.x0)).max())
    if search.witness is not None:
        high = min(high, search.witness.distance)
    for _ in range(LOWER_STEPS):
        middle = 0.5 * (low + high)
        if search.seconds_left == 0.0 or middle == 0.0:
            return
        box = ball(query, middle)
        bounds: NetworkBounds = linear_bounds(query.network, box)
        if np.all(margin_bounds(query, bounds, query.target_classes).upper < query.margin):
            low = middle
            if search.proven is None or low > search.proven:
                search.proof = None  # one of a smaller radius
            search.prove(low)
        else:
            high = middle


def _reach(box: Bounds, x0: Array) -> Array:
    return np.maximum(np.abs(box.lower - x0), np.abs(box.upper - x0))


def _solve(search: Search, encoding: Encoding) -> None:
    """Solves the MIP in a child process and takes in what it finds, on the way and at the end."""
    model, options = encoding.model, search.options
    search.backend = options.backend
    search.statistics = replace(
        search.statistics,
        columns=model.columns,
        rows=model.rows,
        binaries=model.binaries,
        nonzeros=model.nonzeros,
    )
    if search.query.objective is Objective.CLOSEST and search.query.norm is not Norm.LINF:
        nearest_in_cells(search, encoding)
    absolute, relative = encoding.gaps(0.5 * options.gap_absolute, 0.5 * options.gap_relative)
    limits = SolveLimits(
        seconds=search.seconds_left,
        nodes=options.node_limit,
        gap_absolute=absolute,
        gap_relative=relative,
        threads=options.threads,
        seed=options.seed,
    )
    if limits.seconds == 0.0:
        search.stop(StopReason.TIME_LIMIT)
        return
    began = time.monotonic()
    detail = _detail(search)

    def on_progress(progress: SolveProgress) -> None:
        if progress.dual_bound is not None:
            _take_dual_bound(search, encoding.value_below(progress.dual_bound), detail)
        if progress.point is not None:
            _take_point(search, progress.point[encoding.inputs])

    solution = solve_isolated(options.backend, model, limits, on_progress=on_progress)
    for retry in range(1, RETRIES + 1):
        if solution.status is not SolveStatus.UNKNOWN or search.seconds_left == 0.0:
            break
        limits = replace(limits, seconds=search.seconds_left, seed=(options.seed + retry) % 2**31)
        solution = solve_isolated(options.backend, model, limits, on_progress=on_progress)
    search.statistics = replace(
        search.statistics,
        nodes=solution.nodes,
        iterations=solution.iterations,
        solve_seconds=time.monotonic() - began,
    )
    if solution.point is not None:
        _take_point(search, solution.point[encoding.inputs])
    if solution.dual_bound is not None:
        _take_dual_bound(search, encoding.value_below(solution.dual_bound), detail)
    if (
        solution.point is not None
        and solution.status is SolveStatus.OPTIMAL
        and not _settled(search, solution, encoding)
    ):
        _repair(search, encoding, solution.point)
    _conclude(search, solution)


def _settled(search: Search, solution: MipSolution, encoding: Encoding) -> bool:
    """Whether the checked witness is as good as the solver's own point."""
    if search.query.objective is Objective.CLOSEST and solution.objective is not None:
        reached = encoding.value_below(solution.objective)
        return search.witness is not None and search.options.closes(reached, search.witness.distance)
    return search.query.objective is Objective.WORST or search.witness is not None


def _repair(search: Search, encoding: Encoding, point: Array) -> None:
    """Looks for a sound witness in the activation cell of the solver's point, which misses the margin by a tolerance.

    With the binaries held at the point's values the MIP is a linear or convex program; asking it for a little more than
    the margin moves the point inside, also where several cells meet and no single gradient leads there.
    """
    cell = cell_of(encoding.model, point)
    for extra in REPAIR_MARGINS:
        row_lower = cell.row_lower.copy()
        row_lower[encoding.margin_rows] += extra
        limits = SolveLimits(seconds=search.seconds_left, threads=search.options.threads, seed=search.options.seed)
        if limits.seconds == 0.0:
            return
        solution = solve_isolated(search.options.backend, replace(cell, row_lower=row_lower), limits)
        if solution.status is SolveStatus.INTERRUPTED:
            raise KeyboardInterrupt
        if solution.point is not None and search.offer(solution.point[encoding.inputs]):
            return


def _detail(search: Search, *, solver: bool = True) -> str:
    """What a claim rests on: bounds supplied by the user, a solver, or both."""
    parts = [ASSUMED_DETAIL] * (search.assumed is not None)
    if solver:
        backend = search.options.backend
        rows = "rows and squares" if any(squares_in(search.query)) else "rows"
        version = get_backend(backend).version()
        parts.append(f"{backend} {version} claims it, with {rows} kept to {SOLVER_FEASIBILITY:g}")
    return "; ".join(parts)


def _take_dual_bound(search: Search, bound: float, detail: str) -> None:
    if not np.isfinite(bound):
        return
    if search.query.objective is Objective.CLOSEST:
        search.claim(max(bound, 0.0), detail)
    elif search.query.objective is Objective.WORST:
        search.claim(-bound, detail)


def _take_point(search: Search, point: Array) -> None:
    if search.query.objective is Objective.WORST:
        search.offer_margin(point)
    elif search.query.objective is Objective.CLOSEST or search.witness is None:
        search.offer(point)


def _conclude(search: Search, solution: MipSolution) -> None:
    """Why the search ends, judged by what the checks confirm rather than by the status alone."""
    objective = search.query.objective
    if search.refuted:
        search.stop(StopReason.NUMERICAL, search.refuted)
    elif solution.status in _STOPS:
        reason = _STOPS[solution.status]
        search.stop(StopReason.SOLVED if search.closed else reason)
    elif solution.status.proves_infeasible and search.witness is None and objective is not Objective.WORST:
        search.robust, search.claim_detail = Evidence.SOLVER_CLAIM, _detail(search)
    elif solution.status is not SolveStatus.OPTIMAL:
        search.stop(StopReason.SOLVER_FAILED, f"{search.options.backend} ended with: {solution.status.value}")
    elif objective is Objective.FEASIBILITY:
        if search.witness is None:
            search.stop(StopReason.NUMERICAL, "the solver's point does not reach the margin when it is re-evaluated")
    elif not search.closed:
        search.stop(StopReason.NUMERICAL, "the solver's bound and the checked end differ by more than the gap")
