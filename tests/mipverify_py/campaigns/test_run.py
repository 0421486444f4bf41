"""Runs from beginning to end, with answers that take no time."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from mipverify_py import distance
from mipverify_py.campaigns import Completion, Limits, QueryState, Store, StoreUnreachableError
from mipverify_py.campaigns._rounds import Rounds
from mipverify_py.campaigns._run import Progress
from mipverify_py.campaigns.executors import Executor, InlineExecutor, ProcessExecutor
from onnx_models.zoo import digits_test, load_zoo
from tests.helpers.campaign_answerers import HERE, new_store, queries_about, zoo_model
from tests.helpers.campaign_run import LIMITS, Background, answers_per_query, distances, models_of, run, wait_for


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with new_store(tmp_path / "campaign.sqlite", 12) as store:
        yield store


def inline(store: Store, answerer: str) -> InlineExecutor:
    return InlineExecutor(f"{HERE}:{answerer}", models_of(store))


def processes(store: Store, answerer: str, workers: int = 1) -> ProcessExecutor:
    return ProcessExecutor(f"{HERE}:{answerer}", models_of(store), workers)


def test_answers_do_not_depend_on_executor_workers_or_order(tmp_path: Path) -> None:
    found = []
    for number, workers in enumerate((0, 1, 3)):
        with new_store(tmp_path / f"{workers}.sqlite", 12) as store:
            executor: Executor = processes(store, "instant", workers) if workers else inline(store, "instant")
            with executor:
                report = run(store, executor, Rounds(LIMITS, seed=number))
            assert (report.total, report.decided, report.attempts, report.failures) == (12, 12, 12, 0)
            found.append(distances(store))
    assert found[0] == found[1] == found[2] == {i: (i / 1000, i / 1000) for i in range(12)}


def test_real_distances_through_worker_processes(tmp_path: Path) -> None:
    model, images = zoo_model(), digits_test().images
    queries = queries_about(model, 2)
    for i, query in enumerate(queries):
        object.__setattr__(query.input, "values", images[i])
    with Store.create(tmp_path / "campaign.sqlite") as store:
        store.add_model(model)
        store.add_queries(queries)
        with ProcessExecutor("mipverify_py.campaigns._answer:answer", models_of(store), 1) as executor:
            assert run(store, executor, Rounds(Limits(60.0))).decided == 2
        found = distances(store)
    network = load_zoo(model.name)
    for i in range(2):
        truth = distance(network, images[i])
        lower, upper = found[i]
        assert lower is not None and upper is not None and truth.lower is not None and truth.upper is not None
        assert lower <= truth.upper and truth.lower <= upper


def test_hard_queries_get_longer_attempts(store: Store) -> None:
    with inline(store, "hard") as executor:
        report = run(store, executor, Rounds(LIMITS))
    assert (report.decided, report.attempts) == (12, 20), "every third takes all three rounds"
    for query in store.queries(LIMITS):
        limits = [attempt.limits.time_limit for attempt in query.history]
        assert limits == ([1.0, 1.25, 10.0] if query.record.input.index % 3 == 0 else [1.0])


def test_nothing_decided_is_asked_again(store: Store) -> None:
    with inline(store, "instant") as executor:
        run(store, executor)
        assert run(store, executor).attempts == 0
    assert answers_per_query(store) == {1: 12}


def test_progress_is_told(store: Store) -> None:
    seen: list[Progress] = []
    with inline(store, "hard") as executor:
        run(store, executor, watch=seen.append)
    last = seen[-1]
    assert (last.total, last.decided, last.open, last.failed, last.finished) == (12, 12, 0, 0, 12)
    assert last.rate > 0.0 and last.seconds_left == 0.0 and last.running == ()
    assert [each.finished for each in seen] == sorted(each.finished for each in seen)


def test_brackets_are_in_the_progress(store: Store) -> None:
    seen: list[float | None] = []
    stop = threading.Event()

    def watch(progress: Progress) -> None:
        seen.extend(running.lower for running in progress.running)
        if 0.0 in seen:
            stop.set()

    with processes(store, "patient") as executor:
        report = run(store, executor, Rounds(Limits(None)), watch=watch, stop=stop)
    assert report.stopped and 0.0 in seen


def test_a_query_that_always_fails_is_failed_with_the_reason(store: Store) -> None:
    with processes(store, "gone") as executor:
        report = run(store, executor, Rounds(LIMITS, max_failures=2))
    assert (report.decided, report.failed, report.failures) == (8, 4, 2 * 4 + 1)
    by_index = {query.record.input.index: query for query in store.queries(LIMITS, 2)}
    assert [by_index[i].state is QueryState.FAILED for i in range(6)] == [True, False, True, True, True, False]
    assert [attempt.failure for attempt in by_index[1].history] == ["killed", None]
    assert by_index[0].failure is not None and "SIGSEGV" in by_index[0].failure


def test_an_answer_that_cannot_be_stored_is_a_failure(store: Store) -> None:
    with inline(store, "not_a_number") as executor:
        report = run(store, executor, Rounds(LIMITS, max_failures=2))
    assert (report.decided, report.failed, report.failures) == (11, 1, 2)
    (failed,) = [query for query in store.queries(LIMITS, 2) if query.state is QueryState.FAILED]
    assert failed.failure is not None and "cannot be stored" in failed.failure


def test_a_store_that_cannot_be_written_ends_the_run_and_blames_no_query(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def locked(completions: Sequence[Completion]) -> int:
        raise StoreUnreachableError("another program holds a lock on the file")

    monkeypatch.setattr(store, "record_many", locked)
    with inline(store, "instant") as executor, pytest.raises(StoreUnreachableError, match="holds a lock"):
        run(store, executor, Rounds(LIMITS))
    assert {query.state for query in store.queries(LIMITS)} == {QueryState.NEW}


class Echo(InlineExecutor):
    """Hands every completion back twice, the second time later, as a worker does that was thought dead."""

    earlier: list[Completion]

    def completions(self, timeout: float) -> list[Completion]:
        found = super().completions(timeout)
        again, self.earlier = getattr(self, "earlier", []), found
        return found + again + found


def test_duplicates_are_recorded_once(store: Store) -> None:
    with Echo(f"{HERE}:instant", models_of(store)) as executor:
        assert run(store, executor).attempts == 12
    assert answers_per_query(store) == {1: 12}


def test_a_stopped_run_keeps_brackets_and_goes_on_later(store: Store) -> None:
    stop = threading.Event()
    with processes(store, "patient", 2) as executor:
        going = Background(lambda: run(store, executor, Rounds(Limits(None)), stop=stop))
        wait_for(lambda: len([running for running in executor.running() if running.lower == 0.0]) == 2)
        stop.set()
        report = going.result()
    assert report.stopped and report.open == 2 and report.failures == 0
    interrupted = [query for query in store.queries(LIMITS) if query.stop_reason == "interrupted"]
    assert [query.lower for query in interrupted] == [0.0, 0.0]
    with inline(store, "instant") as executor:
        assert run(store, executor).decided == 12 - report.decided
    assert Counter(query.state for query in store.queries(LIMITS)) == {QueryState.DECIDED: 12}


@pytest.mark.parametrize("workers", [0, 1])
def test_ctrl_c_stores_the_bracket(store: Store, workers: int) -> None:
    keys = [threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))]

    def watch(progress: Progress) -> None:
        if keys and any(running.lower == 0.0 for running in progress.running):
            keys.pop().start()

    before = signal.getsignal(signal.SIGINT)
    with processes(store, "patient", workers) if workers else inline(store, "patient") as executor:
        report = run(store, executor, Rounds(Limits(None)), watch=watch)
    assert report.stopped
    assert signal.getsignal(signal.SIGINT) is before
    assert [query.lower for query in store.queries(LIMITS) if query.stop_reason == "interrupted"] == [0.0]


def test_a_task_that_hears_nothing_is_dropped_when_the_run_stops(store: Store) -> None:
    stop = threading.Event()
    with processes(store, "deaf") as executor:
        going = Background(lambda: run(store, executor, stop=stop))
        wait_for(executor.running)
        stop.set()
        report = going.result()
    assert report.stopped and report.attempts == 0
    assert all(query.state is QueryState.NEW and not query.history for query in store.queries(LIMITS))


def test_clocks_that_people_set_decide_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter(range(10**9, 0, -86_400))
    monkeypatch.setattr(time, "time", lambda: float(next(times)))  # each look at it is a day earlier
    with processes(store, "hard", 2) as executor:
        report = run(store, executor)
    assert (report.decided, report.attempts, report.failures) == (12, 20, 0)


def test_the_log_tells_of_the_run(store: Store) -> None:
    with inline(store, "instant") as executor:
        run(store, executor)
    with store.database.reading() as connection:
        told = [detail for (detail,) in connection.execute("SELECT detail FROM event WHERE kind = 'run' ORDER BY id")]
    assert told == ["begins with 12 queries", "ends after 12 attempts"]
