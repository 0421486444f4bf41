"""Satisfiability by attack, against all assignments, other engines, and CP-SAT."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
from hypothesis import given, settings

from counter_attack.hardness import Formula, random_formula, solve, solve_cp_sat
from mipverify_py import Objective, Options
from tests.counter_attack.hardness.formulas import NAMED, formulas, models
from tests.helpers.queries import OWN


def check(formula: Formula, options: Options | None = None, objective: Objective = Objective.FEASIBILITY) -> None:
    """Asserts that the answer is that of all assignments, with its reason."""
    found = solve(formula, options=options, objective=objective)
    possible = models(formula)
    assert found.satisfiable is bool(possible)
    if possible:
        assert found.assignment in possible
    else:
        assert found.assignment is None
        native = options is None or options.engine != "mip"
        assert found.result.evidence in OWN or not native


@pytest.mark.parametrize("engine", ["auto", "mip"])
@pytest.mark.parametrize("name", NAMED)
def test_named_formulas(name: str, engine: str) -> None:
    check(NAMED[name], Options(engine=engine))


@settings(max_examples=15)
@given(formulas())
def test_random_formulas_against_all_assignments(formula: Formula) -> None:
    check(formula)


@pytest.mark.slow
@settings(max_examples=60)
@given(formulas(variables=5, clauses=14))
def test_many_formulas_by_every_engine(formula: Formula) -> None:
    for engine in ("cuts", "duals", "mip"):
        check(formula, Options(engine=engine))


@pytest.mark.slow
@settings(max_examples=30)
@given(formulas(variables=4, clauses=10))
def test_many_formulas_by_distance(formula: Formula) -> None:
    for engine in ("auto", "mip"):
        check(formula, Options(engine=engine), Objective.CLOSEST)


@pytest.mark.parametrize(("variables", "seed"), [(8, 2), (8, 0)])
def test_formulas_at_the_transition(variables: int, seed: int) -> None:
    check(random_formula(variables, round(4.26 * variables), seed=seed))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
def test_twelve_variables_against_all_assignments_and_cp_sat(seed: int) -> None:
    if find_spec("ortools") is None:  # importing it here would bring its HiGHS into this process
        pytest.skip("OR-Tools is not installed")
    formula = random_formula(12, 55, seed=seed)
    check(formula)
    assert solve_cp_sat(formula).satisfiable is bool(models(formula))


@pytest.mark.parametrize("mu", [1 / 4, 1 / 20])
def test_a_narrower_step_gives_the_same_answer(mu: float) -> None:
    for formula in (NAMED["all signs of two"], NAMED["repeated literals"]):
        assert solve(formula, mu=mu).satisfiable is bool(models(formula))


def test_a_limit_leaves_the_question_open() -> None:
    found = solve(random_formula(60, 300, seed=0), options=Options(time_limit=0.01))
    assert found.satisfiable is None and found.assignment is None
