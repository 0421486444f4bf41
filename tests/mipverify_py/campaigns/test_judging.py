"""Reproved lower ends beside a solver's: neither hides what the other says."""

from __future__ import annotations

from pathlib import Path

import pytest

from mipverify_py.campaigns import Limits, QueryKind, Store
from tests.helpers.campaigns import MODEL, answer, completion, query

MIP = {"engine": "mip", "backend": "highs", "evidence": "solver_claim"}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    with Store.create(tmp_path / "campaign.sqlite") as store:
        store.add_model(MODEL)
        store.add_queries([query(), query(kind=QueryKind.ATTACK)])
        yield store


@pytest.mark.parametrize("claimed_first", [False, True])
@pytest.mark.parametrize("by_attack", [False, True])
def test_a_solvers_end_hides_no_contradiction_of_a_reproved_one(
    store: Store, claimed_first: bool, by_attack: bool
) -> None:
    exact, attack = store.queries()
    proven = [(answer(0.5000005, None), 1), (answer(0.500002, None, **MIP), 2)]  # the second is within its tolerances
    for outcome, number in reversed(proven) if claimed_first else proven:
        store.record(completion(exact, outcome, number=number))
    assert store.contradictions() == []
    example = answer(None, 0.5, verdict=None, decided=True) if by_attack else answer(None, 0.5)
    store.record(completion(attack if by_attack else exact, example, number=3))
    (found,) = store.contradictions()
    assert found.rows == ((exact.row, attack.row) if by_attack else (exact.row,))
    assert "no example is nearer than 0.5000005 " in found.detail and "reproved" in found.detail


def test_to_verify_anew_takes_no_evidence_away(store: Store) -> None:
    """A solver's lower end is a little greater; the reproved one is as near as was asked for."""
    exact, _ = store.queries()
    store.record(completion(exact, answer(0.1 - 5e-7, 0.1, decided=True)))
    store.record(completion(exact, answer(0.1, 0.1, **MIP), number=2, overrides={"engine": "mip"}))
    found = store.queries(Limits(10.0))[0]
    assert (found.lower, found.upper, found.evidence, found.engine) == (0.1 - 5e-7, 0.1, "reproved", "cuts")
    finer = store.queries(Limits(10.0, gap_absolute=1e-9, gap_relative=1e-9))[0]
    assert (finer.lower, finer.upper, finer.evidence, finer.engine) == (0.1, 0.1, "solver_claim", "mip")
