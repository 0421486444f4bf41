"""Processes that make measurements one after another: fresh, with a fixed number of threads, replaced when they die."""

from __future__ import annotations

import os
import queue
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from typing import Any, NamedTuple

from mipverify_py import Options, StopReason
from tests.benchmarks.measurements import Measurements, option_values
from tests.benchmarks.questions import Figures, Question, ask

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
GRACE = 300.0
"""Seconds beyond one and a half times its limit after which a measurement is ended from outside; proofs are replayed
in them."""


class Task(NamedTuple):
    """A measurement to make: `function(*arguments)`, both picklable, gives the figures of `key` in `limit` seconds."""

    key: Mapping[str, object]
    name: str
    function: Callable[..., Figures]
    arguments: tuple[Any, ...]
    limit: float


def question_task(question: Question, options: Options) -> Task:
    """The task of asking one question."""
    key = {"what": "query", **question.about, "options": option_values(options)}
    assert options.time_limit is not None
    name = f"{question.network.rpartition('/')[2]} {question.index}"
    return Task(key, name, ask, (question, options), options.time_limit)


def measured(tasks: Sequence[Task], measurements: Measurements, *, threads: int = 1, jobs: int = 1) -> list[Figures]:
    """The figures of every task, in order: remembered ones, and the others from `jobs` new processes.

    A process that dies or hangs gives figures with an `error` and is replaced. On Ctrl-C what is finished is kept.
    """
    missing = [task for task in tasks if measurements.get(task.key) is None]
    if missing:
        with thread_limits(threads), _pool(min(jobs, len(missing))) as run:
            futures = {run(task): task for task in missing}
            for number, future in enumerate(as_completed(futures), start=1):
                task, found = futures[future], future.result()
                if found.get("stop") == StopReason.INTERRUPTED.value:
                    raise KeyboardInterrupt
                measurements.add(task.key, task.name, found)
                print(f"[{number}/{len(missing)}] {task.name}: {_summary(found)}", file=sys.stderr, flush=True)
    answers = [measurements.get(task.key) for task in tasks]
    assert None not in answers
    return [answer for answer in answers if answer is not None]


def _summary(found: Figures) -> str:
    if "error" in found:
        return f"{found['error']}: {found.get('detail', '')}"
    words = [str(found[name]) for name in ("verdict", "stop", "detail") if found.get(name)]
    return ", ".join([*words, f"{found['seconds']:.2f} s"] if "seconds" in found else words or ["done"])


class _Worker:
    """One process; started at the first task and after a death."""

    def __init__(self) -> None:
        self._executor: ProcessPoolExecutor | None = None
        self._pid = 0

    def run(self, task: Task) -> Figures:
        """The task's figures, or what became of the process."""
        try:
            if self._executor is None:
                self._executor = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
                self._pid = self._executor.submit(os.getpid).result()
            future = self._executor.submit(task.function, *task.arguments)
            return future.result(timeout=1.5 * task.limit + GRACE)
        except BrokenProcessPool as error:
            self.kill()
            return {"error": "process died", "detail": str(error)}
        except TimeoutError:
            self.kill()
            return {"error": "process hung", "detail": f"no answer after {1.5 * task.limit + GRACE:g} s"}

    def kill(self) -> None:
        """Ends the process without waiting for what it does."""
        if self._executor is not None:
            if self._pid:
                with suppress(ProcessLookupError):  # it has died already
                    os.kill(self._pid, signal.SIGKILL)
            self._executor.shutdown(wait=True)
        self._executor, self._pid = None, 0

    def close(self) -> None:
        """Lets the process end."""
        if self._executor is not None:
            self._executor.shutdown(wait=True)


@contextmanager
def _pool(jobs: int) -> Iterator[Callable[[Task], Future[Figures]]]:
    """A function that hands a task to whichever of `jobs` workers is free first."""
    workers = [_Worker() for _ in range(jobs)]
    free: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
    for worker in workers:
        free.put(worker)

    def work(task: Task) -> Figures:
        worker = free.get()
        try:
            return worker.run(task)
        finally:
            free.put(worker)

    with ThreadPoolExecutor(jobs) as threads:
        try:
            yield lambda task: threads.submit(work, task)
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            for worker in workers:
                worker.kill()
            raise
    for worker in workers:
        worker.close()


@contextmanager
def thread_limits(threads: int) -> Iterator[None]:
    """Processes started inside use so many threads in numpy and torch: they read these variables as they start."""
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
