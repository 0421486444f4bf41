"""`counter-attack hardness`: answers and exit codes, tables and files, Ctrl-C, and mistakes."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from counter_attack import detection, hardness
from counter_attack.cli import run
from counter_attack.hardness import ContradictionError, GrowthRow, random_formula, read_dimacs
from mipverify_py import StopReason
from onnx_models.errors import BackendCrashError
from tests.counter_attack.hardness.formulas import NAMED, models


@pytest.fixture
def files(tmp_path: Path) -> Path:
    for name in ("all signs of two", "unit clauses"):
        (tmp_path / f"{name.split()[0]}.cnf").write_text(NAMED[name].dimacs())
    (tmp_path / "either.cnf").write_text("p cnf 2 2\n1 2 0\n-1 -2 0\n")
    return tmp_path


def record(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    (line,) = capsys.readouterr().out.splitlines()
    found: dict[str, Any] = json.loads(line)
    return found


def test_solve_as_json(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["hardness", "solve", str(files / "unit.cnf"), "--json"]) == 1
    found = record(capsys)
    assert found["kind"] == "hardness-solve"
    assert (found["satisfiable"], found["assignment"]) == (True, [1, -2])
    assert found["rests_on"] == "the assignment, checked on the formula"
    assert run(["hardness", "solve", str(files / "all.cnf"), "--json", "--distance", "--mu", "0.25"]) == 0
    found = record(capsys)
    assert (found["satisfiable"], found["assignment"], found["mu"]) == (False, None, 0.25)
    assert found["upper"] is None and found["rests_on"]


def test_solve_as_text(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["hardness", "solve", str(files / "unit.cnf"), "--distance"]) == 1
    shown = capsys.readouterr().out
    assert "unit.cnf: satisfiable" in shown and "1 -2" in shown and "distance" in shown


def test_an_open_question(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (files / "large.cnf").write_text(random_formula(60, 300, seed=0).dimacs())
    assert run(["hardness", "solve", str(files / "large.cnf"), "--timeout", "0.01"]) == 2
    assert "undecided" in capsys.readouterr().out


def test_export_writes_what_verify_reads(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from mipverify_py.cli import run as verify

    for name, code in (("unit", 1), ("all", 0)):
        model = files / f"{name}.onnx"
        assert run(["hardness", "export", str(files / f"{name}.cnf"), str(model)]) == 0
        capsys.readouterr()
        assert verify([str(model), str(files / f"{name}.npy"), "--eps", "0.5", "--label", "0"]) == code


def test_growth_shows_and_saves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, plot = tmp_path / "rows.csv", tmp_path / "growth.png"
    command = ["hardness", "growth", "--variables", "4,5", "--ratios", "5", "--formulas", "2", "--without-cp-sat"]
    assert run([*command, "--json", "--quiet", "--out", str(out), "--plot", str(plot)]) == 0
    table = record(capsys)
    assert table["kind"] == "hardness-growth"
    with out.open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 4
    for row in rows:
        formula = random_formula(int(row["variables"]), int(row["clauses"]), seed=int(row["seed"]))
        assert row["satisfiable"] == str(bool(models(formula)))
    assert [row["satisfiable"] for row in table["rows"]] == [
        sum(row["satisfiable"] == "True" for row in rows if row["variables"] == size) for size in ("4", "5")
    ]
    with Image.open(plot) as picture:
        assert picture.width > 600


def test_ctrl_c_keeps_the_rows_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    row = GrowthRow(4, 17, 4.26, 0, 20, True, "assignment", 3, 0.1, True, 0.1, 0)

    def one(*_: object, **__: object) -> Iterator[GrowthRow]:
        yield row
        raise KeyboardInterrupt

    monkeypatch.setattr(hardness, "growth", one, raising=False)
    assert run(["hardness", "growth", "--quiet", "--out", str(tmp_path / "rows.csv")]) == 130
    assert "1 of 40 formulas" in capsys.readouterr().out
    assert len((tmp_path / "rows.csv").read_text().splitlines()) == 2


def test_growth_that_a_contradiction_ends_keeps_the_rows_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    row = GrowthRow(4, 17, 4.26, 0, 20, True, "assignment", 3, 0.1, True, 0.1, 0)

    def ended(error: Exception) -> Callable[..., Iterator[GrowthRow]]:
        def rows(*_: object, **__: object) -> Iterator[GrowthRow]:
            yield row
            raise error

        return rows

    for error, code in ((ContradictionError("one is wrong"), 5), (BackendCrashError("it died"), 3)):
        monkeypatch.setattr(hardness, "growth", ended(error), raising=False)
        assert run(["hardness", "growth", "--quiet", "--out", str(tmp_path / "rows.csv")]) == code
        captured = capsys.readouterr()
        assert "1 of 40 formulas" in captured.out and str(error) in captured.err
        assert len((tmp_path / "rows.csv").read_text().splitlines()) == 2


def test_the_engines_answer_is_shown_where_cp_sat_gives_none(
    files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for error, code in ((KeyboardInterrupt(), 130), (BackendCrashError("it died"), 3)):

        def fail(*_: object, error: BaseException = error, **__: object) -> None:
            raise error

        monkeypatch.setattr(hardness, "solve_cp_sat", fail, raising=False)
        assert run(["hardness", "solve", str(files / "unit.cnf"), "--cp-sat"]) == code
        assert "unit.cnf: satisfiable" in capsys.readouterr().out


def test_cp_sat_is_not_asked_after_ctrl_c(
    files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = hardness.solve

    def interrupted(*given: Any, **named: Any) -> Any:
        found = plain(*given, **named)
        return replace(found, result=replace(found.result, stop_reason=StopReason.INTERRUPTED))

    monkeypatch.setattr(hardness, "solve", interrupted, raising=False)
    monkeypatch.setattr(hardness, "solve_cp_sat", pytest.fail, raising=False)
    assert run(["hardness", "solve", str(files / "unit.cnf"), "--cp-sat"]) == 130
    assert "unit.cnf: satisfiable" in capsys.readouterr().out


def test_ctrl_c_over_real_inputs_leaves_the_grid(
    files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(detection, "largest_distance", interrupt)
    assert run(["hardness", "fool", str(files / "all.cnf"), "--outer", "1", "--real"]) == 130
    assert "the detector can be fooled" in capsys.readouterr().out


def test_fool(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["hardness", "fool", str(files / "all.cnf"), "--outer", "1", "--json"]) == 1
    found = record(capsys)
    assert found["foolable"] is found["false_for_all"] is True
    assert (found["points"], found["point"], found["values"]) == (25, [0.0, 0.5], [-1])
    assert run(["hardness", "fool", str(files / "either.cnf"), "--outer", "1"]) == 0
    shown = capsys.readouterr().out
    assert "cannot be fooled" in shown and "no values make it false for all others" in shown


@pytest.mark.slow
def test_fool_over_real_inputs(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, code in (("all", 1), ("either", 0)):
        assert run(["hardness", "fool", str(files / f"{name}.cnf"), "--outer", "1", "--real", "--json"]) == code
        assert record(capsys)["real"] is bool(code)


MISTAKES = {
    "hardness": "needs a command",
    "hardness solve": "FILE.cnf",
    "hardness solve nothing.cnf": "nothing.cnf: cannot be read",
    "hardness solve broken.cnf": "line 1: 'p cnf' is no line",
    "hardness solve either.cnf --mu 0.7": "0.7 is not allowed",
    "hardness solve either.cnf --mu 0.3": "mu is 0.3",
    "hardness solve either.cnf --engine fast": "'fast' is unknown",
    "hardness export either.cnf either.txt": "must end in .onnx",
    "hardness fool either.cnf": "--outer",
    "hardness fool either.cnf --outer 5": "5 outer variables",
    "hardness fool either.cnf --outer 1 --timeout 3": "see --real",
    "hardness growth --variables 4,x": "--variables 4,x: these are not all whole numbers",
    "hardness growth --variables 2": "none below 3",
    "hardness growth --ratios 4,y": "--ratios 4,y",
    "hardness growth --ratios 1,2 --plot g.png": "a single ratio",
    "hardness growth --out g.txt": "must end in .csv",
}


@pytest.mark.parametrize("words", MISTAKES)
def test_mistakes_are_told_in_one_line(
    words: str, files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(files)
    Path("broken.cnf").write_text("p cnf\n")
    assert read_dimacs("either.cnf").variables == 2
    assert run(words.split()) == 3
    captured = capsys.readouterr()
    assert MISTAKES[words] in captured.err and len(captured.err.splitlines()) == 1 and not captured.out
