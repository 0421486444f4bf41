"""Campaigns on the command line: what tests of it share."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from counter_attack.cli import run
from mipverify_py.campaigns import Store

PROGRAM = [sys.executable, "-m", "counter_attack.cli", "campaign"]
REPOSITORY = Path(__file__).resolve().parents[2]

ENDLESS = """
models = "zoo:digits_conv_adversarial"
[data]
dataset = "digits"
indices = "0:3"
[[query]]
kind = "attack"
attacks = { pgd = { steps = 10000000 } }
[[query]]
kind = "distance"
"""
"""Attacks that nobody has the time for, without a time limit."""


def told(capsys: pytest.CaptureFixture[str], words: list[str], code: int) -> tuple[str, str]:
    """What a command says on stdout and stderr."""
    capsys.readouterr()
    assert run(["campaign", *words]) == code
    output = capsys.readouterr()
    return output.out, output.err


def status(store: Path, capsys: pytest.CaptureFixture[str], code: int = 0) -> dict[str, object]:
    found: dict[str, object] = json.loads(told(capsys, ["status", str(store), "--json"], code)[0])
    return found


def attempts(store: Path) -> int:
    with Store.open(store, read_only=True) as opened:
        return sum(query.attempts for query in opened.queries(with_inputs=False))


def wait_for(comes: Callable[[], bool]) -> None:
    """Waits until it comes; on a busy machine starting a process takes long."""
    for _ in range(1400):
        if comes():
            return
        time.sleep(0.1)
    raise AssertionError("it did not come within 140 s")


def runs_begun(store: Path) -> int:
    with Store.open(store, read_only=True) as opened, opened.database.reading() as connection:
        command = "SELECT count(*) FROM event WHERE kind = 'run' AND detail LIKE 'begins%'"
        return int(connection.execute(command).fetchone()[0])


class Background:
    """A command in a process of its own."""

    def __init__(self, *words: str) -> None:
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [*PROGRAM, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )

    def wait_for_work(self, store: Path) -> None:
        """Waits until some query is answered, and some other is being worked on."""
        wait_for(lambda: self.process.poll() is not None or (store.exists() and attempts(store) > 0))
        assert self.process.poll() is None, self.process.communicate()
        time.sleep(0.5)
