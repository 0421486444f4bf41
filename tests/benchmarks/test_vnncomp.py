"""The comparison with published verdicts: what is run, what counts as a contradiction, what is not run again."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks import vnncomp
from tests.benchmarks.vnncomp import Instance, cells, instances, main, problems

SAT = {"verdict": "sat", "settled": True, "seconds": 1.5, "stop": "solved", "evidence": "reproved", "confirmed": True}
UNSAT = {**SAT, "verdict": "unsat", "confirmed": None}
OPEN = {**UNSAT, "verdict": "unknown", "settled": False, "seconds": 9.0, "stop": "time_limit", "evidence": None}
CRASH = {"error": "process died", "detail": ""}


def listed(*expected: str) -> list[Instance]:
    return [Instance("acasxu", k, "n.onnx", "prop_1.vnnlib", 10.0, verdict) for k, verdict in enumerate(expected)]


def test_opposite_verdicts_and_unconfirmed_counterexamples_are_contradictions() -> None:
    chosen = listed("unsat", "sat", "sat", "", "unsat", "sat")
    found = problems(chosen, [SAT, UNSAT, SAT, UNSAT, OPEN, {**SAT, "confirmed": False}])
    assert [line.partition(":")[0] for line in found] == ["acasxu 0", "acasxu 1", "acasxu 5"]


def test_open_instances_count_as_their_limit() -> None:
    row = cells(listed("", "", "", ""), [SAT, UNSAT, OPEN, CRASH])
    assert row == ("4", "2", "1", "1", "2", "5.75", "1.50", "10.00", "2 reproved", "1 process died")


def test_the_lists_are_read_with_limits_and_verdicts(shared_data: Path) -> None:
    acasxu, mnistfc = instances("acasxu"), instances("mnistfc")
    assert (len(acasxu), len(mnistfc)) == (186, 90)
    assert all(Path(one.model).is_file() and Path(one.specification).is_file() for one in (*acasxu, *mnistfc))
    assert {one.limit for one in acasxu} == {116.0} and {one.expected for one in acasxu} == {"sat", "unsat", ""}
    assert sum(one.expected != "" for one in (*acasxu, *mnistfc)) > 100


@pytest.mark.slow
def test_a_run_prints_its_table_and_is_not_repeated(
    shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["--benchmark", "acasxu", "--rows", "60,150", "--out", str(tmp_path / "out.jsonl")]
    assert main(command) == 0
    out, err = capsys.readouterr()
    assert "prop_2" in out and "prop_4" in out and "2 replayed" in out and "0 contradictions" in out
    assert "[2/2]" in err
    monkeypatch.setattr(vnncomp, "ask", None)
    assert main(command) == 0
    assert "[1/" not in capsys.readouterr().err


def test_an_option_that_does_not_exist_ends_the_program(shared_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--benchmark", "acasxu", "--rows", "0", "--set", "nonsense=1"])
    assert "nonsense" in capsys.readouterr().err
