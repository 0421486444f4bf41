"""`--inspect` on a graph whose layers, sizes and unstable units are known from its construction."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from mipverify_py.cli import ExitCode, run


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Conv 2x2 with stride 2 on (1, 4, 4), Relu, Flatten, Gemm, Softmax; x = 0.5 is where every filter gives 0."""
    kernel = np.array([[[[1.0, 1.0], [1.0, 1.0]]], [[[1.0, -1.0], [0.0, 0.0]]]])
    weights = {"k": kernel, "c": np.array([-2.0, 3.0]), "w": np.ones((8, 3)), "b": np.arange(3.0)}
    nodes = [
        helper.make_node("Conv", ["x", "k", "c"], ["conv"], name="first \x1b[31mlayer", strides=[2, 2]),
        helper.make_node("Relu", ["conv"], ["active"]),
        helper.make_node("Flatten", ["active"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w", "b"], ["y"]),
        helper.make_node("Softmax", ["y"], ["p"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 1, 4, 4])],
        [helper.make_tensor_value_info("p", TensorProto.FLOAT, ["N", 3])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "m.onnx")
    np.save(tmp_path / "x.npy", np.full((1, 4, 4), 0.5))
    monkeypatch.chdir(tmp_path)
    return "m.onnx"


def test_layers_and_sizes(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([model, "--inspect", "--json"]) == ExitCode.ANSWERED
    record: dict[str, Any] = json.loads(capsys.readouterr().out)
    kinds = [(node["kind"], node["shape"], node["reads"]) for node in record["nodes"]]
    assert kinds == [
        ("input", [1, 4, 4], []),
        ("affine", [2, 2, 2], [0]),
        ("relu", [2, 2, 2], [1]),
        ("affine", [3], [2]),
    ]
    maps = [node["maps"] for node in record["nodes"]]
    assert maps[1] == [{"kind": "convolution", "description": "convolution 2x2, stride 2", "entries": 8 * 4}]
    assert maps[3] == [{"kind": "dense", "description": "dense 3 x 8", "entries": 24}]
    assert (record["input_shape"], record["classes"], record["relu_units"], record["entries"]) == ([1, 4, 4], 3, 8, 56)
    assert record["onnx"]["operators"]["Conv"] == 1
    assert record["onnx"]["inputs"] == ["x"]
    assert any("Softmax" in note for note in record["notes"])
    assert (record["eps"], record["unstable"]) == (None, [])


@pytest.mark.parametrize(
    ("eps", "count"),
    [
        # Filter 0 is a sum of four pixels minus 2, exactly 0 at the input: unstable for every eps > 0. Filter 1 is a
        # difference of two pixels plus 3, which at most 2 * eps can move: never unstable in [0, 1].
        ("0.1", 4),
        ("0.5", 4),
    ],
)
def test_unstable_units(model: str, capsys: pytest.CaptureFixture[str], eps: str, count: int) -> None:
    assert run([model, "x.npy", "--inspect", "--eps", eps, "--json"]) == ExitCode.ANSWERED
    [unstable] = json.loads(capsys.readouterr().out)["unstable"]
    assert unstable == {"index": 0, "interval": [count], "linear": [count]}


def test_the_text_says_the_same_and_is_safe_to_show(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([model, "x.npy", "--inspect", "--eps", "0.1"]) == ExitCode.ANSWERED
    out = capsys.readouterr().out
    assert "\x1b" not in out
    for words in (
        ["1", "affine", "2x2x2", "8", "32", "0", "convolution", "2x2,", "stride", "2"],
        ["3", "affine", "3", "3", "24", "2", "dense", "3", "x", "8"],
        ["0", "interval", "4", "4"],
        ["linear", "4", "4"],
    ):
        assert words in [line.split() for line in out.splitlines()]


def test_backends_are_listed_with_how_to_get_the_missing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from mipverify_py.backends import BACKEND_NAMES
    from mipverify_py.backends._registry import backend_class

    monkeypatch.setattr(backend_class("cbc"), "is_installed", lambda: False)
    assert run(["--backends"]) == ExitCode.ANSWERED
    lines = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
    assert [line[0] for line in lines] == list(BACKEND_NAMES)
    missing = next(line for line in lines if line[0] == "cbc")
    assert missing[1:4] == ["missing", "pip", "install"]


def test_bundled_models_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    from onnx_models.zoo import zoo_models

    assert run(["--list-zoo"]) == ExitCode.ANSWERED
    out = capsys.readouterr().out
    assert [line.split()[0] for line in out.splitlines() if line.startswith("zoo:")] == [
        f"zoo:{n}" for n in zoo_models()
    ]
