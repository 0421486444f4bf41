"""One child process that runs a solver, seen from the process that started it."""

from __future__ import annotations

import contextlib
import os
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Sequence

from mipverify_py._children import ending, thread_limits
from mipverify_py.backends._frames import SCRATCH, Frame, FrameReader
from onnx_models.errors import BackendCrashError

CHUNK = 1 << 20
"""Bytes read at once."""

KEPT_OUTPUT = 4096
"""Bytes of the solver's console output that are kept for error messages."""

SHOWN_LINES = 5
"""Lines of it that a message quotes."""

REAPED = "ended, and its exit code was collected by someone else"
"""The fate of a process when the program ignores SIGCHLD, or waits for any child."""

LONGEST_WAIT_SECONDS = 86_400.0
"""How long one wait for the process lasts; a time limit may exceed what poll accepts, some 24 days."""

LAST_BREATH_SECONDS = 5.0
"""How long a process may take to end once it has closed its output."""


def worker_command(name: str) -> list[str]:
    """The command that starts the worker of a backend; -P keeps the current folder's files from shadowing modules."""
    return [sys.executable, "-P", "-m", "mipverify_py.backends._worker", name]


class Child:
    """A worker process and the pipes to it.

    It runs in a session of its own, so that Ctrl-C at the terminal reaches only us, with one thread for every numerical
    library that reads an environment variable, and with a folder for temporary files that goes when it goes.
    """

    def __init__(self, name: str, command: Sequence[str]) -> None:
        self._name = name
        self._output: deque[int] = deque(maxlen=KEPT_OUTPUT)
        self._reader = FrameReader()
        self._scratch = tempfile.mkdtemp(prefix="mipverify-")
        self._process = subprocess.Popen(  # noqa: S603 - our own command, no shell
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=_environment(self._scratch),
            start_new_session=True,
            bufsize=0,
        )
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            assert pipe is not None
            os.set_blocking(pipe.fileno(), False)

    @property
    def alive(self) -> bool:
        """Whether the process has not ended."""
        return self._fate() is None

    def exchange(self, request: Frame | None, deadline: float | None) -> Iterator[Frame]:
        """Sends a request, if any, and yields what comes back for as long as the caller asks for more.

        Args:
            request: what to send; None to listen only.
            deadline: value of `time.monotonic()` from which to stop waiting; None for never.

        Raises:
            TimeoutError: the deadline has passed.
            BackendCrashError: the process ended, or wrote something that is no frame.
        """
        assert self._process.stdin and self._process.stdout and self._process.stderr
        unsent = memoryview(b"" if request is None else request.pack())
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            selector.register(self._process.stderr, selectors.EVENT_READ)
            if unsent:
                selector.register(self._process.stdin, selectors.EVENT_WRITE)
            while True:
                ready = {key.fileobj for key, _ in selector.select(_remaining(deadline))}
                if self._process.stderr in ready and not self._keep_output():
                    selector.unregister(self._process.stderr)
                if self._process.stdin in ready:
                    unsent = self._send(unsent)
                    if not unsent:
                        selector.unregister(self._process.stdin)
                if self._process.stdout in ready:
                    yield from self._receive()
                if deadline is not None and time.monotonic() >= deadline:
                    raise TimeoutError

    def kill(self) -> None:
        """Ends the process and every process it started, and removes its temporary files."""
        if self._fate() != REAPED:  # otherwise its number may be someone else's by now
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._close()
        shutil.rmtree(self._scratch, ignore_errors=True)

    def forget(self) -> None:
        """Closes our ends of the pipes and no more: for a forked copy of us, which must not touch the process."""
        self._close()
        self._process.returncode = 0  # it is no child of ours: nothing to wait for

    def _close(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            assert pipe is not None
            pipe.close()

    def _send(self, data: memoryview) -> memoryview:
        assert self._process.stdin is not None
        try:
            return data[os.write(self._process.stdin.fileno(), data[:CHUNK]) :]
        except BrokenPipeError:
            return data[:0]  # the process has ended, which its closed output is about to tell

    def _receive(self) -> Iterator[Frame]:
        assert self._process.stdout is not None
        data = os.read(self._process.stdout.fileno(), CHUNK)
        if not data:
            raise BackendCrashError(self._obituary())
        try:
            yield from self._reader.feed(data)
        except ValueError as error:
            raise BackendCrashError(f"The process of backend {self._name!r} answered nonsense: {error}") from error

    def _keep_output(self) -> bool:
        """Takes in console output; whether there may be more."""
        assert self._process.stderr is not None
        with contextlib.suppress(BlockingIOError):
            data = os.read(self._process.stderr.fileno(), CHUNK)
            self._output.extend(data)
            return bool(data)
        return True

    def _obituary(self) -> str:
        """Why the process ended, as a message."""
        patience = time.monotonic() + LAST_BREATH_SECONDS
        while (fate := self._fate()) is None and time.monotonic() < patience:
            time.sleep(0.01)
        while self._has_output() and self._keep_output():
            pass
        lines = bytes(self._output).decode(errors="replace").strip().splitlines()[-SHOWN_LINES:]
        said = f"; its last lines: {' | '.join(lines)}" if lines else ""
        return f"The process of backend {self._name!r} {fate or 'closed its output'}{said}"

    def _fate(self) -> str | None:
        """How the process ended, None while it has not; leaves it unreaped, so that its number is not given away."""
        try:
            end = os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return REAPED
        if end is None:
            return None
        return ending(end.si_status if end.si_code == os.CLD_EXITED else -end.si_status)

    def _has_output(self) -> bool:
        assert self._process.stderr is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stderr, selectors.EVENT_READ)
            return bool(selector.select(0))


def _remaining(deadline: float | None) -> float | None:
    return None if deadline is None else min(max(0.0, deadline - time.monotonic()), LONGEST_WAIT_SECONDS)


def _environment(scratch: str) -> dict[str, str]:
    single = thread_limits(1)
    return {**os.environ, **single, "VECLIB_MAXIMUM_THREADS": "1", "TMPDIR": scratch, SCRATCH: scratch}
