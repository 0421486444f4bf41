"""The child process that runs one solver: `python -m mipverify_py.backends._worker NAME`.

It reads requests from standard input and writes frames to standard output, both moved out of the solver's reach first:
whatever the solver prints goes to standard error, which the parent keeps for error messages. It ends when standard
input closes, also in the middle of a solve, so it never outlives the process that started it.
"""

from __future__ import annotations

import os
import queue
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable

from bounds import MipModel
from mipverify_py.backends._base import Answer, Backend, SolveLimits, SolveProgress
from mipverify_py.backends._frames import SCRATCH, Frame, FrameReader, answer_frame, progress_frame, read_request
from mipverify_py.backends._registry import backend_class
from onnx_models.errors import BackendCrashError, BackendError, BackendLimitError, BackendMissingError

BOUND_INTERVAL = 0.02
"""Seconds between reports that bring no point: some solvers raise their bound at every node."""


def main() -> None:
    """Serves the backend named on the command line until standard input closes."""
    serve(backend_class(sys.argv[1])())


def serve(backend: Backend) -> None:
    """Answers requests with `backend` until standard input closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    inbox, send = _claim_pipes()
    try:
        backend.load()
    except ImportError as error:
        message = f"{backend.name} is installed ({backend.distribution}) but does not load: {error}"
        send(Frame("error", {"error": "missing", "message": message}))
        return
    send(Frame("ready"))
    while True:
        _answer(backend, inbox.get(), send)


def _answer(backend: Backend, frame: Frame, send: Callable[[Frame], None]) -> None:
    def post(message: Frame) -> None:
        send(message.numbered(frame.number))

    model, limits = read_request(frame)
    try:
        backend.check_size(model)
        reply = answer_frame(_solve(backend, model, limits, post))
    except BackendLimitError as error:
        reply = Frame("error", {"error": "limit", "message": str(error)})
    except BackendMissingError as error:
        reply = Frame("error", {"error": "missing", "message": str(error)})
    except BackendCrashError as error:
        reply = Frame("error", {"error": "crash", "message": str(error)})
    except BackendError as error:
        reply = Frame("error", {"error": "failed", "message": str(error)})
    except Exception as error:  # noqa: BLE001 - vendors raise anything; the parent then drops this process
        reply = Frame("error", {"error": "failed", "message": f"{type(error).__name__}: {error}"})
    post(reply)


def _solve(backend: Backend, model: MipModel, limits: SolveLimits, post: Callable[[Frame], None]) -> Answer:
    """The backend's answer; what it reports is posted until it has answered or failed.

    After that a solver only dismantles the problem, and what it says about it then need not be true.
    """
    due, over = 0.0, False

    def report(progress: SolveProgress) -> None:
        nonlocal due
        now = time.monotonic()
        if not over and (progress.point is not None or now >= due):
            due = now + BOUND_INTERVAL
            post(progress_frame(progress))

    try:
        return backend.solve(model, limits, report)
    finally:
        over = True


def _claim_pipes() -> tuple[queue.SimpleQueue[Frame], Callable[[Frame], None]]:
    """The queue of requests and the way to answer, on descriptors that only we know."""
    source, sink = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    lock = threading.Lock()

    def send(frame: Frame) -> None:
        data = memoryview(frame.pack())
        with lock:
            while data:
                try:
                    data = data[os.write(sink, data) :]
                except OSError:
                    _leave()

    inbox: queue.SimpleQueue[Frame] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(source, inbox), daemon=True).start()
    return inbox, send


def _receive(source: int, inbox: queue.SimpleQueue[Frame]) -> None:
    """Collects requests; solvers release the interpreter while they work, so the end of input is seen at once."""
    reader = FrameReader()
    try:
        while data := os.read(source, 1 << 20):
            for frame in reader.feed(data):
                inbox.put(frame)
    finally:
        _leave()


def _leave() -> None:
    """Ends this process and whatever it started, without waiting for the solver."""
    scratch = os.environ.get(SCRATCH)
    if scratch:
        shutil.rmtree(scratch, ignore_errors=True)
    if os.getpgrp() == os.getpid():  # we lead our own group: take a solver's child process along
        os.killpg(0, signal.SIGKILL)
    os._exit(0)


if __name__ == "__main__":
    main()
