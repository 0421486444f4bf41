"""`--arithmetic float32`: both answers in text and JSON, exit codes, and what it does not go with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from mipverify_py import Query
from mipverify_py.cli import ExitCode, run
from mipverify_py.cli import _main as main_module
from mipverify_py.cli import _search_image as search_module
from mipverify_py.float32 import verify_float32
from onnx_models.errors import InvalidBoundsError
from onnx_models.zoo import digits_test, load_zoo

VALIDATOR = Draft202012Validator(json.loads(Path(main_module.__file__).with_name("verify-1.schema.json").read_text()))
COMMAND = ["zoo:digits_small_standard", "--dataset", "digits", "--arithmetic", "float32", "--quiet"]


def records(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, list[dict[str, Any]]]:
    """Exit code and objects of a run with --json, which fit the schema."""
    code = run([*COMMAND, *words, "--json"])
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    for record in found:
        VALIDATOR.validate(record)
    return code, found


def test_json_has_both_brackets(capsys: pytest.CaptureFixture[str]) -> None:
    code, (record,) = records(capsys, "--index", "1")
    expected = verify_float32(Query(load_zoo("digits_small_standard"), digits_test().images[1], label=5))
    assert code == ExitCode.ANSWERED
    ours = record["float32"]
    assert (ours["lower"], ours["upper"], ours["slack"]) == (expected.lower, expected.upper, expected.slack)
    assert (record["lower"], record["upper"]) == (expected.real.lower, expected.real.upper)
    assert expected.witness is not None
    assert ours["witness"]["logits"] == expected.witness.logits.tolist()
    assert ours["verdict"] == "adversarial" and ours["evidence"] == "reproved" and ours["gap"] == expected.gap


def test_real_arithmetic_has_no_float32_answer(capsys: pytest.CaptureFixture[str]) -> None:
    _, (record,) = records(capsys, "--index", "1", "--arithmetic", "real")
    assert record["float32"] is None


@pytest.mark.parametrize(
    ("eps", "verdicts", "code"),
    [
        ("0.1", ("robust", "robust"), ExitCode.ANSWERED),
        ("0.110876", ("robust", "unknown"), ExitCode.UNKNOWN),
        ("0.12", ("adversarial", "adversarial"), ExitCode.ADVERSARIAL),
    ],
)
def test_exit_code_is_that_of_float32(
    capsys: pytest.CaptureFixture[str], eps: str, verdicts: tuple[str, str], code: ExitCode
) -> None:
    ended, (record,) = records(capsys, "--index", "1", "--eps", eps)
    assert (record["verdict"], record["float32"]["verdict"]) == verdicts
    assert ended == code


@pytest.mark.slow
def test_text_for_one_image_and_for_several(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*COMMAND, "--index", "1"]) == ExitCode.ANSWERED
    text = capsys.readouterr().out
    assert "float32   0.1108" in text and "; in onnxruntime class 2 at distance 0.11088" in text
    assert "rounding changes a margin by at most 0.000" in text
    assert run([*COMMAND, "--index", "1:3", "--jobs", "2"]) == ExitCode.ANSWERED
    assert capsys.readouterr().out.count("float32   0.1") == 2


def test_text_of_a_radius(capsys: pytest.CaptureFixture[str]) -> None:
    run([*COMMAND, "--index", "1", "--eps", "0.05"])
    assert "float32   robust in every float32 evaluation; rounding" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    [
        ["--replay"],
        ["--eps", "0.1", "--witnesses", "2", "--min-distance", "0.01"],
        ["--eps", "0.1", "--inspect"],
        ["--compare-backends", "highs,cbc"],
        ["--save-bounds", "bounds.npz"],
    ],
)
def test_what_it_does_not_go_with(capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    assert run([*COMMAND, "--index", "1", *words]) == ExitCode.USAGE
    assert "--arithmetic float32 goes with none of" in capsys.readouterr().err


def test_perturbation_without_float32_answer_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*COMMAND, "--index", "1", "--perturbation", "blur", "--kernel-size", "3x3"]) == ExitCode.USAGE
    assert "no float32 answer for Blur" in capsys.readouterr().err


def test_unknown_arithmetic_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*COMMAND[:-2], "float16"]) == ExitCode.USAGE
    assert "choose from real, float32" in capsys.readouterr().err


def test_contradiction_leaves_the_image_unknown(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def contradict(*_: Any, **__: Any) -> None:
        raise InvalidBoundsError("the bounds contradict onnxruntime")

    monkeypatch.setattr(search_module, "verify_float32", contradict)
    code, (record,) = records(capsys, "--index", "1")
    assert code == ExitCode.UNKNOWN
    assert record["float32"] is None and record["stop_reason"] == "numerical"
    assert record["stop_detail"] == "the bounds contradict onnxruntime"
