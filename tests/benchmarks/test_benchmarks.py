"""The benchmark scripts still run; what they measure is not tested."""

from __future__ import annotations

from pathlib import Path

import pytest

from mipverify_py import Tightening
from tests.benchmarks import backends, loading, tightening


def test_backends_are_timed_on_a_question(capsys: pytest.CaptureFixture[str]) -> None:
    chosen = backends.available_backends()[:1]
    assert backends.main(["--questions", "1", "--seconds", "30", "--backends", ",".join(chosen)]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in (*chosen, backends.QUESTIONS[0].model))


def test_there_are_twenty_different_questions() -> None:
    assert len(set(backends.QUESTIONS)) == 20


def test_an_unsettled_answer_does_not_pass_for_a_time() -> None:
    assert backends.Answer(1.0, None, "BackendLimitError").cell(60.0) == "BackendLimitError"


@pytest.mark.parametrize("case", [None, loading.CASES[-1]], ids=["imports alone", "smallest model"])
def test_loading_is_measured(case: loading.Case | None, shared_data: Path) -> None:
    assert shared_data == loading.DATA
    row = loading.measure(case)
    assert set(row) == (
        {"megabytes"} if case is None else {"load", "interval", "linear", "relus", "unstable", "megabytes"}
    )


def test_stages_are_compared_on_the_same_images() -> None:
    stages = (Tightening.INTERVAL, Tightening.LP)
    rows = [tightening.measure("digits_small_standard", stage, "highs", 60.0, (1, 9)) for stage in stages]
    assert tightening.contradictions(rows) == 0 and all(row.open_images == 0 for row in rows)
    wrong = rows[0]._replace(brackets=((0.9, 0.9), (0.9, 0.9)))
    assert tightening.contradictions([wrong, rows[1]]) == 2
