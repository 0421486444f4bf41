"""The comparison of first witnesses still runs; what it measures is not tested."""

from __future__ import annotations

import pytest

from tests.benchmarks import incumbents
from tests.benchmarks.incumbents import STAGES, Stage


def test_all_stages_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert incumbents.main(["--networks", "zoo:digits_small_standard", "--images", "1,3", "--seeds", "2"]) == 0
    shown = capsys.readouterr().out
    assert all(stage in shown for stage in STAGES) and "2 of 2" in shown


def test_an_excess_is_a_share_of_the_nearest_distance() -> None:
    found = [Stage(0.5, 0.11), Stage(0.25, 0.102), Stage(0.125, 0.1)]
    attack, cells, kicks = incumbents.lines("some", [(found, 0.1), ([], float("inf"))])
    assert attack == ("some", "attack", "1 of 2", "0.500", "0.500", "10.0000 %", "10.000 %", "0")
    assert cells[5:] == ("2.0000 %", "2.000 %", "0") and kicks[5:] == ("0.0000 %", "0.000 %", "1")


def test_a_network_whose_attacks_all_fail_has_no_line() -> None:
    assert incumbents.lines("some", [([], float("inf"))]) == []


def test_going_further_away_is_reported(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(incumbents, "measure", lambda *_: ([Stage(0.1, 0.1), Stage(0.1, 0.2), Stage(0.1, 0.2)], 0.1))
    assert incumbents.main(["--networks", "zoo:digits_small_standard", "--images", "1"]) == 1
    assert "CONTRADICTION" in capsys.readouterr().out
