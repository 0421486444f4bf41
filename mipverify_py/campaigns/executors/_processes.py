"""In worker processes on this machine."""

from __future__ import annotations

import os
import selectors
import threading
import time
from collections import deque
from collections.abc import Sequence
from functools import partial

from mipverify_py._arguments import whole_number
from mipverify_py.campaigns._host import versions
from mipverify_py.campaigns._records import Answer, Completion, Failure, FailureReason, ModelRecord, Task
from mipverify_py.campaigns.executors._answering import check_answerer, check_model, models_by_digest
from mipverify_py.campaigns.executors._base import Executor, ExecutorError, Running
from mipverify_py.campaigns.executors._channel import BrokenMessageError
from mipverify_py.campaigns.executors._child import Child, module_path
from mipverify_py.campaigns.executors._messages import Began, Done, Ready, Setup, Told
from mipverify_py.campaigns.executors._vitals import family, held_bytes, is_stopped, parents, starved_seconds
from onnx_models.errors import InputError

GRACE_SECONDS = 30.0
"""A worker is given up this long after its task's time limit ..."""

GRACE_SHARE = 0.2
"""... and this share of it: engines look at the clock between steps, and a step may be long. Time that the worker has
waited for a processor does not count."""

STILL_SECONDS = 10.0
"""A worker that was stopped (SIGSTOP) is given up after this."""

START_SECONDS = 120.0
"""So long may a worker take to start and to load a model: imports over a cluster's file system are slow."""

EXAMINE_SECONDS = 0.2
MEMORY_SECONDS = 0.05
"""How often workers are looked at: a process can take 100 MB within the second of these."""

FAMILY_SECONDS = 1.0
"""How often it is found out which processes the workers have started, and which of them stand still."""


class ProcessExecutor(Executor):
    """Attempts tasks in `workers` processes of its own, which share nothing with this one but a socket.

    A worker that dies, hangs, takes too much memory or talks nonsense is ended and replaced; its task comes back as a
    failure. Each worker gets a model once, when its first task asks about it. Workers end when this process does, in
    whatever way.

    Args:
        answerer: what answers tasks, "package.module:function".
        models: all that tasks ask about.
        workers: number of processes, >= 1; they are started when there is work for them.
        memory_limit: bytes that a worker and what it starts may hold, without what is mapped from files; None for no
            limit. It is looked at every 0.05 s, so a worker may be over it for that long.
        threads: of numeric libraries in each worker.
        grace: seconds after which a worker is given up that is past its time limit; or that stands still, if that is
            less than `STILL_SECONDS`.
        name: what workers' names begin with.

    Raises:
        InputError: a number out of range, no such answerer, or a task about another model.
    """

    def __init__(
        self,
        answerer: str,
        models: Sequence[ModelRecord],
        workers: int,
        *,
        memory_limit: int | None = None,
        threads: int = 1,
        grace: float = GRACE_SECONDS,
        name: str = "process",
    ) -> None:
        check_answerer(answerer)
        self._workers = at_least_one(workers, "workers")
        self._threads = at_least_one(threads, "threads")
        self._memory_limit = None if memory_limit is None else at_least_one(memory_limit, "memory_limit")
        self._grace, self._name = grace, name
        self._models = models_by_digest(models)
        self._setup = Setup(answerer, module_path())
        self._children: list[Child] = []
        self._families: dict[int, list[int]] = {}
        self._started = 0
        self._avoid: dict[int, str] = {}
        self._selector = selectors.DefaultSelector()
        self._examined = self._surveyed = time.monotonic()
        self._thread: threading.Thread | None = None
        self._bell, self._ring = os.pipe()
        os.set_blocking(self._bell, False)
        self._selector.register(self._bell, selectors.EVENT_READ, self._answer_bell)
        # What the thread that looks after the workers shares with the caller's, under the lock:
        self._changed = threading.Condition()
        self._waiting: deque[Task] = deque()
        self._over: list[Completion] = []
        self._outstanding = 0
        self._stopping = self._closing = self._closed = False
        self._broken: BaseException | None = None

    # ------------------------------------------------------------------------------------- called by the run's thread

    @property
    def workers(self) -> int:
        return self._workers

    @property
    def outstanding(self) -> int:
        return self._outstanding

    def submit(self, task: Task) -> None:
        check_model(self._models, task)
        assert not self._stopping and not self._closing
        with self._changed:
            self._waiting.append(task)
            self._outstanding += 1
        if self._thread is None:
            self._thread = threading.Thread(target=self._look_after_workers, name="campaign-workers", daemon=True)
            self._thread.start()
        self._wake()

    def completions(self, timeout: float) -> list[Completion]:
        with self._changed:
            if not self._over and self._broken is None:
                self._changed.wait(timeout)
            over, self._over = self._over, []
            self._outstanding -= len(over)
            if not over and self._broken is not None:
                raise ExecutorError(f"The workers cannot go on: {self._broken}") from self._broken
            return over

    def running(self) -> list[Running]:
        with self._changed:
            pairs = [(child.name, child.at_hand) for child in self._children]
        return [Running(a.task, name, a.seconds, a.lower, a.upper) for name, a in pairs if a is not None]

    def interrupt(self) -> None:
        with self._changed:
            self._stopping = True
            self._outstanding -= len(self._waiting)
            self._waiting.clear()
        self._wake()

    def close(self) -> None:
        if self._closing:
            return
        self._closing = True
        self._wake()
        if self._thread is not None:
            self._thread.join()
        self._selector.close()
        with self._changed:
            self._closed = True
            os.close(self._ring)
            os.close(self._bell)

    def _wake(self) -> None:
        """Has the thread that looks after workers look at once."""
        with self._changed:
            if not self._closed:
                os.write(self._ring, b"!")

    # -------------------------------------------------------------------- called by the thread that looks after workers

    def _look_after_workers(self) -> None:
        interrupted = False
        pause = EXAMINE_SECONDS if self._memory_limit is None else MEMORY_SECONDS
        try:
            while not self._closing:
                if not self._stopping:
                    self._hand_out()
                elif not interrupted:
                    interrupted = True
                    self._interrupt_all()
                for key, _ in self._selector.select(pause):
                    key.data()
                if time.monotonic() - self._examined >= pause:
                    self._examine()
        except BaseException as error:  # noqa: BLE001 - the run raises it
            self._broken = error
        finally:
            for child in self._children:
                child.end()
            self._children.clear()
            with self._changed:
                self._changed.notify_all()

    def _answer_bell(self) -> None:
        try:
            os.read(self._bell, 1 << 16)
        except BlockingIOError:
            return

    def _hand_out(self) -> None:
        """Gives tasks to idle workers, and starts workers for what is left; a task's last worker is the last choice."""
        for strict in (True, False):
            for child in [child for child in self._children if child.at_hand is None]:
                if (task := self._next_task(child.name if strict else None)) is not None:
                    child.give(task, self._models)
                    self._watch_writing(child)
            while strict and len(self._children) < self._workers and (task := self._next_task(None)) is not None:
                child = self._start()
                child.give(task, self._models)
                self._watch_writing(child)

    def _next_task(self, avoiding: str | None) -> Task | None:
        """Takes the first task that the worker `avoiding` has not failed at."""
        with self._changed:
            for task in self._waiting:
                if avoiding is None or self._avoid.get(task.query) != avoiding:
                    self._waiting.remove(task)
                    return task
        return None

    def _start(self) -> Child:
        self._started += 1
        child = Child(f"{self._name}-{self._started}", self._setup, self._threads)
        self._selector.register(child.channel.connection, selectors.EVENT_READ, partial(self._hear, child))
        self._selector.register(child.errors, selectors.EVENT_READ, partial(self._hear_errors, child))
        with self._changed:
            self._children.append(child)
        return child

    def _watch_writing(self, child: Child) -> None:
        """Asks to be told when the worker's socket has room, as long as there is something to send."""
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if child.channel.has_more_to_send else 0)
        self._selector.modify(child.channel.connection, events, partial(self._hear, child))

    def _hear_errors(self, child: Child) -> None:
        if child in self._children and not child.listen():
            self._selector.unregister(child.errors)

    def _hear(self, child: Child) -> None:
        """Takes in what a worker has said."""
        if child not in self._children:
            return  # it was ended for what it said on another descriptor
        if child.channel.has_more_to_send:
            child.channel.flush()
            self._watch_writing(child)
        try:
            for message in child.channel.receive():
                self._understand(child, message)
        except EOFError:
            ended = child.has_ended()
            self._lose(child, FailureReason.KILLED if ended else FailureReason.LOST)
        except BrokenMessageError as error:
            self._lose(child, FailureReason.LOST, str(error))

    def _understand(self, child: Child, message: object) -> None:
        at_hand = child.at_hand
        if isinstance(message, Ready) and not child.host:
            child.host = message.host
        elif at_hand is None:
            raise BrokenMessageError(f"it sent {type(message).__name__} while it had no task")
        elif isinstance(message, Began):
            at_hand.began = time.monotonic()
            at_hand.starved = starved_seconds([child.pid])
        elif isinstance(message, Told):
            at_hand.lower, at_hand.upper = message.lower, message.upper
        elif isinstance(message, Done) and isinstance(message.outcome, Answer | Failure):
            self._settle(
                child,
                Completion(at_hand.task, message.outcome, child.name, child.host, message.versions, at_hand.seconds),
            )
        else:
            raise BrokenMessageError(f"it sent {type(message).__name__}, which was not expected")

    def _settle(self, child: Child, completion: Completion) -> None:
        for member in completion.task.members:
            if isinstance(completion.outcome, Failure):
                self._avoid[member.query] = child.name
            else:
                self._avoid.pop(member.query, None)
        with self._changed:
            child.at_hand = None
            self._over.append(completion)
            self._changed.notify_all()

    def _lose(self, child: Child, reason: FailureReason, detail: str | None = None) -> None:
        """Ends a worker; its task, if it has one, has failed."""
        self._forget(child)
        fate = child.end()
        if child.at_hand is not None:
            failure = Failure(reason, fate if detail is None else detail)
            a = child.at_hand
            self._settle(child, Completion(a.task, failure, child.name, child.host, versions(), a.seconds))

    def _forget(self, child: Child) -> None:
        for each in (child.channel.connection, child.errors):
            if each in self._selector.get_map():
                self._selector.unregister(each)
        with self._changed:
            self._children.remove(child)

    def _interrupt_all(self) -> None:
        """Asks for brackets; a worker that has not begun has none."""
        for child in list(self._children):
            if child.at_hand is not None and child.at_hand.began is not None:
                child.interrupt()
            else:
                self._forget(child)
                child.end()
                with self._changed:
                    self._outstanding -= child.at_hand is not None

    def _examine(self) -> None:
        """Ends workers that hang, hold too much memory, or died without hanging up."""
        now = self._examined = time.monotonic()
        survey = now - self._surveyed >= FAMILY_SECONDS
        if survey:
            self._surveyed = now
            everybody = {} if self._memory_limit is None else parents()
            self._families = {child.pid: family(child.pid, everybody) for child in self._children}
        for child in list(self._children):
            if survey:
                child.stopped_since = (child.stopped_since or now) if is_stopped(child.pid) else None
            if (detail := self._overeats(child)) is not None:
                self._lose(child, FailureReason.MEMORY, detail)
            elif self._hangs(child) is not None:
                self._hear(child)  # an answer may have come while this process itself stood still
                if child in self._children and (detail := self._hangs(child)) is not None:
                    self._lose(child, FailureReason.HUNG, detail)
            elif survey and child.is_over():
                self._hear(child)
                if child in self._children:
                    self._lose(child, FailureReason.KILLED)

    def _overeats(self, child: Child) -> str | None:
        """Why a worker holds too much memory, None if it does not."""
        if self._memory_limit is None:
            return None
        held = held_bytes(self._families.get(child.pid, [child.pid]))
        if held <= self._memory_limit:
            return None
        return f"it held {held >> 20} MiB of memory; the limit is {self._memory_limit >> 20} MiB"

    def _hangs(self, child: Child) -> str | None:
        """Why to give a worker up, None if there is no reason."""
        now, a = time.monotonic(), child.at_hand
        if child.stopped_since is not None and now - child.stopped_since > min(self._grace, STILL_SECONDS):
            return f"it stood still for {now - child.stopped_since:.1f} s (SIGSTOP)"
        if a is None:
            return None
        if a.began is None:
            return f"it had not begun {START_SECONDS:g} s after it was asked" if a.seconds > START_SECONDS else None
        limit = a.task.limits.time_limit
        if limit is None or (late := now - a.began - limit * (1 + GRACE_SHARE) - self._grace) <= 0.0:
            return None
        starved = starved_seconds(family(child.pid, parents()))
        if late <= max((waited - a.starved.get(thread, 0.0) for thread, waited in starved.items()), default=0.0):
            return None
        return f"it had not answered {now - a.began:.1f} s after it began; its time limit was {limit:g} s"


def at_least_one(value: object, name: str) -> int:
    """The value as a whole number; raises InputError if it is not one, or below 1."""
    number = whole_number(value, name)
    if number < 1:
        raise InputError(f"{name} is {number}; it must be at least 1.")
    return number
