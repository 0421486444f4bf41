"""Squares in objectives and rows: known answers on every backend that takes them, and refusals of the others."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bounds import MipModel, QuadraticRow
from mipverify_py.backends import (
    MipSolution,
    SolveLimits,
    SolveStatus,
    available_backends,
    get_backend,
    solve_isolated,
    violations,
    write_mps,
)
from mipverify_py.backends._frames import FrameReader, read_request, request
from mipverify_py.backends._preflight import canonical
from onnx_models.errors import BackendAbilityError, InputError
from tests.helpers.mips import INF, mip

EXACT = SolveLimits(gap_absolute=1e-9, gap_relative=1e-9)
NEAR = 1e-6
"""How far from the truth an optimum may be: solvers keep squares to 1e-9, some convex programs to 1e-8."""


def squared(model: MipModel, *weights: float) -> MipModel:
    return replace(model, quadratic=np.array(weights, float))


def within(model: MipModel, weights: list[float], upper: float) -> MipModel:
    row = QuadraticRow(np.arange(len(weights))[::-1], np.array(weights[::-1]), upper)
    return replace(model, quadratic_rows=(*model.quadratic_rows, row))


@dataclass(frozen=True)
class Case:
    """A model, its optimum, and why."""

    name: str
    model: MipModel
    optimum: float
    why: str

    def __str__(self) -> str:
        return self.name


FREE = ([-10, -10], [10, 10])
CASES = (
    Case("QP", squared(mip([[1, 1]], (1, INF), (0, 10), 0, offset=3), 1, 2), 3 + 2 / 3, "x = 2/3, y = 1/3"),
    Case("QP with a linear part", squared(mip([[1, 1]], (-INF, 9), FREE, [-2, 4]), 1, 1), -5, "x = 1, y = -2"),
    Case("MIQP", squared(mip([[1, 1]], (1.5, INF), (0, 10), [0, 0.5], integer=[0]), 1, 2), 1.75, "x = 1, y = 1/2"),
    Case("QCP", within(mip([[1, 1]], (-INF, INF), FREE, -1), [1, 4], 5), -2.5, "x = 2, y = 1/2"),
    Case("MIQCP", within(mip([[1, 1]], (-INF, INF), FREE, -1, integer=[1]), [1, 4], 5), -np.sqrt(5), "y = 0 or y = 1"),
    Case(
        "both",
        within(squared(mip([[1, 1]], (1, INF), FREE, [0, 0], integer=[0]), 1, 1), [1, 1], 1),
        1,
        "x = 0 and y = 1, or x = 1 and y = 0; without whole numbers 1/2",
    ),
)


def lacks(backend: str, model: MipModel) -> str:
    return get_backend(backend).capabilities.missing(
        objective=model.quadratic is not None,
        integral=bool(model.integer.any()),
        rows=bool(model.quadratic_rows),
    )


def solve(backend: str, model: MipModel, limits: SolveLimits = EXACT) -> MipSolution:
    """Solves, and checks what must hold of every solution."""
    solution = solve_isolated(backend, model, limits)
    if solution.point is not None:
        assert violations(model, solution.point, relative=True).largest <= 1e-6
        assert solution.objective == pytest.approx(model.objective(solution.point), abs=1e-12)
    assert solution.row_duals is None
    return solution


@pytest.mark.parametrize("backend", available_backends())
@pytest.mark.parametrize("case", CASES, ids=str)
def test_known_answers(backend: str, case: Case) -> None:
    """HiGHS gives no bound of a convex program. Only programs within a cell are left to it, and they need none."""
    if lacks(backend, case.model):
        with pytest.raises(BackendAbilityError, match=f"{backend!r} does not solve .* choose one of .*scip"):
            solve_isolated(backend, case.model, EXACT)
        return
    solution = solve(backend, case.model)
    assert solution.status is SolveStatus.OPTIMAL
    assert solution.objective == pytest.approx(case.optimum, abs=NEAR)
    if backend != "highs":
        assert solution.dual_bound == pytest.approx(case.optimum, abs=NEAR)
    assert solution.dual_bound is None or solution.dual_bound <= case.optimum + NEAR


def test_what_each_backend_can() -> None:
    able = {
        name: (c.quadratic_objective, c.quadratic_integer, c.quadratic_rows)
        for name in available_backends()
        for c in [get_backend(name).capabilities]
    }
    expected = {"highs": (True, False, False), "cbc": (False, False, False)}
    assert able == {name: expected.get(name, (True, True, True)) for name in able}


def able_backends() -> list[str]:
    return [name for name in available_backends() if get_backend(name).capabilities.quadratic_rows]


every_able_backend = pytest.mark.parametrize("backend", able_backends())


@every_able_backend
def test_infeasible(backend: str) -> None:
    model = within(mip([[1, 1]], (1.5, INF), FREE, 1, integer=[0]), [1, 1], 1)
    assert solve(backend, model).status is SolveStatus.INFEASIBLE


def test_a_row_below_zero_needs_no_solver() -> None:
    model = within(mip([[1, 1]], (-INF, 5), FREE, 1), [1, 1], -1e-3)
    assert solve("scip", model).status is SolveStatus.INFEASIBLE


@every_able_backend
@pytest.mark.parametrize("start", [[1.0, 0.5], [np.nan, 0.5], [7.0, 7.0]], ids=["optimal", "partial", "wrong"])
def test_a_start_does_no_harm(backend: str, start: list[float]) -> None:
    solution = solve(backend, CASES[2].model, replace(EXACT, start=np.array(start)))
    assert solution.status is SolveStatus.OPTIMAL and solution.objective == pytest.approx(1.75, abs=NEAR)


@every_able_backend
def test_a_cutoff_counts_the_squares(backend: str) -> None:
    assert solve(backend, CASES[2].model, replace(EXACT, cutoff=1.7)).status is SolveStatus.CUTOFF
    assert solve(backend, CASES[2].model, replace(EXACT, cutoff=1.8)).status is SolveStatus.OPTIMAL


@every_able_backend
@given(seed=st.integers(0, 10**6))
@settings(max_examples=10)
def test_random_programs_by_enumeration(backend: str, seed: int) -> None:
    """min sum q (v - c)**2 over whole numbers is separable; a row of squares only leaves points out."""
    rng = np.random.default_rng(seed)
    weights, centre = rng.integers(1, 4, 3).astype(float), rng.integers(-4, 5, 3) / 2
    upper = float(rng.integers(1, 20)) + 0.5
    points = [np.array(p, float) for p in product(range(-3, 4), repeat=3)]
    costs = [float(weights @ (p - centre) ** 2) for p in points if p @ p <= upper]
    model = mip(np.ones((1, 3)), (-INF, INF), (-3, 3), -2 * weights * centre, integer=[0, 1, 2])
    model = within(squared(replace(model, offset=float(weights @ centre**2)), *weights), [1, 1, 1], upper)
    solution = solve(backend, model)
    assert solution.status is SolveStatus.OPTIMAL and solution.objective == pytest.approx(min(costs), abs=NEAR)


def test_points_are_checked_against_squares() -> None:
    model = within(mip([[1, 1]], (-INF, INF), FREE, 0), [1, 4], 5)
    assert violations(model, np.array([1.0, 1.0])).largest == 0
    assert violations(model, np.array([3.0, 1.0])).rows == 8
    assert violations(model, np.array([3.0, 1.0]), relative=True).rows == 8 / 5


def test_squares_survive_the_way_to_the_worker() -> None:
    model = within(squared(CASES[2].model, 0.1, 0.3), [0.7, 0.0], 0.1)
    frame = next(FrameReader().feed(request(canonical(model), SolveLimits()).pack()))
    arrived, _ = read_request(frame)
    np.testing.assert_array_equal(arrived.quadratic, model.quadratic)
    (row,) = arrived.quadratic_rows
    np.testing.assert_array_equal(row.columns, [1, 0])
    np.testing.assert_array_equal(row.weights, [0.0, 0.7])
    assert row.upper == 0.1


def test_zero_squares_make_a_linear_model() -> None:
    assert canonical(squared(CASES[0].model, 0, 0)).is_linear
    assert solve_isolated("cbc", squared(mip([[1, 1]], (1, INF), (0, 1), 1), 0, 0), EXACT).objective == 1


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (squared(CASES[0].model, 1, -1), "not convex"),
        (within(CASES[0].model, [1, -1], 1), "not convex"),
        (squared(CASES[0].model, 1, np.nan), "quadratic"),
        (within(CASES[0].model, [1, 1], np.inf), "quadratic rows"),
    ],
    ids=["objective", "row", "NaN", "infinite"],
)
def test_squares_are_checked(model: MipModel, message: str) -> None:
    with pytest.raises(InputError, match=message):
        solve_isolated("scip", model, EXACT)


def test_models_with_squares_have_no_mps_file(tmp_path) -> None:
    with pytest.raises(InputError, match="squares"):
        write_mps(CASES[0].model, tmp_path / "model.mps")
