"""`counter-attack reductions`: its answers against the library, its files, exit codes and mistakes."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from counter_attack.attacks import make_attack
from counter_attack.cli import run
from counter_attack.cli._app import command
from counter_attack.detection import LineBuffer, Zero, save_buffer
from counter_attack.reductions import (
    DATA_SETS,
    classifier_from_detector,
    detection_risk,
    detector_from_classifier,
    robust_risk,
    threshold_detector,
)
from mipverify_py import distance
from onnx_models.zoo import digits_test, load_zoo

NAME = "digits_small_standard"
MODEL = [f"zoo:{NAME}", "--dataset", "digits", "--index", "0:4", "--quiet"]


def records(capsys: pytest.CaptureFixture[str]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    table, summary = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert table["kind"] == "table" and summary["kind"] == f"reductions-{table['name']}"
    return table["rows"], summary


def test_detector(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network, x = load_zoo(NAME), digits_test().images[:4]
    upper = [distance(network, row).upper or np.inf for row in x]
    eps = float(np.sort(upper)[1]) * 2.001  # two of four within eps / 2
    out = tmp_path / "table.csv"
    assert run(["reductions", "detector", *MODEL, "--eps", repr(eps), "--json", "--out", str(out)]) == 1
    rows, summary = records(capsys)
    truth = detector_from_classifier(network, eps)(x).answers
    assert [row["answer"] for row in rows] == [one.answer.value for one in truth]
    assert (summary["accepted"], summary["rejected"], summary["open"]) == (2, 2, 0)
    expected = robust_risk(network, x, digits_test().labels[:4], eps / 2)
    assert summary["risk"] == {"least": expected.least, "most": expected.most, "count": 4}
    saved = list(csv.DictReader(out.read_text().splitlines()))
    assert [row["answer"] for row in saved] == [row["answer"] for row in rows]


def test_detector_with_attacks_and_a_buffer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = make_attack("fgsm")(load_zoo(NAME), digits_test().images[:4]).distance
    save_buffer(LineBuffer(Zero(), 0.5, 0.0, 12), tmp_path / "b.json")
    eps = float(np.sort(found)[1])  # with the buffer, those with distance / 2 <= eps / 2
    words = ["--eps", repr(eps), "--attacks", "fgsm", "--buffer", str(tmp_path / "b.json")]
    assert run(["reductions", "detector", *MODEL, *words, "--json"]) == 1
    rows, summary = records(capsys)
    assert [row["answer"] == "rejected" for row in rows] == list(found <= eps)
    assert "risk" not in summary and not any(row["proved"] for row in rows)


def test_detector_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["reductions", "detector", *MODEL, "--eps", "1/500"]) == 0
    text = capsys.readouterr().out
    assert "eps/2 = 0.001" in text and "4 accepted of 4 inputs" in text and "risk with detection" in text


def test_a_time_limit_leaves_answers_open(capsys: pytest.CaptureFixture[str]) -> None:
    distances = distance(load_zoo(NAME), digits_test().images[0])
    assert distances.upper is not None and distances.lower is not None
    middle = repr(distances.lower + distances.upper)
    words = [f"zoo:{NAME}", "--dataset", "digits", "--index", "0", "--eps", middle, "--timeout", "1e-3"]
    assert run(["reductions", "detector", *words, "--quiet"]) == 2
    assert "1 open of 1 inputs" in capsys.readouterr().out


def test_classifier(capsys: pytest.CaptureFixture[str]) -> None:
    network, x = load_zoo(NAME), digits_test().images[:4]
    level = float(np.median(network.forward_batch(x).max(axis=1)))
    assert run(["reductions", "classifier", *MODEL, "--eps", "0.2", "--threshold", repr(level), "--json"]) == 0
    rows, summary = records(capsys)
    truth = classifier_from_detector(threshold_detector(network, level), 0.2)(x).answers
    assert [(row["status"], row["class"]) for row in rows] == [(one.status.value, one.label) for one in truth]
    assert [row["detector"] == "rejected" for row in rows] == [one.upper > 0 for one in truth]
    assert summary["decided"] == 4


def test_classifier_of_a_network_whose_output_means_rejection(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["reductions", "classifier", *MODEL, "--eps", "0.01", "--reject", "6"]) == 0
    text = capsys.readouterr().out
    assert "rejected" in text and "empty" in text  # the first digit is a 6


def test_risk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network, data = load_zoo(NAME), digits_test()
    out, plot = tmp_path / "risks.csv", tmp_path / "risks.png"
    words = ["--eps", "0.1,1/20", "--threshold", "3", "--out", str(out), "--plot", str(plot), "--json"]
    assert run(["reductions", "risk", *MODEL, *words]) == 0
    rows, _ = records(capsys)
    assert [row["eps"] for row in rows] == [0.05, 0.1]
    for row in rows:
        g, x, y = threshold_detector(network, 3.0), data.images[:4], data.labels[:4]
        truth = detection_risk(g, x, y, row["eps"])
        assert row["detection_risk_lower"] == row["detection_risk_upper"] == float(truth.risk.lower)
        assert row["bound_upper"] == float(truth.bound.upper)
        assert row["model_risk_lower"] == float(robust_risk(network, x, y, row["eps"] / 2).lower)
        assert row["decoder_risk_lower"] <= row["decoder_risk_upper"] <= row["detection_risk_upper"]
    assert len(list(csv.DictReader(out.read_text().splitlines()))) == 2
    with Image.open(plot) as picture:
        assert picture.size[0] > 300


def test_risk_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["reductions", "risk", *MODEL, "--eps", "0.01", "--threshold", "-100"]) == 0
    assert "Risks of 4 inputs in percent" in capsys.readouterr().out


def test_claim(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["reductions", "claim", "--eps", "16/255", "--fpr", "0.05", "--fnr", "1/50", "--accuracy", "0.95"]
    assert run([*words, "--data", "cifar10", "--json", "--out", str(tmp_path / "claim.csv")]) == 0
    rows, summary = records(capsys)
    assert summary["implied_accuracy"] == 0.88 and summary["implied_eps"] == pytest.approx(8 / 255)
    assert [row["verdict"] for row in rows] == ["beyond it", "beyond it"]
    assert (tmp_path / "claim.csv").read_text().count("\n") == 3
    assert run(words) == 0
    text = capsys.readouterr().out
    assert "at least 88.00 %" in text and "8/255" in text and "No data set" in text


def test_claims_can_be_about_every_data_set_with_known_results(capsys: pytest.CaptureFixture[str]) -> None:
    for name in DATA_SETS:
        words = ["--eps", "1", "--fpr", "0", "--fnr", "0", "--accuracy", "1", "--data", name]
        assert run(["reductions", "claim", *words]) == 0
        assert "beyond it" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "detector, classifier, risk or claim"),
        (["detector", *MODEL], "--eps 0.2"),
        (["classifier", *MODEL], "--eps 0.2"),
        (["risk", *MODEL], "--eps 0.05,0.1,0.2"),
        (["detector", *MODEL, "--eps", "-1"], "at least 0"),
        (["detector", *MODEL, "--eps", "1/0"], "not a number"),
        (["detector", *MODEL, "--eps", "1e400"], "not allowed"),
        (["risk", *MODEL, "--eps", "0.1,nan"], "not allowed"),
        (["detector", *MODEL, "--eps", "0.1", "--buffer", "b.json"], "--attacks"),
        (["detector", *MODEL, "--eps", "0.1", "--out", "x.txt"], ".csv"),
        (["classifier", *MODEL, "--eps", "0.1", "--threshold", "1", "--reject", "0"], "one of them"),
        (["classifier", *MODEL, "--eps", "0.1", "--reject", "99"], "0 to 9"),
        (["risk", *MODEL, "--eps", "0.1", "--plot", "x.pdf"], ".png"),
        (["claim", "--eps", "0", "--fpr", "0", "--fnr", "0", "--accuracy", "1"], "above 0"),
        (["claim", "--eps", "1e999999999", "--fpr", "0", "--fnr", "0", "--accuracy", "1"], "not allowed"),
        (["claim", "--eps", "1", "--fpr", "5", "--fnr", "0", "--accuracy", "1"], "between 0 and 1"),
    ],
)
def test_mistakes_end_in_one_line(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["reductions", *words]) == 3
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_the_commands_are_listed() -> None:
    assert "reductions" in command().list_commands(None)
