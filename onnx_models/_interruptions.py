"""Ctrl-C at moments that cannot bear it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def interruptions_held() -> Iterator[None]:
    """Puts SIGINT off to the end of the block, in the main thread; other threads never get it.

    A KeyboardInterrupt in the middle of an import leaves a package half loaded, and extension modules turn it into an
    ImportError.
    """
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return
    noted: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: noted.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if noted:
        signal.raise_signal(signal.SIGINT)
