"""One worker process, seen from its executor: the socket to it, the task it has at hand, and how it ends."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mipverify_py._children import ending, thread_limits
from mipverify_py.campaigns._records import ModelRecord, Task
from mipverify_py.campaigns.executors._channel import Channel, frame
from mipverify_py.campaigns.executors._messages import Setup

TAIL = 2000
"""So many bytes of what a worker writes to stderr are kept, to say why it died."""


@dataclass(slots=True, eq=False)
class Assignment:
    """A task that a worker has: when it was sent, when it was begun, and the bracket so far.

    Attributes:
        starved: `starved_seconds` of the worker's threads when it began.
    """

    task: Task
    sent: float = field(default_factory=time.monotonic)
    began: float | None = None
    starved: Mapping[int, float] = field(default_factory=dict)
    lower: float | None = None
    upper: float | None = None

    @property
    def seconds(self) -> float:
        """Since it was sent."""
        return time.monotonic() - self.sent


class Child:
    """A worker process.

    Attributes:
        name: unique within the run.
        channel: to the worker.
        errors: file descriptor of what it writes to stderr, non-blocking.
        at_hand: its task, None while it is idle.
        host: class of its machine, empty before its first message.
        stopped_since: when it was first seen standing still, None while it moves.
    """

    def __init__(self, name: str, setup: Setup, threads: int) -> None:
        self.name = name
        self.at_hand: Assignment | None = None
        self.host: Mapping[str, Any] = {}
        self.stopped_since: float | None = None
        self._models: set[str] = set()
        self._tail = b""
        ours, theirs = socket.socketpair()
        self.errors, writing = os.pipe()
        os.set_blocking(self.errors, False)
        self.channel = Channel(ours)
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own command, no shell
                [sys.executable, "-P", "-m", "mipverify_py.campaigns.executors._worker", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=writing,
                env={**os.environ, **thread_limits(threads)},
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        except OSError:
            self.channel.close()
            os.close(self.errors)
            raise
        finally:
            theirs.close()
            os.close(writing)
        self.channel.send(frame(setup))

    @property
    def pid(self) -> int:
        """Of the process, which also leads its session and group."""
        return self._process.pid

    def give(self, task: Task, models: Mapping[str, ModelRecord]) -> None:
        """Sends a task, and its model if the worker does not have it yet."""
        digest = task.record.model
        if digest not in self._models:
            self._models.add(digest)
            self.channel.send(frame(models[digest]))
        self.at_hand = Assignment(task)
        self.channel.send(frame(task))

    def interrupt(self) -> None:
        """Asks for the bracket of the task at hand."""
        self._process.send_signal(signal.SIGINT)

    def listen(self) -> bool:
        """Notes what it says on stderr; returns whether more may come."""
        try:
            data = os.read(self.errors, 1 << 16)
        except BlockingIOError:
            return True
        self._tail = (self._tail + data)[-TAIL:]
        return bool(data)

    def end(self) -> str:
        """Kills the process and all it started in its group; returns how it had ended, or that it had not, in words."""
        code = self._process.poll()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self.listen()
        self.channel.close()
        os.close(self.errors)
        return _fate(code) + self._last_words()

    def has_ended(self) -> bool:
        """Whether the process is no more, after waiting a moment for one that has just hung up."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=0.2)
        return self.is_over()

    def is_over(self) -> bool:
        """Whether the process is no more."""
        return self._process.poll() is not None

    def _last_words(self) -> str:
        lines = self._tail.decode("utf-8", "replace").strip().splitlines()
        return "".join(f"\n{line}" for line in lines[-4:])


def module_path() -> tuple[str, ...]:
    """Where this process finds modules, as absolute folders."""
    return tuple(str(Path(folder).absolute()) for folder in sys.path)


def _fate(code: int | None) -> str:
    if code is None:
        return "its process hung up without an answer"
    return f"its process {ending(code)}"
