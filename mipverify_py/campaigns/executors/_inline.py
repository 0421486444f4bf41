"""In this process, one task at a time."""

from __future__ import annotations

import signal
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from mipverify_py._interruptions import Interruption
from mipverify_py.campaigns._host import host_class, versions
from mipverify_py.campaigns._records import Answer, Completion, Failure, FailureReason, ModelRecord, Task
from mipverify_py.campaigns.executors._answering import Answering, check_answerer, check_model, models_by_digest
from mipverify_py.campaigns.executors._base import Executor, Running

NAME = "inline"


class InlineExecutor(Executor):
    """Attempts tasks in this process, one at a time, within `completions`.

    A task's time limit is for its answerer to keep: nothing here can stop one that does not, and one that crashes takes
    the process with it. On Ctrl-C the task at hand answers with its bracket; the signal is then raised anew.

    Args:
        answerer: what answers tasks, "package.module:function".
        models: all that tasks ask about.

    Raises:
        InputError: there is no such answerer, or a task asks about another model.
    """

    def __init__(self, answerer: str, models: Sequence[ModelRecord]) -> None:
        check_answerer(answerer)
        self._models = models_by_digest(models)
        self._answering = Answering(answerer)
        self._answering.add(models)
        self._waiting: deque[Task] = deque()
        self._at_hand: Running | None = None
        self._began = 0.0

    @property
    def workers(self) -> int:
        """1."""
        return 1

    @property
    def capacity(self) -> int:
        """1: nothing is gained by having a second task wait."""
        return 1

    @property
    def outstanding(self) -> int:
        return len(self._waiting)

    def submit(self, task: Task) -> None:
        check_model(self._models, task)
        self._waiting.append(task)

    def completions(self, timeout: float) -> list[Completion]:
        """What has come of the next task, however long that takes; nothing if Ctrl-C came before it found anything."""
        if not self._waiting:
            return []
        task = self._waiting.popleft()
        self._began = time.monotonic()
        self._at_hand = Running(task, NAME, 0.0)
        with _interruptible() as interruption:

            def tell(lower: float | None, upper: float | None) -> None:
                assert self._at_hand is not None
                self._at_hand = replace(self._at_hand, lower=lower, upper=upper)
                with interruption.held():
                    self.on_news()

            outcome: Answer | Failure | None = self._answering.prepare(task)
            if outcome is None:
                outcome = self._answering.answer(task, tell, interruption.allowed)
        self._at_hand = None
        if interruption.asked and isinstance(outcome, Failure) and outcome.reason is FailureReason.KILLED:
            return []  # to be interrupted is no failure of the task
        backend = outcome.backend if isinstance(outcome, Answer) else None
        return [Completion(task, outcome, NAME, host_class(), versions(backend), time.monotonic() - self._began)]

    def running(self) -> list[Running]:
        """The task at hand, for `on_news`."""
        return [] if self._at_hand is None else [replace(self._at_hand, seconds=time.monotonic() - self._began)]

    def interrupt(self) -> None:
        self._waiting.clear()

    def close(self) -> None:
        self._waiting.clear()


@contextmanager
def _interruptible() -> Iterator[Interruption]:
    """Takes SIGINT over while it lasts, in the main thread, and passes it on at the end to who had it before."""
    interruption, before = Interruption(), signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield interruption
        return
    signal.signal(signal.SIGINT, interruption)
    try:
        yield interruption
    finally:
        signal.signal(signal.SIGINT, before)
        if interruption.asked:
            signal.raise_signal(signal.SIGINT)
