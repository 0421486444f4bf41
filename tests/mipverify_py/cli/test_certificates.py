"""`--certificate` writes what `--check` accepts for the right model, and for no other."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mipverify_py.cli import ExitCode
from mipverify_py.cli._main import run

DIGITS = ["zoo:digits_small_standard", "--dataset", "digits", "-q"]


def test_one_image(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "one.cert"
    assert run([*DIGITS, "--index", "3", "--certificate", str(file), "--json"]) == ExitCode.ANSWERED
    answer = json.loads(capsys.readouterr().out)
    made = answer["certificate"]
    assert made["file"] == str(file) and made["bytes"] == file.stat().st_size and made["robust"]
    assert made["radius"] == pytest.approx(answer["lower"], rel=2e-6) and not made["failure"]
    assert run(["zoo:digits_small_standard", "--check", str(file)]) == ExitCode.ANSWERED
    assert "is this network" in capsys.readouterr().out
    assert run(["--check", str(file)]) == ExitCode.ANSWERED
    assert run(["zoo:digits_small_adversarial", "--check", str(file)]) == ExitCode.REPLAY_FAILED
    assert "is another network" in capsys.readouterr().out
    assert run(["zoo:digits_small_standard", "--check", str(file), "--fast"]) == ExitCode.ANSWERED
    file.write_bytes(file.read_bytes()[:-4])
    for fast in ([], ["--fast"]):
        assert run(["zoo:digits_small_standard", "--check", str(file), *fast]) == ExitCode.REPLAY_FAILED
        assert "rejected" in capsys.readouterr().out


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_several_images(tmp_path: Path, capsys: pytest.CaptureFixture[str], jobs: str) -> None:
    words = [*DIGITS, "--index", "0,1", "--eps", "0.05", "--certificate", str(tmp_path / "c.cert"), "--jobs", jobs]
    assert run(words) == ExitCode.ANSWERED
    assert capsys.readouterr().out.count("certified") == 2
    for name in ("c-0000.cert", "c-0001.cert"):
        assert run(["--check", str(tmp_path / name)]) == ExitCode.ANSWERED
        assert "No x of the box within 0.05 of x0" in capsys.readouterr().out


def test_a_solvers_claim_is_proved_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mip.cert"
    assert run([*DIGITS, "--index", "3", "--engine", "mip", "--certificate", str(file), "--json"]) == ExitCode.ANSWERED
    answer = json.loads(capsys.readouterr().out)
    assert answer["evidence"] == "reproved"
    assert answer["certificate"]["radius"] == pytest.approx(answer["lower"], rel=2e-5)


def test_what_certificates_do_not_cover_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "l2.cert"
    words = [*DIGITS, "--index", "3", "--eps", "0.01", "--norm", "l2", "--certificate", str(file)]
    assert run(words) == ExitCode.ANSWERED
    assert "L2Ball" in capsys.readouterr().out and not file.exists()


@pytest.mark.parametrize(
    "words",
    [
        [*DIGITS, "--index", "3", "--certificate", "file.txt"],
        [*DIGITS, "--index", "3", "--certificate", "no/such/folder/file.cert"],
        [*DIGITS, "--index", "3", "--certificate", "file.cert", "--arithmetic", "float32"],
        [*DIGITS, "--index", "3", "--check", "file.cert"],
        ["--check", "no-such-file.cert"],
        [*DIGITS, "--index", "3", "--fast"],
    ],
)
def test_command_lines_that_make_no_sense(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(words) == ExitCode.USAGE
    assert capsys.readouterr().err.startswith("verify: ")
