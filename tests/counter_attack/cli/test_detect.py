"""`counter-attack detect`: answers, comparison with exact distances, pictures, exit codes and mistakes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from counter_attack.attacks import make_attack
from counter_attack.cli import run
from counter_attack.detection import ExactAttack, LineBuffer, Zero, read_pairs, save_buffer
from onnx_models.zoo import digits_test, load_zoo

MODEL = ["detect", "zoo:digits_small_standard", "--dataset", "digits"]
QUICK = [*MODEL, "--index", "0:8", "--attacks", "fgsm", "--quiet"]


@pytest.fixture(scope="module")
def distances() -> tuple[np.ndarray, np.ndarray]:
    """Of the first eight digits: FGSM's and exact ones."""
    network = load_zoo("digits_small_standard")
    x = digits_test().images[:8]
    return make_attack("fgsm")(network, x).distance, ExactAttack()(network, x).upper


def records(capsys: pytest.CaptureFixture[str]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [record["kind"] for record in found] == ["detection"] * (len(found) - 1) + ["detection-summary"]
    return found[:-1], found[-1]


def test_marks_by_distance_and_eps(distances: tuple, capsys: pytest.CaptureFixture[str]) -> None:
    heuristic, exact = distances
    eps = float(np.sort(heuristic)[2])  # equality counts as non-robust
    assert run([*QUICK, "--eps", repr(eps), "--exact", "compute", "--json"]) == 1
    rows, summary = records(capsys)
    assert [row["distance"] for row in rows] == pytest.approx(heuristic)
    assert [row["exact"] for row in rows] == pytest.approx(exact)
    assert [row["non_robust"] for row in rows] == list(heuristic <= eps)
    truth = exact <= eps
    marked = heuristic <= eps
    assert summary["compared"]["true_positives"] == np.sum(truth & marked)
    assert summary["compared"]["false_positives"] == 0
    assert summary["compared"]["false_negatives"] == np.sum(truth & ~marked)
    assert summary["compared"]["f1"] == pytest.approx(2 * np.sum(truth & marked) / (np.sum(truth) + np.sum(marked)))


def test_a_buffer_shifts_the_answers(distances: tuple, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    heuristic, _ = distances
    save_buffer(LineBuffer(Zero(), 0.5, 0.01, 12), tmp_path / "b.json")
    eps = 0.5 * float(np.median(heuristic)) + 0.01
    assert run([*QUICK, "--eps", repr(eps), "--buffer", str(tmp_path / "b.json"), "--json"]) == 1
    rows, summary = records(capsys)
    assert [row["estimate"] for row in rows] == pytest.approx(0.5 * heuristic + 0.01)
    assert [row["non_robust"] for row in rows] == list(0.5 * heuristic + 0.01 <= eps)
    assert summary["non_robust"] == 4 and summary["buffer"]["slope"] == 0.5


def test_exact_attack_is_an_exact_check(distances: tuple, capsys: pytest.CaptureFixture[str]) -> None:
    _, exact = distances
    eps = float(np.mean(np.sort(exact)[3:5]))
    assert run([*MODEL, "--index", "0:8", "--attacks", "exact", "--eps", repr(eps), "--json", "--quiet"]) == 1
    rows, summary = records(capsys)
    assert [row["non_robust"] for row in rows] == list(exact <= eps)
    assert (summary["proved_non_robust"], summary["proved_robust"]) == (4, 4)
    assert run([*MODEL, "--index", "0:2", "--attacks", "exact", "--eps", "0.001", "--quiet"]) == 0
    assert "2 robust, by the search" in capsys.readouterr().out


def test_a_search_cut_short_is_undecided(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["detect", "zoo:digits_conv_adversarial", "--dataset", "digits", "--index", "1", "--quiet"]
    assert run([*words, "--attacks", "exact", "--timeout", "0.000001", "--eps", "0.15"]) == 2
    assert "undecided" in capsys.readouterr().out


def test_table_and_summary_on_stdout_progress_on_stderr(distances: tuple, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*MODEL, "--index", "0:8", "--attacks", "fgsm", "--eps", "0.0001", "--exact", "compute"]) == 0
    out, errors = capsys.readouterr()
    assert "fgsm on 8 inputs (1 of 1)" in errors and "exact distance of index 0 (1 of 8)" in errors
    assert "0 of 8 inputs non-robust at eps 0.0001" in out
    assert "against 8 exact distances: 0 rightly marked, 0 wrongly, 0 missed, 8 rightly passed" in out
    assert sum("robust" in line and "yes" in line for line in out.splitlines()) == 8


def test_exact_distances_from_a_file_and_pairs_into_one(
    distances: tuple, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    heuristic, exact = distances
    truth = tmp_path / "exact.csv"
    truth.write_text("index,exact\n" + "".join(f"{i},{float(exact[i])!r}\n" for i in range(6)) + "6,inf\n")
    pairs = tmp_path / "pairs.csv"
    eps = repr(float(np.median(exact[:6])))
    assert run([*QUICK, "--eps", eps, "--exact", str(truth), "--save-pairs", str(pairs)]) in (0, 1)
    assert "against 7 exact distances" in (out := capsys.readouterr().out)
    assert "of 1 inputs the exact distance is not known" in out
    found = read_pairs(pairs)
    assert found.pairs.heuristic == pytest.approx(heuristic[:6]) and found.pairs.exact == pytest.approx(exact[:6])
    assert found.unknown == 2


def test_pictures(tmp_path: Path, distances: tuple) -> None:
    eps = repr(float(np.median(distances[1])))
    roc, f1 = tmp_path / "roc.png", tmp_path / "f1.png"
    assert run([*QUICK, "--eps", eps, "--exact", "compute", "--roc", str(roc), "--f1", str(f1)]) in (0, 1)
    for path in (roc, f1):
        with Image.open(path) as picture:
            assert picture.size[0] > 400


def test_a_curve_that_cannot_be_drawn_costs_no_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs, f1 = tmp_path / "pairs.csv", tmp_path / "f1.png"
    words = ["--eps", "0", "--exact", "compute", "--save-pairs", str(pairs), "--f1", str(f1), "--json"]
    assert run([*QUICK, *words, "--roc", str(tmp_path / "roc.png")]) == 3
    out, errors = capsys.readouterr()
    assert "all 8 inputs are robust" in errors and errors.count("\n") == 1
    assert len(out.splitlines()) == 9 and len(read_pairs(pairs).pairs) == 8 and f1.exists()


def test_ctrl_c_between_two_searches_keeps_the_answers(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    begun, search = [], ExactAttack.__call__

    def interrupted(*args: Any, **options: Any) -> Any:
        begun.append(args)
        if len(begun) == 3:
            raise KeyboardInterrupt
        return search(*args, **options)

    monkeypatch.setattr(ExactAttack, "__call__", interrupted)
    assert run([*QUICK, "--eps", "0.1", "--exact", "compute", "--json"]) == 130
    rows, summary = records(capsys)
    assert len(rows) == 8 and [row["exact_known"] for row in rows] == [True] * 2 + [False] * 6
    assert summary["compared"]["unknown"] == 6


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
@pytest.mark.parametrize("attack", ["fgsm", "exact"])
def test_a_device_that_is_not_there_is_named(attack: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--attacks", attack, "--device", "cuda", "--eps", "0.1", "--quiet"]
    assert run([*MODEL, "--index", "0:2", *words]) == 3
    assert "--device cuda cannot be used" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ([], "Give the radius"),
        (["--eps", "-1"], "at least 0"),
        (["--eps", "0.1", "--roc", "r.png"], "--roc needs exact distances"),
        (["--eps", "0.1", "--save-pairs", "p.csv"], "--save-pairs needs exact distances"),
        (["--eps", "0.1", "--exact", "compute", "--f1", "/nowhere/f.png"], "no such folder"),
        (["--eps", "0.1", "--buffer", "none.json"], "none.json: the buffer cannot be read"),
        (["--eps", "0.1", "--exact", "none.csv"], "none.csv"),
        (["--eps", "0.1", "--attacks", "exact,pgd"], "stands alone"),
        (["--eps", "0.1", "--attacks", "exact", "--parameters", "strong"], "no effect with --attacks exact"),
        (["--eps", "0.1", "--timeout", "3"], "there are none"),
        (["--eps", "0.1", "--attacks", "nonsense"], "nonsense"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(words: list[str], part: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*MODEL, "--index", "0:2", "--quiet", *words]) == 3
    out, errors = capsys.readouterr()
    assert out == "" and part in errors and errors.count("\n") == 1
