"""--norm: distances and radii in L1 and L2, whole runs on a small model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator

from mipverify_py.cli import ExitCode, run
from mipverify_py.cli import _main as main_module

VALIDATOR = Draft202012Validator(
    json.loads(Path(main_module.__file__).with_name("verify-1.schema.json").read_text()),
)


@pytest.fixture
def ask(inside: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs `verify model.onnx x.npy ... --json` and gives the exit code and the object, which fits the schema."""

    def call(*words: str) -> tuple[int, dict[str, Any]]:
        code = run(["model.onnx", "x.npy", *words, "--json", "--quiet"])
        out, err = capsys.readouterr()
        assert err == ""
        record = json.loads(out)
        assert [error.message for error in VALIDATOR.iter_errors(record)] == []
        return code, record

    return call


@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_a_distance_and_radii_about_it(ask: Any, norm: str, tmp_path: Path) -> None:
    file = tmp_path / "witness.npz"
    code, record = ask("--norm", norm, "--save-witness", str(file))
    assert code == ExitCode.ANSWERED and record["stop_reason"] == "solved"
    assert record["norm"] == norm and record["eps"] is None and record["engine"] == "mip"
    with np.load(file) as saved:
        assert saved["norm"] == norm
        moved = (saved["witness"] - saved["x0"]).ravel()
        assert np.linalg.norm(moved, {"l1": 1, "l2": 2}[norm]) == pytest.approx(record["upper"])
    for share, verdict, expected in (
        (0.999, "robust", ExitCode.ANSWERED),
        (1.001, "adversarial", ExitCode.ADVERSARIAL),
    ):
        code, fixed = ask("--norm", norm, "--eps", repr(share * record["upper"]))
        assert (code, fixed["verdict"], fixed["norm"]) == (expected, verdict, norm)
        assert fixed["eps"] == share * record["upper"]


def test_norms_are_ordered(ask: Any) -> None:
    largest, euclidean, total = (ask("--norm", norm)[1] for norm in ("linf", "l2", "l1"))
    assert largest["lower"] <= euclidean["upper"] and euclidean["lower"] <= total["upper"]


def test_the_default_is_the_largest_change(ask: Any) -> None:
    assert ask()[1]["norm"] == "linf"


@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_the_text_names_the_norm(inside: Path, capsys: pytest.CaptureFixture[str], norm: str) -> None:
    run(["model.onnx", "x.npy", "--norm", norm, "--quiet"])
    assert f"{norm.upper()} distance to the nearest input" in capsys.readouterr().out
    run(["model.onnx", "x.npy", "--norm", norm, "--eps", "0.01", "--quiet", "--replay"])
    out = capsys.readouterr().out
    assert f"within {norm.upper()} radius 0.01?" in out and "proof     replayed" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--norm", "l3"], "choose from linf, l1, l2"),
        (["--norm", "l1", "--engine", "cuts"], "--engine cuts knows only --norm linf"),
        (["--norm", "l2", "--engine", "duals"], "--engine duals knows only --norm linf"),
        (["--norm", "l2", "--engine", "mip"], "--backend highs solves no MIQP"),
        (["--norm", "l2", "--engine", "mip", "--backend", "cbc"], "choose scip or gurobi or ortools"),
        (["--norm", "l2", "--inspect", "--eps", "0.1"], "leave out --norm"),
    ],
    ids=" ".join,
)
def test_what_does_not_go_together(
    inside: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert run(["model.onnx", "x.npy", *words]) == ExitCode.USAGE
    out, err = capsys.readouterr()
    assert out == "" and message in err and len(err.splitlines()) == 1
