"""Mistakes: each gets exit code 3, one clear line on stderr, nothing on stdout, and no traceback."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

import pytest

from mipverify_py.cli import ExitCode, run

MISTAKES = {
    # the command line itself
    "no model": ("--eps 0.1", "No model is given; name an .onnx file or zoo:NAME"),
    "no input": ("model.onnx", "No input is given; name a file"),
    "too many words": ("model.onnx x.npy x.csv", "unexpected extra argument"),
    "unknown option": ("model.onnx x.npy --epsilon 1", "No such option: --epsilon"),
    "option without its value": ("model.onnx x.npy --eps", "'--eps' requires an argument"),
    "eps in words": ("model.onnx x.npy --eps small", "'--eps': 'small' is not a number; it must be a radius"),
    "eps negative": ("model.onnx x.npy --eps -0.1", "-0.1 is not allowed; it must be a radius that is at least"),
    "eps nan": ("model.onnx x.npy --eps nan", "nan is not allowed; it must be a radius that is at least 0"),
    "eps infinite": ("model.onnx x.npy --eps inf", "inf is not allowed; it must be a radius"),
    "margin infinite": ("model.onnx x.npy --margin -inf", "'--margin': -inf is not allowed; it must be a finite"),
    "label in words": ("model.onnx x.npy --label cat", "'cat' is not a whole number; it must be a zero-based"),
    "label negative": ("model.onnx x.npy --label -1", "-1 is not allowed; it must be a zero-based class"),
    "target not a class": ("model.onnx x.npy --target 1,b", "'1,b' is not a class or a comma list of classes"),
    "target and not-target": (
        "model.onnx x.npy --target 1 --not-target 2",
        "--target and --not-target exclude each other",
    ),
    "index in words": ("model.onnx x.npy --index first", "'first' is not a list of indices; write single ones"),
    "index negative": ("model.onnx x.npy --index -1", "'-1' is not a list of indices"),
    "index with a step": ("model.onnx x.npy --index 0:10:2", "'0:10:2' is not a list of indices"),
    "index backwards": ("model.onnx x.npy --index 3:2", "the range '3:2' selects nothing"),
    "index empty": ("model.onnx x.npy --index ''", "'' is not a list of indices"),
    "index without input": ("model.onnx --inspect --index 0", "--index needs an input file or a --dataset"),
    "unknown data set": ("model.onnx --dataset svhn", "'svhn' is unknown; choose from digits, mnist, cifar10"),
    "data set without index": ("model.onnx --dataset digits", "--dataset needs --index"),
    "data set and file": ("model.onnx x.npy --dataset digits --index 0", "INPUT and --dataset exclude each other"),
    "mnist without folder": ("model.onnx --dataset mnist --index 0", "say with --data-dir where its files"),
    "digits with folder": (
        "model.onnx --dataset digits --index 0 --data-dir folder",
        "--dataset digits is bundled and takes no --data-dir",
    ),
    "folder without data set": ("model.onnx x.npy --data-dir folder", "--data-dir needs --dataset mnist"),
    "missing folder": (
        "model.onnx --dataset mnist --index 0 --data-dir absent",
        "--data-dir absent: there is no such folder",
    ),
    "unknown backend": ("model.onnx x.npy --backend cplex", "'cplex' is unknown; choose from highs, scip, cbc"),
    "unknown engine": ("model.onnx x.npy --engine sat", "'sat' is unknown; choose from auto, cuts, duals, boxes, mip"),
    "unknown tightening": ("model.onnx x.npy --tightening sdp", "'sdp' is unknown; choose from interval, linear"),
    "timeout zero": ("model.onnx x.npy --timeout 0", "0 is not allowed; it must be a number of seconds above 0"),
    "gap of one": ("model.onnx x.npy --gap 1", "'--gap': 1 is not allowed; it must be at least 0 and below 1"),
    "backend of no use": ("model.onnx x.npy --backend scip", "--backend scip is for --engine mip; add that"),
    "tightening of no use": ("model.onnx x.npy --tightening mip", "--tightening mip is for --engine mip; add that"),
    "jobs zero": ("model.onnx x.npy --jobs 0", "'--jobs': 0 is not allowed; it must be at least 1"),
    "jobs in words": ("model.onnx x.npy --jobs all", "'--jobs': 'all' is not a whole number"),
    "unknown device": ("model.onnx x.npy --device gpu", "'gpu' is unknown; choose from cpu, cuda, or cuda:1"),
    "device that is not there": ("model.onnx x.npy --device cuda:99", "--device cuda:99: torch"),
    "inspect and replay": ("model.onnx --inspect --replay", "--inspect searches no proof; leave out --replay"),
    "threads zero": ("model.onnx x.npy --threads 0", "'--threads': 0 is not allowed; it must be at least 1"),
    "threads a fraction": ("model.onnx x.npy --threads 1.5", "'1.5' is not a whole number"),
    "seed too large": ("model.onnx x.npy --seed 2147483648", "2147483648 is not allowed; it must be at least 0"),
    "quiet and verbose": ("model.onnx x.npy -q -v", "--quiet and --verbose exclude each other"),
    "domain of three": ("model.onnx x.npy --domain 0,1,2", "'0,1,2' is neither LOW,HIGH (such as -1,1) nor"),
    "domain backwards": ("model.onnx x.npy --domain 1,0", "LOW and HIGH must be finite and LOW below HIGH"),
    "inspect radius without input": ("model.onnx --inspect --eps 1", "--inspect with --eps needs an input"),
    "inspect input without radius": ("model.onnx x.npy --inspect", "--inspect with an input needs --eps"),
    "inspect and witness": ("model.onnx --inspect --save-witness w.npz", "--inspect computes no witness"),
    # files that are not there, or not what they should be
    "missing model": ("absent.onnx x.npy", "absent.onnx: there is no such file"),
    "model without a name": ("'' x.npy", "'' is no file name"),
    "input is a folder": ("model.onnx folder", "folder is a folder; name a file in it"),
    "model is a folder": ("folder x.npy", "folder is a folder; name a file in it"),
    "unknown bundled model": ("zoo:vgg x.npy", "zoo:vgg: there is no such bundled model; choose from digits_"),
    "missing input": ("model.onnx absent.npy", "absent.npy: there is no such file"),
    "unknown kind of input": ("model.onnx x.txt", "x.txt: files ending in '.txt' are not read as inputs; use one of"),
    "missing domain": ("model.onnx x.npy --domain absent.npz", "--domain absent.npz: there is no such file"),
    "witness of unknown kind": ("model.onnx x.npy --save-witness w.txt", "must end in .npz or .png"),
    "witness without folder": (
        "model.onnx x.npy --save-witness absent/w.npz",
        "--save-witness absent/w.npz: the folder absent does not exist",
    ),
    "witness is a folder": ("model.onnx x.npy --save-witness folder.npz", "--save-witness folder.npz is a folder"),
    "not an image": ("model.onnx not.png", "not.png: is not a PNG or JPEG image"),
    "not an archive": ("model.onnx not.npz", "not.npz: is not a sound .npz file"),
    "objects": ("model.onnx objects.npy", "objects.npy: holds Python objects, which are never unpickled"),
    "words in a table": ("model.onnx words.csv", "words.csv, line 1, column 1: 'a' is not a number"),
    "ragged table": ("model.onnx ragged.csv", "row 2 has 1 numbers and row 1 has 2"),
    "several arrays": ("model.onnx two.npz", "holds 2 arrays (x, z); pick one, as in two.npz:NAME"),
    "no such array": ("model.onnx two.npz:y", "two.npz: has no array named 'y'; it holds x, z"),
    "data set cut off": (
        "model.onnx --dataset mnist --data-dir mnist --index 0",
        "declares shape (10, 28, 28), 7840 bytes, but holds only 100",
    ),
    "data set is not there": (
        "model.onnx --dataset mnist --data-dir folder --index 0",
        "folder: has no t10k-images-idx3-ubyte nor",
    ),
    "data set with code": (
        "model.onnx --dataset cifar10 --data-dir cifar --index 0",
        "names builtins.print, which no CIFAR-10 batch needs; nothing in it was run",
    ),
    "model is junk": ("junk.onnx x.npy", "junk.onnx"),
    "model is cut off": ("cut.onnx x.npy", "cut.onnx"),
    # inputs that do not fit the model
    "wrong shape": (
        "model.onnx wrong.npy",
        "wrong.npy has shape (5, 5) (25 entries); the model expects shape (1, 4, 4)",
    ),
    "no inputs": ("model.onnx empty.npy", "empty.npy has shape (0, 1, 4, 4) and so no entries"),
    "image of another size": ("model.onnx large.png", "large.png has 1 channel of 7 x 7 pixels; the model expects"),
    "data set for another model": (
        "model.onnx --dataset digits --index 0",
        "An image of digits has 1 channel of 8 x 8 pixels; the model expects shape (1, 4, 4)",
    ),
    "pixels up to 255": ("model.onnx pixels.npy", "Divide pixels in 0..255 by 255"),
    "below the domain": ("model.onnx negative.npy", "outside the model's domain [0, 1]"),
    "not a number": ("model.onnx nan.npy", "contains NaN or infinite values"),
    "label out of range": ("model.onnx x.npy --label 3", "Label 3 is out of range: the model has classes 0 to 2"),
    "target out of range": ("model.onnx x.npy --target 7", "Target class 7 is out of range"),
    "target is the label": ("model.onnx x.npy --label 1 --target 1", "Target class 1 is the class that"),
    "no target left": ("model.onnx x.npy --not-target 0,1,2", "No target class is left"),
    "index out of range": ("model.onnx batch.npy --index 1:4", "--index 3 is out of range: batch.npy has images 0"),
    "one of a batch is wrong": ("model.onnx batch.npy --label 9", "batch.npy, index 0: Label 9 is out of range"),
    "domain of half": ("model.onnx x.npy --domain halfdomain.npz", "has no array named 'upper'; it holds lower"),
    "domain crossed": ("model.onnx x.npy --domain crossed.npz", "crossed.npz: Bounds of entry 0 cross"),
    "domain too short": ("model.onnx x.npy --domain short.npz", "the model expects shape (1, 4, 4)"),
    "one output": ("one.onnx x.npy", "a classifier needs at least two"),
    "picture of no image": ("flat.onnx five.npy --save-witness w.png", "which is no image; save the witness as"),
    "picture beyond white": (
        "model.onnx x.npy --domain -1,1 --save-witness w.png",
        "A .png shows values from 0 to 1 and the domain goes beyond",
    ),
}


@pytest.mark.parametrize(("words", "fragment"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_gets_one_clear_line(
    inside: Path, capsys: pytest.CaptureFixture[str], words: str, fragment: str
) -> None:
    before = sorted(path.name for path in inside.iterdir())
    assert run(shlex.split(words)) == ExitCode.USAGE
    out, err = capsys.readouterr()
    assert out == ""
    assert fragment in err
    assert re.fullmatch(r"verify: [^\n]+\n", err), err
    assert "Traceback" not in err
    assert "error for" not in err  # how pydantic, inside typer, begins its own messages
    assert sorted(path.name for path in inside.iterdir()) == before


def test_a_folder_that_may_not_be_written_to(
    inside: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.access  # whoever runs as root may write anywhere, so the answer of the system is made up here
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK and real(path, mode))
    assert run(["model.onnx", "x.npy", "--save-witness", "w.npz"]) == ExitCode.USAGE
    assert capsys.readouterr().err == "verify: --save-witness w.npz: you may not write there.\n"


def test_a_solver_that_is_not_installed(
    inside: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from mipverify_py.backends._registry import backend_class

    monkeypatch.setattr(backend_class("scip"), "is_installed", lambda: False)
    assert run(["model.onnx", "x.npy", "--engine", "mip", "--backend", "scip"]) == ExitCode.USAGE
    assert 'pip install "mipverify-py[scip]"' in capsys.readouterr().err


def test_bounds_that_need_a_solver_which_is_not_installed(
    inside: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It must be known before the first image: only some images get as far as LP bounds."""
    from mipverify_py.backends._registry import backend_class

    monkeypatch.setattr(backend_class("highs"), "is_installed", lambda: False)
    words = ["model.onnx", "x.npy", "--engine", "mip", "--backend", "cbc", "--eps", "0", "--quiet"]
    assert run(words) == ExitCode.USAGE
    out, err = capsys.readouterr()
    assert out == ""
    assert "--tightening lp needs HiGHS beside cbc" in err
    assert "choose --tightening linear" in err
    assert run([*words, "--tightening", "linear"]) == ExitCode.ANSWERED


@pytest.mark.parametrize("engine", ["auto", "cuts", "duals"])
def test_a_native_engine_without_highs(
    inside: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    from mipverify_py.backends._registry import backend_class

    monkeypatch.setattr(backend_class("highs"), "is_installed", lambda: False)
    assert run(["model.onnx", "x.npy", "--engine", engine, "--eps", "0"]) == ExitCode.USAGE
    out, err = capsys.readouterr()
    assert out == ""
    assert f"--engine {engine} needs HiGHS" in err
    assert 'pip install "mipverify-py[highs]"' in err


def test_control_characters_do_not_reach_the_terminal(inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["\x1b[31mred.onnx", "x.npy"]) == ExitCode.USAGE
    assert capsys.readouterr().err == "verify: \\x1b[31mred.onnx: there is no such file.\n"
