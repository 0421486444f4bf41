"""`counter-attack fit-buffer`: what it fits, saves, shows and refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from counter_attack.cli import _fit_buffer, run
from counter_attack.detection import (
    KINDS,
    Avoid,
    ChanceConstrained,
    LeastSquares,
    Pairs,
    Quantile,
    load_buffer,
    validate,
    write_pairs,
)
from counter_attack.ug100 import Rule
from tests.helpers.ug100 import MIP, STRONG, write_folder


@pytest.fixture
def pairs() -> Pairs:
    rng = np.random.default_rng(0)
    exact = rng.gamma(4.0, 0.02, 60)
    return Pairs(exact * (1 + rng.gamma(0.5, 0.05, 60)), exact)


@pytest.fixture
def path(pairs: Pairs, tmp_path: Path) -> str:
    write_pairs(tmp_path / "pairs.csv", range(60), pairs.heuristic, pairs.exact)
    return str(tmp_path / "pairs.csv")


def test_names_agree_with_those_of_the_library() -> None:
    assert set(_fit_buffer.KINDS) == set(KINDS)
    assert set(_fit_buffer.SIDES) == {side.value for side in Avoid}
    assert set(_fit_buffer.RULES) == {rule.value for rule in Rule}


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (["--kind", "quantile", "--tau", "0.1"], Quantile(0.1)),
        ([], Quantile(0.01)),
        (["--kind", "least-squares"], LeastSquares()),
        (
            ["--kind", "chance-constrained", "--delta", "0.1", "--avoid", "false-positives"],
            ChanceConstrained(0.1, Avoid.FALSE_POSITIVES),
        ),
    ],
)
def test_the_saved_buffer_is_the_fitted_one(
    words: list[str], kind: Quantile, path: str, pairs: Pairs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["fit-buffer", path, *words, "--out", str(tmp_path / "b.json")]) == 0
    assert load_buffer(tmp_path / "b.json") == kind.fit(pairs)
    out, errors = capsys.readouterr()
    assert "60 pairs" in out and kind.name in out and errors == ""


def test_json_has_buffer_and_folds(path: str, pairs: Pairs, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["fit-buffer", path, "--kind", "least-squares", "--folds", "3", "--seed", "4", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["schema"], record["kind"], record["attack_failed"], record["contradictions"]) == (
        1,
        "fit-buffer",
        0,
        0,
    )
    found = LeastSquares().fit(pairs)
    assert (record["buffer"]["slope"], record["buffer"]["intercept"]) == (found.slope, found.intercept)
    scores = validate(LeastSquares(), pairs, folds=3, seed=4)
    assert [fold["coverage"] for fold in record["folds"]] == [fold.coverage for fold in scores.folds]


def test_straight_from_a_folder_like_ug100(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_folder(tmp_path, mip=MIP, strong=STRONG)
    assert run(["fit-buffer", str(folder), "--kind", "multiplicative", "--rule", "published"]) == 0
    out = capsys.readouterr().out
    assert "3 pairs" in out and "2 left out" in out and "too few pairs for 5 folds" in out
    assert "the attack is nearer than the exact distance" in out


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--kind", "least-squares", "--tau", "0.1"], "--tau has no effect with --kind least-squares"),
        (["--delta", "0.1"], "--delta has no effect with --kind quantile"),
        (["--avoid", "false-positives"], "--avoid has no effect"),
        (["--kind", "cubic"], "'cubic' is unknown; choose from zero"),
        (["--tau", "1"], "above 0 and below 1"),
        (["--tau", "0"], "above 0 and below 1"),
        (["--folds", "1"], "0 (no validation), or at least 2"),
        (["--folds", "40"], "40 folds needs at least 80 pairs"),
        (["--out", "/nowhere/b.json"], "no such folder"),
        (["--exact-column", "truth"], "no column 'truth'"),
        (["--configuration", "a"], "cannot be chosen"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(
    words: list[str], part: str, path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["fit-buffer", path, *words]) == 3
    out, errors = capsys.readouterr()
    assert out == "" and part in errors and errors.count("\n") == 1 and errors.startswith("counter-attack: ")
