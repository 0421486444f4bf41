"""The real program in a process of its own: what it imports, what it writes where, how it ends."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mipverify_py.cli._exit import ExitCode
from mipverify_py.cli._main import guarded

FULL = Path("/dev/full")
"""A device that every write to fails, as on a full disk."""

VERIFY = [sys.executable, "-m", "mipverify_py.cli"]
HEAVY = (
    "numpy",
    "scipy",
    "torch",
    "onnx",
    "onnxruntime",
    "sklearn",
    "PIL",
    "highspy",
    "pyscipopt",
    "pulp",
    "gurobipy",
    "ortools",
)


def verify(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*VERIFY, *words], cwd=cwd, capture_output=True, text=True, timeout=120, check=False)


def shell(line: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Runs a line of shell, for redirections that `subprocess` does not have."""
    return subprocess.run(["sh", "-c", line], cwd=cwd, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--help"], 0),
        (["--version"], 0),
        ([], 0),
        (["--nonsense"], 3),
        (["model.onnx", "x.npy", "--eps", "-1"], 3),
        (["model.onnx", "x.npy", "--backend", "cplex"], 3),
        (["absent.onnx", "x.npy"], 3),
        (["model.onnx", "absent.npy"], 3),
        (["zoo:vgg", "x.npy"], 3),
        (["model.onnx", "x.npy", "--save-witness", "absent/w.npz"], 3),
    ],
)
def test_help_and_usage_errors_load_nothing_heavy(workplace: Path, words: list[str], code: int) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "mipverify_py.cli", *words]
    done = subprocess.run(command, cwd=workplace, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == code
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "mipverify_py.cli._main" in loaded  # the trace is there
    assert not [name for name in loaded if name.partition(".")[0] in HEAVY]


def test_the_installed_script_is_this_program(workplace: Path) -> None:
    script = Path(sys.executable).with_name("verify")
    if not script.exists():
        pytest.skip("the distribution is not installed with its scripts in this environment")
    done = subprocess.run([script, "--version"], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, verify("--version", cwd=workplace).stdout)


@pytest.mark.parametrize(
    "words", [["--help"], ["model.onnx", "--inspect"], ["model.onnx", "--inspect", "--json"]], ids=" ".join
)
def test_a_reader_that_goes_away_is_no_traceback(workplace: Path, words: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as closed:
        command = [*VERIFY, *words]
        done = subprocess.run(command, cwd=workplace, stdout=closed, stderr=subprocess.PIPE, timeout=120, check=False)
    assert done.returncode == 141
    assert done.stderr == b""


EVERY_WRITER = [
    ["--help"],
    ["--version"],
    ["--backends"],
    ["--list-zoo", "--json"],
    ["model.onnx", "--inspect"],
    ["model.onnx", "x.npy", "--eps", "0"],
    ["model.onnx", "x.npy", "--eps", "0", "--json"],
]


@pytest.mark.parametrize("words", EVERY_WRITER, ids=" ".join)
@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
def test_an_output_that_cannot_be_written_is_one_line(workplace: Path, words: list[str], unbuffered: str) -> None:
    with FULL.open("w") as full:
        done = subprocess.run(
            [*VERIFY, *words],
            cwd=workplace,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=120,
            check=False,
        )
    assert (done.returncode, done.stderr) == (
        3,
        "verify: the output cannot be written (No space left on device).\n",
    )


@pytest.mark.parametrize(("words", "code"), [("x.npy --eps 0", 0), ("x.npy --eps 10", 1), ("absent.npy", 3)])
@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full"])
def test_messages_that_cannot_be_written_change_no_exit_code(
    workplace: Path, words: str, code: int, redirection: str
) -> None:
    """Python's own code for an error that it cannot show is 1, which would read as "adversarial"."""
    done = shell(f"{shlex.join(VERIFY)} model.onnx {words} {redirection}", workplace)
    assert done.returncode == code
    assert ("answer" in done.stdout) == (code < 2)


def test_a_closed_stdout_is_a_mistake(workplace: Path) -> None:
    done = shell(f"{shlex.join(VERIFY)} model.onnx x.npy --eps 0 >&-", workplace)
    assert (done.returncode, done.stderr) == (3, "verify: stdout is closed, so results have nowhere to go.\n")


def test_the_epilog_of_the_help_has_no_line_break_of_its_own(workplace: Path) -> None:
    environment = {**os.environ, "COLUMNS": "300"}
    done = subprocess.run(
        [*VERIFY, "--help"], cwd=workplace, env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    assert "2 unknown (a limit was reached); 3 wrong usage or input; 4 a proof failed its replay" in done.stdout


def test_an_interrupted_run_writes_what_it_knows(workplace: Path) -> None:
    words = ["hard.onnx", "hard.npy", "--engine", "mip", "--tightening", "interval", "--json"]
    with subprocess.Popen(
        [*VERIFY, *words], cwd=workplace, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as program:
        assert program.stderr is not None
        progress = program.stderr.readline()  # the first line comes when the search has a bracket
        program.send_signal(signal.SIGINT)
        out, errors = program.communicate(timeout=60)
    assert program.returncode == 130, progress + errors
    assert progress.startswith("index 0 (1 of 2): ")
    assert "Traceback" not in errors
    [record] = [json.loads(line) for line in out.splitlines()]
    assert (record["index"], record["stop_reason"]) == (0, "interrupted")
    assert record["upper"] is not None
    assert record["lower"] is None or record["lower"] < record["upper"]


def test_an_interruption_before_anything_is_known_is_one_line(workplace: Path) -> None:
    code = "import signal, sys; from mipverify_py.cli import _work, run; "
    code += "_work.run = lambda arguments: signal.raise_signal(signal.SIGINT); "
    code += "sys.exit(run(['model.onnx', 'x.npy']))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=workplace, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "verify: interrupted\n")


def test_a_terminal_sees_one_line_that_vanishes(workplace: Path) -> None:
    """stderr is a terminal, stdout a pipe: escape codes go to the first only."""
    reader, terminal = os.openpty()
    command = [*VERIFY, "hard.onnx", "hard.npy", "--engine", "mip", "--index", "0", "--timeout", "1", "--json"]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    with subprocess.Popen(
        command, cwd=workplace, stdin=terminal, stdout=subprocess.PIPE, stderr=terminal, env=environment
    ) as program:
        os.close(terminal)
        shown = b""
        try:
            while part := os.read(reader, 65_536):
                shown += part
        except OSError:  # how a terminal says that the other side is closed
            pass
        finally:
            os.close(reader)
        assert program.stdout is not None
        [record] = [json.loads(line) for line in program.stdout]
    assert record["stop_reason"] == "time_limit"
    assert b"index 0: " in shown
    assert b"\x1b[2K" in shown  # lines are erased, not added


def test_an_import_that_an_interruption_spoils_is_an_interruption(capfd: pytest.CaptureFixture[str]) -> None:
    def loading() -> int:
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(10)
        except KeyboardInterrupt:
            raise ImportError("initialization failed") from None  # as extension modules do
        return 0

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert guarded("verify", loading) == ExitCode.INTERRUPTED
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert capfd.readouterr().err == "verify: interrupted\n"


def test_other_failed_imports_are_none() -> None:
    def failing() -> int:
        raise ImportError("no such thing")

    assert guarded("verify", failing) == ExitCode.INTERNAL
