"""What several attempts say together: the best bracket, the state, and contradictions."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mipverify_py.campaigns import Answer, Counts, Failure, Limits, QueryKind, QueryState, Store
from mipverify_py.campaigns._judging import Attempt, ends_of
from tests.helpers.campaigns import MODEL, answer, completion, failure, filled_store, query

NEW, OPEN, DECIDED, FAILED = QueryState
PROVED_ROBUST = answer(None, None, verdict="robust", evidence="reproved", decided=True, stop_reason="solved")
PROVED_ADVERSARIAL = answer(None, None, verdict="adversarial", evidence="reproved", decided=True, stop_reason="solved")
UNKNOWN = answer(None, None)
CUT_SHORT = answer(None, None, stop_reason="interrupted")
ATTACKED = answer(None, 0.3, verdict=None, decided=True, stop_reason="solved")


def ask(folder: Path, outcomes: list[Answer | Failure], kind: QueryKind = QueryKind.DISTANCE) -> Store:
    """A store with one query of this kind and these attempts at it."""
    store = Store.create(folder / "campaign.sqlite")
    store.add_model(MODEL)
    store.add_queries([query(kind=kind)])
    for outcome in outcomes:
        store.record(completion(store.queries()[0], outcome))
    return store


STATES = {
    "nobody asked": (QueryKind.DISTANCE, [], NEW),
    "one failure": (QueryKind.DISTANCE, [failure()], NEW),
    "three failures": (QueryKind.DISTANCE, [failure()] * 3, FAILED),
    "an answer after three failures": (QueryKind.DISTANCE, [*[failure()] * 3, answer()], DECIDED),
    "failures after an open answer": (QueryKind.DISTANCE, [answer(0.1, 0.2), *[failure()] * 3], OPEN),
    "a closed bracket": (QueryKind.DISTANCE, [answer(0.1, 0.1)], DECIDED),
    "closed to the gap": (QueryKind.DISTANCE, [answer(0.1, 0.1 + 9e-7, decided=False)], DECIDED),
    "wider than the gap": (QueryKind.DISTANCE, [answer(0.1, 0.1 + 2e-6, decided=False)], OPEN),
    "closed by two attempts together": (
        QueryKind.DISTANCE,
        [answer(0.1, 0.2), answer(0.05, 0.1, decided=False)],
        DECIDED,
    ),
    "no example anywhere": (QueryKind.DISTANCE, [PROVED_ROBUST], DECIDED),
    "nothing found out": (QueryKind.DISTANCE, [UNKNOWN], OPEN),
    "interrupted": (QueryKind.DISTANCE, [CUT_SHORT], OPEN),
    "robust": (QueryKind.VERIFY, [UNKNOWN, PROVED_ROBUST], DECIDED),
    "adversarial": (QueryKind.VERIFY, [PROVED_ADVERSARIAL, UNKNOWN], DECIDED),
    "unknown": (QueryKind.VERIFY, [UNKNOWN], OPEN),
    "robust and adversarial": (QueryKind.VERIFY, [PROVED_ADVERSARIAL, PROVED_ROBUST], OPEN),
    "attacked": (QueryKind.ATTACK, [ATTACKED], DECIDED),
    "attacked in vain": (QueryKind.ATTACK, [answer(None, None, verdict=None, decided=True)], DECIDED),
    "attack interrupted": (QueryKind.ATTACK, [answer(None, 0.3, verdict=None, stop_reason="interrupted")], OPEN),
}


@pytest.mark.parametrize("name", STATES)
def test_states(tmp_path: Path, name: str) -> None:
    kind, outcomes, expected = STATES[name]
    with ask(tmp_path, outcomes, kind) as store:
        for limits in (None, Limits()):
            found = store.queries(limits)[0]
            assert (found.state, found.attempts) == (expected, len(outcomes))
        assert found.failures == sum(isinstance(outcome, Failure) for outcome in outcomes)


def test_the_state_is_measured_by_the_limits_asked_for(tmp_path: Path) -> None:
    with ask(tmp_path, []) as store:
        stored = store.queries()[0]
        store.record(completion(stored, answer(0.1, 0.11, decided=True), limits=Limits(1.0, 0.05, 0.0)))
        assert [store.queries(limits)[0].state for limits in (None, Limits(), Limits(None, 0.02, 0.0))] == [
            DECIDED,  # what it was asked for was 0.05
            OPEN,
            DECIDED,
        ]


def test_max_failures_says_when_to_give_up(tmp_path: Path) -> None:
    with ask(tmp_path, [failure(), failure()]) as store:
        states = [store.queries(Limits(), max_failures)[0].state for max_failures in (1, 2, 3)]
        assert states == [FAILED, FAILED, NEW]
        assert store.queries()[0].failure == "killed: signal 9"


def test_ends_are_the_best_of_all_attempts(tmp_path: Path) -> None:
    attempts = [
        answer(0.1, 0.5),
        answer(0.2, 0.6, evidence="solver_claim", engine="mip", backend="scip"),
        answer(None, 0.4),
    ]
    with ask(tmp_path, attempts) as store:
        found = store.queries()[0]
        assert (found.lower, found.upper, found.verdict, found.contradiction) == (0.2, 0.4, "adversarial", None)
        assert (found.evidence, found.engine, found.backend) == ("solver_claim", "mip", "scip")  # of the lower end
        assert found.seconds == 1.5 and found.stop_reason == "time_limit"
        assert found.gap == pytest.approx(0.2)


def test_the_same_lower_end_rests_on_the_better_evidence(tmp_path: Path) -> None:
    attempts = [answer(0.2, 0.3, evidence="solver_claim", engine="mip"), answer(0.2, 0.4)]
    with ask(tmp_path, attempts) as store:
        found = store.queries()[0]
        assert (found.evidence, found.engine, found.upper) == ("reproved", "cuts", 0.3)


def _attempt(row: int, lower: float | None, upper: float | None) -> Attempt:
    limits = Limits()
    return Attempt(
        row,
        f"{row}",
        1,
        True,
        limits,
        {},
        None,
        None,
        False,
        None,
        lower,
        upper,
        "reproved",
        "solved",
        1,
        1,
        "cuts",
        None,
        1.0,
    )


ends = st.none() | st.floats(0, 1)


@given(st.lists(st.tuples(ends, ends), max_size=6))
def test_ends_against_a_plain_maximum_and_minimum(pairs: list[tuple[float | None, float | None]]) -> None:
    found = ends_of(QueryKind.DISTANCE, None, [_attempt(i, *pair) for i, pair in enumerate(pairs)])
    lowers, uppers = (
        ([end for end in side if end is not None] for side in zip(*pairs, strict=True)) if pairs else ([], [])
    )
    lower, upper = (None if end is None else end.value for end in (found.lower, found.upper))
    assert lower == max(lowers, default=None) and upper == min(uppers, default=None)
    assert (found.crossing() is not None) == bool(lowers and uppers and max(lowers) > min(uppers) + 1e-9)
    if found.lower is not None:
        assert pairs[found.lower.by.row][0] == lower


# ------------------------------------------------------------------------------------------------------- contradictions


def test_a_proof_above_an_example_is_a_contradiction(tmp_path: Path) -> None:
    attempts = [answer(0.1, 0.1), answer(0.2, 0.3, evidence="solver_claim", engine="mip", backend="scip")]
    with ask(tmp_path, attempts) as store:
        found = store.queries()[0]
        assert found.state is OPEN and found.contradiction is not None
        assert (found.lower, found.upper, found.gap) == (0.2, 0.1, -0.1)  # nothing is averaged, nothing is hidden
        (contradiction,) = store.contradictions()
        assert contradiction.rows == (found.row,) and contradiction.detail == found.contradiction
        assert (contradiction.configuration, contradiction.dataset, contradiction.index) == ("A", "toy", 0)
        for word in ("0.2", "0.1", "mip with scip, solver_claim", "cuts"):
            assert word in contradiction.detail
        assert store.summary() == Counts(1, 0, 1, 0, 0, 1, store.summary().parts)


def test_a_contradiction_stands_in_the_log_once(tmp_path: Path) -> None:
    with ask(tmp_path, [answer(0.1, 0.1), answer(0.2, 0.3), answer(0.05, 0.3), answer(0.05, 0.4)]) as store:
        connection = store.database.connection
        events = connection.execute("SELECT query, detail FROM event WHERE kind = 'contradiction'").fetchall()
        assert events == [(1, store.contradictions()[0].detail)]
        assert store.note_contradictions() == 1
        assert connection.execute("SELECT count(*) FROM event WHERE kind = 'contradiction'").fetchone() == (1,)


@pytest.mark.parametrize(
    ("evidence", "excess", "is_one"),
    [("reproved", 1e-12, False), ("reproved", 1e-7, True), ("solver_claim", 1e-7, False), ("solver_claim", 1e-4, True)],
)
def test_rounding_and_solvers_tolerances_are_no_contradiction(
    tmp_path: Path, evidence: str, excess: float, *, is_one: bool
) -> None:
    with ask(tmp_path, [answer(0.1, 0.1), answer(0.1 + excess, 0.2, evidence=evidence)]) as store:
        assert bool(store.contradictions()) is is_one
        assert store.queries()[0].state is (OPEN if is_one else DECIDED)


def test_robust_and_adversarial_contradict_each_other(tmp_path: Path) -> None:
    with ask(tmp_path, [PROVED_ADVERSARIAL, PROVED_ROBUST], QueryKind.VERIFY) as store:
        found = store.queries()[0]
        assert found.verdict == "unknown" and found.state is OPEN
        assert "says robust" in store.contradictions()[0].detail


ACROSS = {
    "example below a proof": (QueryKind.ATTACK, {}, answer(None, 0.2, verdict=None, decided=True), True),
    "example above it": (QueryKind.ATTACK, {}, answer(None, 0.4, verdict=None, decided=True), False),
    "example in another norm": (QueryKind.ATTACK, {"norm": "l1"}, answer(None, 0.2, verdict=None, decided=True), False),
    "example in another domain": (QueryKind.ATTACK, {"domain": [-1.0, 1.0]}, answer(None, 0.2, verdict=None), False),
    "example for another reference": (QueryKind.ATTACK, {}, answer(None, 0.2, verdict=None, reference=4), False),
    "robust beyond an example": (QueryKind.VERIFY, {"eps": 0.5}, PROVED_ROBUST, True),
    "robust within the distance": (QueryKind.VERIFY, {"eps": 0.25}, PROVED_ROBUST, False),
    "adversarial within a proof": (QueryKind.VERIFY, {"eps": 0.25}, PROVED_ADVERSARIAL, True),
    "adversarial beyond it": (QueryKind.VERIFY, {"eps": 0.5}, PROVED_ADVERSARIAL, False),
}


@pytest.mark.parametrize("name", ACROSS)
def test_contradictions_between_queries_about_one_input(tmp_path: Path, name: str) -> None:
    kind, question, outcome, is_one = ACROSS[name]
    with ask(tmp_path, [answer(0.3, 0.3)]) as store:
        store.add_queries([query(0, kind, **question)])
        store.record(completion(store.queries()[1], outcome))
        found = store.contradictions()
        assert [contradiction.rows for contradiction in found] == ([(1, 2)] if is_one else [])


def test_inputs_do_not_contradict_one_another(tmp_path: Path) -> None:
    with filled_store(tmp_path / "campaign.sqlite", 2) as store:
        first, second = store.queries()
        store.record_many([completion(first, answer(0.1, 0.1)), completion(second, answer(0.3, 0.3))])
        assert store.contradictions() == []


def test_counts_by_configuration_and_kind(tmp_path: Path) -> None:
    with filled_store(tmp_path / "campaign.sqlite", 3, decided=1) as store:
        store.add_queries([query(0, QueryKind.VERIFY)])
        store.record(completion(store.queries()[1], answer(0.1, 0.2)))
        for number in range(3):
            store.record(completion(store.queries()[3], failure(), number=number))
        counts = store.summary()
        assert (counts.total, counts.new, counts.open, counts.decided, counts.failed) == (4, 1, 1, 1, 1)
        assert counts.parts == {("A", "distance"): Counts(3, 1, 1, 1, 0, 0), ("A", "verify"): Counts(1, 0, 0, 0, 1, 0)}
