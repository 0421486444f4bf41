"""Solving in a child process: limits that hold, crashes that do not spread, progress that is never lost."""

from __future__ import annotations

import atexit
import contextlib
import itertools
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from bounds import MipModel
from mipverify_py.backends._base import Answer, Backend, MipSolution, Report, SolveLimits, SolveStatus
from mipverify_py.backends._child import Child, worker_command
from mipverify_py.backends._claims import Bracket, conclude
from mipverify_py.backends._frames import Frame, read_answer, read_progress, request
from mipverify_py.backends._preflight import canonical, trivial_answer
from mipverify_py.backends._registry import check_ability, get_backend
from onnx_models.errors import (
    BackendCrashError,
    BackendError,
    BackendLimitError,
    BackendMissingError,
    InputError,
)

logger = logging.getLogger(__name__)

START_SECONDS = 60.0
"""Longest start of a worker: importing a solver takes under a second, but not on a cold network disk."""

GRACE_SECONDS = 2.0
"""How long a solver may overrun its limit, plus `GRACE_SHARE` of it, before it is ended: solvers that honour a limit
look at the clock between steps, and a solver that is let finish hands over its best point."""

GRACE_SHARE = 0.05
"""See `GRACE_SECONDS`."""

_ERRORS: dict[str, type[BackendError]] = {
    "missing": BackendMissingError,
    "limit": BackendLimitError,
    "crash": BackendCrashError,
    "failed": BackendError,
}


def solve_isolated(
    name: str, model: MipModel, limits: SolveLimits, *, on_progress: Report | None = None
) -> MipSolution:
    """Solves `model` with the backend `name` in a child process and returns what it says.

    The process is kept for the next solve with the same backend and ends with this one. It is ended at once when it
    overruns `limits.seconds` (by more than a small grace) and when the user presses Ctrl-C; the solution is then made
    of the last progress it reported, with the status TIME_LIMIT or INTERRUPTED. So Ctrl-C during a solve raises
    nothing: the caller sees INTERRUPTED, keeps the bracket, and decides whether to go on. Needs POSIX (process groups).

    Args:
        name: one of `BACKEND_NAMES`.
        model: what to solve.
        limits: what it may cost; see `Capabilities` for what a backend ignores.
        on_progress: called in this process with each improved bound or point, as far as the backend reports any
            (`Capabilities.progress`). What it raises ends the solve and passes through, KeyboardInterrupt apart.

    Raises:
        InputError: the name is unknown, the model holds NaN or misplaced infinities, or the start has the wrong length.
        BackendMissingError: the solver is not installed or does not load; the message says how to install it.
        BackendLimitError: the model is larger than the solver's licence allows.
        BackendAbilityError: the solver cannot solve models of this kind.
        BackendCrashError: the solver's process died or answered nonsense. What it reported before went to
            `on_progress`; the next solve starts a new process.
        BackendError: the solver refused the model or a setting.
    """
    return _POOL.solve(name, model, limits, on_progress=on_progress)


class WorkerPool:
    """Worker processes by backend, at most one idle each; any number of threads may solve at the same time.

    Args:
        command: gives the command line that starts the worker of a backend.
    """

    def __init__(self, command: Callable[[str], Sequence[str]] = worker_command) -> None:
        self._command = command
        self._idle: dict[str, Child] = {}
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)

    def solve(
        self, name: str, model: MipModel, limits: SolveLimits, *, on_progress: Report | None = None
    ) -> MipSolution:
        """See `solve_isolated`."""
        _note_ignored(get_backend(name), limits)
        model = canonical(model)
        if not model.is_linear:
            check_ability(
                name,
                objective=model.quadratic is not None,
                integral=bool(model.integer.any()),
                rows=bool(model.quadratic_rows),
            )
        if limits.start is not None and len(limits.start) != model.columns:
            raise InputError(f"The start has {len(limits.start)} entries; the model has {model.columns} columns.")
        started = time.monotonic()
        answer = trivial_answer(model)
        if answer is None:
            bracket = Bracket(model, limits)
            try:
                with self._borrowed(name) as child:
                    started = time.monotonic()  # starting a worker is not the solver's time
                    message = request(model, limits).numbered(next(self._numbers))
                    answer = _converse(name, child, message, _deadline(limits), bracket, on_progress)
            except TimeoutError:
                answer = bracket.answer(SolveStatus.TIME_LIMIT)
            except KeyboardInterrupt:
                answer = bracket.answer(SolveStatus.INTERRUPTED)
        return conclude(model, limits, answer, time.monotonic() - started)

    def close(self) -> None:
        """Ends the idle workers."""
        with self._lock:
            idle, self._idle = self._idle, {}
        for child in idle.values():
            child.kill()

    def forget(self) -> None:
        """Drops the idle workers without ending them: what a forked copy of this process must do with its parent's."""
        self._lock = threading.Lock()
        idle, self._idle = self._idle, {}
        for child in idle.values():
            child.forget()

    @contextlib.contextmanager
    def _borrowed(self, name: str) -> Iterator[Child]:
        """A worker that is ready; whatever goes wrong, other than a refusal of the model, ends it."""
        with self._lock:
            child = self._idle.pop(name, None)
        if child is not None and not child.alive:
            child.kill()
            child = None
        fresh = child is None
        if child is None:
            child = Child(name, self._command(name))
        try:
            if fresh:
                _await_ready(child, name)
            yield child
        except BackendLimitError:
            self._keep(name, child)
            raise
        except BaseException:
            child.kill()
            raise
        self._keep(name, child)

    def _keep(self, name: str, child: Child) -> None:
        with self._lock:
            surplus = self._idle.get(name)
            if surplus is None:
                self._idle[name] = child
        if surplus is not None:
            child.kill()


def _await_ready(child: Child, name: str) -> None:
    try:
        frame = next(child.exchange(None, time.monotonic() + START_SECONDS))
    except TimeoutError as error:
        raise BackendCrashError(f"The process of backend {name!r} did not start in {START_SECONDS:g} s.") from error
    if frame.kind != "ready":
        raise _error(name, frame)


def _converse(
    name: str, child: Child, message: Frame, deadline: float | None, bracket: Bracket, on_progress: Report | None
) -> Answer:
    for frame in child.exchange(message, deadline):
        if frame.number != message.number:
            if frame.kind == "progress":
                continue  # what an earlier solve had left to say holds for its own model only
            raise BackendCrashError(f"The process of backend {name!r} sent an {frame.kind!r} to another request.")
        if frame.kind == "answer":
            return read_answer(frame)
        if frame.kind != "progress":
            raise _error(name, frame)
        news = bracket.update(read_progress(frame))
        if news is not None and on_progress is not None:
            on_progress(news)
    raise AssertionError("the exchange ends only by an answer or an exception")


def _note_ignored(backend: Backend, limits: SolveLimits) -> None:
    able = backend.capabilities
    asked = {
        "threads": limits.threads > 1 and not able.threads,
        "start": limits.start is not None and not able.start,
        "cutoff": limits.cutoff is not None and not able.cutoff,
        "nodes": limits.nodes is not None and not able.node_limit,
    }
    for limit, ignored in asked.items():
        if ignored:
            logger.info("Backend %r ignores the limit %r.", backend.name, limit)


def _deadline(limits: SolveLimits) -> float | None:
    if limits.seconds is None:
        return None
    return time.monotonic() + limits.seconds * (1 + GRACE_SHARE) + GRACE_SECONDS


def _error(name: str, frame: Frame) -> BackendError:
    kind = _ERRORS.get(frame.head.get("error", ""))
    if frame.kind != "error" or kind is None:
        return BackendCrashError(f"The process of backend {name!r} sent the unexpected message {frame.kind!r}.")
    message = frame.head.get("message", "")
    return kind(message if kind is not BackendError else f"Backend {name!r} failed: {message}")


_POOL = WorkerPool()
atexit.register(_POOL.close)
os.register_at_fork(after_in_child=_POOL.forget)
