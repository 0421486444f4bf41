"""Budgets, order and bookkeeping of a run, without workers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mipverify_py.campaigns import (
    Answer,
    Completion,
    Failure,
    FailureReason,
    Limits,
    QueryState,
    Store,
    StoredQuery,
    Task,
)
from mipverify_py.campaigns._estimate import Estimate
from mipverify_py.campaigns._rounds import Agenda, Rounds
from onnx_models.errors import InputError
from tests.helpers.campaign_answerers import answer_of, new_store

LIMITS = Limits(100.0)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    with new_store(tmp_path / "campaign.sqlite", 6) as store:
        yield store


def stored(store: Store, **how: bool) -> list[StoredQuery]:
    return store.queries(LIMITS, **how)


def time_out(task: Task, lower: float | None = None, upper: float | None = None) -> Answer:
    return replace(answer_of(task, decided=False, stop_reason="time_limit"), lower=lower, upper=upper)


def agenda_of(store: Store, rounds: Rounds) -> Agenda:
    return Agenda(stored(store, with_inputs=False), rounds, store.input)


@pytest.mark.parametrize(
    ("limit", "least", "budgets"),
    [
        (100.0, 1.0, (2.0, 12.5, 100.0)),
        (8.0, 1.0, (1.0, 8.0)),
        (0.5, 1.0, (0.5,)),
        (None, 1.0, (None,)),
        (100.0, 0.0, (2.0, 12.5, 100.0)),
    ],
)
def test_budgets(limit: float | None, least: float, budgets: tuple[float | None, ...]) -> None:
    assert Rounds(Limits(limit), least_seconds=least).budgets == budgets


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"shares": (0.5, 0.2, 1.0)}, "ascending"),
        ({"shares": (0.5,)}, "ending with 1"),
        ({"shares": (float("nan"), 1.0)}, "ascending"),
        ({"shares": ()}, "ascending"),
        ({"shares": (-0.5, 1.0)}, "ascending"),
        ({"max_failures": 0}, "max_failures is 0"),
        ({"least_seconds": float("nan")}, "least_seconds is nan"),
        ({"limits": Limits(0.0)}, "time_limit is 0"),
    ],
)
def test_what_makes_no_sense_is_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Rounds(**{"limits": LIMITS, **wrong})


def test_short_attempts_at_all_come_before_long_ones(store: Store) -> None:
    agenda, given = agenda_of(store, Rounds(LIMITS)), []
    while agenda:
        task = agenda.next_task()
        given.append((task.limits.time_limit, task.number, task.final))
        agenda.settle(task.query, time_out(task))
    assert given == [(2.0, 1, False)] * 6 + [(12.5, 2, False)] * 6 + [(100.0, 3, True)] * 6
    assert all(case.state is QueryState.OPEN and case.is_over for case in agenda.cases.values())


def test_the_order_depends_on_the_seed_alone(store: Store) -> None:
    def order(seed: int, backwards: bool = False) -> list[int]:
        queries = stored(store)[:: -1 if backwards else 1]
        agenda = Agenda(queries, Rounds(LIMITS, seed=seed), store.input)
        return [agenda.next_task().query for _ in range(6)]

    assert order(1) == order(1, backwards=True)
    assert len({tuple(order(seed)) for seed in range(5)}) > 1
    assert sorted(order(3)) == sorted(query.row for query in stored(store))


def test_the_attempt_that_decides_is_the_last(store: Store) -> None:
    agenda = agenda_of(store, Rounds(LIMITS))
    task = agenda.next_task()
    assert agenda.settle(task.query, answer_of(task)).is_over
    assert len(agenda) == 5


def test_two_attempts_decide_together(store: Store) -> None:
    agenda = Agenda(stored(store)[:1], Rounds(LIMITS), store.input)
    first = agenda.next_task()
    assert not agenda.settle(first.query, time_out(first, lower=0.25)).is_over
    second = agenda.next_task()
    assert agenda.settle(second.query, time_out(second, lower=0.1, upper=0.25)).state is QueryState.DECIDED
    assert not agenda


def test_failures_are_bounded_and_stay_in_their_round(store: Store) -> None:
    agenda = Agenda(stored(store)[:1], Rounds(LIMITS, max_failures=3), store.input)
    numbers = []
    while agenda:
        task = agenda.next_task()
        numbers.append((task.number, task.limits.time_limit))
        agenda.settle(task.query, Failure(FailureReason.KILLED, "by a test"))
    assert numbers == [(1, 2.0), (2, 2.0), (3, 2.0)]
    assert [case.state for case in agenda.cases.values()] == [QueryState.FAILED]


def test_an_answer_before_failures_is_kept(store: Store) -> None:
    agenda = Agenda(stored(store)[:1], Rounds(LIMITS, max_failures=1), store.input)
    task = agenda.next_task()
    agenda.settle(task.query, time_out(task, lower=0.1))
    case = agenda.settle(agenda.next_task().query, Failure(FailureReason.HUNG, "by a test"))
    assert case.is_over and case.state is QueryState.OPEN and case.lower == 0.1


def test_rounds_that_were_not_enough_are_skipped(store: Store) -> None:
    query = stored(store)[0]
    task = Task(query.row, 1, query.record, Limits(12.5), final=False)
    store.record(Completion(task, time_out(task), "test", {}, {}, 12.5))
    query = stored(store)[0]
    assert Rounds(LIMITS).first_round(query) == 2
    assert Rounds(Limits(1000.0)).first_round(query) == 0, "20 s are more than 12.5 s"
    assert Rounds(Limits(10.0)).first_round(query) == 2, (
        "all that can be given has been given: again, for the last time"
    )
    assert Rounds(LIMITS, overrides={"engine": "mip"}).first_round(query) == 0, "that was another engine"


def test_inputs_are_read_when_a_task_is_made(store: Store) -> None:
    assert all(query.record.input.values.size == 0 for query in stored(store, with_inputs=False))
    task = agenda_of(store, Rounds(LIMITS)).next_task()
    assert np.array_equal(task.record.input.values, np.zeros((1, 8, 8)))


def test_time_left_follows_the_formula(store: Store) -> None:
    task = agenda_of(store, Rounds(LIMITS)).next_task()
    estimate = Estimate((2.0, 12.5, 100.0))
    assert estimate.seconds_left((10, 0, 0, 0), 0.0, 2) is None
    for outcome in (answer_of(task), time_out(task)):
        estimate.add(0, Completion(task, outcome, "test", {}, {}, 1.5))
    # A query costs 1.5 s and in half of the cases 12.5 + 100 s more; 10 of them, and one of the last round, by two.
    expected = (10 * (1.5 + 0.5 * 112.5) + 100 - 7) / 2
    assert estimate.seconds_left((10, 0, 1, 0), 7.0, 2) == pytest.approx(expected)
    # Attacks have the last budget at first, and then what they have cost; whether they stay open changes nothing.
    assert estimate.seconds_left((10, 0, 1, 3), 7.0, 2) == pytest.approx(expected + 3 * 100 / 2)
    estimate.add(3, Completion(task, time_out(task), "test", {}, {}, 0.25))
    assert estimate.seconds_left((10, 0, 1, 3), 7.0, 2) == pytest.approx(expected + 3 * 0.25 / 2)
    assert Estimate((None,)).seconds_left((1, 0), 0.0, 1) is None
