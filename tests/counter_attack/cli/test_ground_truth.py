"""`counter-attack ground-truth`: tables, files, open points, Ctrl-C and mistakes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from counter_attack.cli import _ground_truth, _ground_truth_report, run
from counter_attack.cli._inputs import InputArguments, Opened
from counter_attack.ground_truth import GroundTruth
from mipverify_py import Targets, distance
from onnx_models.errors import InputError
from onnx_models.zoo import digits_test, load_zoo
from tests.helpers.queries import line_classifier

COMMAND = ["ground-truth", "zoo:digits_small_standard", "--dataset", "digits", "--quiet"]
QUICK = [*COMMAND, "--index", "0", "--attacks", "deepfool", "--norms", "linf"]


def records(capsys: pytest.CaptureFixture[str]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for line in capsys.readouterr().out.splitlines():
        record = json.loads(line)
        found.setdefault(record["kind"] if record["kind"] != "table" else record["name"], []).append(record)
    return found


@pytest.mark.slow
def test_points_tables_and_files_of_two_models(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, plot = tmp_path / "points.parquet", tmp_path / "points.png"
    other = ["--against", "zoo:digits_small_adversarial", "--out", str(out), "--plot", str(plot), "--json"]
    assert run([*QUICK, *other]) == 0
    found = records(capsys)
    points = found["ground-truth-point"]
    assert len(points) == 18 and {p["network"] for p in points} == {"digits-small-standard", "digits-small-adversarial"}
    network, image, label = load_zoo("digits_small_standard"), digits_test().images[0], int(digits_test().labels[0])
    for point in points[:3]:
        targets = Targets.only(point["target"], winning=True)
        truth = distance(network, image, label=label, targets=targets)
        assert point["upper"] == pytest.approx(truth.upper, rel=2e-5) and point["upper"] <= point["attack"]
    (rows,) = (table["rows"] for table in found["ground-truth"])
    assert [row["points"] for row in rows] == [9, 9]
    ends = [(p["attack"], p["upper"]) for p in points[:9] if p["attack"] is not None]
    attack, truth_mean = (sum(column) / len(ends) for column in zip(*ends, strict=True))
    assert rows[0]["improvement_all"] == pytest.approx(100 * (attack - truth_mean) / attack)
    (compared,) = found["comparison"][0]["rows"]
    assert compared["points"] == 9 and compared["better"] + compared["worse"] <= 9
    assert found["phases"][0]["rows"][0]["units"] == network.nodes[network.relu_indices[0]].size
    assert found["ground-truth-summary"][0]["open"] == 0
    frame = pd.read_parquet(out)
    assert frame["upper"].tolist() == [p["upper"] for p in points]
    with Image.open(plot) as picture:
        assert picture.format == "PNG"


def test_text_and_csv(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "points.csv"
    assert run([*QUICK, "--reaches", "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert "9 of 9 exact searches ended by themselves" in text and "digits-small-standard" in text
    assert len(pd.read_csv(out)) == 9


def test_open_points_are_listed_and_end_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    slow = [*COMMAND, "--index", "0", "--norms", "linf", "--attacks", "deepfool", "--timeout", "0.0001"]
    assert run(slow) == 2
    text = capsys.readouterr().out
    assert "0 of 9 exact searches ended" in text and text.count("open: ") == 9 and "(time limit)" in text


def test_an_interruption_shows_what_is_done(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = GroundTruth.__call__

    def two(self: GroundTruth, *given: Any, **named: Any) -> Any:
        for count, point in enumerate(plain(self, *given, **named)):
            if count == 2:
                raise KeyboardInterrupt
            yield point

    monkeypatch.setattr(GroundTruth, "__call__", two)
    out = tmp_path / "points.csv"
    assert run([*QUICK, "--out", str(out)]) == 130
    assert "interrupted: what was found by then is shown" in capsys.readouterr().out
    assert len(pd.read_csv(out)) == 2


def test_a_file_that_cannot_be_written_leaves_the_tables(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise InputError("the disk is full")

    monkeypatch.setattr(_ground_truth_report, "save", full)
    assert run([*QUICK, "--out", str(tmp_path / "points.csv")]) == 3
    captured = capsys.readouterr()
    assert "9 of 9 exact searches ended" in captured.out and "the disk is full" in captured.err


def test_targets_that_no_input_reaches_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny = ["--domain", str(tmp_path / "point.npz"), "--reaches", "--json"]
    image = digits_test().images[0].ravel()
    np.savez(tmp_path / "point.npz", lower=image, upper=image)
    assert run([*QUICK, *tiny]) == 0
    (summary,) = records(capsys)["ground-truth-summary"]
    assert summary["without_example"] == summary["terminated"] == 9
    assert run([*QUICK, *tiny[:-1]]) == 0
    assert "9 of them: no input of the domain reaches the target" in capsys.readouterr().out


def test_models_of_other_classes_are_not_compared(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = InputArguments.open

    def other(self: InputArguments) -> Opened:
        opened = plain(self)
        return replace(opened, network=line_classifier()) if "adversarial" in opened.model else opened

    monkeypatch.setattr(InputArguments, "open", other)
    assert run([*QUICK, "--against", "zoo:digits_small_adversarial"]) == 3
    assert "have 10, 2 classes; only like can be compared" in capsys.readouterr().err


def test_the_default_attacks_are_those_that_the_help_names() -> None:
    assert set(_ground_truth.DEFAULT_ATTACKS) == {"linf", "l1", "l2"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--norms", "l3"], "--norms l3: choose from linf, l1, l2"),
        (["--norms", "linf,l1", "--attacks", "cw,fab,fmn"], "names 3 attacks for 2 norms"),
        (["--norms", "l1", "--attacks", "cw"], "does not work in l1"),
        (["--tolerance", "0.1"], "--tolerance is for --method bisect"),
        (["--engine", "cuts"], "knows only --norms linf"),
        (["--out", "points.txt"], "must end in .csv or .parquet"),
        (["--plot", "points.pdf"], "must end in .png"),
        (["--label", "17"], "the model's classes are 0 to 9"),
        (["--against", "nowhere.onnx"], "nowhere.onnx"),
        (["--against", "zoo:digits_small_standard"], "Two models are called digits-small-standard"),
    ],
)
def test_mistakes_are_told_in_one_line(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*COMMAND, "--index", "0", *words]) == 3
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1
