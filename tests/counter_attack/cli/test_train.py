"""`counter-attack train`: what it writes, shows and refuses, and what an interruption costs."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from counter_attack.cli import _train as command
from counter_attack.cli import _train_progress as shown
from counter_attack.cli import run
from counter_attack.training import DATASETS, METHODS
from counter_attack.training._files import read_checkpoint
from mipverify_py.cli import ExitCode
from onnx_models import load_onnx
from onnx_models.errors import InputError

DIGITS = ["--dataset", "digits", "--architecture", "A"]


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def digest(path: str = "a.onnx") -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def test_names_are_those_of_the_library() -> None:
    assert (command.DATASETS, command.METHODS) == (DATASETS, METHODS)


def test_a_model_and_its_card_are_written_and_told(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "a.onnx", *DIGITS, "--method", "relu", "--epochs", "3", "--attack-iterations", "2"]
    assert run(words) == ExitCode.ANSWERED
    assert sorted(path.name for path in Path().iterdir()) == ["a.json", "a.onnx"]
    card = json.loads(Path("a.json").read_text())
    output = capsys.readouterr()
    for fact in (f"test {card['accuracy']['test']:.2%}", f"{card['relus']} of 32", "digits, relu, seed 0"):
        assert fact in output.out
    assert "epoch 3/3: loss" in output.err
    assert load_onnx("a.onnx").relu_count == card["relus"]
    assert (card["recipe"]["attack_iterations"], card["recipe"]["eps"]) == (2, 0.1)


def test_json_is_the_card_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "a.onnx", *DIGITS, "--epochs", "1", "--json", "--quiet"]) == ExitCode.ANSWERED
    output = capsys.readouterr()
    assert json.loads(output.out) == json.loads(Path("a.json").read_text())
    assert output.err == ""


def test_a_module_is_found_beside_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("my_nets.py").write_text(
        "from torch import nn\ndef tiny(): return nn.Sequential(nn.Flatten(), nn.Linear(64, 5), nn.ReLU(), "
        "nn.Linear(5, 10))\n"
    )
    monkeypatch.setattr(sys, "path", [*sys.path])
    assert run(["train", "a.onnx", "--dataset", "digits", "--module", "my_nets:tiny", "--epochs", "1"]) == 0
    assert json.loads(Path("a.json").read_text())["architecture"] == "my_nets:tiny"
    assert load_onnx("a.onnx").relu_count == 5


WRONG = {
    "no data set": (["a.onnx", "--architecture", "A"], "Name the images with --dataset"),
    "unknown data set": (["a.onnx", "--dataset", "svhn"], "'svhn' is unknown"),
    "no network": (["a.onnx", "--dataset", "digits"], "--architecture A, B or C, or with --module"),
    "two networks": (["a.onnx", *DIGITS, "--module", "a:b"], "one of them"),
    "unknown architecture": (["a.onnx", "--dataset", "digits", "--architecture", "Z"], "'Z' is unknown"),
    "no factory": (["a.onnx", "--dataset", "digits", "--module", "numpy"], "names no factory"),
    "module that is not there": (["a.onnx", "--dataset", "digits", "--module", "nosuch:net"], "cannot be imported"),
    "other ending": (["a.pt", *DIGITS], "must end in .onnx"),
    "no such folder": (["nowhere/a.onnx", *DIGITS], "no such folder"),
    "no epochs": (["a.onnx", *DIGITS, "--epochs", "0"], "epochs is 0"),
    "no number": (["a.onnx", *DIGITS, "--learning-rate", "fast"], "'fast' is not a number"),
    "not finite": (["a.onnx", *DIGITS, "--learning-rate", "inf"], "finite"),
    "eps without use": (["a.onnx", *DIGITS, "--eps", "0.1"], "--eps has no effect with --method standard"),
    "l1 without use": (
        ["a.onnx", *DIGITS, "--method", "adversarial", "--l1", "1"],
        "--l1 has no effect with --method adversarial; it is for relu",
    ),
    "no attack": (["a.onnx", *DIGITS, "--method", "adversarial", "--attack-iterations", "0"], "neither an attack"),
    "device": (["a.onnx", *DIGITS, "--device", "cuda:99"], "cannot be used here"),
    "split of the digits": (["a.onnx", *DIGITS, "--split", "0:100"], "their split is fixed"),
    "split in parts": (["a.onnx", *DIGITS, "--split", "0:5,7"], "one range of rows"),
    "open split": (["a.onnx", *DIGITS, "--split", "5:"], "one range of rows"),
    "no folder": (["a.onnx", "--dataset", "mnist", "--architecture", "A"], "name the folder"),
    "empty folder": (
        ["a.onnx", "--dataset", "mnist", "--architecture", "A", "--data-dir", "."],
        "has no train-images-idx3-ubyte",
    ),
}


@pytest.mark.parametrize(("words", "message"), WRONG.values(), ids=WRONG.keys())
def test_wrong_command_lines_end_in_one_line(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["train", *words]) == ExitCode.USAGE
    output = capsys.readouterr()
    assert message in output.err and output.err.count("\n") == 1 and output.err.startswith("counter-attack: ")
    assert output.out == "" and list(Path().iterdir()) == []


def test_what_is_there_is_not_replaced_unasked(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "a.onnx", *DIGITS, "--epochs", "1", "--quiet"]
    Path("a.onnx").write_text("precious")
    assert run(words) == ExitCode.USAGE
    assert "--overwrite replaces it" in capsys.readouterr().err and Path("a.onnx").read_text() == "precious"
    Path("a.checkpoint").write_text("precious")
    Path("a.onnx").unlink()
    assert run(words) == ExitCode.USAGE
    assert "--resume goes on with it" in capsys.readouterr().err
    assert Path("a.checkpoint").read_text() == "precious"
    assert run([*words, "--overwrite"]) == ExitCode.ANSWERED
    assert not Path("a.checkpoint").exists()


def interrupted_at(batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C is pressed when so many batches are done."""
    seen, tell = [], shown.TrainingProgress.batch

    def press(self: shown.TrainingProgress, number: int, share: float) -> None:
        seen.append(number)
        tell(self, number, share)
        if len(seen) == batch:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(shown.TrainingProgress, "batch", press)


def test_ctrl_c_saves_and_the_same_command_goes_on(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["train", "a.onnx", *DIGITS, "--epochs", "3"]
    assert run(words) == ExitCode.ANSWERED
    expected = digest()
    Path("a.onnx").unlink()
    with monkeypatch.context() as patch:
        interrupted_at(25, patch)
        assert run(words) == ExitCode.INTERRUPTED
    assert "interrupted; what was learned is in a.checkpoint. The same command with --resume" in capsys.readouterr().err
    assert not Path("a.onnx").exists()
    state = read_checkpoint(Path("a.checkpoint"))["loop"]["progress"]
    assert (state["epoch"], state["position"]) == (1, 6 * 64)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert run([*words, "--resume", "--seed", "5"]) == ExitCode.USAGE
    assert "belongs to another training" in capsys.readouterr().err
    assert run([*words, "--resume"]) == ExitCode.ANSWERED
    assert digest() == expected and not Path("a.checkpoint").exists()
    assert "starting anew" not in capsys.readouterr().err


def test_resuming_without_a_checkpoint_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "a.onnx", *DIGITS, "--epochs", "1", "--resume"]) == ExitCode.ANSWERED
    assert "there is no a.checkpoint; starting anew." in capsys.readouterr().err


def test_a_second_ctrl_c_ends_at_once() -> None:
    with shown.noted_interrupts() as stop:
        assert not stop()
        signal.raise_signal(signal.SIGINT)
        assert stop()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_process_that_ignores_ctrl_c_goes_on_doing_so() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with shown.noted_interrupts() as stop:
            signal.raise_signal(signal.SIGINT)
            assert not stop()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_model_that_cannot_be_written_leaves_the_checkpoint(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["train", "a.onnx", *DIGITS, "--epochs", "1", "--quiet"]

    def refuse(path: Path, data: bytes) -> None:
        raise InputError(f"{path}: cannot be written (No space left on device).")

    with monkeypatch.context() as patch:
        patch.setattr("counter_attack.training._train.write_whole", refuse)
        assert run(words) == ExitCode.USAGE
    assert capsys.readouterr().err == "counter-attack: a.onnx: cannot be written (No space left on device).\n"
    assert run([*words, "--resume"]) == ExitCode.ANSWERED


@pytest.mark.slow
def test_killed_in_the_middle_and_resumed_is_the_same_as_uninterrupted() -> None:
    """kill -9, twice, at whatever moment the second epoch after the start happens to end."""
    words = ["train", "a.onnx", *DIGITS, "--epochs", "60", "--flip", "--quiet", "--resume"]
    start = [sys.executable, "-m", "counter_attack.cli", *words]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[3])}
    place, done = Path("a.checkpoint"), 0
    for _ in range(2):
        process = subprocess.Popen(start, env=environment)
        while process.poll() is None and (not place.exists() or epochs_in(place) < done + 2):
            time.sleep(0.01)
        process.kill()
        assert process.wait(timeout=60) == -signal.SIGKILL
        done = epochs_in(place)
        assert not Path("a.onnx").exists()
    assert 4 <= done < 60
    assert run(words) == ExitCode.ANSWERED
    resumed = digest()
    assert run([*words, "--overwrite"]) == ExitCode.ANSWERED
    assert digest() == resumed


def epochs_in(place: Path) -> int:
    return read_checkpoint(place)["loop"]["progress"]["epoch"]


@pytest.mark.slow
def test_a_terminal_gets_a_bar() -> None:
    ours, theirs = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[3]), "TERM": "xterm"}
    words = ["train", "a.onnx", *DIGITS, "--epochs", "20", "--json"]
    process = subprocess.Popen(
        [sys.executable, "-m", "counter_attack.cli", *words], env=environment, stderr=theirs, stdout=subprocess.PIPE
    )
    os.close(theirs)
    seen = b""
    try:
        while chunk := os.read(ours, 4096):
            seen += chunk
    except OSError:  # what Linux says when the other end is closed
        pass
    output, _ = process.communicate(timeout=60)
    os.close(ours)
    assert process.returncode == 0 and json.loads(output)["epochs_done"] == 20
    assert re.search(rb"epoch 1?\d/20", seen) and "━".encode() in seen
