"""A worker process: `python -m mipverify_py.campaigns.executors._worker DESCRIPTOR` attempts tasks from a socket.

It runs in a session of its own, so that Ctrl-C at the terminal reaches only the run, which passes it on. It ends when
the socket closes, also in the middle of a search, so it never outlives the run, however that ended.
"""

from __future__ import annotations

import ctypes
import os
import queue
import signal
import socket
import sys
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mipverify_py._interruptions import Interruption

_PR_SET_PDEATHSIG = 1
"""Of prctl: which signal the kernel sends this process when the one that started it ends."""

if TYPE_CHECKING:
    from mipverify_py.campaigns._records import Task
    from mipverify_py.campaigns.executors._answering import Answering

SECONDS_BETWEEN_BRACKETS = 0.2
"""Brackets are for people to look at."""


def main() -> None:
    """Serves the socket named on the command line until it closes."""
    signal.signal(signal.SIGINT, Interruption())
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGCONT)  # if it stands still, it must see the socket close
    connection = socket.socket(fileno=int(sys.argv[1]))
    inbox: queue.SimpleQueue[object] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(connection, inbox), daemon=True).start()
    _serve(connection, inbox)


def _receive(connection: socket.socket, inbox: queue.SimpleQueue[object]) -> None:
    """Collects messages; the end of the socket is the end of this process and of whatever it started."""
    from mipverify_py.campaigns.executors._channel import read_message
    from mipverify_py.campaigns.executors._messages import Setup

    try:
        with connection.makefile("rb") as stream:
            while True:
                message = read_message(stream)
                if isinstance(message, Setup):
                    _find_modules(message.path)
                inbox.put(message)
    except (EOFError, OSError):
        if os.getpgrp() == os.getpid():
            os.killpg(0, signal.SIGKILL)
        os._exit(1)


def _find_modules(path: Sequence[str]) -> None:
    """Modules are found where the run finds them, after all other places; later messages may be made of such."""
    sys.path += [folder for folder in path if folder not in sys.path]


def _serve(connection: socket.socket, inbox: queue.SimpleQueue[object]) -> None:
    from mipverify_py.campaigns._host import host_class
    from mipverify_py.campaigns._records import ModelRecord, Task
    from mipverify_py.campaigns.executors._answering import Answering
    from mipverify_py.campaigns.executors._channel import frame
    from mipverify_py.campaigns.executors._messages import Ready, Setup

    setup = inbox.get()
    assert isinstance(setup, Setup)
    answering = Answering(setup.answerer)
    connection.sendall(frame(Ready(host_class())))
    while True:
        message = inbox.get()
        if isinstance(message, ModelRecord):
            answering.add([message])
        else:
            assert isinstance(message, Task)
            _attempt(message, answering, connection)


def _attempt(task: Task, answering: Answering, connection: socket.socket) -> None:
    from mipverify_py.campaigns._host import versions
    from mipverify_py.campaigns._records import Answer, Failure
    from mipverify_py.campaigns.executors._channel import frame
    from mipverify_py.campaigns.executors._messages import Began, Done, Told

    interruption = Interruption()
    signal.signal(signal.SIGINT, interruption)
    lock, spoken = threading.Lock(), -SECONDS_BETWEEN_BRACKETS

    def send(message: object) -> None:
        data = frame(message)
        if threading.current_thread() is not threading.main_thread():
            with lock:
                connection.sendall(data)
            return
        with interruption.held(), lock:
            connection.sendall(data)

    def tell(lower: float | None, upper: float | None) -> None:
        nonlocal spoken
        if time.monotonic() - spoken >= SECONDS_BETWEEN_BRACKETS:
            spoken = time.monotonic()
            send(Told(lower, upper))

    outcome: Answer | Failure | None = answering.prepare(task)
    if outcome is None:
        send(Began())
        outcome = answering.answer(task, tell, interruption.allowed)
    send(Done(outcome, versions(outcome.backend if isinstance(outcome, Answer) else None)))


if __name__ == "__main__":
    main()
