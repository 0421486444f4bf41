"""Perturbation sets on the command line: what is asked, what the JSON says, and what does not go together."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator

from mipverify_py import Blur, Box, BrightnessContrast, Contrast, LinfBall, Query, Sparse, Witness, verify
from mipverify_py.cli import ExitCode, run
from mipverify_py.cli import _main as main_module
from mipverify_py.data import read_digits
from onnx_models.zoo import load_zoo

VALIDATOR = Draft202012Validator(json.loads(Path(main_module.__file__).with_name("verify-1.schema.json").read_text()))
IMAGE = "zoo:digits_small_standard --dataset digits --index 3"


@pytest.fixture(scope="module")
def question() -> Any:
    """Queries about the image, as Python asks them."""
    network, digits = load_zoo("digits_small_standard"), read_digits()
    return lambda known: Query(network, digits.image(3), known, label=int(digits.labels[3]))


@pytest.fixture
def record(inside: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs `verify ... --json` for one image and gives the exit code and the object, which fits the schema."""

    def call(words: str) -> tuple[int, dict[str, Any]]:
        code = run([*shlex.split(words), "--json", "--quiet"])
        out, err = capsys.readouterr()
        assert err == ""
        found: dict[str, Any] = json.loads(out)
        assert [error.message for error in VALIDATOR.iter_errors(found)] == []
        return code, found

    return call


def test_blur_finds_the_kernel_that_python_finds(record: Any, question: Any) -> None:
    code, found = record(f"{IMAGE} --perturbation blur --kernel-size 3x3 --save-witness blur.npz")
    assert code == ExitCode.ANSWERED
    assert found["perturbation"] == {"kind": "blur", "kernel_size": [3, 3], "kernel_shape": [3, 3, 1, 1]}
    assert found["engine"] == "mip" and found["evidence"] == "solver_claim" and found["eps"] is None
    assert sum(found["witness"]["parameters"]) == 1.0
    query = question(Blur((3, 3)))
    assert found["upper"] == verify(query).upper
    with np.load("blur.npz") as saved:
        Witness(query, saved["witness"], saved["parameters"])


@pytest.mark.slow
def test_brightness_takes_one_range_or_both(record: Any, question: Any) -> None:
    code, found = record(f"{IMAGE} --perturbation brightness --contrast 0.2,1")
    assert code == ExitCode.ANSWERED and found["verdict"] == verify(question(Contrast(0.2, 1.0))).verdict.value
    assert found["perturbation"] == {"kind": "brightness", "brightness": None, "contrast": [0.2, 1.0]}
    code, found = record(f"{IMAGE} --perturbation brightness --contrast -0.5,1 --brightness -1,1")
    assert code == ExitCode.ANSWERED
    assert found["verdict"] == verify(question(BrightnessContrast((-1.0, 1.0), (-0.5, 1.0)))).verdict.value
    if found["witness"] is not None:
        a, b = found["witness"]["parameters"]
        assert -0.5 <= a <= 1 and -1 <= b <= 1


def test_sparse_asks_for_the_nearest_or_with_eps_whether_there_is_one(record: Any, question: Any) -> None:
    code, near = record(f"{IMAGE} --perturbation sparse --max-pixels 4")
    assert code == ExitCode.ANSWERED and near["perturbation"] == {"kind": "sparse", "max_pixels": 4, "radius": None}
    assert near["upper"] is not None and near["witness"]["parameters"] is None
    code, none = record(f"{IMAGE} --perturbation sparse --max-pixels 1 --eps 0.3")
    assert (code, none["verdict"], none["eps"]) == (ExitCode.ANSWERED, "robust", 0.3)
    radius = 1.001 * near["upper"]
    code, some = record(f"{IMAGE} --perturbation sparse --max-pixels 4 --eps {radius!r}")
    assert (code, some["verdict"]) == (ExitCode.ADVERSARIAL, "adversarial")
    assert isinstance(question(Sparse(4)).perturbation, Sparse)


def test_a_box_is_read_from_files(record: Any, question: Any) -> None:
    image = read_digits().image(3)
    low, high = np.maximum(image - 0.4, 0.0), np.minimum(image + 0.1, 1.0)
    np.save("low.npy", low)
    np.save("high.npy", high)
    code, found = record(f"{IMAGE} --perturbation box --box-lower low.npy --box-upper high.npy --replay")
    assert code == ExitCode.ANSWERED and found["perturbation"] == {"kind": "box"}
    expected = verify(question(Box.of(low, high)))
    assert (found["verdict"], found["upper"]) == (expected.verdict.value, expected.upper)
    assert found["replay"]["holds"]


def test_linf_and_unrestricted_are_the_defaults(record: Any) -> None:
    named, plain = (record(f"{IMAGE} --eps 0.05 {extra}")[1] for extra in ("--perturbation linf", ""))
    assert named["perturbation"] == plain["perturbation"] == {"kind": "linf"}
    assert named["verdict"] == plain["verdict"]
    named, plain = (record(f"{IMAGE} {extra}")[1] for extra in ("--perturbation unrestricted", ""))
    assert named["perturbation"] == plain["perturbation"] == {"kind": "unrestricted"}
    assert named["upper"] == plain["upper"]


def test_proofs_about_parameters_and_about_boxes_around_a_set_are_replayed(record: Any) -> None:
    for words in (
        "--perturbation sparse --max-pixels 1 --eps 0.001",
        "--perturbation blur --kernel-size 3x3 --margin 1000",
        "--perturbation brightness --brightness 0,0.01 --contrast 0.99,1 --margin 1000",
    ):
        code, found = record(f"{IMAGE} {words} --replay")
        assert code == ExitCode.ANSWERED and found["verdict"] == "robust"
        assert found["evidence"] in ("reproved", "replayed") and found["replay"]["holds"], words


@pytest.mark.parametrize("norm", ["linf", "l1", "l2"])
def test_a_proved_distance_in_one_parameter_is_replayed(record: Any, norm: str) -> None:
    code, found = record(f"{IMAGE} --perturbation brightness --contrast -3,1 --domain -4,4 --norm {norm} --replay")
    assert code == ExitCode.ANSWERED and found["evidence"] in ("reproved", "replayed") and found["engine"] == "auto"
    assert found["lower"] > 0 and found["replay"]["holds"]


def test_the_text_says_what_was_asked_and_names_the_kernel(inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*shlex.split(f"{IMAGE} --perturbation blur --kernel-size 3x3"), "-q"]) == ExitCode.ANSWERED
    out = capsys.readouterr().out
    assert "blurred with a 3x3 kernel" in out and "kernel weights 0.5342 at (2, 0)" in out
    words = shlex.split(f"{IMAGE} --perturbation sparse --max-pixels 1 --eps 0.3")
    assert run([*words, "-q"]) == ExitCode.ANSWERED
    out = capsys.readouterr().out
    assert "in at most 1 pixel changed by up to 0.3?" in out
    assert "there is no adversarial example in the perturbation set" in out


@pytest.mark.slow
def test_a_worker_answers_the_same(inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = "zoo:digits_small_standard --dataset digits --index 3:5 --perturbation blur --kernel-size 1x3 --json -q"
    answers = []
    for jobs in ("1", "2"):
        assert run([*shlex.split(words), "--jobs", jobs]) == ExitCode.ANSWERED
        lines = capsys.readouterr().out.splitlines()
        answers.append([(r["upper"], r["witness"]) for r in map(json.loads, lines)])
    assert answers[0] == answers[1]


MISTAKES = {
    "unknown set": ("--perturbation l3", "'l3' is unknown; choose from linf, box"),
    "linf without eps": ("--perturbation linf", "--perturbation linf needs --eps"),
    "linf with another norm": ("--perturbation linf --eps 1 --norm l1", "contradicts --norm l1"),
    "blur without a size": ("--perturbation blur", "--perturbation blur needs --kernel-size"),
    "size without blur": ("--kernel-size 3x3", "--kernel-size is for --perturbation blur"),
    "size in words": ("--perturbation blur --kernel-size big", "'big' is not a kernel's size"),
    "size of one number": ("--perturbation blur --kernel-size 3", "'3' is not a kernel's size"),
    "size zero": ("--perturbation blur --kernel-size 0x3", "'0x3' is not a kernel's size"),
    "blur with eps": ("--perturbation blur --kernel-size 3x3 --eps 1", "--eps is no part of --perturbation blur"),
    "blur with cuts": ("--perturbation blur --kernel-size 3x3 --engine cuts", "--engine cuts cannot search"),
    "half a box": ("--perturbation box --box-lower x.npy", "--perturbation box needs --box-upper"),
    "box without files": ("--perturbation box", "--perturbation box needs --box-lower and --box-upper"),
    "box file missing": ("--perturbation box --box-lower no.npy --box-upper x.npy", "--box-lower no.npy: there is no"),
    "sparse without pixels": ("--perturbation sparse", "--perturbation sparse needs --max-pixels"),
    "sparse with a radius in another norm": (
        "--perturbation sparse --max-pixels 1 --eps 1 --norm l2",
        "--perturbation sparse measures --eps in L-infinity; leave out --norm l2",
    ),
    "no pixels": ("--perturbation sparse --max-pixels 0", "0 is not allowed; it must be at least 1"),
    "brightness without ranges": ("--perturbation brightness", "needs --brightness or --contrast"),
    "brightness backwards": ("--perturbation brightness --brightness 1,0", "LOW at most HIGH"),
    "brightness in words": ("--perturbation brightness --brightness dark", "'dark' is not LOW,HIGH"),
    "contrast of another set": ("--perturbation sparse --max-pixels 1 --contrast 0,1", "--contrast is for"),
    "unrestricted with eps": ("--perturbation unrestricted --eps 1", "--eps is no part of --perturbation unrestricted"),
    "inspect": ("--inspect --perturbation sparse --max-pixels 1 --eps 1", "leave out --perturbation sparse"),
}


@pytest.mark.parametrize(("words", "fragment"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_one_clear_line(
    words: str, fragment: str, inside: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["model.onnx", "x.npy", *shlex.split(words)]) == ExitCode.USAGE
    out, err = capsys.readouterr()
    assert out == "" and fragment in err and len(err.splitlines()) == 1


def test_a_box_of_another_shape_is_refused(inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save("five.npy", np.zeros(5))
    words = f"{IMAGE} --perturbation box --box-lower five.npy --box-upper five.npy"
    assert run(shlex.split(words)) == ExitCode.USAGE
    assert "five.npy" in capsys.readouterr().err


def test_a_crossed_box_is_refused(inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save("ones.npy", np.ones((1, 8, 8)))
    np.save("zeros.npy", np.zeros((1, 8, 8)))
    words = f"{IMAGE} --perturbation box --box-lower ones.npy --box-upper zeros.npy"
    assert run(shlex.split(words)) == ExitCode.USAGE
    assert "--box-lower and --box-upper: Bounds of entry 0 cross" in capsys.readouterr().err


def test_the_ball_of_a_norm_is_named(record: Any, question: Any) -> None:
    assert record(f"{IMAGE} --eps 0.01 --norm l1")[1]["perturbation"] == {"kind": "l1"}
    assert isinstance(question(LinfBall(0.1)).perturbation, LinfBall)
