"""`counter-attack universal`, `transfer` and `diagnose`: what they count, save and draw, exit codes, and mistakes."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from counter_attack.attacks import FGSM, AttackProblem, DeepFool
from counter_attack.cli import run
from counter_attack.training._export import export
from counter_attack.universal import UniversalPerturbation
from mipverify_py import distance
from onnx_models.zoo import digits_test, load_zoo
from tests.helpers.masked_gradients import staircase_inputs

MODEL = ["zoo:digits_small_standard", "--dataset", "digits", "--quiet"]
UNIVERSAL = ["universal", *MODEL, "--index", "0:12", "--train", "100:108", "--eps", "0.3"]
TRANSFER = ["transfer", *MODEL, "--index", "0:8", "--eps", "0.1,0.2"]
DIAGNOSE = ["diagnose", *MODEL, "--index", "0:6", "--eps", "0.1", "--samples", "20", "--queries", "20", "--steps", "20"]


def records(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_the_saved_perturbation_fools_what_the_table_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Recomputed from the file with the network alone."""
    out, picture = tmp_path / "v.npz", tmp_path / "v.png"
    words = ["--passes", "1", "--save", str(out), "--plot", str(picture), "--json"]
    assert run([*UNIVERSAL, *words]) == 0
    table, summary = records(capsys)
    v, data, network = UniversalPerturbation.load(out).vector, digits_test(), load_zoo("digits_small_standard")
    flat, labels = data.images[:12].reshape(12, -1).astype(np.float64), data.labels[:12]
    right = network.forward_batch(flat).argmax(axis=1) == labels
    moved = network.forward_batch(np.clip(flat[right] + v, 0, 1)).argmax(axis=1)
    (row,) = [row for row in table["rows"] if (row["name"], row["place"]) == ("projection", "held out")]
    assert (row["fooled"], row["of"]) == (int((moved != labels[right]).sum()), int(right.sum()))
    assert np.abs(v).max() <= summary["eps"] == 0.3 and summary["kind"] == "universal"
    with Image.open(picture) as drawn:
        assert drawn.size[0] > 500


def test_singular_vectors_with_a_ceiling(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*UNIVERSAL, "--method", "singular", "--layer", "2", "--index", "0:5", "--exact", "--json"]) == 0
    rows = records(capsys)[0]["rows"]
    network, data = load_zoo("digits_small_standard"), digits_test()
    truth = [distance(network, data.images[k], label=int(data.labels[k])).upper for k in range(5)]
    kept = [d for d in truth if d]  # 0 where the model is wrong
    assert rows[-1]["name"] == "exact: has an example"
    assert (rows[-1]["fooled"], rows[-1]["of"]) == (sum(d <= 0.3 for d in kept), len(kept))
    assert all(row["fooled"] <= rows[-1]["fooled"] for row in rows if row["place"] == "held out")


def test_substitutes_and_their_ensembles(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "examples.npz"
    words = ["--train", "100:120", "--rounds", "2", "--substitutes", "2", "--save", str(out), "--json"]
    assert run([*TRANSFER, *words]) == 0
    rows = records(capsys)[0]["rows"]
    names = list(dict.fromkeys(row["name"] for row in rows))
    assert names[2:] == ["mean of probabilities", "mean of logits", "the model itself"] and len(rows) == 10
    assert [row["queries"] for row in rows[:4]] == [40] * 4
    network, labels = load_zoo("digits_small_standard"), digits_test().labels
    with np.load(out) as file:
        x, kept = file["x0"], file["index"]
        for name, points in zip(file["names"].tolist(), file["adversarial"], strict=True):
            source, eps = name.rsplit(", ", 1)
            assert np.abs(points - x).max() <= float(eps) + 1e-12
            (row,) = [row for row in rows if (row["name"], f"{row['eps']:g}") == (source, eps)]
            assert row["fooled"] == int((network.forward_batch(points).argmax(axis=1) != labels[kept]).sum())


def test_models_of_one_s_own_are_sources(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*TRANSFER, "--models", "zoo:digits_conv_standard", "--steps", "1", "--exact", "--json"]) == 0
    *rows, near, far = records(capsys)[0]["rows"]
    assert [row["name"] for row in rows] == ["zoo:digits_conv_standard"] * 2 + ["the model itself"] * 2
    for row in rows:  # nothing fools more than have an example
        assert row["fooled"] <= (near if row["eps"] == 0.1 else far)["fooled"]
    assert near["name"] == far["name"] == "exact: has an example" and (near["eps"], far["eps"]) == (0.1, 0.2)
    assert rows[0]["queries"] is None


def test_sources_take_the_same_inputs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inputs, path = torch.rand(3, 4), tmp_path / "small.onnx"
    path.write_bytes(export(torch.nn.Sequential(torch.nn.Linear(4, 2)), inputs, "small", "")[0])
    assert run([*TRANSFER, "--models", str(path)]) == 3
    errors = capsys.readouterr().err
    assert "takes 4 entries, the inputs have 64" in errors and errors.count("\n") == 1


def test_an_ordinary_model_is_fine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture, folder = tmp_path / "curves.png", tmp_path / "tables"
    words = ["--exact", "--curves", "fgsm,deepfool", "--plot", str(picture), "--out", str(folder)]
    assert run([*DIAGNOSE, *words, "--json"]) == 0
    checks, curves, measured, summary = records(capsys)
    assert [row["answer"] for row in checks["rows"]] == ["fine"] * 6 and summary["warnings"] == []
    assert (summary["open"], summary["interrupted"]) == (0, False)
    for row in curves["rows"]:
        assert max(row["fgsm"], row["deepfool"]) <= row["exact_high"]
    assert [row["name"] for row in measured["rows"]] == ["fgsm", "deepfool", "exact"]
    with Image.open(picture) as drawn:
        assert drawn.size[0] > 500
    assert sorted(path.name for path in folder.iterdir()) == ["checks.csv", "curves.csv", "measures.csv"]


def test_a_masked_model_warns_with_exit_code_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The staircase of the checks' tests as an .onnx file, on inputs from a .npy file."""
    path, inputs, ramp = tmp_path / "stairs.onnx", tmp_path / "x.npy", 0.01
    first, last = torch.nn.Linear(4, 2), torch.nn.Linear(2, 2)
    with torch.no_grad():
        first.weight[:] = 1 / (4 * ramp)
        first.bias[:] = torch.tensor([-0.5 / ramp, -0.5 / ramp - 1.0])
        last.weight[:], last.bias[:] = torch.tensor([[0.0, 0.0], [1.0, -1.0]]), torch.tensor([0.5, 0.0])
    path.write_bytes(export(torch.nn.Sequential(first, torch.nn.ReLU(), last), torch.rand(5, 4), "stairs", "")[0])
    np.save(inputs, staircase_inputs(4, 8))
    words = ["--eps", "0.1", "--samples", "100", "--queries", "50", "--steps", "10", "--curves", "fgsm", "--quiet"]
    assert run(["diagnose", str(path), str(inputs), *words, "--json"]) == 1
    checks = records(capsys)[0]
    assert {row["check"] for row in checks["rows"] if row["answer"] == "WARNS"} >= {"unbounded", "sampling", "growth"}


def test_text_and_ctrl_c(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    attack = DeepFool.run

    def interrupted(self: DeepFool, problem: AttackProblem) -> None:
        signal.raise_signal(signal.SIGINT)
        attack(self, problem)

    monkeypatch.setattr(DeepFool, "run", interrupted)
    assert run([*UNIVERSAL, "--passes", "1"]) == 130
    assert "interrupted" in capsys.readouterr().out
    assert run([*DIAGNOSE, "--curves", "deepfool"]) == 130
    out = capsys.readouterr().out
    assert "0 of 5 checks warn" in out and "interrupted: what was done by then is shown" in out


def test_exact_distances_outlive_a_ctrl_c(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(FGSM, "prepare", interrupted)
    assert run([*DIAGNOSE, "--index", "0:2", "--exact", "--json"]) == 130
    _, curves, measured, summary = records(capsys)
    network, data = load_zoo("digits_small_standard"), digits_test()
    truth = [distance(network, data.images[k], label=int(data.labels[k])).upper for k in range(2)]
    assert [row["name"] for row in measured["rows"]] == ["exact"] and summary["interrupted"]
    assert measured["rows"][0]["mean_high"] == pytest.approx(np.mean(truth), rel=1e-6)
    for row in curves["rows"]:
        assert row["exact_low"] == row["exact_high"] == 50 * sum(d <= row["eps"] for d in truth)


def test_a_time_limit_shows_what_is_done(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*DIAGNOSE, "--seconds", "0.000001"]) == 2
    assert "0 of 0 checks warn\nthe time was used up" in capsys.readouterr().out
    assert run([*TRANSFER, "--models", "zoo:digits_conv_standard", "--seconds", "0.000001"]) == 2
    assert "The time was used up: what was done by then." in capsys.readouterr().out
    assert run([*UNIVERSAL, "--seconds", "0.000001", "--exact"]) == 2
    assert "its time was used up" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["universal", *MODEL, "--index", "0:2", "--train", "5:6"], "--eps is missing"),
        (["universal", *MODEL, "--index", "0:2", "--eps", "0.1"], "--train"),
        (["universal", *MODEL, "--index", "0:3", "--train", "2:4", "--eps", "0.1"], "share image 2"),
        ([*UNIVERSAL, "--method", "singular", "--layer", "3"], "layers 1 to 2"),
        ([*UNIVERSAL, "--timeout", "1"], "add --exact"),
        ([*UNIVERSAL, "--save", "v.txt"], "must end in .npz"),
        ([*TRANSFER, "--models", "zoo:digits_conv_standard", "--train", "5:6"], "nothing is trained"),
        (["transfer", *MODEL, "--index", "0:2", "--train", "5:6", "--eps", "0.2,0.1"], "ascend"),
        (["transfer", *MODEL, "--index", "0:2", "--train", "5:6", "--eps", "x"], "not a number"),
        (["diagnose", *MODEL, "--index", "0:2"], "--eps is missing"),
        ([*DIAGNOSE, "--curves", "nonsense"], "nonsense"),
        ([*DIAGNOSE, "--out", "/dev/null/tables"], "the folder cannot be made"),
        ([*DIAGNOSE, "--attack", "fgsm"], "fgsm"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(words: list[str], part: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(words) == 3
    out, errors = capsys.readouterr()
    assert out == "" and part in errors and errors.count("\n") == 1
