"""`counter-attack amoeba`: boxes and their tables, files and certificates, the plane, Ctrl-C and mistakes."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image

from counter_attack.amoeba import AsymmetricBox, BoundKind, BoxShape, certify_box
from counter_attack.cli import _amoeba, _amoeba_report, run
from mipverify_py import StopReason, Verdict
from mipverify_py.certificate import check
from onnx_models.errors import InputError
from onnx_models.zoo import digits_test, load_zoo
from tests.helpers.onnx_graphs import single

NAME = "digits_small_standard"
BOX = ["amoeba", "box", f"zoo:{NAME}", "--dataset", "digits", "--quiet"]
UNIFORM = ["--shape", "uniform", "--bounds", "interval"]


def records(capsys: pytest.CaptureFixture[str]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for line in capsys.readouterr().out.splitlines():
        record = json.loads(line)
        found.setdefault(record.get("name", record["kind"]), []).append(record)
    return found


def test_names_are_those_of_the_package() -> None:
    assert tuple(shape.value for shape in BoxShape) == _amoeba.SHAPES
    assert tuple(kind.value for kind in BoundKind) == _amoeba.KINDS


def test_boxes_and_their_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table, saved = tmp_path / "boxes.csv", tmp_path / "boxes.npz"
    command = [*BOX, "--index", "0:2", "--shape", "uniform,non-uniform", "--bounds", "interval"]
    assert run([*command, "--out", str(table), "--save", str(saved), "--json"]) == 0
    found = records(capsys)
    network, images = load_zoo(NAME), digits_test().images[:2].reshape(2, -1).astype(float)
    boxes = found["amoeba-box"]
    assert [(one["index"], one["shape"]) for one in boxes] == [
        (0, "uniform"),
        (1, "uniform"),
        (0, "non-uniform"),
        (1, "non-uniform"),
    ]
    with np.load(saved) as arrays:
        assert arrays["index"].tolist() == [0, 1, 0, 1] and arrays["shape"].tolist() == [one["shape"] for one in boxes]
        assert str(arrays["digest"]) == network.digest and not arrays["maximal"].any()
        for row, one in enumerate(boxes):
            box = AsymmetricBox(images[one["index"]], np.array(one["e1"]), np.array(one["e2"]))
            assert np.array_equal(arrays["e1"][row], box.e1) and np.array_equal(arrays["x"][row], box.x)
            assert certify_box(network, box, one["class"]).certified and one["certified"]
            assert one["geometric_mean"] == pytest.approx(box.geometric_mean)
    (sizes,) = found["amoeba-sizes"]
    for shape in ("uniform", "non-uniform"):
        mean = np.mean([one["geometric_mean"] for one in boxes if one["shape"] == shape])
        assert sizes["rows"][0][f"{shape} size"] == pytest.approx(mean)
    with table.open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["known"] for row in rows] == ["certified"] * 4


def test_inputs_that_are_classified_wrongly_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    network, digits = load_zoo(NAME), digits_test()
    predicted = network.forward_batch(digits.images.reshape(len(digits.images), -1)).argmax(axis=1)
    wrong = int(np.flatnonzero(predicted != digits.labels)[0])
    assert run([*BOX, *UNIFORM, "--index", f"{wrong},0"]) == 0
    out = capsys.readouterr().out
    assert "misclassified: no box" in out and "1 of 2 inputs are misclassified" in out and "1 of 1" in out


def test_the_certificate_is_of_the_box(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "box.cert"
    assert run([*BOX, *UNIFORM, "--index", "0", "--certificate", str(path), "--json"]) == 0
    found = records(capsys)
    (told,), (box,) = found["amoeba-certificate"], found["amoeba-box"]
    statement = check(path.read_bytes())
    x = digits_test().images[0].ravel().astype(float)
    assert statement.robust and statement.digest == load_zoo(NAME).digest and told["bytes"] == path.stat().st_size
    assert np.array_equal(statement.lower, x - np.array(box["e1"]))
    assert np.array_equal(statement.upper, x + np.array(box["e2"]))


def test_exact_boxes_say_what_stops_their_faces(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*BOX, "--index", "0", "--shape", "uniform", "--bounds", "exact", "--step", "0.02", "--json"]) == 0
    (box,) = records(capsys)["amoeba-box"]
    assert box["maximal"]["proved"] and box["maximal"]["step"] == 0.02
    (face,) = box["maximal"]["faces"]
    assert face["state"] == "blocked" and 0 < face["gap"] <= 0.02 and (face["feature"], face["side"]) == (None, 0)


def test_a_limit_leaves_faces_open(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from counter_attack.amoeba import _exact

    monkeypatch.setattr(_exact._Growth, "run", lambda self, _: setattr(self, "stopped", "time limit"))
    assert run([*BOX, "--index", "0", "--shape", "uniform", "--bounds", "exact"]) == 2
    assert "certified: 1 open (time limit)" in capsys.readouterr().out


def test_ctrl_c_shows_the_boxes_so_far(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    find = _amoeba_report.find_boxes

    def one_then_interrupted(*arguments: Any, **named: Any) -> Any:
        yield next(find(*arguments, **named))
        raise KeyboardInterrupt

    monkeypatch.setattr(_amoeba_report, "find_boxes", one_then_interrupted)
    assert run([*BOX, *UNIFORM, "--index", "0:3", "--json"]) == 130
    found = records(capsys)
    assert [one["index"] for one in found["amoeba-box"]] == [0] and "amoeba-sizes" in found


@pytest.mark.slow
def test_the_plane(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture, table = tmp_path / "plane.png", tmp_path / "plane.csv"
    command = ["amoeba", "plane", "--hidden", "16", "--step", "0.02", "--quiet", "--json"]
    assert run([*command, "--plot", str(picture), "--out", str(table)]) == 0
    found = records(capsys)
    (head,), (boxes,) = (found["amoeba-plane"][:1], found["amoeba-plane"][1:])
    assert head["hidden"] == 16 and head["accuracy"] > 0.9
    rows = {row["name"]: row for row in boxes["rows"]}
    assert list(rows) == ["uniform", "non-uniform", "asymmetric", "exact asymmetric"]
    assert rows["uniform"]["size"] <= rows["non-uniform"]["size"] and "maximal" in rows["exact asymmetric"]["known"]
    assert rows["asymmetric"]["size"] <= rows["exact asymmetric"]["size"]
    assert len(table.read_text().splitlines()) == 5
    with Image.open(picture) as image:
        assert min(image.size) > 300


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["amoeba"], "amoeba needs a command: box, plane"),
        ([*BOX, "--index", "0", "--shape", "round"], "--shape round"),
        ([*BOX, "--index", "0", "--bounds", "crown,lp"], "--bounds lp"),
        ([*BOX, "--step", "0"], "above 0"),
        ([*BOX, "--tau", "1"], "between 0 and 1"),
        ([*BOX, "--index", "0", "--shape", "uniform,asymmetric", "--certificate", "a.cert"], "single box"),
        ([*BOX, "--index", "0", "--out", "boxes.txt"], "--out boxes.txt"),
        (["amoeba", "plane", "--point", "2,0"], "--point 2,0"),
        (["amoeba", "plane", "--plot", "plane.pdf"], "--plot plane.pdf"),
    ],
)
def test_mistakes(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(words) == 3
    assert said in capsys.readouterr().err


def test_an_input_with_two_classes_has_no_box_and_does_not_end_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, inputs = tmp_path / "plane.onnx", tmp_path / "x.npy"
    weight = np.array([[1, 0], [-1, 0]], dtype=np.float32)  # f_0 - f_1 = x_0 - x_1
    onnx.save(single("Gemm", (2,), weight, np.zeros(2, dtype=np.float32)), str(model))
    np.save(inputs, np.array([[0.5, 0.5], [0.75, 0.25]]))  # on the boundary, and off it
    words = ["amoeba", "box", str(model), str(inputs), *UNIFORM, "--quiet"]
    assert run(words) == 0
    out = capsys.readouterr().out
    assert "two classes at once: no box" in out and "1 of 1" in out and "1 of 2 inputs have two classes at once" in out
    assert run([*words, "--index", "0", "--certificate", str(tmp_path / "a.cert")]) == 3
    assert "there are 0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("x", "outputs", "words", "said"),
    [
        ([np.nan, 0.5], 2, [], "finite numbers"),
        ([0.75, 0.25], 2, ["--label", "7"], "classes 0 to 1"),
        ([0.75, 0.25], 1, [], "single output"),
    ],
)
def test_inputs_that_cannot_have_a_box(
    x: list[float],
    outputs: int,
    words: list[str],
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model, inputs = tmp_path / "plane.onnx", tmp_path / "x.npy"
    weight = np.arange(2.0 * outputs, dtype=np.float32).reshape(2, outputs)
    onnx.save(single("Gemm", (2,), weight, np.zeros(outputs, dtype=np.float32)), str(model))
    np.save(inputs, np.array([x]))
    assert run(["amoeba", "box", str(model), str(inputs), *words, "--quiet"]) == 3
    assert said in capsys.readouterr().err


def test_boxes_that_cannot_be_saved_are_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise InputError("no space left")

    monkeypatch.setattr(_amoeba_report, "write_whole", full)
    assert run([*BOX, *UNIFORM, "--index", "0", "--out", str(tmp_path / "boxes.csv")]) == 3
    shown = capsys.readouterr()
    assert "Certified boxes" in shown.out and "no space left" in shown.err


def test_the_certificate_of_an_exact_box_obeys_the_time_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from counter_attack import amoeba

    whole, asked = amoeba.certify_box, []

    def watched(*arguments: Any, options: Any, **named: Any) -> Any:
        asked.append(options.time_limit)
        found = whole(*arguments, options=options, **named)
        return replace(found, result=replace(found.result, verdict=Verdict.UNKNOWN, stop_reason=StopReason.TIME_LIMIT))

    monkeypatch.setattr(amoeba, "certify_box", watched, raising=False)
    words = ["--shape", "uniform", "--bounds", "exact", "--step", "0.1", "--timeout", "50"]
    assert run([*BOX, *words, "--index", "0", "--certificate", str(tmp_path / "box.cert")]) == 3
    assert asked == [50.0] and "piece by piece, but not at once (time_limit)" in capsys.readouterr().err
