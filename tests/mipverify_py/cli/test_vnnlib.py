"""`--vnnlib` and `--instances`: verdicts, the competition's formats and scripts, lists that go on where they ended."""

from __future__ import annotations

import csv
import gzip
import os
import re
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from mipverify_py.cli import ExitCode, _instances, run
from mipverify_py.cli._instance_files import read_instances
from onnx_models.vnnlib import read_vnnlib
from tests.helpers.onnx_graphs import GraphBuilder

SCRIPTS = Path(__file__).resolve().parents[3] / "docs" / "how-to" / "vnncomp"
DECLARED = "(declare-const X_0 Real)(declare-const X_1 Real)(declare-const Y_0 Real)\n"
BOX = "(assert (and (>= X_0 0.1) (<= X_0 1) (>= X_1 0) (<= X_1 0.9)))\n"
SECOND = """(vnnlib-version <2.0>)
(declare-network f (declare-input A float32 [1, 2]) (declare-output B float32 [1, 1]))
(assert (and (>= A[0,0] 0.1) (<= A[0,0] 1) (>= A[0,1] 0) (<= A[0,1] 0.9) (>= B[0,0] 1.5)))
"""


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder, the current one, with the model relu(x_0 + x_1) - 0.25 and properties that hold and do not."""
    graph = GraphBuilder((2,))
    hidden = graph.node("Relu", graph.node("Gemm", "x", np.ones((2, 1), np.float32)))
    onnx.save(graph.model(graph.node("Add", hidden, np.array([-0.25], np.float32))), str(tmp_path / "net.onnx"))
    for name, formula in (
        ("sat", "(>= Y_0 1.5)"),
        ("unsat", "(>= Y_0 1.75)"),
        ("edge", "(> Y_0 1.65)"),
        ("huge", "(>= Y_0 1.5"),
    ):
        (tmp_path / f"{name}.vnnlib").write_text(f"{DECLARED}{BOX}(assert {formula})")
    (tmp_path / "second.vnnlib").write_text(SECOND)
    (tmp_path / "list.csv").write_text("net.onnx,sat.vnnlib,30\nnet.onnx,unsat.vnnlib,30\n\nnet.onnx,edge.vnnlib,30\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def outputs(x: list[float]) -> list[float]:
    session = onnxruntime.InferenceSession("net.onnx", providers=["CPUExecutionProvider"])
    (result,) = session.run(None, {"x": np.array([x], np.float32)})
    return [float(value) for value in result[0]]


def read_pairs(text: str) -> tuple[list[float], list[float]]:
    """Inputs and outputs of a counterexample, read as the competition's scoring does."""
    content = text.replace("\n", " ").strip()
    assert content[0] == "(" and content[-1] == ")"
    found: dict[str, list[float]] = {"X": [], "Y": []}
    for part in content[1:-1].split(")"):
        if part.strip():
            name, value = part.strip().removeprefix("(").split(" ")
            assert int(name[2:]) == len(found[name[0]])
            found[name[0]].append(float(value))
    return found["X"], found["Y"]


@pytest.mark.parametrize(
    ("name", "verdict", "code"),
    [
        ("sat", "sat", ExitCode.ADVERSARIAL),
        ("unsat", "unsat", ExitCode.ANSWERED),
        ("edge", "unknown", ExitCode.UNKNOWN),
    ],
)
def test_the_first_line_is_the_verdict(
    name: str, verdict: str, code: ExitCode, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["net.onnx", "--vnnlib", f"{name}.vnnlib"]) == code
    out, err = capsys.readouterr()
    assert out.splitlines()[0] == verdict
    assert err.startswith(f"verify: {verdict} after ") and err.count("\n") == 1
    assert verdict == "sat" or out == f"{verdict}\n"


def test_the_counterexample_holds_as_the_competition_checks_it(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(["net.onnx", "--vnnlib", "sat.vnnlib", "--results", "results.txt", "--quiet"])
    out, err = capsys.readouterr()
    assert err == "" and Path("results.txt").read_text() == out
    x, y = read_pairs(out.partition("\n")[2])
    assert y == outputs(x)
    assert read_vnnlib("sat.vnnlib").holds([Fraction(v) for v in x], [Fraction(v) for v in y])
    assert x == [float(np.float32(v)) for v in x]


def test_version_2_has_its_own_format(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["net.onnx", "--vnnlib", "second.vnnlib", "--quiet"]) == ExitCode.ADVERSARIAL
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "sat" and lines[1] == "A float32 [1, 2]" and lines[4] == "B float32 [1, 1]"
    assert outputs([float(lines[2]), float(lines[3])]) == [float(lines[5])]
    assert len(lines) == 6


def test_packed_files_are_read_and_found(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("net.onnx", "sat.vnnlib"):
        Path(f"{name}.gz").write_bytes(gzip.compress(Path(name).read_bytes()))
        Path(name).unlink()
    assert run(["net.onnx", "--vnnlib", "sat.vnnlib", "--quiet"]) == ExitCode.ADVERSARIAL
    assert run(["net.onnx.gz", "--vnnlib", "sat.vnnlib.gz", "--quiet"]) == ExitCode.ADVERSARIAL
    Path("net.onnx.gz").write_bytes(b"junk")
    assert run(["net.onnx", "--vnnlib", "sat.vnnlib"]) == ExitCode.USAGE
    assert "net.onnx.gz cannot be unpacked" in capsys.readouterr().err


def test_a_counterexample_that_float32_misses_is_sat_with_a_remark(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("pin.vnnlib").write_text(f"{DECLARED}(assert (and (= X_0 0.1) (= X_1 0.2)))(assert (<= Y_0 1))")
    assert run(["net.onnx", "--vnnlib", "pin.vnnlib"]) == ExitCode.ADVERSARIAL
    out, err = capsys.readouterr()
    assert read_pairs(out.partition("\n")[2])[0] == [0.1, 0.2]
    assert "rounded to the model's own type it does not" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("net.onnx --vnnlib none.vnnlib", "--vnnlib none.vnnlib: there is no such file."),
        ("none.onnx --vnnlib sat.vnnlib", "none.onnx: there is no such file."),
        ("--vnnlib sat.vnnlib", "No model is given"),
        ("net.onnx --vnnlib sat.vnnlib --eps 0.1", "--eps means nothing with --vnnlib"),
        ("net.onnx x.npy --vnnlib sat.vnnlib", "INPUT means nothing with --vnnlib"),
        ("net.onnx --vnnlib sat.vnnlib --json", "--json means nothing with --vnnlib"),
        ("net.onnx --vnnlib sat.vnnlib --backend scip", "--backend scip is for --engine mip"),
        ("net.onnx --vnnlib sat.vnnlib --results no/r.txt", "the folder no does not exist"),
        ("net.onnx --vnnlib sat.vnnlib --out o.csv", "--out means nothing with --vnnlib"),
        ("net.onnx x.npy --results r.txt", "--results needs --vnnlib."),
        ("--out o.csv", "--out needs --instances."),
        ("net.onnx --instances list.csv", "MODEL means nothing with --instances"),
        ("--instances none.csv", "--instances none.csv: there is no such file."),
        ("--instances .", "is a folder"),
        ("--instances sat.vnnlib", "expected onnx,vnnlib,seconds, got 1 columns"),
        ("--instances list.csv --out list.csv", "is no file of answers"),
        ("net.onnx --vnnlib huge.vnnlib", "huge.vnnlib, line 3: this bracket is never closed"),
    ],
)
def test_wrong_command_lines_are_refused_in_one_line(
    words: str, message: str, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(shlex.split(words)) == ExitCode.USAGE
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    assert message in err


def test_a_limit_that_is_used_up_is_a_timeout(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    boxes = " ".join(f"(and (>= X_0 -{k}) (<= X_0 {k}) (>= X_1 -{k}) (<= X_1 {k}))" for k in range(1, 3000))
    Path("many.vnnlib").write_text(f"{DECLARED}(assert (or {boxes}))(assert (>= Y_0 1e5))")
    assert run(["net.onnx", "--vnnlib", "many.vnnlib", "--timeout", "1e-6"]) == ExitCode.UNKNOWN
    out, err = capsys.readouterr()
    assert out == "timeout\n" and re.search(r"time limit, \d+ of 2999 cases open", err)


def rows(file: str = "out.csv") -> list[dict[str, str]]:
    with Path(file).open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_list_is_answered_and_gone_on_with(
    work: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["--instances", "list.csv", "--out", "out.csv", "--jobs", "2"]
    assert run(command) == ExitCode.UNKNOWN
    assert sorted((row["vnnlib"], row["verdict"]) for row in rows()) == [
        ("edge.vnnlib", "unknown"),
        ("sat.vnnlib", "sat"),
        ("unsat.vnnlib", "unsat"),
    ]
    known = [row["detail"] for row in rows() if row["verdict"] != "unknown"]
    assert all("re-proved" in detail or "replayed" in detail for detail in known)
    x, y = read_pairs(Path("out-counterexamples/00000.txt").read_text().partition("\n")[2])
    assert outputs(x) == y
    assert "3 of 3 instances answered" in capsys.readouterr().out
    text = Path("out.csv").read_text()
    kept = "".join(line for line in text.splitlines(keepends=True) if "unsat.vnnlib" not in line)
    Path("out.csv").write_text(kept + "net.onnx,unsat.v")  # as if killed while the line was written
    answered = []
    original = _instances._Children.answer
    monkeypatch.setattr(
        _instances._Children, "answer", lambda self, one, k: answered.append(one.vnnlib) or original(self, one, k)
    )
    assert run(command) == ExitCode.UNKNOWN
    assert answered == ["unsat.vnnlib"]
    assert "unreadable line" in capsys.readouterr().err
    assert run(command) == ExitCode.UNKNOWN
    assert answered == ["unsat.vnnlib"]


Commands = Callable[[Callable[[str], list[str] | None]], None]


@pytest.fixture
def replaced(monkeypatch: pytest.MonkeyPatch) -> Commands:
    """Replaces the command of the instances for which a function of the property's name gives another."""
    original = _instances._Children._command

    def use(chosen: Callable[[str], list[str] | None]) -> None:
        monkeypatch.setattr(
            _instances._Children,
            "_command",
            lambda self, one, results: chosen(one.vnnlib) or original(self, one, results),
        )

    return use


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_a_crash_costs_one_instance(work: Path, replaced: Commands) -> None:
    crash = python("import os; os.kill(os.getpid(), 9)")
    replaced(lambda name: crash if name == "sat.vnnlib" else None)
    assert run(["--instances", "list.csv", "--out", "out.csv"]) == ExitCode.UNKNOWN
    assert [row["verdict"] for row in rows()] == ["error", "unsat", "unknown"]
    assert rows()[0]["detail"] == "the process was ended by signal 9"


def test_a_process_that_hangs_is_ended(work: Path, replaced: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_instances, "GRACE_SECONDS", 0.1)
    Path("short.csv").write_text("net.onnx,sat.vnnlib,0.2\n")
    replaced(lambda _: python("import time; time.sleep(100)"))
    assert run(["--instances", "short.csv", "--out", "out.csv"]) == ExitCode.UNKNOWN
    assert [row["verdict"] for row in rows()] == ["timeout"]


def test_a_limit_on_the_command_line_caps_that_of_the_list(work: Path) -> None:
    assert [one.seconds for one in read_instances(Path("list.csv"), 7.0)] == [7.0] * 3
    assert [one.seconds for one in read_instances(Path("list.csv"), 70.0)] == [30.0] * 3
    assert [one.seconds for one in read_instances(Path("list.csv"), None)] == [30.0] * 3


def test_ctrl_c_keeps_what_is_answered_and_ends_the_rest(work: Path, replaced: Commands) -> None:
    sleeper = python("import os, time; open('pid', 'w').write(str(os.getpid())); time.sleep(100)")
    replaced(lambda name: sleeper if name == "unsat.vnnlib" else None)

    def interrupt() -> None:
        for _ in range(600):
            if Path("pid").exists() and Path("pid").read_text() and Path("out.csv").exists():
                break
            time.sleep(0.05)
        os.kill(os.getpid(), 2)

    thread = threading.Thread(target=interrupt)
    thread.start()
    code = run(["--instances", "list.csv", "--out", "out.csv"])
    thread.join()
    assert code == ExitCode.INTERRUPTED
    assert [row["verdict"] for row in rows()] == ["sat"]
    with pytest.raises(ProcessLookupError):
        os.kill(int(Path("pid").read_text()), 0)


@pytest.fixture
def tool(tmp_path: Path) -> dict[str, str]:
    """The environment in which the competition's scripts find the tool."""
    home = tmp_path / "home"
    (home / "bin").mkdir(parents=True)
    verify = home / "bin" / "verify"
    verify.write_text(f'#!/bin/bash\nexec {shlex.quote(sys.executable)} -m mipverify_py.cli "$@"\n')
    verify.chmod(0o755)
    return {**os.environ, "VERIFY_HOME": str(home), "VERIFY_JOBS": "1"}


def script(name: str, *words: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = ["bash", str(SCRIPTS / name), *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize(("name", "verdict"), [("sat", "sat"), ("unsat", "unsat")])
def test_the_competitions_scripts_run(name: str, verdict: str, work: Path, tool: dict[str, str]) -> None:
    instance = ("v1", "tiny", str(work / "net.onnx"), str(work / f"{name}.vnnlib"))
    assert script("prepare_instance.sh", *instance, environment=tool).returncode == 0
    results = work / "results.txt"
    done = script("run_instance.sh", *instance, str(results), "60", environment=tool)
    assert done.returncode == 0, done.stderr
    first, _, rest = results.read_text().partition("\n")
    assert first == verdict
    if verdict == "sat":
        x, y = read_pairs(rest)
        assert outputs(x) == y and y[0] >= 1.5
    else:
        assert rest == ""


def test_the_scripts_say_what_goes_wrong(work: Path, tool: dict[str, str]) -> None:
    Path("junk.onnx").write_bytes(b"\x08\x07junk")
    instance = ("v1", "tiny", "junk.onnx", "sat.vnnlib")
    assert script("prepare_instance.sh", *instance, environment=tool).returncode != 0
    done = script("run_instance.sh", *instance, "results.txt", "60", environment=tool)
    assert done.returncode != 0 and Path("results.txt").read_text() == "error\n"
    for name in ("install_tool.sh", "prepare_instance.sh", "run_instance.sh"):
        assert script(name, "v2", environment=tool).returncode == 1


def test_the_tool_is_installed_into_an_environment_of_its_own(tmp_path: Path) -> None:
    python_stub, home = tmp_path / "python", tmp_path / "home"
    stub = '#!/bin/bash\nmkdir -p "$3/bin"\nfor n in pip verify; do\n'
    stub += '  printf \'#!/bin/bash\\necho "$0 $*" >> "%s/log"\\n\' "$3" > "$3/bin/$n"; chmod +x "$3/bin/$n"\ndone\n'
    python_stub.write_text(stub)
    python_stub.chmod(0o755)
    environment = {**os.environ, "VERIFY_HOME": str(home), "PYTHON": str(python_stub)}
    done = script("install_tool.sh", "v1", environment=environment)
    assert done.returncode == 0, done.stderr
    pip, verify = (home / "log").read_text().splitlines()
    assert pip.endswith("[highs]") and "constraints.txt" in pip
    assert verify.endswith("verify --version")
