"""What the comparisons share: keys, contradictions, replays, and processes that make measurements."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import mipverify_py
from mipverify_py import LinfBall, Objective, Options, StopReason
from tests.benchmarks import common, measurements, questions, workers

SMALL, OTHER = "zoo:digits_small_standard", "zoo:digits_small_adversarial"
CLOSED = {
    "verdict": "adversarial",
    "objective": "closest",
    "lower": 0.5,
    "upper": 0.5,
    "settled": True,
    "seconds": 1.0,
    "stop": "solved",
    "evidence": "reproved",
    "replays": None,
}
"""Figures of a question that was answered."""


def test_whatever_the_answer_depends_on_makes_another_key() -> None:
    question, options = questions.Question(SMALL, 0), Options(time_limit=20.0)
    tasks = [
        workers.question_task(question, options),
        *(
            workers.question_task(question._replace(**change), options)
            for change in (
                {"network": OTHER},
                {"index": 1},
                {"objective": Objective.FEASIBILITY},
                {"radius": 0.1},
                {"label": 3},
            )
        ),
        *(
            workers.question_task(question, Options(**{"time_limit": 20.0, **change}))
            for change in ({"threads": 2}, {"backend": "scip"}, {"time_limit": 21.0}, {"gap_relative": 1e-4})
        ),
    ]
    keys = [json.dumps(task.key, sort_keys=True) for task in tasks]
    assert len(set(keys)) == len(keys)
    assert workers.question_task(question, options).key == tasks[0].key


def test_a_question_asks_what_its_key_says() -> None:
    query = questions.Question(SMALL, 1, Objective.FEASIBILITY, 0.1, 3).query()
    assert (query.objective, query.perturbation, query.label) == (Objective.FEASIBILITY, LinfBall(0.1), 3)
    np.testing.assert_array_equal(query.x0, questions.read_digits().image(1).reshape(-1))


def test_measurements_by_other_code_are_pointed_out(tmp_path: Path) -> None:
    file, key = tmp_path / "measurements.jsonl", {"what": "query", "options": {}}
    measurements.Measurements(file).add(key, "one", CLOSED)
    again = measurements.Measurements(file)
    assert again.get(key) == CLOSED and again.get({**key, "label": 1}) is None and again.note() == ""
    row = json.loads(file.read_text())
    file.write_text(json.dumps({**row, "code": "older"}) + "\n")
    older = measurements.Measurements(file)
    assert older.note() == ""  # nothing of it was used yet
    assert older.get(key) == CLOSED and "1 of the 1 measurements" in older.note()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, ""),
        ({"lower": 0.4, "upper": 0.6}, ""),
        ({"lower": None, "upper": None}, ""),
        ({"lower": 0.5000001, "upper": 0.6, "evidence": "solver_claim"}, ""),
        ({"lower": 0.5000001, "upper": 0.6}, "do not meet"),
        ({"lower": 0.51, "upper": 0.6, "evidence": "solver_claim"}, "do not meet"),
        ({"lower": 0.3, "upper": 0.4999999}, "do not meet"),
        ({"verdict": "robust", "lower": None, "upper": None}, "robust"),
        ({"objective": "worst", "lower": 0.5000001, "upper": 0.6}, "do not meet"),
    ],
)
def test_brackets_have_to_meet(change: dict[str, object], expected: str) -> None:
    other = {**CLOSED, **change}
    for found in (measurements.contradiction(CLOSED, other), measurements.contradiction(other, CLOSED)):
        assert (expected in found) if expected else found == ""


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, ""),
        ({"replays": True}, ""),
        ({"replays": False}, "does not replay"),
        ({"lower": 0.6}, "do not meet"),
        ({"error": "BackendLimitError", "detail": "too large"}, ""),
        ({"error": "InvalidBoundsError", "detail": "bounds contradict"}, "bounds contradict"),
    ],
)
def test_an_answer_can_be_wrong_in_itself(change: dict[str, object], expected: str) -> None:
    found = measurements.flaw({**CLOSED, **change})
    assert (expected in found) if expected else found == ""


def test_a_proof_is_replayed_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert questions.replays(SimpleNamespace()) is None
    monkeypatch.setattr(mipverify_py, "replay", lambda proof: proof == "sound", raising=False)
    assert questions.replays(SimpleNamespace(proof=None)) is None
    assert questions.replays(SimpleNamespace(proof="sound")) is True
    assert questions.replays(SimpleNamespace(proof="broken")) is False


def test_options_of_the_engine_do_not_concern_the_program() -> None:
    given = ["--engine", "mip", "--seconds", "7", "--set", "seed=5", "--set", "backend=scip"]
    chosen = common.argument_parser("").parse_args(given)
    ours, theirs = common.engine_options(chosen), common.mip_options(chosen, "cbc", **common.to_gap(1e-4))
    assert (ours.engine, ours.backend, ours.seed, ours.time_limit) == ("mip", "scip", 5, 7.0)
    assert (theirs.engine, theirs.backend, theirs.seed, theirs.time_limit) == ("mip", "cbc", 0, 7.0)
    assert (theirs.gap_relative, theirs.gap_absolute) == (1e-4, 0.0)
    assert (common.rows("2:5"), common.rows("2,7")) == ((2, 3, 4), (2, 7))


def test_what_is_not_answered_in_time_counts_as_the_limit() -> None:
    late, crashed = {**CLOSED, "seconds": 30.0}, {"error": "process died", "detail": ""}
    loose = {**CLOSED, "settled": False, "stop": StopReason.NUMERICAL.value}
    stopped = {**loose, "stop": StopReason.TIME_LIMIT.value}
    figures = (CLOSED, late, crashed, loose, stopped)
    assert [common.charged(found, 20.0) for found in figures] == [1.0, 20.0, 20.0, 20.0, 20.0]
    assert [common.failed(found) for found in figures] == ["", "", "process died", "numerical", ""]
    assert common.geometric_mean([1.0, 4.0]) == pytest.approx(2.0)
    assert [common.quantile([3.0, 1.0, 2.0, 4.0], share) for share in (0.5, 0.95, 1.0)] == [2.0, 4.0, 4.0]
    assert np.isnan(common.quantile([], 0.5)) and common.cell(float("nan"), 20.0) == "-"
    assert (common.cell(20.0, 20.0), common.cell(1.0, 20.0)) == ("> 20", "1.00")


# ---------------------------------------------------------------------------------------------------------- workers


def test_a_process_that_dies_or_hangs_is_an_answer_and_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "GRACE", 0.5)
    tasks = [
        workers.Task({"n": 0}, "dies", os._exit, (3,), 20.0),
        workers.Task({"n": 1}, "hangs", time.sleep, (60.0,), 1.0),
        workers.Task({"n": 2}, "answers", dict, ((("seconds", 1.0),),), 20.0),
    ]
    found = workers.measured(tasks, measurements.Measurements())
    assert [each.get("error") for each in found] == ["process died", "process hung", None]
    assert found[2] == {"seconds": 1.0}


def test_processes_get_the_number_of_threads_asked_for() -> None:
    before = {name: os.environ.get(name) for name in workers.THREAD_VARIABLES}
    tasks = [workers.Task({"name": name}, name, _environment, (name,), 20.0) for name in workers.THREAD_VARIABLES]
    found = workers.measured(tasks, measurements.Measurements(), threads=3, jobs=2)
    assert [each["value"] for each in found] == ["3"] * len(tasks)
    assert before == {name: os.environ.get(name) for name in workers.THREAD_VARIABLES}


def _environment(name: str) -> dict[str, object]:
    return {"value": os.environ.get(name), "seconds": 0.0}


def test_an_interrupted_answer_is_not_kept() -> None:
    known = measurements.Measurements()
    task = workers.Task({"n": 0}, "interrupted", dict, ((("stop", StopReason.INTERRUPTED.value),),), 20.0)
    with pytest.raises(KeyboardInterrupt):
        workers.measured([task], known)
    assert known.get(task.key) is None
