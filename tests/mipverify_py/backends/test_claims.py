"""The rules between a solver's answer and ours, on scripted answers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mipverify_py.backends import Answer, SolveLimits, SolveProgress, SolveStatus
from mipverify_py.backends._claims import Bracket, conclude
from mipverify_py.backends._duality import dual_value
from onnx_models.errors import InputError
from tests.helpers.mips import INF, KNAPSACK, LINEAR, brute_force, exact_lp, mip, random_mip

S = SolveStatus
BEST = np.array([1.0, 0, 0, 1, 0])  # -24
GOOD = np.array([1.0, 1, 0, 0, 1])  # -20
HEAVY = np.ones(5)  # breaks the row
NONE = SolveLimits(gap_absolute=1e-6, gap_relative=0)
CUT = SolveLimits(cutoff=-22.0)

CASES = {
    # name: (limits, answer, status, objective, dual bound)
    "optimal": (NONE, Answer(S.OPTIMAL, BEST, -24.0), S.OPTIMAL, -24, -24),
    "optimal within the gap": (NONE, Answer(S.OPTIMAL, BEST, -24 - 1e-6), S.OPTIMAL, -24, -24 - 1e-6),
    "optimal with a gap left open": (NONE, Answer(S.OPTIMAL, BEST, -25.0), S.UNKNOWN, -24, -25),
    "optimal without a bound": (NONE, Answer(S.OPTIMAL, BEST), S.UNKNOWN, -24, None),
    "optimal without a point": (NONE, Answer(S.OPTIMAL, None, -24.0), S.UNKNOWN, None, -24),
    "optimal at a point that breaks a row": (NONE, Answer(S.OPTIMAL, HEAVY, -46.0), S.UNKNOWN, None, -46),
    "optimal at NaN": (NONE, Answer(S.OPTIMAL, np.full(5, np.nan), -24.0), S.UNKNOWN, None, -24),
    "optimal at a point of another size": (NONE, Answer(S.OPTIMAL, BEST[:4], -24.0), S.UNKNOWN, None, -24),
    "a bound above the point": (NONE, Answer(S.TIME_LIMIT, GOOD, -19.0), S.TIME_LIMIT, -20, -20),
    "a bound that is none": (NONE, Answer(S.TIME_LIMIT, GOOD, -1e20), S.TIME_LIMIT, -20, None),
    "a bound that is not a number": (NONE, Answer(S.TIME_LIMIT, GOOD, float("nan")), S.TIME_LIMIT, -20, None),
    "nothing at all": (NONE, Answer(S.TIME_LIMIT), S.TIME_LIMIT, None, None),
    "infeasible": (NONE, Answer(S.INFEASIBLE, None, 1e20), S.INFEASIBLE, None, None),
    "infeasible beside a point": (NONE, Answer(S.INFEASIBLE, GOOD), S.UNKNOWN, -20, None),
    "infeasible beside a wrong point": (NONE, Answer(S.INFEASIBLE, HEAVY, -46.0), S.INFEASIBLE, None, None),
    "infeasible or unbounded": (NONE, Answer(S.INFEASIBLE_OR_UNBOUNDED), S.INFEASIBLE_OR_UNBOUNDED, None, None),
    "unbounded": (NONE, Answer(S.UNBOUNDED, GOOD, -1e30), S.UNBOUNDED, None, None),
    "cutoff without a cutoff": (NONE, Answer(S.CUTOFF), S.UNKNOWN, None, None),
    "infeasible under a cutoff": (CUT, Answer(S.INFEASIBLE), S.CUTOFF, None, -22),
    "infeasible under a cutoff, beside a worse point": (CUT, Answer(S.INFEASIBLE, GOOD), S.CUTOFF, -20, -22),
    "infeasible under a cutoff, beside a better point": (CUT, Answer(S.INFEASIBLE, BEST), S.UNKNOWN, -24, None),
    "cutoff beside a better point": (CUT, Answer(S.CUTOFF, BEST), S.UNKNOWN, -24, None),
    "an optimum no better than the cutoff": (CUT, Answer(S.OPTIMAL, GOOD, -20.0), S.CUTOFF, -20, -22),
    "a bound above the cutoff": (CUT, Answer(S.TIME_LIMIT, None, -10.0), S.TIME_LIMIT, None, -22),
    "an optimum better than the cutoff": (CUT, Answer(S.OPTIMAL, BEST, -24.0), S.OPTIMAL, -24, -24),
}


@pytest.mark.parametrize(("limits", "answer", "status", "objective", "bound"), CASES.values(), ids=CASES.keys())
def test_rules(
    limits: SolveLimits, answer: Answer, status: SolveStatus, objective: float | None, bound: float | None
) -> None:
    solution = conclude(KNAPSACK, limits, answer, 1.5)
    assert (solution.status, solution.objective, solution.dual_bound) == (status, objective, bound)
    assert (solution.point is None) == (objective is None)
    assert solution.row_duals is None and solution.seconds == 1.5


def test_the_bound_of_a_linear_program_comes_from_its_duals() -> None:
    known = LINEAR[0]
    solution = conclude(known.model, NONE, Answer(S.OPTIMAL, np.array([4.5, 0]), 99.0, np.array([1.5])), 0.0)
    assert solution.dual_bound == 7 + 1.5 * 4.5 + 0.0  # a weaker multiplier gives a weaker bound, whatever is claimed
    assert solution.row_duals == [1.5]


def test_duals_without_an_optimum_are_dropped() -> None:
    answer = Answer(S.TIME_LIMIT, None, None, np.array([1.5]))
    assert conclude(LINEAR[0].model, NONE, answer, 0.0).row_duals is None


@given(seed=st.integers(0, 10**6), data=st.data())
def test_any_multipliers_give_a_lower_bound(seed: int, data: st.DataObject) -> None:
    model = random_mip(seed)
    duals = np.array(data.draw(st.lists(st.floats(-9, 9), min_size=model.rows, max_size=model.rows)), np.float64)
    bound = dual_value(model, duals)
    assert bound is not None  # every column has two ends
    for truth in (exact_lp(model), brute_force(model)):
        assert truth is None or bound <= truth + 1e-9


def test_multipliers_against_an_open_end() -> None:
    row, free = mip([[1.0, 0]], (2, INF), ([0, 0], INF), [1, 1]), mip([[1.0, 0]], (2, INF), (-INF, INF), [1, 0])
    assert dual_value(row, np.array([-3.0])) == 0.0  # the row has no upper end, so the multiplier counts for nothing
    assert dual_value(row, np.array([1.0])) == 2.0
    assert dual_value(row, np.array([1.5])) is None  # the reduced cost -0.5 pulls the first column to infinity
    assert dual_value(free, np.array([1.0])) == 2.0
    assert dual_value(free, np.array([1.0 - 1e-12])) == pytest.approx(2.0)  # within the dual tolerance of the solvers


def test_the_bracket_of_a_running_solve() -> None:
    bracket = Bracket(KNAPSACK, NONE)
    assert bracket.update(SolveProgress(-1e30, None, None)) is None
    first = bracket.update(SolveProgress(-30.0, -99.0, GOOD))
    assert first is not None and (first.dual_bound, first.objective) == (-30, -20)
    assert bracket.update(SolveProgress(-31.0, None, None)) is None  # a bound never falls back
    assert bracket.update(SolveProgress(-30.0, None, GOOD)) is None
    assert bracket.update(SolveProgress(-30.0, None, HEAVY)) is None
    told = bracket.update(SolveProgress(-25.0, -24.0, None))  # some solvers tell a value before the point
    assert told is not None and (told.dual_bound, told.objective, told.point) == (-25, -24, None)
    assert bracket.update(SolveProgress(None, None, GOOD)) is None
    shown = bracket.update(SolveProgress(None, None, BEST))
    assert shown is not None and shown.point is not None and shown.objective == -24
    solution = conclude(KNAPSACK, NONE, bracket.answer(S.INTERRUPTED), 0.0)
    assert (solution.status, solution.objective, solution.dual_bound) == (S.INTERRUPTED, -24, -25)


def test_the_bracket_under_a_cutoff() -> None:
    bracket = Bracket(KNAPSACK, CUT)
    news = bracket.update(SolveProgress(-21.0, None, None))
    assert news is not None and news.dual_bound == -22


LIMITS: dict[str, object] = {
    "seconds": -1.0,
    "nodes": 0,
    "gap_absolute": float("nan"),
    "gap_relative": -1e-9,
    "threads": 0,
    "seed": 2**31,
    "cutoff": float("inf"),
    "start": np.zeros((2, 2)),
}


@pytest.mark.parametrize(("name", "value"), LIMITS.items(), ids=LIMITS.keys())
def test_limits_outside_their_range(name: str, value: object) -> None:
    with pytest.raises(InputError, match=f"Solve limit {name} is"):
        SolveLimits(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("status", SolveStatus)
def test_only_infeasible_proves_infeasibility(status: SolveStatus) -> None:
    assert status.proves_infeasible == (status is SolveStatus.INFEASIBLE)
