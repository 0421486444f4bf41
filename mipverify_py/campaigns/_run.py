"""A run: the queries of a campaign dealt out to workers, and every answer stored as soon as it is there."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

from mipverify_py.campaigns._batches import unfold
from mipverify_py.campaigns._errors import CampaignError, StoreFullError, StoreUnreachableError
from mipverify_py.campaigns._estimate import Estimate
from mipverify_py.campaigns._reading import StoredQuery
from mipverify_py.campaigns._records import Answer, Completion, Failure, FailureReason, QueryState
from mipverify_py.campaigns._rounds import Agenda, Rounds
from mipverify_py.campaigns._store import Store
from mipverify_py.campaigns.executors._base import Executor, ExecutorError, Running

WAIT_SECONDS = 0.1
"""How often the run looks whether it is to stop."""

LAST_WORDS_SECONDS = 1.5
"""How long running tasks may take to hand over their brackets when the run is to stop."""

SECONDS_BETWEEN_LOOKS = 0.1
"""How often `watch` is called at most."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is.

    Attributes:
        total: queries of the run.
        decided, failed: of these.
        open: those that have an answer which says less than was asked, whether they will be tried again or not.
        finished: those that the run is done with, whatever came of them.
        seconds: since the run began.
        rate: finished queries per second.
        seconds_left: an estimate, None as long as there is nothing to tell it from.
        running: what is being worked on, with brackets.
    """

    total: int
    decided: int
    open: int
    failed: int
    finished: int
    seconds: float
    rate: float
    seconds_left: float | None
    running: tuple[Running, ...]


@dataclass(frozen=True, slots=True)
class RunReport:
    """What a run has done.

    Attributes:
        total, decided, open, failed: as in `Progress`; the rest of `total` has no answer yet.
        attempts: how many were recorded, failures included.
        failures: attempts without an answer.
        stopped: whether it was asked to stop before all queries were finished.
        seconds: wall-clock time.
    """

    total: int
    decided: int
    open: int
    failed: int
    attempts: int
    failures: int
    stopped: bool
    seconds: float


def run_campaign(
    store: Store,
    queries: Sequence[StoredQuery],
    executor: Executor,
    rounds: Rounds,
    *,
    watch: Callable[[Progress], None] | None = None,
    stop: threading.Event | None = None,
) -> RunReport:
    """Attempts the queries until each is decided, has been given all its time, or has failed too often.

    Every completion is recorded before anything else happens with it. On Ctrl-C, or when `stop` is set, the tasks that
    run are asked for their brackets, those that come within 1.5 s are recorded, and the run returns; a second Ctrl-C
    raises KeyboardInterrupt at once. Nothing but monotonic clocks decides anything.

    Args:
        store: open for writing; one thread writes, this one.
        queries: from `store.queries`, with or without inputs' values.
        executor: what attempts them; it is not closed.
        rounds: with how much time, how often, and in which order.
        watch: called with the progress, at most every 0.1 s and at the end; an exception that it raises ends the run.
        stop: ends the run when set; Ctrl-C does likewise where this is the main thread.

    Raises:
        StoreFullError: there is no room for more; what was recorded before is in the store.
        StoreUnreachableError: the store's file cannot be written any more, or another program locks it; likewise.
        ExecutorError: the executor as a whole cannot go on; likewise.
        InputError: a query is about a model that the executor does not have.
    """
    with _stopping(stop) as is_to_stop:
        return _Run(store, queries, executor, rounds, watch).go(is_to_stop)


class _Run:
    def __init__(
        self,
        store: Store,
        queries: Sequence[StoredQuery],
        executor: Executor,
        rounds: Rounds,
        watch: Callable[[Progress], None] | None,
    ) -> None:
        self._store, self._executor, self._watch = store, executor, watch
        self._agenda = Agenda(queries, rounds, store.input, executor.workers)
        self._estimate = Estimate(rounds.budgets)
        self._counts = dict.fromkeys(QueryState, 0)
        for case in self._agenda.cases.values():
            self._counts[case.state] += 1
        self._under_way: dict[tuple[int, int], int] = {}  # (query, number) -> stage
        self._finished = self._attempts = self._failures = 0
        self._began = time.monotonic()
        self._shown = self._began - SECONDS_BETWEEN_LOOKS

    def go(self, is_to_stop: Callable[[], bool]) -> RunReport:
        self._store.note("run", f"begins with {len(self._agenda.cases)} queries")
        self._executor.on_news = self._show
        stopped = False
        try:
            while not stopped and (self._agenda or self._under_way):
                self._deal()
                self._take_in(self._executor.completions(WAIT_SECONDS))
                self._show()
                stopped = is_to_stop() and bool(self._agenda or self._under_way)
            if stopped:
                self._wind_up()
        except ExecutorError as error:
            self._store.note("run", f"ends: {error}")
            raise
        except (StoreFullError, StoreUnreachableError):
            self._executor.interrupt()
            raise
        finally:
            del self._executor.on_news
        report = self._report(stopped)
        self._show(at_once=True)
        self._store.note("run", f"{'is stopped' if stopped else 'ends'} after {report.attempts} attempts")
        return report

    def _deal(self) -> None:
        while self._agenda and self._executor.outstanding < self._executor.capacity:
            task = self._agenda.next_task()
            for member in task.members:
                self._under_way[member.query, member.number] = self._agenda.stage(member.query)
            self._executor.submit(task)

    def _take_in(self, completions: Sequence[Completion]) -> None:
        """Records what has come to an end, once, and lets the agenda know."""
        news = {}
        for completion in (each for one in completions for each in unfold(one)):
            name = (completion.task.query, completion.task.number)
            if name in self._under_way:
                news[name] = completion
        if not news:
            return
        recorded = self._record(list(news.values()))
        for completion in recorded:
            task = completion.task
            self._estimate.add(self._under_way.pop((task.query, task.number)), completion)
            before = self._agenda.cases[task.query].state
            case = self._agenda.settle(task.query, completion.outcome)
            self._counts[before] -= 1
            self._counts[case.state] += 1
            self._finished += case.is_over
            self._attempts += 1
            self._failures += isinstance(completion.outcome, Failure)

    def _record(self, completions: list[Completion]) -> list[Completion]:
        """Stores them in one step; one that the store refuses becomes a failure. Returns what was stored."""
        try:
            self._store.record_many(completions)
        except StoreUnreachableError:
            raise
        except CampaignError as error:
            if len(completions) > 1:
                return [stored for one in completions for stored in self._record([one])]
            if isinstance(completions[0].outcome, Failure):
                raise
            return self._record([_refused(completions[0], error)])
        return completions

    def _wind_up(self) -> None:
        """Records the brackets that running tasks hand over; that one has none is not its failure."""
        self._executor.interrupt()
        deadline = time.monotonic() + LAST_WORDS_SECONDS
        while self._executor.outstanding and (left := deadline - time.monotonic()) > 0:
            over = self._executor.completions(min(left, WAIT_SECONDS))
            self._take_in([completion for completion in over if isinstance(completion.outcome, Answer)])

    def _show(self, *, at_once: bool = False) -> None:
        if self._watch is not None and (at_once or time.monotonic() - self._shown >= SECONDS_BETWEEN_LOOKS):
            self._shown = time.monotonic()
            self._watch(self._progress())

    def _progress(self) -> Progress:
        seconds = max(time.monotonic() - self._began, 1e-9)
        running = tuple(self._executor.running())
        under_way = list(self._under_way.values())
        waiting = [count + under_way.count(number) for number, count in enumerate(self._agenda.waiting)]
        spent = sum(each.seconds for each in running)
        return Progress(
            len(self._agenda.cases),
            self._counts[QueryState.DECIDED],
            self._counts[QueryState.OPEN],
            self._counts[QueryState.FAILED],
            self._finished,
            seconds,
            self._finished / seconds,
            self._estimate.seconds_left(waiting, spent, self._executor.workers),
            running,
        )

    def _report(self, stopped: bool) -> RunReport:
        return RunReport(
            len(self._agenda.cases),
            self._counts[QueryState.DECIDED],
            self._counts[QueryState.OPEN],
            self._counts[QueryState.FAILED],
            self._attempts,
            self._failures,
            stopped,
            time.monotonic() - self._began,
        )


def _refused(completion: Completion, error: CampaignError) -> Completion:
    failure = Failure(FailureReason.ERROR, f"its answer cannot be stored: {error}")
    return replace(completion, outcome=failure)


@contextmanager
def _stopping(stop: threading.Event | None) -> Iterator[Callable[[], bool]]:
    """Yields whether the run is to stop: `stop` is set, or SIGINT has come; the second SIGINT raises KeyboardInterrupt.

    The signal is left alone where it is ignored, as in a background job of a shell, and outside the main thread.
    """
    asked = threading.Event()

    def is_to_stop() -> bool:
        return asked.is_set() or (stop is not None and stop.is_set())

    def note(_number: int, _frame: object) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield is_to_stop
        return
    signal.signal(signal.SIGINT, note)
    try:
        yield is_to_stop
    finally:
        with suppress(KeyboardInterrupt):  # the run is over: a last Ctrl-C has nothing to stop
            signal.signal(signal.SIGINT, before)
