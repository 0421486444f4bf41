"""--method bisect: a distance up to --tolerance, also in workers, and what it does not go with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from mipverify_py.cli import ExitCode, run
from mipverify_py.cli import _main as main_module

VALIDATOR = Draft202012Validator(
    json.loads(Path(main_module.__file__).with_name("verify-1.schema.json").read_text()),
)


def asked(capsys: pytest.CaptureFixture[str], *words: str) -> list[dict[str, Any]]:
    assert run([*words, "--json", "--quiet"]) == ExitCode.ANSWERED
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [error.message for record in found for error in VALIDATOR.iter_errors(record)] == []
    return found


def test_the_bracket_is_as_wide_as_allowed_and_overlaps_the_direct_one(
    inside: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (direct,) = asked(capsys, "model.onnx", "x.npy")
    (found,) = asked(capsys, "model.onnx", "x.npy", "--method", "bisect", "--tolerance", "0.01")
    assert (direct["options"]["method"], direct["options"]["tolerance"]) == ("direct", None)
    assert (found["options"]["method"], found["options"]["tolerance"]) == ("bisect", 0.01)
    assert found["stop_reason"] == "solved" and found["gap"] <= 0.01
    assert found["lower"] <= direct["upper"] and direct["lower"] <= found["upper"]


def test_the_proof_of_the_last_ball_without_an_example_bears_the_answer_out(
    inside: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (found,) = asked(capsys, "model.onnx", "x.npy", "--method", "bisect", "--tolerance", "1e-4", "--replay")
    assert found["replay"]["holds"] and found["lower"] > 0


@pytest.mark.slow
def test_the_default_tolerance_and_workers(inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = asked(capsys, "model.onnx", "batch.npy", "--method", "bisect", "--jobs", "2")
    assert len(found) == 3
    assert all(record["gap"] <= 1e-3 and record["options"]["tolerance"] == 1e-3 for record in found)
    assert any(record["gap"] > 2e-6 + 2e-5 * record["upper"] for record in found)  # no direct search stops there


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--tolerance", "0.1"], "--tolerance is for --method bisect"),
        (["--method", "bisect", "--eps", "0.1"], "leave out --eps"),
        (["--method", "bisect", "--perturbation", "box"], "--perturbation"),
        (["--method", "bisect", "--arithmetic", "float32"], "none of"),
        (["--method", "halve"], "'halve' is unknown"),
        (["--method", "bisect", "--tolerance", "0"], "a width above 0"),
    ],
)
def test_mistakes_are_told(words: list[str], message: str, inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["model.onnx", "x.npy", *words]) == ExitCode.USAGE
    assert message in capsys.readouterr().err
