"""Small formulas for tests, and their answers by trying everything."""

from __future__ import annotations

from itertools import product

from hypothesis import strategies as st

from counter_attack.hardness import Assignment, Formula

NAMED = {
    "no variables, no clauses": Formula(0, ()),
    "no variables, an empty clause": Formula(0, ((),)),
    "no clauses": Formula(2, ()),
    "an empty clause among others": Formula(2, ((1, 2), ())),
    "unit clauses": Formula(2, ((1,), (-2,))),
    "opposite unit clauses": Formula(1, ((1,), (-1,))),
    "a tautology": Formula(1, ((1, -1),)),
    "a tautology and its denial": Formula(2, ((1, -1), (2,), (-2,))),
    "repeated literals": Formula(2, ((1, 1, 1), (-1, -1, 2))),
    "repeated clauses": Formula(2, ((1, 2), (1, 2), (-1, -2), (-1, -2))),
    "all signs of two": Formula(2, ((1, 2), (1, -2), (-1, 2), (-1, -2))),
    "all signs of three": Formula(3, tuple((a, 2 * b, 3 * c) for a, b, c in product((1, -1), repeat=3))),
    "an unused variable": Formula(3, ((1,), (-1, 3))),
}
"""Formulas that a reduction could get wrong."""


def assignments(formula: Formula) -> list[Assignment]:
    """All assignments of the formula's variables."""
    return list(product((False, True), repeat=formula.variables))


def models(formula: Formula) -> list[Assignment]:
    """All assignments under which every clause has a true literal, written out here once more."""
    return [
        a
        for a in assignments(formula)
        if all(any(a[abs(v) - 1] is (v > 0) for v in clause) for clause in formula.clauses)
    ]


@st.composite
def formulas(draw: st.DrawFn, *, variables: int = 4, clauses: int = 8, least: int = 0) -> Formula:
    """Formulas with empty, unit, repeated, opposite and longer literals."""
    count = draw(st.integers(least, variables))
    if count == 0:
        return Formula(0, tuple(() for _ in range(draw(st.integers(0, 2)))))
    literal = st.integers(1, count).flatmap(lambda v: st.sampled_from((v, -v)))
    clause = st.lists(literal, min_size=draw(st.sampled_from((0, 1, 1, 1))), max_size=4).map(tuple)
    return Formula(count, tuple(draw(st.lists(clause, max_size=clauses))))
