"""Campaigns on the command line that are interrupted, killed, and watched, in processes of their own."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from mipverify_py.campaigns import Store
from mipverify_py.campaigns._records import QueryState
from mipverify_py.cli import ExitCode
from tests.helpers.campaign_runs import (
    ENDLESS,
    PROGRAM,
    REPOSITORY,
    Background,
    attempts,
    runs_begun,
    status,
    told,
    wait_for,
)


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def background() -> Iterator[type[Background]]:
    """The class; what it started is ended."""
    made: list[Background] = []

    class Kept(Background):
        def __init__(self, *words: str) -> None:
            super().__init__(*words)
            made.append(self)

    yield Kept
    for one in made:
        one.process.kill()
        one.process.communicate()


MIXED = ENDLESS + "[limits]\ntime_limit = 2000\n[run]\nrounds = [0.0005, 1]\nworkers = 1\n"
"""A first round of one second each; then the attacks take half an hour."""


@pytest.mark.parametrize("executor", [pytest.param("inline", marks=pytest.mark.slow), "processes"])
def test_ctrl_c_stores_says_how_to_go_on_and_nothing_decided_is_computed_again(
    background: type[Background], capsys: pytest.CaptureFixture[str], executor: str
) -> None:
    Path("c.toml").write_text(MIXED)
    child = background("run", "c.toml", "--executor", executor)
    child.wait_for_work(Path("c.sqlite"))
    second = background("resume", "c.sqlite")
    assert "is writing to this store" in second.process.communicate(timeout=100)[1]
    assert second.process.returncode == ExitCode.USAGE
    assert status(Path("c.sqlite"), capsys, ExitCode.UNKNOWN)["total"] == 6
    child.process.send_signal(signal.SIGINT)
    _, err = child.process.communicate(timeout=60)
    assert child.process.returncode == ExitCode.INTERRUPTED, err
    assert "`counter-attack campaign resume c.sqlite` goes on" in err
    with Store.open("c.sqlite", read_only=True) as opened:
        decided = {query.row: query.attempts for query in opened.queries() if query.state is QueryState.DECIDED}
    again = background("resume", "c.sqlite", "--executor", "processes", "--workers", "1", "--quiet")
    wait_for(lambda: runs_begun(Path("c.sqlite")) == 2)
    again.process.send_signal(signal.SIGTERM)
    assert again.process.wait(60) == ExitCode.INTERRUPTED
    with Store.open("c.sqlite", read_only=True) as opened:
        assert {query.row: query.attempts for query in opened.queries() if query.row in decided} == decided


@pytest.mark.slow
def test_a_run_that_was_killed_is_resumed(background: type[Background], capsys: pytest.CaptureFixture[str]) -> None:
    Path("c.toml").write_text(MIXED)
    child = background("run", "c.toml")
    child.wait_for_work(Path("c.sqlite"))
    child.process.kill()
    child.process.communicate()
    before = attempts(Path("c.sqlite"))
    assert before
    words = ["resume", "c.sqlite", "--time-limit", "1", "--executor", "inline", "--quiet", "--json"]
    found = json.loads(told(capsys, words, ExitCode.UNKNOWN)[0])
    assert (found["total"], found["new"]) == (6, 0)
    assert found["decided"] + found["open"] == 6
    assert attempts(Path("c.sqlite")) > before


@pytest.mark.slow
def test_on_a_terminal_brackets_are_shown_and_taken_away(background: type[Background]) -> None:
    Path("c.toml").write_text(ENDLESS)
    reader, writer = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "TERM": "xterm", "COLUMNS": "120", "LINES": "40"}
    child = subprocess.Popen(
        [*PROGRAM, "run", "c.toml", "--workers", "1"], stderr=writer, stdout=writer, env=environment
    )
    os.close(writer)
    text = ""
    try:
        while not re.search(r"digits_conv_adversarial, digits \d( and \d more)?, (attack|distance)", text):
            text += os.read(reader, 4096).decode("utf-8", "replace")
        assert "of 6 done: " in text
        child.send_signal(signal.SIGINT)
        assert child.wait(60) == ExitCode.INTERRUPTED
    finally:
        child.kill()
        child.wait()
        os.close(reader)
