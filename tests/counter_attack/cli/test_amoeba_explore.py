"""`counter-attack amoeba map` and `attack`: what they read, show and save, Ctrl-C and mistakes."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from counter_attack.amoeba import AsymmetricBox, GuidedAttack
from counter_attack.attacks import FGSM, PGD, CarliniWagnerL2
from counter_attack.cli import run
from counter_attack.detection import ExactAttack
from mipverify_py import Norm
from onnx_models.errors import InputError
from onnx_models.zoo import load_zoo
from tests.helpers.attacks import digits

MODEL = "zoo:digits_small_standard"
NETWORK = load_zoo("digits_small_standard")
IMAGES = digits(4)
INDICES = [3, 5, 8, 9]
BOXES = [
    AsymmetricBox.clipped(x, *both)
    for x, both in zip(IMAGES, np.random.default_rng(0).uniform(0.01, 0.6, (4, 2, 64)), strict=True)
]
QUICK = """
[attacks.fgsm]
[attacks.cw]
steps = 10
const = 1.0
max_const = 2.0
tau = 0.3
min_tau = 0.25
[attacks.cw-l2]
norm = "l2"
steps = 10
lr = 0.1
binary_search_steps = 2
"""


def saved(path: Path, **changes: Any) -> str:
    """A file as `amoeba box --save` writes it."""
    arrays = {
        "index": np.array(INDICES),
        "shape": np.array(["asymmetric"] * 4),
        "bounds": np.array(["crown"] * 4),
        "class": NETWORK.forward_batch(IMAGES).argmax(axis=1),
        "maximal": np.zeros(4, dtype=bool),
        "digest": np.array(NETWORK.digest),
        **{name: np.stack([getattr(box, name) for box in BOXES]) for name in ("x", "e1", "e2")},
    }
    np.savez(path, **{name: value for name, value in (arrays | changes).items() if value is not None})
    return str(path)


@pytest.fixture
def file(tmp_path: Path) -> str:
    return saved(tmp_path / "boxes.npz")


def tables(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_map_lists_features_and_draws_pictures(file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    maps, stability, out = tmp_path / "maps.png", tmp_path / "stability.png", tmp_path / "out"
    words = ["--maps", str(maps), "--stability", str(stability), "--out", str(out)]
    assert run(["amoeba", "map", MODEL, file, *words, "--json", "--quiet"]) == 0
    found = tables(capsys)
    assert [table["name"] for table in found] == [f"features-{i}" for i in INDICES]
    for table, box in zip(found, BOXES, strict=True):
        assert {row["feature"]: row["skew"] for row in table["rows"]} == dict(enumerate((box.e2 - box.e1).tolist()))
        assert (out / f"{table['name']}.csv").is_file()
    for path in (maps, stability):
        with Image.open(path) as image:
            assert image.format == "PNG" and min(image.size) > 100


def test_map_shows_so_many_rows_of_the_inputs_chosen(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["amoeba", "map", MODEL, file, "--index", "8,3", "--rows", "2"]) == 0
    out = capsys.readouterr().out
    assert out.index("Input 8:") < out.index("Input 3:") and out.count("... and 62 more") == 2
    assert "Input 5:" not in out


def test_attack_gives_the_figures_of_guided_attacks(
    file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parameters, out = tmp_path / "quick.toml", tmp_path / "table.csv"
    words = ["--attacks", "fgsm,cw", "--norm", "linf,l2", "--percent", "30", "--signs", "on,off"]
    words = [*words, "--parameters", str(parameters), "--out", str(out)]
    cw = CarliniWagnerL2(steps=10, lr=0.1, binary_search_steps=2)
    parameters.write_text(QUICK)
    assert run(["amoeba", "attack", MODEL, file, *words, "--json", "--quiet"]) == 0
    (table,) = tables(capsys)
    rows = {(row["attack"], row["norm"], row["guidance"]): row for row in table["rows"]}
    assert len(rows) == 12
    for attack in (FGSM(), FGSM(norm=Norm.L2), cw):
        for how, name in (
            (GuidedAttack(attack, 100, signs=False), "plain"),
            (GuidedAttack(attack, 30), "30 %, signs"),
            (GuidedAttack(attack, 30, signs=False), "30 %"),
        ):
            found = how(NETWORK, BOXES)
            row = rows[attack.name, attack.norm.value, name]
            assert row["success"] == 100 * found.success.mean()
            if found.success.any():
                expected = np.nanmean(found.distance)
                assert row[attack.norm.value] == pytest.approx(expected)
    with out.open() as stream:
        assert [row["guidance"] for row in csv.DictReader(stream)] == [row["guidance"] for row in table["rows"]]


def test_attack_within_a_radius_beside_the_exact_search(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--attacks", "fgsm", "--percent", "50", "--eps", "0.3", "--exact", "--json", "--quiet"]
    assert run(["amoeba", "attack", MODEL, file, *words]) == 0
    (table,) = tables(capsys)
    fgsm, exact = table["rows"][:2], table["rows"][2:]
    for mine, truth, percent, signs in zip(fgsm, exact, (100, 50), (False, True), strict=True):
        assert truth["open"] == 0 and mine["success"] <= truth["success"]
        distance = GuidedAttack(ExactAttack(), percent, signs)(NETWORK, BOXES).distance
        assert truth["success"] == 100 * np.mean(np.nan_to_num(distance, nan=np.inf) <= 0.3)


def test_searches_that_a_limit_leaves_open_are_told_by_the_exit_code(file: str) -> None:
    words = ["--attacks", "fgsm", "--percent", "50", "--exact", "--timeout", "1e-9", "--quiet"]
    assert run(["amoeba", "attack", MODEL, file, *words]) == 2


def test_ctrl_c_keeps_what_is_done(
    file: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(PGD, "prepare", interrupted)
    assert (
        run(["amoeba", "attack", MODEL, file, "--attacks", "fgsm,pgd", "--percent", "50", "--json", "--quiet"]) == 130
    )
    (table,) = tables(capsys)
    assert [(row["attack"], row["finished"]) for row in table["rows"]] == [
        ("fgsm", True),
        ("fgsm", True),
        ("pgd", False),
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["attack", MODEL, "BOXES", "--attacks", "fab"], "--attacks fab: is unknown"),
        (["attack", MODEL, "BOXES", "--percent", "0"], "above 0 and at most 100"),
        (["attack", MODEL, "BOXES", "--signs", "maybe"], "--signs maybe: is unknown"),
        (["attack", MODEL, "BOXES", "--norm", "l1"], "--norm l1: is unknown"),
        (["attack", MODEL, "BOXES", "--timeout", "3"], "add --exact"),
        (["attack", MODEL, "BOXES", "--out", "a.txt"], "must end in .csv"),
        (["map", MODEL, "BOXES", "--maps", "a.jpg"], "must end in .png"),
        (["map", MODEL, "BOXES", "--index", "4"], "no such box for index 4; it has 3, 5, 8, 9"),
        (["map", MODEL, "BOXES", "--index", "77"], "out of range"),
        (["map", MODEL, "BOXES", "--shape", "uniform"], "no certified box"),
        (["map", "zoo:digits_dense_standard", "BOXES"], "another model"),
        (["map", MODEL, "missing.npz"], "cannot be read"),
    ],
)
def test_mistakes_are_one_line(words: list[str], message: str, file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["amoeba", *(file if word == "BOXES" else word for word in words)]) == 3
    errors = capsys.readouterr().err
    assert message in errors and errors.strip().count("\n") == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"e1": None}, "holds no boxes"),
        ({"e1": np.zeros((3, 64))}, "holds no boxes"),
        ({"class": np.array(["6"] * 4)}, "holds no boxes"),
        ({"shape": np.array(["asymmetric", "uniform"] * 2)}, "several kinds: asymmetric, crown; uniform, crown"),
    ],
)
def test_files_of_another_form(
    changes: dict[str, Any], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["amoeba", "map", MODEL, saved(tmp_path / "boxes.npz", **changes)]) == 3
    assert message in capsys.readouterr().err


def test_files_that_are_no_archives(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty, single, text = (tmp_path / name for name in ("empty.npz", "single.npz", "text.npz"))
    empty.touch()
    with single.open("wb") as stream:
        np.save(stream, np.zeros(3))
    text.write_text("index\n")
    for path in (empty, single, text):
        assert run(["amoeba", "map", MODEL, str(path)]) == 3
        assert "holds no boxes" in capsys.readouterr().err


def test_a_table_that_cannot_be_saved_is_shown(
    file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise InputError("no space left")

    monkeypatch.setattr("counter_attack.training._files.write_whole", full)
    words = ["--attacks", "fgsm", "--percent", "50", "--out", str(tmp_path / "table.csv"), "--quiet"]
    assert run(["amoeba", "attack", MODEL, file, *words]) == 3
    shown = capsys.readouterr()
    assert "Guided attacks" in shown.out and "no space left" in shown.err
