"""CP-SAT in its own process: its answers, and a process that fails."""

from __future__ import annotations

import sys
from importlib.util import find_spec

import pytest

from counter_attack.hardness import CpSat, Formula, _cp_sat, random_formula
from onnx_models.errors import BackendCrashError, BackendMissingError, InputError
from tests.counter_attack.hardness.formulas import NAMED, models

SATISFIED = '{"status": "OPTIMAL", "assignment": [true], "seconds": 0.1, "branches": 0, "conflicts": 0}'


def test_answers_are_those_of_all_assignments() -> None:
    if find_spec("ortools") is None:  # importing it here would bring its HiGHS into this process
        pytest.skip("OR-Tools is not installed")
    formulas = [*NAMED.values(), *(random_formula(7, 32, seed=seed) for seed in range(6))]
    with CpSat() as solver:
        for formula in formulas:
            found = solver.solve(formula)
            possible = models(formula)
            assert found.satisfiable is bool(possible)
            assert found.assignment in possible if possible else found.assignment is None
    assert "ortools.sat" not in sys.modules


def scripted(monkeypatch: pytest.MonkeyPatch, program: str) -> CpSat:
    """A session with a process that runs this program."""
    monkeypatch.setattr(_cp_sat, "COMMAND", (sys.executable, "-c", program))
    monkeypatch.setattr(_cp_sat, "find_spec", lambda _: object())
    return CpSat(time_limit=0.1)


HOSTILE = {
    "import sys; sys.exit('no such luck')": "ended with exit code 1: no such luck",
    "input(); print('{}', flush=True); input()": "answered nonsense",
    "input(); print('[1, 2', flush=True); input()": "answered nonsense",
    f"input(); print('{SATISFIED}'.replace('true', 'false'), flush=True); input()": "does not satisfy",
    f"input(); print('{SATISFIED}'.replace('[true]', '[true, true]'), flush=True); input()": "does not satisfy",
    "import os; os.kill(os.getpid(), 9)": "was ended by SIGKILL",
}


@pytest.mark.parametrize("program", HOSTILE)
def test_a_process_that_fails(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    with scripted(monkeypatch, program) as solver, pytest.raises(BackendCrashError, match=HOSTILE[program]):
        solver.solve(Formula(1, ((1,),)))


def test_a_process_that_died_before_it_was_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    with scripted(monkeypatch, "import sys; sys.exit('no such luck')") as solver:
        solver._process.wait()
        with pytest.raises(BackendCrashError, match="ended with exit code 1: no such luck"):
            solver.solve(Formula(1, ((1,),)))


def test_a_process_that_does_not_answer_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_cp_sat, "GRACE_SECONDS", 0.1)
    with scripted(monkeypatch, "input(); input()") as solver, pytest.raises(BackendCrashError, match="did not stop"):
        solver.solve(Formula(1, ((1,),)))


def test_an_unknown_status_decides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    said = SATISFIED.replace("[true]", "null").replace("OPTIMAL", "UNKNOWN")
    with scripted(monkeypatch, f"input(); print('{said}', flush=True); input()") as solver:
        assert solver.solve(Formula(1, ((1,),))).satisfiable is None


def test_what_is_asked_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    with scripted(monkeypatch, "input()") as solver, pytest.raises(InputError, match="The seed is -1"):
        solver.solve(Formula(1, ()), seed=-1)
    with pytest.raises(InputError, match="time limit"):
        CpSat(time_limit=0)
    monkeypatch.setattr(_cp_sat, "find_spec", lambda _: None)
    with pytest.raises(BackendMissingError, match="OR-Tools, which is not installed"):
        CpSat()
