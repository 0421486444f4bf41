"""The comparison of attacks without and with finishing still runs; what it measures is not tested."""

from __future__ import annotations

import numpy as np
import pytest

from tests.benchmarks import finishing
from tests.benchmarks.finishing import STAGES, Stage, Truth

KNOWN = Truth(np.zeros((3, 2)), np.array([0.1, 0.2, 0.3]), np.array([0.1, 0.2, 0.3]), 4)


def test_all_stages_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--networks", "zoo:digits_small_standard", "--images", "1,3", "--attacks", "fab"]
    assert finishing.main(options) == 0
    shown = capsys.readouterr().out
    assert all(stage in shown for stage in STAGES) and "2 of 2" in shown


def test_a_difference_is_one_of_means_where_the_attack_succeeds() -> None:
    first = Stage(np.array([0.11, 0.22, np.nan]), 0.5)
    last = Stage(np.array([0.1, 0.21, np.nan]), 0.25)
    attack, _, kicks = finishing.lines("net", "some", [first, first, last], KNOWN)
    assert attack == ("net", "some", "attack", "2 of 4", "10.0000 %", "10.000 %", "0", "0.500")
    assert kicks == ("net", "some", "+ kicks", "2 of 4", "3.3333 %", "5.000 %", "1", "0.250")


def test_an_attack_without_success_has_no_line() -> None:
    assert finishing.lines("net", "some", [Stage(np.full(3, np.nan), 0.1)] * 3, KNOWN) == []


def test_contradictions_are_named() -> None:
    good = Stage(np.array([0.1, 0.2, np.nan]), 0.1)
    low, far = Stage(np.array([0.09, 0.2, np.nan]), 0.1), Stage(np.array([0.1, 0.25, np.nan]), 0.1)
    assert finishing.contradictions("net", "some", [good, good, good], KNOWN) == []
    assert len(finishing.contradictions("net", "some", [good, good, low], KNOWN)) == 1
    assert len(finishing.contradictions("net", "some", [good, far, far], KNOWN)) == 1
