"""Formulas: DIMACS files and what is wrong with them, random formulas, assignments."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given

from counter_attack.hardness import Formula, parse_dimacs, random_formula, read_dimacs
from onnx_models.errors import InputError
from tests.counter_attack.hardness.formulas import assignments, formulas, models


@given(formulas(variables=6, clauses=12))
def test_a_formula_survives_its_own_text(formula: Formula) -> None:
    assert parse_dimacs(formula.dimacs()) == formula


@given(formulas())
def test_holds_is_what_the_definition_says(formula: Formula) -> None:
    assert [a for a in assignments(formula) if formula.holds(a)] == models(formula)


def test_comments_line_breaks_and_the_end_mark_of_satlib() -> None:
    text = "c a comment\n\np  cnf  3   2\n 1 -2\n0 3\nc in between\n-1 0\n%\n0\n"
    assert parse_dimacs(text) == Formula(3, ((1, -2), (3, -1)))


BROKEN = {
    "": "no line 'p cnf",
    "c only this\n": "no line 'p cnf",
    "1 2 0\n": "line 1: a line 'p cnf VARIABLES CLAUSES' has to come before",
    "p cnf 2\n": "line 1: 'p cnf 2' is no line",
    "p dnf 2 1\n1 0\n": "'p dnf 2 1' is no line",
    "p cnf -2 1\n": "is no line",
    "p cnf 2 x\n": "is no line",
    "p cnf 2 1 7\n": "is no line",
    "p cnf 99999999999 1\n": "at most 1,000,000",
    "p cnf 2 1\np cnf 2 1\n1 0\n": "line 2: a second line",
    "p cnf 2 1\n1 two 0\n": "line 2: 'two' is no whole number",
    "p cnf 2 1\n1.0 0\n": "'1.0' is no whole number",
    "p cnf 2 1\n--1 0\n": "'--1' is no whole number",
    "p cnf 2 1\n\u00b2 0\n": "is no whole number",
    "p cnf 2 2\n1 0\n-3 0\n": "line 3: the literal -3 names no variable; the header promises 2",
    "p cnf 2 1\n1 2\n": "the last clause does not end with 0",
    "p cnf 2 3\n1 0\n2 0\n": "promises 3 clauses, 2 were found",
    "p cnf 2 1\n1 0\n2 0\n": "promises 1 clauses, 2 were found",
}


@pytest.mark.parametrize("text", BROKEN)
def test_a_broken_text_is_named(text: str) -> None:
    with pytest.raises(InputError, match=BROKEN[text]) as error:
        parse_dimacs(text)
    assert "\n" not in str(error.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_dimacs(tmp_path / "missing.cnf")
    (tmp_path / "binary.cnf").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="no text file"):
        read_dimacs(tmp_path / "binary.cnf")


@pytest.mark.parametrize(
    ("variables", "clauses", "message"),
    [(-1, (), "-1 variables"), (2, ((1, 0),), "the literal 0"), (2, ((1,), (3,)), "Clause 2 has the literal 3")],
)
def test_a_formula_checks_its_literals(variables: int, clauses: tuple[tuple[int, ...], ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Formula(variables, clauses)


def test_an_assignment_of_another_length() -> None:
    with pytest.raises(InputError, match="has 1 values, the formula 2 variables"):
        Formula(2, ()).holds((True,))


def test_random_formulas_have_distinct_variables_and_fair_signs() -> None:
    formula = random_formula(9, 3000, seed=3)
    assert formula == random_formula(9, 3000, seed=3) != random_formula(9, 3000, seed=4)
    assert all(len({abs(v) for v in clause}) == 3 for clause in formula.clauses)
    literals = [v for clause in formula.clauses for v in clause]
    for v in range(1, 10):  # 1,000 expected each, standard deviation below 30
        assert 850 < sum(abs(u) == v for u in literals) < 1150
    assert 4200 < sum(v > 0 for v in literals) < 4800


def test_a_random_formula_of_endless_length_is_refused() -> None:
    with pytest.raises(InputError, match="at most 1,000,000 are drawn"):
        random_formula(5, 10**12)


@pytest.mark.parametrize("wrong", [{"variables": 2}, {"clauses": -1}, {"literals": 0}, {"seed": -1}])
def test_a_random_formula_checks_its_numbers(wrong: dict[str, int]) -> None:
    arguments = {"variables": 5, "clauses": 4, **wrong}
    with pytest.raises(InputError, match="it must be at least"):
        random_formula(**arguments)
