"""`counter-attack attack`: rows as they come, summary, JSON, saved arrays, Ctrl-C, exit codes and mistakes."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from counter_attack.attacks import AttackProblem, DeepFool, make_attack
from counter_attack.cli import run
from mipverify_py import distance
from onnx_models import ReluNetwork
from onnx_models.zoo import digits_test, load_zoo

MODEL = ["attack", "zoo:digits_small_standard", "--dataset", "digits"]
QUICK = [*MODEL, "--index", "0:6", "--attacks", "fgsm,deepfool", "--quiet"]
IMAGES, LABELS = digits_test().images[:6], digits_test().labels[:6].astype(int)


@pytest.fixture(scope="module")
def network() -> ReluNetwork:
    return load_zoo("digits_small_standard")


@pytest.fixture(scope="module")
def by_library(network: ReluNetwork) -> dict[str, np.ndarray]:
    return {name: make_attack(name)(network, IMAGES, LABELS).distance for name in ("fgsm", "deepfool")}


def records(capsys: pytest.CaptureFixture[str]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [record["kind"] for record in found] == ["attack"] * (len(found) - 1) + ["attack-summary"]
    return found[:-1], found[-1]


def test_the_closest_of_the_attacks_is_shown(
    by_library: dict[str, np.ndarray], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*QUICK, "--json"]) == 0
    rows, summary = records(capsys)
    for name, distances in by_library.items():
        assert [row["attacks"][name]["distance"] for row in rows] == pytest.approx(distances)
    least = np.minimum(*by_library.values())
    assert [row["distance"] for row in rows] == pytest.approx(least)
    assert [row["attacks"][row["attack"]]["distance"] for row in rows] == [row["distance"] for row in rows]
    assert [row["label"] for row in rows] == LABELS.tolist()
    assert summary["median"] == pytest.approx(np.median(least)) and summary["successes"] == 6
    assert {one["attack"]: one["closest"] for one in summary["attacks"]} == {
        name: int(np.sum(distances == least)) for name, distances in by_library.items()
    }


def test_finishing_comes_to_exact_distances(network: ReluNetwork, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*QUICK, "--finish", "--json"]) == 0
    rows, _ = records(capsys)
    found = np.array([row["attacks"]["finish"]["distance"] for row in rows])
    exact = np.array([distance(network, image).upper for image in IMAGES])
    assert np.all(found >= exact * (1 - 1e-5)) and np.mean(found <= exact * (1 + 1e-5)) >= 0.5
    assert all(row["distance"] == row["attacks"]["finish"]["distance"] for row in rows)


def test_eps_decides_the_exit_code(by_library: dict[str, np.ndarray], capsys: pytest.CaptureFixture[str]) -> None:
    least = np.sort(np.minimum(*by_library.values()))
    eps = float(least[2] + least[3]) / 2
    assert run([*QUICK, "--eps", repr(eps)]) == 1
    out = capsys.readouterr().out
    assert f"within {eps:g}: 3 of 6; the accuracy under attack is at most 50.0 %" in out
    assert run([*QUICK, "--eps", repr(float(least[0]) * 0.99)]) == 0
    assert "at most 100.0 %" in capsys.readouterr().out


def test_an_input_with_another_label_is_at_distance_zero(capsys: pytest.CaptureFixture[str]) -> None:
    wrong = (LABELS[0] + 1) % 10
    assert run([*MODEL, "--index", "0", "--label", str(wrong), "--attacks", "fgsm", "--eps", "0", "--json", "-q"]) == 1
    (row,), _ = records(capsys)
    assert row["distance"] == 0 and row["predicted"] == row["found"] == LABELS[0]


def test_failures_are_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    own = tmp_path / "weak.toml"
    own.write_text("[attacks.deepfool]\nsteps = 1\ncandidates = 2\novershoot = 0.0\n[attacks.fgsm]\n")
    assert run([*MODEL, "--index", "0:6", "--attacks", str(own), "--quiet", "--json"]) == 0
    rows, summary = records(capsys)
    failed = [row for row in rows if row["failed"] == ["deepfool"]]
    assert failed and all(row["attacks"]["deepfool"]["distance"] is None for row in failed)
    (weak,) = (one for one in summary["attacks"] if one["attack"] == "deepfool")
    assert weak["successes"] == 6 - len(failed)
    assert run([*MODEL, "--index", "0:6", "--attacks", str(own), "--quiet"]) == 0
    assert sum(line.endswith("  deepfool") for line in capsys.readouterr().out.splitlines()) == len(failed)


def test_progress_is_on_stderr_and_batches_are_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*MODEL, "--index", "5,0:4", "--attacks", "fgsm", "--batch-size", "2"]) == 0
    out, errors = capsys.readouterr()
    assert [line.split()[0] for line in out.splitlines()[4:9]] == ["5", "0", "1", "2", "3"]
    assert errors.splitlines() == [f"fgsm (1 of 1) on inputs {a} to {b} of 5" for a, b in ((1, 2), (3, 4), (5, 5))]


def test_saved_arrays_are_adversarial(network: ReluNetwork, tmp_path: Path) -> None:
    path = tmp_path / "found.npz"
    assert run([*QUICK, "--save", str(path), "--batch-size", "4"]) == 0
    with np.load(path) as saved:
        assert saved["adversarial"].shape == (6, *network.input_shape)
        logits = network.forward_batch(saved["adversarial"].reshape(6, -1))
        own = logits[np.arange(6), saved["reference"]]
        logits[np.arange(6), saved["reference"]] = -np.inf
        assert np.all(logits.max(axis=1) >= own - 1e-12)
        change = np.abs(saved["adversarial"] - saved["x0"]).reshape(6, -1).max(axis=1)
        np.testing.assert_array_equal(change, saved["distance"])
        np.testing.assert_array_equal(saved["distances"].min(axis=1), saved["distance"])
        assert saved["attacks"].tolist() == ["fgsm", "deepfool"] and saved["ran"].all()
        assert saved["index"].tolist() == list(range(6))


def test_ctrl_c_keeps_what_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_of_deepfool, begun = DeepFool.run, []

    def second_batch_is_interrupted(self: DeepFool, problem: AttackProblem) -> None:
        begun.append(len(problem))
        if len(begun) == 2:
            signal.raise_signal(signal.SIGINT)
        run_of_deepfool(self, problem)

    monkeypatch.setattr(DeepFool, "run", second_batch_is_interrupted)
    path = tmp_path / "found.npz"
    words = [*MODEL, "--index", "0:6", "--attacks", "fgsm,deepfool,fab", "--batch-size", "2", "--quiet"]
    assert run([*words, "--save", str(path), "--json"]) == 130
    rows, summary = records(capsys)
    assert begun == [2, 2] and len(rows) == 4 and (summary["inputs"], summary["asked"]) == (4, 6)
    assert summary["interrupted"] and [row["not_run"] for row in rows] == [[], [], ["fab"], ["fab"]]
    assert rows[2]["attacks"]["deepfool"]["stop_reason"] == "interrupted" and rows[2]["attack"] == "fgsm"
    assert [one["successes"] for one in summary["attacks"]] == [2, 2, 2]
    with np.load(path) as saved:
        assert saved["index"].tolist() == [0, 1, 2, 3]
        assert saved["ran"].tolist() == [[True] * 3] * 2 + [[True, True, False]] * 2


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--eps", "-1"], "at least 0"),
        (["--batch-size", "0"], "at least 1"),
        (["--attack-timeout", "0"], "above 0"),
        (["--attacks", "nonsense"], "nonsense"),
        (["--attacks", "none.toml"], "none.toml"),
        (["--attacks", "strong"], "strong"),
        (["--attacks", "square", "--norm", "l1"], "square"),
        (["--save", "found.csv"], "must end in .npz"),
        (["--save", "/nowhere/found.npz"], "no such folder"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(words: list[str], part: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*MODEL, "--index", "0:2", "--quiet", *words]) == 3
    out, errors = capsys.readouterr()
    assert out == "" and part in errors and errors.count("\n") == 1
