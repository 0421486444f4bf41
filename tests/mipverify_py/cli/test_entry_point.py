"""The real program in a process of its own: what it imports, what it writes where, how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

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


def test_json_lines_and_nothing_else_on_stdout(workplace: Path) -> None:
    done = verify("model.onnx", "batch.npy", "--json", cwd=workplace)
    assert done.returncode == 0
    assert [json.loads(line)["index"] for line in done.stdout.splitlines()] == [0, 1, 2]


def test_a_reader_that_goes_away_is_no_traceback(workplace: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as closed:
        command = [*VERIFY, "model.onnx", "batch.npy", "--json", "--quiet"]
        done = subprocess.run(command, cwd=workplace, stdout=closed, stderr=subprocess.PIPE, timeout=120, check=False)
    assert done.returncode == 141
    assert done.stderr == b""


SLOW = [
    "zoo:digits_dense_standard",
    "--dataset",
    "digits",
    "--index",
    "0:50",
    "--gap",
    "0",
    "--tightening",
    "interval",
]


@pytest.mark.parametrize("as_json", [True, False])
def test_an_interrupted_run_writes_what_it_knows(workplace: Path, as_json: bool) -> None:
    words = [*SLOW, *(["--json"] if as_json else [])]
    with subprocess.Popen(
        [*VERIFY, *words], cwd=workplace, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as program:
        assert program.stdout is not None
        first = program.stdout.readline()  # an answer, or the header: the next image is being worked on
        time.sleep(0.5)
        program.send_signal(signal.SIGINT)
        rest, errors = program.communicate(timeout=60)
    assert program.returncode == 130, errors
    assert "Traceback" not in errors
    if as_json:
        records = [json.loads(line) for line in (first + rest).splitlines()]
        assert [record["index"] for record in records] == list(range(len(records)))
        assert [record["stop_reason"] for record in records][-1] == "interrupted"
        assert all(record["stop_reason"] != "interrupted" for record in records[:-1])
    else:
        assert "interrupted" in rest
