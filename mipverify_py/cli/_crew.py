"""Several images at a time, each in a worker process; the answers come in the order of the images."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from typing import Self

from mipverify_py._children import ending, thread_limits
from mipverify_py._enums import StopReason
from mipverify_py._options import Options
from mipverify_py._query import Query
from mipverify_py._result import Bracket
from mipverify_py.cli._messages import READY, Failure, Setup, pack, unpack
from mipverify_py.cli._progress import Progress
from mipverify_py.cli._questions import Place, Questions, tolerance_of
from mipverify_py.cli._search_image import Found, unanswered

WAIT_SECONDS = 0.2
"""How often the run looks whether Ctrl-C was pressed."""

LAST_WORDS_SECONDS = 5.0
"""How long an interrupted worker may take to hand over its bracket: to see what unfinished trees show takes seconds."""

DEATHS = 2
"""So many workers may die over one image: the second may have had more memory than the first."""


def answer_in_workers(
    questions: Questions, places: Sequence[Place], options: Options, progress: Progress, *, workers: int
) -> Generator[tuple[int, Query, Found], None, None]:
    """Position, query and answer of each image, in order, each as soon as it and those before it are answered.

    On Ctrl-C every worker is stopped and what is known comes at once: finished images, and for those under way the
    bracket or, where the worker does not give it in time, nothing. An image whose worker dies is tried once more.

    Raises:
        MipverifyError: an image's search ended with it, after the images before it.
        RuntimeError: likewise for a bug, with its traceback.
    """
    with _interruptions() as interruption, _Crew(questions, places, options, progress, workers) as crew:
        while not crew.done:
            if interruption.asked or crew.interrupted:
                crew.stop()
            else:
                crew.hand_out()
                crew.take_in(WAIT_SECONDS)
            for answer in crew.in_order():
                with progress.hidden():
                    yield answer


def worker_command(descriptor: int) -> list[str]:
    """The command that starts a worker; -P keeps the current folder's files from shadowing modules."""
    return [sys.executable, "-P", "-m", "mipverify_py.cli._worker", str(descriptor)]


class _Interruption:
    """Notes the first Ctrl-C; the second one raises KeyboardInterrupt."""

    asked = False

    def __call__(self, number: int, frame: object) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True


@contextmanager
def _interruptions() -> Iterator[_Interruption]:
    """Takes SIGINT over while it lasts, unless it is ignored, as in a background job of a shell."""
    interruption, before = _Interruption(), signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        yield interruption
        return
    signal.signal(signal.SIGINT, interruption)
    try:
        yield interruption
    finally:
        signal.signal(signal.SIGINT, before)


@dataclass(slots=True, eq=False)
class _Task:
    """An image to answer: its position in the run, its query, when it was handed out, and how many died over it."""

    position: int
    query: Query
    began: float = field(default_factory=time.monotonic)
    deaths: int = 0

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began


class _Worker:
    """One worker process and the socket to it, with the task it has at hand."""

    def __init__(self, threads: int) -> None:
        self.connection, theirs = multiprocessing.Pipe()
        self.task: _Task | None = None
        self.is_set_up = self.is_ready = False
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - our own command, no shell
                worker_command(theirs.fileno()),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,  # the run's own stdout holds results and nothing else
                env={**os.environ, **thread_limits(threads)},
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )

    def send(self, data: bytes) -> None:
        """Sends a message; a process that is no more will be noticed by its closed socket."""
        with contextlib.suppress(OSError):
            self.connection.send_bytes(data)

    def interrupt(self) -> None:
        """Asks for what is known of the task at hand."""
        self._process.send_signal(signal.SIGINT)

    def end(self) -> str:
        """Ends the process and all it started in its session; returns how it ended, if it had already, in words."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        code = self._process.wait()
        self.connection.close()
        return ending(code)


class _Crew:
    """The workers of a run, what they are doing and what they have found."""

    def __init__(
        self, questions: Questions, places: Sequence[Place], options: Options, progress: Progress, workers: int
    ) -> None:
        a = questions.arguments
        self._questions, self._places, self._options, self._progress = questions, places, options, progress
        self._setup = Setup(
            questions.network,
            options,
            with_replay=a.replay,
            with_progress=not a.quiet,
            float32=a.arithmetic == "float32",
            with_certificate=a.certificate is not None,
            tolerance=tolerance_of(a),
        ).pack()
        self._count = workers
        self._workers: list[_Worker] = []
        self._again: deque[_Task] = deque()
        self._found: dict[int, tuple[Query, Found | Failure]] = {}
        self._begun = self._shown = 0
        self._failed = self._stopped = False
        self.interrupted = False
        """Whether a worker was interrupted by someone else than this run."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._progress.close()
        for worker in self._workers:
            worker.end()

    @property
    def done(self) -> bool:
        """Whether nothing more will come."""
        return self._shown == len(self._places) or (self._stopped and not self._found)

    @property
    def _busy(self) -> list[_Worker]:
        return [worker for worker in self._workers if worker.task is not None]

    def hand_out(self) -> None:
        """Gives every worker that is free an image, starting workers as needed."""
        free = self._count - len(self._busy)
        tasks = [task for _ in range(free) if (task := self._next_task()) is not None]
        idle = [worker for worker in self._workers if worker.task is None]
        fresh = [_Worker(self._options.threads) for _ in range(len(tasks) - len(idle))]
        self._workers += fresh
        for worker, task in zip((*idle, *fresh), tasks, strict=False):
            if not worker.is_set_up:
                worker.send(self._setup)
                worker.is_set_up = True
            worker.task = task
            worker.send(pack(task.query, self._questions.network))
            self._progress.begin(task.position)

    def _next_task(self) -> _Task | None:
        if self._again:
            return self._again.popleft()
        if self._failed or self._begun == len(self._places):
            return None
        self._begun += 1
        return _Task(self._begun - 1, self._questions[self._places[self._begun - 1]])

    def take_in(self, timeout: float) -> None:
        """Waits for messages, at most `timeout` seconds, and takes in those that are there."""
        busy = self._busy
        speaking = wait([worker.connection for worker in busy], timeout)
        for worker in busy:
            if worker.connection in speaking:
                self._hear(worker)

    def _hear(self, worker: _Worker) -> None:
        task = worker.task
        assert task is not None
        try:
            message = unpack(worker.connection.recv_bytes(), self._questions.network)
        except (EOFError, OSError):
            self._workers.remove(worker)
            self._mourn(task, worker.end())
            return
        if message == READY:
            worker.is_ready = True
        elif isinstance(message, Bracket):
            self._progress.update(task.position, message)
        else:
            worker.task = None
            self._settle(task, message)

    def _mourn(self, task: _Task, fate: str) -> None:
        """What becomes of an image whose worker has died."""
        task.deaths += 1
        if self._stopped:
            self._give_up(task)
        elif task.deaths < DEATHS:
            self._progress.end(task.position)
            self._again.append(task)
        else:
            detail = f"the process that worked on it {fate}, {task.deaths} times"
            lost = unanswered(task.query, self._options, StopReason.SOLVER_FAILED, detail, task.seconds)
            self._settle(task, Found(lost))

    def _abandon(self, worker: _Worker) -> None:
        assert worker.task is not None
        self._give_up(worker.task)
        worker.task = None

    def _give_up(self, task: _Task) -> None:
        detail = f"not finished: there was no answer within {LAST_WORDS_SECONDS:g} s"
        lost = unanswered(task.query, self._options, StopReason.INTERRUPTED, detail, task.seconds)
        self._settle(task, Found(lost))

    def _settle(self, task: _Task, message: Found | Failure) -> None:
        self._progress.end(task.position)
        self._found[task.position] = (task.query, message)
        if isinstance(message, Failure):
            self._failed = True
        elif message.result.stop_reason is StopReason.INTERRUPTED:
            self.interrupted = True

    def stop(self) -> None:
        """Has every worker hand over what it knows, and ends them; what is then there is all there will be."""
        self._stopped = True
        for worker in self._busy:
            if worker.is_ready:
                worker.interrupt()
            else:
                self._abandon(worker)
        deadline = time.monotonic() + LAST_WORDS_SECONDS
        while self._busy and (left := deadline - time.monotonic()) > 0:
            self.take_in(left)
        for worker in self._busy:
            self._abandon(worker)
        while self._again:
            self._give_up(self._again.popleft())

    def in_order(self) -> Iterator[tuple[int, Query, Found]]:
        """The answers whose turn it is; once stopped, all there are."""
        while self._found:
            position = min(self._found)
            if position != self._shown and not self._stopped:
                return
            query, message = self._found.pop(position)
            self._shown = position + 1
            if isinstance(message, Failure):
                raise message.as_exception()
            yield position, query, message
