"""A worker process: `python -m mipverify_py.cli._worker DESCRIPTOR` answers the queries that arrive on a socket.

It runs in a session of its own, so that Ctrl-C at the terminal reaches only the run, which passes it on to the workers
that are searching. It ends when the socket closes, also in the middle of a search, so it never outlives the run.
"""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

from mipverify_py._interruptions import Interruption

if TYPE_CHECKING:
    from mipverify_py._query import Query
    from mipverify_py._result import Bracket
    from mipverify_py.cli._messages import Failure, Setup
    from mipverify_py.cli._search_image import Found


def main() -> None:
    """Serves the socket named on the command line until it closes."""
    interruption = Interruption()
    signal.signal(signal.SIGINT, interruption)
    connection = Connection(int(sys.argv[1]))
    inbox: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(connection, inbox), daemon=True).start()
    _serve(connection, inbox, interruption)


def _receive(connection: Connection, inbox: queue.SimpleQueue[bytes]) -> None:
    """Collects messages; the end of the socket is the end of this process and of whatever it started."""
    try:
        while True:
            inbox.put(connection.recv_bytes())
    except (EOFError, OSError):
        if os.getpgrp() == os.getpid():
            os.killpg(0, signal.SIGKILL)
        os._exit(1)


def _serve(connection: Connection, inbox: queue.SimpleQueue[bytes], interruption: Interruption) -> None:
    data = inbox.get()  # before the imports, which take a second: until it is read, the run waits
    from mipverify_py.cli._messages import READY, Setup, pack, unpack

    setup = Setup.unpack(data)

    def send(message: str | Bracket | Found | Failure) -> None:
        with interruption.held():
            connection.send_bytes(pack(message, setup.network))

    def on_progress(bracket: Bracket) -> None:
        if setup.with_progress:
            send(bracket)

    send(READY)
    while True:
        send(_answer(unpack(inbox.get(), setup.network), setup, on_progress, interruption))


def _answer(
    query: Query, setup: Setup, on_progress: Callable[[Bracket], None], interruption: Interruption
) -> Found | Failure:
    from mipverify_py._enums import StopReason
    from mipverify_py.cli._messages import Failure
    from mipverify_py.cli._search_image import Beside, Found, search_image, unanswered

    began = time.monotonic()
    try:
        with interruption.allowed():
            beside = Beside(float32=setup.float32, certificate=setup.with_certificate)
            return search_image(
                query,
                setup.options,
                on_progress,
                with_replay=setup.with_replay,
                beside=beside,
                tolerance=setup.tolerance,
            )
    except KeyboardInterrupt:  # before the search had begun
        elapsed = time.monotonic() - began
        return Found(unanswered(query, setup.options, StopReason.INTERRUPTED, "", elapsed))
    except Exception as error:  # noqa: BLE001 - the run raises it
        return Failure.of(error)


if __name__ == "__main__":
    main()
