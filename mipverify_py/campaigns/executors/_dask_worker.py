"""What runs inside a Dask worker: a desk that passes tasks on to worker processes of ours.

So a task that crashes, hangs or takes too much memory is dealt with where it runs, and the Dask worker lives on.
"""

from __future__ import annotations

import hashlib
import queue
import signal
import threading
from collections.abc import Sequence
from typing import Any

from distributed import Worker, WorkerPlugin, get_worker

from mipverify_py.campaigns._records import Completion, ModelRecord, Task
from mipverify_py.campaigns.executors._processes import ProcessExecutor

LOOK_SECONDS = 0.1
"""How often a task that is being worked on is looked after."""


class Desk(WorkerPlugin):
    """Holds the models of a run, which so reach every Dask worker once, and one worker process for each of its threads.

    Args:
        name: of the run, unique on the scheduler; also the topic of what is told to the run.
        answerer, models, memory_limit, grace: as in `ProcessExecutor`.
    """

    def __init__(
        self, name: str, answerer: str, models: Sequence[ModelRecord], memory_limit: int | None, grace: float
    ) -> None:
        self.name = name
        self._answerer, self._models = answerer, tuple(models)
        self._memory_limit, self._grace = memory_limit, grace

    def setup(self, worker: Worker) -> None:
        """Called by Dask when the worker gets the desk."""
        self._worker = worker
        self._label = "dask-" + hashlib.blake2b(worker.id.encode(), digest_size=3).hexdigest()
        self._free: queue.SimpleQueue[ProcessExecutor] = queue.SimpleQueue()
        self._all: set[ProcessExecutor] = set()
        self._made = 0
        self._lock = threading.Lock()
        self.stopping = threading.Event()
        self._is_over = False

    def teardown(self, worker: Worker) -> None:
        """Called by Dask when the run is over, or the worker."""
        with self._lock:
            for executor in self._all:
                executor.close()
            self._all.clear()
            self._is_over = True

    def attempt(self, task: Task, key: str) -> Completion | None:
        """What comes of the task, None if nobody waits for it any more; called in one of the Dask worker's threads."""
        executor = self._take()
        self._tell(key, None, None, begins=True)
        executor.submit(task)
        told: tuple[float | None, float | None] = (None, None)
        interrupted = False
        while executor.outstanding and not self._is_over:
            over = executor.completions(LOOK_SECONDS)
            if over:
                self._free.put(executor)
                return over[0]
            if not self._is_wanted(key):
                break
            if self.stopping.is_set() and not interrupted:
                interrupted = True
                executor.interrupt()
            for running in executor.running():
                if told != (running.lower, running.upper):
                    told = (running.lower, running.upper)
                    self._tell(key, *told)
        with self._lock:
            executor.close()
            self._all.discard(executor)
        return None

    def _take(self) -> ProcessExecutor:
        try:
            return self._free.get_nowait()
        except queue.Empty:
            pass
        with self._lock:
            self._made += 1
            executor = ProcessExecutor(
                self._answerer,
                self._models,
                1,
                memory_limit=self._memory_limit,
                grace=self._grace,
                name=f"{self._label}-{self._made}",
            )
            self._all.add(executor)
        return executor

    def _is_wanted(self, key: str) -> bool:
        """Whether the run still waits for the task: it may have been cancelled, or be dead."""
        state = self._worker.state.tasks.get(key)
        return state is not None and state.state != "cancelled"

    def _tell(self, key: str, lower: float | None, upper: float | None, *, begins: bool = False) -> None:
        news = {
            "key": key,
            "begins": begins,
            "worker": self._label,
            "address": self._worker.address,
            "lower": lower,
            "upper": upper,
        }
        self._worker.log_event(self.name, news)


class DeafToCtrlC(WorkerPlugin):
    """Has a Dask worker and all that it starts ignore SIGINT; our worker processes handle it for themselves."""

    def setup(self, worker: Worker) -> None:
        """Called by Dask in the main thread of the worker's process."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def attempt(name: str, task: Task, key: str) -> Completion | None:
    """The task that Dask knows: hands ours to the desk of the run `name`."""
    return _desk(get_worker(), name).attempt(task, key)


def interrupt(name: str, dask_worker: Worker) -> None:
    """Has the desk ask its tasks for their brackets."""
    _desk(dask_worker, name).stopping.set()


def _desk(worker: Any, name: str) -> Desk:
    desk = worker.plugins[name]
    assert isinstance(desk, Desk)
    return desk
