"""Attack queries that are answered in one go: who goes with whom, and what is recorded of it."""

from __future__ import annotations

import json
import math
import os
import random
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mipverify_py.campaigns import (
    Answer,
    Completion,
    Failure,
    FailureReason,
    Limits,
    Policy,
    QueryKind,
    QueryState,
    Store,
    Task,
    select,
)
from mipverify_py.campaigns._batches import BATCH, WORTHWHILE, together, unfold
from mipverify_py.campaigns._judging import Attempt
from mipverify_py.campaigns._reading import StoredQuery
from mipverify_py.campaigns._rounds import Agenda, Rounds
from mipverify_py.campaigns.executors import Executor, InlineExecutor, ProcessExecutor
from tests.helpers.campaign_answerers import HERE, answer_of, attacks_about, new_store, queries_about, zoo_model
from tests.helpers.campaign_run import LIMITS, Background, answers_per_query, models_of, run, wait_for, worker_pids

MODEL = zoo_model()
FAILED = Failure(FailureReason.KILLED, "by a test")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with new_store(tmp_path / "campaign.sqlite", 0, attacks=6) as store:
        yield store


def executor_for(store: Store, answerer: str, workers: int) -> Executor:
    if workers == 0:
        return InlineExecutor(f"{HERE}:{answerer}", models_of(store))
    return ProcessExecutor(f"{HERE}:{answerer}", models_of(store), workers)


def sets_of_attacks(sizes: list[int], failed: frozenset[int] = frozenset()) -> list[StoredQuery]:
    """Queries as a store has them, of as many different sets as there are sizes; the rows in `failed` did before."""
    records = [record for name, size in enumerate(sizes) for record in attacks_about(MODEL, size, str(name))]
    nothing = dict.fromkeys(field.name for field in fields(Attempt))
    lost = Attempt(**{**nothing, "number": 1, "limits": LIMITS, "overrides": {}, "failure": "killed"})
    return [
        StoredQuery(row, record.key, record, QueryState.NEW, (lost,) * (row in failed), None, None, None, None)
        for row, record in enumerate(records)
    ]


def no_input(_: int) -> None:
    raise AssertionError("the inputs are there")


def settle_all(agenda: Agenda, task: Task, outcome: Answer | Failure | None = None) -> None:
    for member in task.members:
        agenda.settle(member.query, outcome or answer_of(member))


@given(
    sizes=st.lists(st.integers(1, 80), min_size=1, max_size=4),
    workers=st.integers(0, 9),
    seed=st.integers(0, 99),
    fates=st.randoms(use_true_random=False),
)
def test_every_query_is_answered_once_whatever_fails(
    sizes: list[int], workers: int, seed: int, fates: random.Random
) -> None:
    queries = sets_of_attacks(sizes)
    agenda = Agenda(queries, Rounds(LIMITS, seed=seed, max_failures=4), no_input, workers)
    answered: Counter[int] = Counter()
    lost: Counter[int] = Counter()
    under_way: list[Task] = []
    while agenda or under_way:
        if agenda and (not under_way or fates.random() < 0.6):
            task = agenda.next_task()
            assert len({member.record.question["set"] for member in task.members}) == 1
            assert len(task.members) == 1 or not any(lost[member.query] for member in task.members)
            under_way.append(task)
            continue
        task = under_way.pop(fates.randrange(len(under_way)))
        rows = [member.query for member in task.members]
        if fates.random() < 0.3 and max(lost[row] for row in rows) < 3:
            lost.update(rows)
            settle_all(agenda, task, FAILED)
        else:
            answered.update(rows)
            settle_all(agenda, task)
    assert answered == Counter(range(len(queries)))
    assert agenda.waiting == [0, 0, 0, 0]
    assert all(case.attempts == 1 + lost[row] for row, case in agenda.cases.items())


@given(sizes=st.lists(st.integers(1, 80), min_size=1, max_size=4), workers=st.integers(1, 9), seed=st.integers(0, 99))
def test_groups_are_large_and_equal_and_for_all_workers(sizes: list[int], workers: int, seed: int) -> None:
    def groups(queries: list[StoredQuery]) -> list[list[int]]:
        agenda = Agenda(queries, Rounds(LIMITS, seed=seed), no_input, workers)
        found = []
        while agenda:
            found.append([member.query for member in agenda.next_task().members])
        return found

    queries = sets_of_attacks(sizes)
    found = groups(queries)
    assert found == groups(queries[::-1]), "the order of the queries changes nothing"
    assert len(found) >= min(workers, math.ceil(len(queries) / WORTHWHILE))
    largest = min(BATCH, max(WORTHWHILE, math.ceil(len(queries) / workers)))
    for name, size in enumerate(sizes):
        own = [len(group) for group in found if queries[group[0]].record.question["set"] == str(name)]
        assert sum(own) == size and len(own) == math.ceil(size / largest) and max(own) - min(own) <= 1


def test_attacks_have_one_round_and_come_when_short_attempts_are_made(tmp_path: Path) -> None:
    with new_store(tmp_path / "campaign.sqlite", 2, attacks=3) as store:
        agenda = Agenda(store.queries(LIMITS), Rounds(Limits(100.0)), store.input)
        assert agenda.waiting == [2, 0, 0, 3] and len(agenda) == 5
        given_out = []
        for _ in range(4):
            task = agenda.next_task()
            given_out.append((task.record.kind, task.limits.time_limit))
            settle_all(agenda, task, replace(answer_of(task, decided=False), stop_reason="time_limit"))
        assert given_out == [(QueryKind.DISTANCE, 2.0)] * 2 + [(QueryKind.DISTANCE, 12.5)] * 2
        rest = {agenda.next_task().record.kind for _ in range(len(agenda) - 2)}
        assert rest == {QueryKind.DISTANCE, QueryKind.ATTACK}


def test_members_share_the_time_and_know_their_own() -> None:
    agenda = Agenda(sets_of_attacks([5]), Rounds(LIMITS), no_input)
    task = agenda.next_task()
    assert task.limits.time_limit == 50.0 and task.final and not agenda
    assert sorted(member.query for member in task.members) == [0, 1, 2, 3, 4]
    assert {(member.limits.time_limit, member.number, member.companions) for member in task.members} == {(10.0, 1, ())}
    (endless,) = {
        member.limits.time_limit
        for member in Agenda(sets_of_attacks([2]), Rounds(Limits(None)), no_input).next_task().members
    }
    assert endless is None


def test_what_differs_does_not_go_together() -> None:
    first, second = sets_of_attacks([2])
    for change in (
        {"model": "b" * 64},
        {"seed": 1},
        {"options": {"device": "cuda"}},
        {"question": {**second.record.question, "norm": "l2"}},
        {"question": {**second.record.question, "targets": [3]}},
        {"question": {**second.record.question, "label": None}},
    ):
        other = replace(second, record=replace(second.record, **change))
        assert len(Agenda([first, other], Rounds(LIMITS), no_input).next_task().members) == 1
    assert len(Agenda([first, second], Rounds(LIMITS), no_input).next_task().members) == 2
    distances = [replace(first, row=i, record=record) for i, record in enumerate(queries_about(MODEL, 2))]
    assert len(Agenda(distances, Rounds(LIMITS), no_input).next_task().members) == 1


def test_what_has_failed_before_goes_alone() -> None:
    agenda = Agenda(sets_of_attacks([6], frozenset({1, 4})), Rounds(LIMITS), no_input)
    found = []
    while agenda:
        found.append(sorted(member.query for member in agenda.next_task().members))
    assert sorted(found) == [[0, 2, 3, 5], [1], [4]]
    once = Agenda(sets_of_attacks([3]), Rounds(LIMITS, max_failures=1), no_input)
    assert len(once) == 3 and not once.next_task().companions, "nobody pays with its only attempt for another"


def test_unfolding() -> None:
    tasks = Agenda(sets_of_attacks([3]), Rounds(LIMITS), no_input).next_task().members
    first, *others = map(answer_of, tasks)
    task = together(tasks)
    done = Completion(task, replace(first, companions=tuple(others)), "test", {}, {}, 6.0)
    parts = unfold(done)
    assert [part.task.query for part in parts] == [one.query for one in tasks]
    assert [part.outcome.upper for part in parts] == [one.record.input.index / 1000 for one in tasks]
    assert all((part.seconds, part.task.limits, part.outcome.companions) == (2.0, LIMITS, ()) for part in parts)
    assert [part.outcome for part in unfold(replace(done, outcome=FAILED))] == [FAILED] * 3
    short = unfold(replace(done, outcome=first))
    assert {part.outcome for part in short} == {Failure(FailureReason.ERROR, "1 answers came where 3 were asked for")}
    alone = Completion(tasks[0], first, "test", {}, {}, 6.0)
    assert [(part.task, part.outcome.upper, part.seconds) for part in unfold(alone)] == [(tasks[0], first.upper, 6.0)]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_records_each_answer_by_itself(tmp_path: Path, workers: int) -> None:
    with new_store(tmp_path / "campaign.sqlite", 0, attacks=20) as store:
        with executor_for(store, "in_one_go", workers) as executor:
            report = run(store, executor)
        assert (report.total, report.decided, report.attempts, report.failures) == (20, 20, 20, 0)
        assert answers_per_query(store) == {1: 20}
        for query in store.queries(LIMITS):
            (attempt,) = query.history
            assert query.upper == query.record.input.index / 1000
            assert attempt.limits.time_limit == 10.0
        with store.database.reading() as connection:
            told = [json.loads(text) for (text,) in connection.execute("SELECT statistics FROM attempt")]
    size = 10 if workers else 20
    assert [(each["batch"], each["limit"]) for each in told] == [(size, 10.0 * size)] * 20


def test_a_poisonous_query_costs_the_others_one_attempt(store: Store) -> None:
    with executor_for(store, "poisoned", 1) as executor:
        report = run(store, executor, Rounds(LIMITS, max_failures=2))
    assert (report.decided, report.failed, report.failures) == (5, 1, 6 + 1)
    for query in store.queries(LIMITS, 2):
        fates = [attempt.failure for attempt in query.history]
        assert fates == (["killed"] * 2 if query.record.input.index == 3 else ["killed", None])


def test_a_worker_is_killed_in_the_middle(store: Store) -> None:
    with executor_for(store, "stuck_together", 1) as executor:
        going = Background(lambda: run(store, executor, Rounds(Limits(None))))
        wait_for(lambda: [each for each in executor.running() if each.lower == 0.125])
        (pid,) = worker_pids(os.getpid())
        os.kill(pid, signal.SIGKILL)
        report = going.result()
    assert (report.decided, report.attempts, report.failures) == (6, 12, 6)
    assert answers_per_query(store) == {1: 6}
    assert all([attempt.failure for attempt in query.history] == ["killed", None] for query in store.queries(LIMITS))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_stopped_run_keeps_what_each_has_and_goes_on_later(store: Store, workers: int) -> None:
    keys = [threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))]

    def watch(progress: object) -> None:
        if keys and any(each.lower == 0.125 for each in progress.running):
            keys.pop().start()

    with executor_for(store, "stuck_together", workers) as executor:
        report = run(store, executor, Rounds(Limits(None)), watch=watch)
    assert report.stopped and (report.decided, report.open, report.failures) == (3, 3, 0)
    left = select(store.queries(LIMITS), Policy.SKIP, LIMITS)
    assert [query.record.input.index % 2 for query in left] == [1, 1, 1]
    with executor_for(store, "in_one_go", 0) as executor:
        assert run(store, executor).decided == 3
    assert all(query.state is QueryState.DECIDED for query in store.queries(LIMITS))


def test_an_answerer_that_knows_no_companions_fails_loudly_and_then_goes_one_by_one(store: Store) -> None:
    with executor_for(store, "forgetful", 0) as executor:
        report = run(store, executor)
    assert (report.decided, report.failures) == (6, 6)
    assert all("1 answers came where 6" in (query.history[0].failure_detail or "") for query in store.queries(LIMITS))


class Echo(InlineExecutor):
    """Hands every completion back twice."""

    def completions(self, timeout: float) -> list[Completion]:
        return super().completions(timeout) * 2


def test_duplicates_are_recorded_once(store: Store) -> None:
    with Echo(f"{HERE}:in_one_go", models_of(store)) as executor:
        assert run(store, executor).attempts == 6
    assert answers_per_query(store) == {1: 6}
