"""What every backend must do, on models with known answers; each case runs on every solver that is installed."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bounds import MipModel
from mipverify_py.backends import (
    MipSolution,
    SolveLimits,
    SolveProgress,
    SolveStatus,
    available_backends,
    get_backend,
    solve_isolated,
    violations,
)
from mipverify_py.backends._duality import dual_value
from tests.helpers.mips import (
    INF,
    INTEGER,
    KNAPSACK,
    LINEAR,
    REPORTED,
    Known,
    brute_force,
    exact_lp,
    mip,
    planted,
    random_mip,
    relu_model,
)

REPOSITORY = Path(__file__).resolve().parents[3]
BACKENDS = available_backends()
every_backend = pytest.mark.parametrize("backend", BACKENDS)
EXACT = SolveLimits(gap_absolute=1e-9, gap_relative=1e-9)
NEAR = 1e-6
"""How far from the truth an optimum may be: the feasibility tolerance times the sizes in these models, with room."""


def solve(backend: str, model: MipModel, limits: SolveLimits = EXACT) -> MipSolution:
    """Solves, and checks what must hold of every solution of every model."""
    solution = solve_isolated(backend, model, limits)
    if solution.point is None:
        assert solution.objective is None
    else:
        assert violations(model, solution.point, relative=True).largest <= 1e-6
        assert solution.objective == pytest.approx(model.cost @ solution.point + model.offset, abs=1e-12, rel=1e-12)
    if solution.dual_bound is not None:
        assert abs(solution.dual_bound) < 1e20
        assert solution.objective is None or solution.dual_bound <= solution.objective
    assert solution.seconds >= 0 and solution.nodes >= 0
    return solution


def assert_solves(backend: str, model: MipModel, optimum: float) -> MipSolution:
    solution = solve(backend, model)
    assert solution.status is SolveStatus.OPTIMAL
    assert solution.objective == pytest.approx(optimum, abs=NEAR)
    assert solution.dual_bound is not None and solution.dual_bound <= optimum + NEAR
    assert solution.dual_bound == pytest.approx(optimum, abs=NEAR)
    return solution


@every_backend
@pytest.mark.parametrize("known", LINEAR, ids=str)
def test_linear_programs(backend: str, known: Known) -> None:
    solution = assert_solves(backend, known.model, known.optimum)
    if get_backend(backend).capabilities.row_duals:
        assert known.duals is not None
        np.testing.assert_allclose(solution.row_duals, np.asarray(known.duals, float), atol=1e-9)
    else:
        assert solution.row_duals is None


@every_backend
@pytest.mark.parametrize("known", INTEGER + REPORTED, ids=str)
def test_integer_programs(backend: str, known: Known) -> None:
    """A few of these were wrong in some version of some solver: this is the self-test before a solver is trusted."""
    solution = solve(backend, known.model, SolveLimits(gap_absolute=0, gap_relative=1e-9))
    assert solution.status is SolveStatus.OPTIMAL
    assert solution.objective == pytest.approx(known.optimum, rel=1e-6, abs=1e-9)
    assert solution.dual_bound == pytest.approx(known.optimum, rel=1e-6, abs=1e-9)
    assert solution.row_duals is None


@pytest.mark.parametrize("known", LINEAR + INTEGER + REPORTED, ids=str)
def test_the_known_answers_are_right(known: Known) -> None:
    assert brute_force(known.model) == pytest.approx(known.optimum, abs=1e-12)


ONE_ROW = [[1, 1]]
INFEASIBLE = {
    "row out of reach": mip(ONE_ROW, (4.5, INF), (0, 1), 1),
    "row out of reach of integers": mip(ONE_ROW, (4.5, INF), (0, 1), 1, integer=[1]),
    "parity": mip([[2, 2]], (3, 3), (0, 5), 1, integer=[0, 1]),
    "no whole number in the bounds": mip(ONE_ROW, (0, 9), ([0.2, 0], [0.8, 9]), 1, integer=[0]),
    "crossed columns": mip(ONE_ROW, (0, 9), ([1, 0], [0, 9]), 1),
    "crossed row": mip(ONE_ROW, (2, 1), (0, 9), 1),
    "empty row": mip([[0, 0]], (1, 2), (0, 9), 1),
}


@every_backend
@pytest.mark.parametrize("model", INFEASIBLE.values(), ids=INFEASIBLE.keys())
def test_infeasible(backend: str, model: MipModel) -> None:
    solution = solve(backend, model)
    assert solution.status is SolveStatus.INFEASIBLE and solution.status.proves_infeasible
    assert solution.point is None and solution.dual_bound is None and solution.row_duals is None


@every_backend
@pytest.mark.parametrize("integer", [(), (0, 1)], ids=["linear", "integer"])
def test_unbounded(backend: str, integer: tuple[int, ...]) -> None:
    solution = solve(backend, mip([[1, -1]], (1, INF), (0, INF), [-1, 0], integer=integer))
    assert solution.status in (SolveStatus.UNBOUNDED, SolveStatus.INFEASIBLE_OR_UNBOUNDED)
    assert not solution.status.proves_infeasible
    assert solution.point is None and solution.objective is None and solution.dual_bound is None


@every_backend
def test_infeasible_with_an_unbounded_relaxation_is_never_called_unbounded(backend: str) -> None:
    model = mip([[1, -1], [1, -1]], ([1, -INF], [INF, 0]), (-INF, INF), [-1, 0])
    assert solve(backend, model).status in (SolveStatus.INFEASIBLE, SolveStatus.INFEASIBLE_OR_UNBOUNDED)


@every_backend
def test_no_columns(backend: str) -> None:
    solution = solve(backend, mip(np.zeros((1, 0)), (-1, 1), ([], []), [], offset=3))
    assert (solution.status, solution.objective, solution.dual_bound) == (SolveStatus.OPTIMAL, 3, 3)


@every_backend
@pytest.mark.parametrize("cutoff", [-24.5, -24.0])
def test_nothing_beats_the_cutoff(backend: str, cutoff: float) -> None:
    solution = solve(backend, KNAPSACK, SolveLimits(cutoff=cutoff))
    assert solution.status is SolveStatus.CUTOFF and not solution.status.proves_infeasible
    assert solution.dual_bound == cutoff


@every_backend
def test_a_point_beats_the_cutoff(backend: str) -> None:
    solution = solve(backend, KNAPSACK, SolveLimits(cutoff=-23.0))
    assert solution.status is SolveStatus.OPTIMAL and solution.objective == pytest.approx(-24)


@every_backend
def test_the_cutoff_counts_the_offset(backend: str) -> None:
    model = mip(ONE_ROW, (4.5, INF), (0, 10), [2, 3], integer=[1], offset=7)
    assert solve(backend, model, SolveLimits(cutoff=16.5)).status is SolveStatus.OPTIMAL
    assert solve(backend, model, SolveLimits(cutoff=15.5)).status is SolveStatus.CUTOFF


@every_backend
def test_the_cutoff_of_a_linear_program(backend: str) -> None:
    model = mip(ONE_ROW, (4.5, INF), (0, 10), [2, 3])
    assert solve(backend, model, SolveLimits(cutoff=8.5)).status is SolveStatus.CUTOFF
    assert solve(backend, model, SolveLimits(cutoff=9.5)).status is SolveStatus.OPTIMAL


@every_backend
def test_time_limit(backend: str) -> None:
    """Each solver would need hours for this one: that the call returns shows that the limit is kept."""
    model, hidden = planted()
    solution = solve(backend, model, SolveLimits(seconds=0.4))
    assert solution.status is SolveStatus.TIME_LIMIT
    assert solution.dual_bound is None or solution.dual_bound <= model.cost @ hidden + model.offset + NEAR
    assert solution.objective is None or solution.objective >= 2.0 - NEAR


@every_backend
def test_no_time_at_all(backend: str) -> None:
    assert solve(backend, planted()[0], SolveLimits(seconds=0)).status is SolveStatus.TIME_LIMIT


@every_backend
def test_node_limit(backend: str) -> None:
    solution = solve(backend, planted()[0], SolveLimits(nodes=3, seconds=60))
    assert solution.status is SolveStatus.NODE_LIMIT
    assert solution.dual_bound is None or solution.dual_bound <= 2.0 + NEAR


@every_backend
@pytest.mark.parametrize("seed", [0, 2**31 - 1])
def test_the_same_seed_gives_the_same_search(backend: str, seed: int) -> None:
    model = planted(n=30, m=3)[0]
    first, second = (solve(backend, model, SolveLimits(nodes=5, seed=seed, seconds=60)) for _ in range(2))
    assert (first.status, first.nodes, first.objective) == (second.status, second.nodes, second.objective)
    np.testing.assert_array_equal(first.point, second.point)


@every_backend
def test_two_threads(backend: str) -> None:
    solution = solve(backend, KNAPSACK, SolveLimits(threads=2))
    assert solution.status is SolveStatus.OPTIMAL and solution.objective == pytest.approx(-24)


@every_backend
def test_a_complete_start_is_used(backend: str) -> None:
    model, hidden = planted()
    assert get_backend(backend).capabilities.start
    solution = solve(backend, model, SolveLimits(nodes=1, seconds=60, start=hidden))
    assert solution.objective == pytest.approx(2.0, abs=NEAR)


@every_backend
def test_a_partial_start_does_no_harm(backend: str) -> None:
    model, hidden = planted()
    start = np.where(model.integer, hidden, np.nan)
    solution = solve(backend, model, SolveLimits(nodes=1, seconds=60, start=start))
    if backend != "cbc":  # it takes complete starts only, see its file
        assert solution.objective == pytest.approx(2.0, abs=NEAR)


WRONG_STARTS = {
    "outside the bounds": np.full(5, 7.5),
    "breaks a row": np.ones(5),
    "fractional": np.full(5, 0.5),
    "unknown": np.full(5, np.nan),
    "partly wrong": np.array([9.0, np.nan, 0.5, np.nan, -3.0]),
    "infinite": np.full(5, np.inf),
}


@every_backend
@pytest.mark.parametrize("start", WRONG_STARTS.values(), ids=WRONG_STARTS.keys())
def test_a_wrong_start_does_no_harm(backend: str, start: np.ndarray) -> None:
    solution = solve(backend, KNAPSACK, SolveLimits(start=start))
    assert solution.status is SolveStatus.OPTIMAL and solution.objective == pytest.approx(-24)


@every_backend
def test_a_start_for_a_linear_program_does_no_harm(backend: str) -> None:
    solution = solve(backend, LINEAR[0].model, SolveLimits(start=np.array([5.0, 5.0])))
    assert solution.status is SolveStatus.OPTIMAL and solution.objective == pytest.approx(16)


@every_backend
def test_a_loose_gap_is_bracketed(backend: str) -> None:
    model = relu_model(3, inputs=8, units=13)
    limits = SolveLimits(gap_absolute=0.5, gap_relative=0.0)
    loose, tight = solve(backend, model, limits), solve(backend, model)
    assert loose.status is tight.status is SolveStatus.OPTIMAL
    assert loose.objective is not None and tight.objective is not None and loose.dual_bound is not None
    assert loose.dual_bound - NEAR <= tight.objective <= loose.objective + NEAR
    assert loose.objective - loose.dual_bound <= 0.5 + NEAR


@every_backend
def test_progress_narrows(backend: str) -> None:
    seen: list[SolveProgress] = []
    model, _ = planted()
    solution = solve_isolated(backend, model, SolveLimits(seconds=0.6), on_progress=seen.append)
    if not get_backend(backend).capabilities.progress:
        assert not seen
        return
    assert seen
    best = [p.objective for p in seen if p.objective is not None]
    bounds = [p.dual_bound for p in seen if p.dual_bound is not None]
    assert best == sorted(best, reverse=True)
    assert all(bound <= 2.0 + NEAR for bound in bounds)
    for progress in seen:
        if progress.point is not None:
            assert violations(model, progress.point, relative=True).largest <= 1e-6
            assert progress.objective == pytest.approx(model.cost @ progress.point + model.offset)
    if best and any(progress.point is not None for progress in seen):
        assert solution.objective is not None and solution.objective <= best[-1] + NEAR


@every_backend
def test_no_solve_hears_of_the_one_before(backend: str) -> None:
    """One process serves them all, and each optimum lies far below the one before."""
    for k in range(6):
        model = replace(relu_model(k, 6, 12), offset=-1000.0 * k)
        for limits in (SolveLimits(nodes=1), EXACT):
            seen: list[SolveProgress] = []
            solution = solve_isolated(backend, model, limits, on_progress=seen.append)
            bounds = [p.dual_bound for p in (*seen, solution) if p.dual_bound is not None]
            assert all(bound <= -1000.0 * k + 500 for bound in bounds)


REPORTING = """
import gc, json
from mipverify_py.backends import SolveLimits
from mipverify_py.backends._preflight import canonical
from mipverify_py.backends._registry import backend_class
from tests.helpers.mips import relu_model

backend = backend_class({backend!r})()
backend.load()
for seed in range(8):
    model = canonical(relu_model(seed, 6, 12))
    for limits in (SolveLimits(nodes=1), SolveLimits(gap_relative=0.3), SolveLimits()):
        reports = []
        answer = backend.solve(model, limits, lambda progress: reports.append(progress.dual_bound))
        count = len(reports)
        gc.collect()  # takes along what the solve left behind
        print(json.dumps([float(model.cost @ answer.point), reports[:count], reports[count:]]))
"""
"""Solves in this process, as a worker does: the cost of a feasible point, the bounds during the solve, those after."""


@pytest.mark.slow
@every_backend
def test_bounds_are_reported_during_the_solve_and_are_true(backend: str) -> None:
    """SCIP frees a stopped problem node by node, and tells of each rise of the bound among those that are left."""
    code = REPORTING.format(backend=backend)
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    ends = [json.loads(line) for line in done.stdout.splitlines()]
    for stopped, wide, (optimum, *_) in zip(ends[::3], ends[1::3], ends[2::3], strict=True):
        assert all(bound <= optimum + NEAR for _, during, _ in (stopped, wide) for bound in during)
    assert not any(late for _, _, late in ends)


@every_backend
def test_numbers_arrive_exactly(backend: str) -> None:
    """Fixed columns come back to the last bit (down to 1e-7: SCIP takes anything below its epsilon for zero)."""
    rng = np.random.default_rng(5)
    values = rng.choice([-1, 1], 300) * rng.uniform(1, 10, 300) * 10.0 ** rng.integers(-7, 8, 300)
    model = mip(np.zeros((0, 300)), ([], []), (values, values), np.ones(300))
    point = solve(backend, model).point
    assert point is not None
    np.testing.assert_array_equal(point, values)


@every_backend
@settings(max_examples=25)
@given(seed=st.integers(0, 10**6))
def test_random_integer_programs(backend: str, seed: int) -> None:
    model = random_mip(seed)
    truth = brute_force(model)
    if truth is None:
        assert solve(backend, model).status is SolveStatus.INFEASIBLE
    else:
        assert_solves(backend, model, truth)


@every_backend
@settings(max_examples=15)
@given(seed=st.integers(0, 10**6))
def test_random_linear_programs(backend: str, seed: int) -> None:
    model = random_mip(seed)
    model = mip(
        model.matrix.toarray(),
        (model.row_lower, model.row_upper),
        (model.column_lower, model.column_upper),
        model.cost,
        offset=model.offset,
    )
    truth = exact_lp(model)
    if truth is None:
        assert solve(backend, model).status is SolveStatus.INFEASIBLE
        return
    solution = assert_solves(backend, model, truth)
    if solution.row_duals is not None:
        assert dual_value(model, solution.row_duals) == pytest.approx(truth, abs=NEAR)


@pytest.mark.parametrize("seed", range(3))
def test_all_agree_on_big_m_models(seed: int) -> None:
    model = relu_model(seed, inputs=6, units=12)
    optima = {backend: solve(backend, model) for backend in BACKENDS}
    assert {s.status for s in optima.values()} == {SolveStatus.OPTIMAL}
    reference = optima[BACKENDS[0]].objective
    assert reference is not None
    for solution in optima.values():
        assert solution.objective == pytest.approx(reference, abs=NEAR)
        assert solution.dual_bound is not None and solution.dual_bound <= reference + NEAR


@every_backend
def test_big_m_model_against_enumeration(backend: str) -> None:
    model = relu_model(7, inputs=3, units=5)
    truth = brute_force(model)
    assert truth is not None
    assert_solves(backend, model, truth)
