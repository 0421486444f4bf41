"""`counter-attack compare`: figures against exact distances, the table for ug100, the picture, Ctrl-C and mistakes."""

from __future__ import annotations

import csv
import io
import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from counter_attack.attacks import AttackProblem, DeepFool, make_attack
from counter_attack.cli import _compare, run
from counter_attack.detection import ExactAttack, read_exact, read_pairs
from counter_attack.ug100 import read_distances
from mipverify_py import distance
from onnx_models.zoo import digits_test, load_zoo

COUNT = 6
MODEL = ["compare", "zoo:digits_small_standard", "--dataset", "digits"]
QUICK = [*MODEL, "--index", f"0:{COUNT}", "--attacks", "fgsm,deepfool", "--quiet"]
IMAGES = digits_test().images[:COUNT]


@pytest.fixture(scope="module")
def exact() -> np.ndarray:
    network = load_zoo("digits_small_standard")
    return np.array([distance(network, image).upper for image in IMAGES])


@pytest.fixture
def truth(exact: np.ndarray, tmp_path: Path) -> str:
    path = tmp_path / "exact.csv"
    path.write_text("index,exact\n" + "".join(f"{i},{t!r}\n" for i, t in enumerate(exact.tolist())))
    return str(path)


def records(capsys: pytest.CaptureFixture[str]) -> tuple[dict[str, list[dict[str, Any]]], dict[str, Any]]:
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert found[-1]["kind"] == "compare-summary"
    return {table["name"]: table["rows"] for table in found[:-1]}, found[-1]


def figures(a: np.ndarray, t: np.ndarray) -> dict[str, float]:
    """The definitions, written out."""
    return {
        "difference": 100 * (np.mean(a) - np.mean(t)) / np.mean(t),
        "below": 100 * np.mean(np.abs(t - a) < 1 / 255),
        "r2": np.corrcoef(a, t)[0, 1] ** 2,
    }


def test_figures_are_those_of_the_definitions(
    exact: np.ndarray, truth: str, capsys: pytest.CaptureFixture[str]
) -> None:
    network = load_zoo("digits_small_standard")
    fgsm, deepfool = (make_attack(name)(network, IMAGES).distance for name in ("fgsm", "deepfool"))
    assert run([*QUICK, "--exact", truth, "--json"]) == 0
    tables, summary = records(capsys)
    assert (summary["exact"], summary["open"], summary["below_lower"]) == (COUNT, 0, 0)
    pool = np.minimum(fgsm, deepfool)
    for row, a in zip(tables["attacks"], (pool, fgsm, deepfool), strict=True):
        assert {key: row[key] for key in ("difference", "below", "r2")} == pytest.approx(figures(a, exact))
    dropped = {row["dropped"]: row for row in tables["drop-one"]}
    assert dropped["fgsm"]["r2"] == pytest.approx(figures(deepfool, exact)["r2"])
    assert dropped["deepfool"]["alone"] == np.sum(deepfool < fgsm)
    best = max(figures(fgsm, exact)["r2"], figures(deepfool, exact)["r2"])
    assert [row["size"] for row in tables["pools"]] == [1, 2] and tables["pools"][0]["r2"] == pytest.approx(best)
    assert tables["wins"][0] == {"attack": "fgsm", "deepfool": int(np.sum(fgsm < deepfool))}


def test_computed_distances_finishing_and_the_files(
    exact: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, plot = tmp_path / "table.csv", tmp_path / "plot.png"
    assert run([*QUICK, "--finish", "--out", str(out), "--plot", str(plot)]) == 0
    assert f"{COUNT} of {COUNT} inputs have an exact distance and count" in capsys.readouterr().out
    frame = read_distances(out)
    assert set(frame["attack"]) == {"fgsm", "deepfool", "finish"} and len(frame) == 3 * COUNT
    assert set(frame["configuration"]) == {"digits-small-standard"} and set(frame["attack_set"]) == {"default"}
    ends = frame.drop_duplicates("index")
    assert np.all(ends["lower"] <= exact * (1 + 1e-5)) and np.all(ends["upper"] >= exact * (1 - 1e-5))
    known = read_exact(out)
    assert [known[i] for i in range(COUNT)] == pytest.approx(exact, rel=2e-5)
    assert len(read_pairs(out).pairs) == COUNT
    with Image.open(plot) as picture:
        assert picture.size[0] > 400
    assert run(["ug100", "tables", str(out), "--table", "configurations", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert (row["images_converged"], row["architecture"], row["training"]) == (COUNT, "small", "standard")
    # The same table as the source of exact distances of another run.
    assert run([*QUICK, "--exact", str(out), "--json"]) == 0
    assert records(capsys)[1]["exact"] == COUNT


def test_a_search_cut_short_leaves_an_open_bracket(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "table.csv"
    words = ["compare", "zoo:digits_conv_adversarial", "--dataset", "digits", "--index", "1", "--quiet"]
    assert run([*words, "--attacks", "fgsm,deepfool", "--timeout", "0.000001", "--out", str(out)]) == 2
    shown = capsys.readouterr().out
    assert "0 of 1 inputs have an exact distance" in shown and "of 1 the exact distance is not known" in shown
    rows = list(csv.DictReader(io.StringIO(out.read_text())))
    assert [row["attack"] for row in rows] == ["fgsm", "deepfool"] and all(row["distance"] for row in rows)
    assert all(not row["upper"] or float(row["lower"]) < float(row["upper"]) for row in rows)


def test_distances_of_other_inputs_are_refused_before_any_attack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "exact.csv"
    path.write_text("index,exact\n399,0.1\n")
    monkeypatch.setattr("counter_attack.pool.Pool.__call__", lambda *_, **__: pytest.fail("an attack ran"))
    assert run([*QUICK, "--exact", str(path)]) == 3
    assert capsys.readouterr().err.count("\n") == 1


def test_inputs_without_an_exact_distance_do_not_count(
    exact: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "exact.csv"
    path.write_text("index,exact\n" + "".join(f"{i},{exact[i]}\n" for i in range(3)) + "3,inf\n")
    assert run([*QUICK, "--exact", str(path), "--json"]) == 2
    tables, summary = records(capsys)
    assert (summary["exact"], summary["no_example"], summary["open"]) == (3, 1, 2)
    assert summary["below_lower"] == 2  # both attacks found an example where there is said to be none
    assert tables["attacks"][0]["images"] == 3


def test_ctrl_c_in_the_search_keeps_what_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    begun, search = [], ExactAttack.__call__

    def third_is_interrupted(self: ExactAttack, *arguments: Any, **options: Any) -> Any:
        begun.append(1)
        if len(begun) == 3:
            signal.raise_signal(signal.SIGINT)
        return search(self, *arguments, **options)

    monkeypatch.setattr(ExactAttack, "__call__", third_is_interrupted)
    out = tmp_path / "table.csv"
    assert run([*QUICK, "--out", str(out)]) == 130
    shown = capsys.readouterr().out
    assert "of 4 the exact distance is not known" in shown and "interrupted" in shown
    frame = read_distances(out)
    assert len(frame) == 2 * COUNT and frame["upper"].notna().sum() == 4


def test_ctrl_c_in_an_attack_keeps_complete_batches(
    truth: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    attack, begun = DeepFool.run, []

    def third_is_interrupted(self: DeepFool, problem: AttackProblem) -> None:
        begun.append(1)
        if len(begun) == 3:
            signal.raise_signal(signal.SIGINT)
        attack(self, problem)

    monkeypatch.setattr(DeepFool, "run", third_is_interrupted)
    assert run([*QUICK, "--exact", truth, "--batch-size", "2", "--json"]) == 130
    summary = records(capsys)[1]
    assert (summary["attacked"], summary["exact"], summary["interrupted"]) == (4, 4, True)
    begun.clear()
    assert run([*QUICK, "--exact", "compute", "--batch-size", "2"]) == 130
    assert "interrupted: 4 inputs were attacked" in capsys.readouterr().out


def test_sets_give_their_name(tmp_path: Path, truth: str) -> None:
    own, out = tmp_path / "mine.toml", tmp_path / "t.csv"
    own.write_text("[attacks.fgsm]\n")
    words = [*MODEL, "--index", "0:2", "--quiet", "--exact", truth, "--out", str(out)]
    assert run([*words, "--attacks", str(own), "--configuration", "digits-b-relu"]) == 0
    frame = read_distances(out)
    assert set(frame["attack_set"]) == {"mine"} and set(frame["configuration"]) == {"digits-b-relu"}
    assert _compare.CompareArguments(parameters="balanced-mnist")._attack_set() == "balanced-mnist"


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--exact", "none.csv"], "none.csv"),
        (["--exact", "none.csv", "--timeout", "3"], "there are none"),
        (["--out", "table.txt"], "must end in .csv"),
        (["--plot", "plot.jpg"], "must end in .png"),
        (["--out", "/nowhere/t.csv"], "no such folder"),
        (["--attacks", "nonsense"], "nonsense"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(words: list[str], part: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*MODEL, "--index", "0:2", "--quiet", *words]) == 3
    out, errors = capsys.readouterr()
    assert out == "" and part in errors and errors.count("\n") == 1
