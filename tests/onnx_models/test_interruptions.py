"""Ctrl-C is put off, not lost."""

from __future__ import annotations

import signal
import threading

import pytest

from onnx_models._interruptions import interruptions_held


def test_an_interruption_comes_after_the_block() -> None:
    reached: list[str] = []

    def interrupted() -> None:
        with interruptions_held():
            signal.raise_signal(signal.SIGINT)
            reached.append("the end of the block")
        reached.append("what follows it")

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert reached == ["the end of the block"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_nothing_changes_where_none_comes() -> None:
    with interruptions_held():
        pass
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interruptions_held():
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def test_other_threads_are_left_alone() -> None:
    found: list[object] = []

    def run() -> None:
        with interruptions_held():
            found.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [signal.default_int_handler]
