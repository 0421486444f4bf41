"""`counter-attack unified`: presets and parameters, the table beside exact distances, changes of outputs, mistakes."""

from __future__ import annotations

import csv
import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from counter_attack.attacks import AttackProblem
from counter_attack.cli import run
from counter_attack.unified import LinearisedAttack, _regression, change_outputs, preset_attack
from mipverify_py import Norm, distance
from onnx_models.zoo import digits_test, load_zoo

MODEL = ["unified", "zoo:digits_small_standard", "--dataset", "digits"]
IMAGES, LABELS = digits_test().images[:5], digits_test().labels[:5].astype(int)


def objects(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_presets_and_changes_are_those_of_the_library(capsys: pytest.CaptureFixture[str]) -> None:
    words = [*MODEL, "--index", "0:5", "--preset", "gnm,deepfool", "--norm", "l2", "--iterations", "12", "--json", "-q"]
    assert run(words) == 0
    *rows, summary, table = objects(capsys)
    network = load_zoo("digits_small_standard")
    for name in ("gnm", "deepfool"):
        found = preset_attack(name, Norm.L2, steps=12)(network, IMAGES, LABELS)
        assert found.success.all()
        assert [row["attacks"][name]["distance"] for row in rows] == pytest.approx(found.distance)
    assert summary["kind"] == "attack-summary" and table["kind"] == "table"
    assert [row["attack"] for row in table["rows"]] == ["gnm", "deepfool"]


def test_parameters_without_a_preset(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    place = tmp_path / "found.npz"
    words = ["--index", "0:5", "--groups", "pixels", "--subsets", "4", "--dither", "0.01", "--save", str(place)]
    assert run([*MODEL, *words, "--json", "-q"]) == 0
    rows = objects(capsys)[:-2]
    expected = LinearisedAttack(groups="pixels", subsets=4, dither=0.01)(load_zoo("digits_small_standard"), IMAGES)
    assert [row["distance"] for row in rows] == pytest.approx(expected.distance)
    with np.load(place) as saved:
        changed = (saved["adversarial"] != saved["x0"]).reshape(5, -1).sum(axis=1)
        assert np.all((changed > 0) & (changed <= 4))


def test_a_radius_is_a_constraint_and_decides_the_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    words = [*MODEL, "--index", "0:5", "--preset", "fgsm", "--json", "-q"]
    assert run([*words, "--eps", "0.01"]) == 0
    assert [row["success"] for row in objects(capsys)[:-2]] == [False] * 5
    assert run([*words, "--eps", "0.2"]) == 1
    *rows, _, table = objects(capsys)
    assert 0 < sum(row["success"] for row in rows) < 6
    assert table["rows"][0]["within"] == table["rows"][0]["fooled"] == 20.0 * sum(row["success"] for row in rows)


def test_exact_distances_stand_beside(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = [*MODEL, "--index", "0:3", "--preset", "fgsm,deepfool", "--exact", "--out", str(tmp_path / "tables")]
    assert run([*words, "-q"]) == 0
    out = capsys.readouterr().out
    assert "\n\nFooled by each attack, linf\n" in out
    with (tmp_path / "tables" / "robustness.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["attack"] for row in rows] == ["fgsm", "deepfool", "exact"]
    network = load_zoo("digits_small_standard")
    truth = [distance(network, image).upper for image in IMAGES[:3]]
    assert float(rows[-1]["mean"]) == pytest.approx(np.mean(truth), rel=1e-4)
    found = preset_attack("deepfool")(network, IMAGES[:3]).distance
    assert float(rows[1]["above"]) == pytest.approx(100 * (found.sum() / np.sum(truth) - 1), abs=0.01)
    assert {row["network"] for row in rows} == {"digits_small_standard"}


def test_exact_distances_that_are_not_known_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--index", "0:2", "--preset", "fgsm", "--exact", "--timeout", "0.000001", "--json", "-q"]
    assert run([*MODEL, *words]) == 2
    table = objects(capsys)[-1]
    last = table["rows"][-1]
    assert last["open"] == 2 and last["mean"] is None
    assert last["inputs"] == 0 and last["fooled"] is None  # not 0 %: nobody knows
    assert table["note"] == "2 exact distances are not known and do not count"


def test_targets(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*MODEL, "--index", "0:2", "--preset", "targeted", "--targets", "3", "--json", "-q"]) == 0
    rows = objects(capsys)[:-2]
    expected = preset_attack("targeted")(load_zoo("digits_small_standard"), IMAGES[:2], LABELS[:2], 3)
    assert [row["distance"] for row in rows] == pytest.approx(expected.distance)


def test_changes_of_outputs(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    place = tmp_path / "found.npz"
    words = ["--index", "0:3", "--preset", "regression", "--eps", "0.05", "--iterations", "2", "--output-norm", "linf"]
    assert run([*MODEL, *words, "--save", str(place), "--json", "-q"]) == 0
    (table,) = objects(capsys)
    expected = change_outputs(
        load_zoo("digits_small_standard"), IMAGES[:3], eps=0.05, norms=(Norm.LINF, Norm.LINF), steps=2
    )
    assert [row["change"] for row in table["rows"]] == pytest.approx(expected.change)
    assert "is its maximum" in table["note"]
    with np.load(place) as saved:
        np.testing.assert_array_equal(saved["points"].reshape(3, -1), expected.points)
    assert run([*MODEL, "--index", "0:2", "--objective", "output-change", "--eps", "0.05", "-q"]) == 0
    assert "is a lower bound on its maximum" in capsys.readouterr().out


def test_changes_of_outputs_can_be_stopped(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    words = [*MODEL, "--index", "0:2", "--preset", "regression", "--eps", "0.05", "--json", "-q"]
    assert run([*words, "--timeout", "0.000001"]) == 0
    (table,) = objects(capsys)
    assert "time was used up" in table["note"] and all(row["change"] > 0 for row in table["rows"])

    def interrupted(*_: Any) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(_regression, "jacobian", interrupted)
    assert run(words) == 130
    (table,) = objects(capsys)
    assert "interrupted" in table["note"] and [row["linearised"] for row in table["rows"]] == [None, None]


def test_ctrl_c_keeps_what_is_there(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    plain = LinearisedAttack.run

    def second_is_interrupted(self: LinearisedAttack, problem: AttackProblem) -> None:
        if self.preset == "gnm":
            signal.raise_signal(signal.SIGINT)
        plain(self, problem)

    monkeypatch.setattr(LinearisedAttack, "run", second_is_interrupted)
    assert run([*MODEL, "--index", "0:3", "--preset", "deepfool,gnm", "--json", "-q"]) == 130
    *rows, summary = objects(capsys)
    assert len(rows) == 3 and summary["interrupted"] and all(row["attack"] == "deepfool" for row in rows)


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--preset", "nonsense"], "no preset 'nonsense'"),
        (["--objective", "loss"], "'loss' is unknown"),
        (["--groups", "pixels"], "need `subsets`"),
        (["--problem", "minimum", "--step-size", "0.1"], "are for 'constrained'"),
        (["--preset", "regression"], "give --eps"),
        (["--preset", "regression", "--eps", "0.1", "--subsets", "2"], "--subsets has no meaning"),
        (["--preset", "fgsm", "--objective", "output-change", "--eps", "0.1"], "--preset fgsm has no meaning"),
        (["--preset", "fgsm", "--timeout", "1"], "add --exact"),
        (["--eps", "0"], "above 0"),
        (["--subsets", "0"], "at least 1"),
        (["--targets", "x"], "3 or 0,2,7"),
        (["--save", "found.csv"], "must end in .npz"),
        (["--preset", "fgsm", "--out", "/dev/null/tables"], "the folder cannot be made"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(words: list[str], part: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*MODEL, "--index", "0:2", "--quiet", *words]) == 3
    out, errors = capsys.readouterr()
    assert out == "" and part in errors and errors.count("\n") == 1
