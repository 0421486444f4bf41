"""A folder with a small model and inputs, sound ones and wrong ones."""

from __future__ import annotations

import gzip
import itertools
import pickle
import struct
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image


def hard_model(path: Path) -> None:
    """Writes an untrained network 64-40-40-10, whose distances take a solver minutes."""
    random = np.random.default_rng(0)
    sizes = (64, 40, 40, 10)
    nodes, weights, value = [helper.make_node("Flatten", ["x"], ["v0"])], [], "v0"
    for k, (n, m) in enumerate(itertools.pairwise(sizes), start=1):
        weights.append(numpy_helper.from_array(random.normal(size=(n, m)).astype(np.float32) / 2, f"w{k}"))
        nodes.append(helper.make_node("MatMul", [value, f"w{k}"], [f"z{k}"]))
        nodes.append(helper.make_node("Relu", [f"z{k}"], [f"v{k}"]))
        value = f"v{k}"
    nodes[-1] = helper.make_node("Identity", [f"z{len(sizes) - 1}"], [value])
    graph = helper.make_graph(
        nodes,
        "hard",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 1, 8, 8])],
        [helper.make_tensor_value_info(value, TensorProto.FLOAT, ["N", 10])],
        weights,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))


def dense_model(path: Path, input_shape: tuple[int, ...], classes: int, *, seed: int = 0) -> None:
    """Writes Flatten, Gemm, Relu, Gemm with 8 hidden units and random weights."""
    random = np.random.default_rng(seed)
    size = int(np.prod(input_shape))
    weights = {
        "w1": random.normal(size=(size, 8)),
        "b1": random.normal(size=8) / 4,
        "w2": random.normal(size=(8, classes)),
        "b2": random.normal(size=classes) / 4,
    }
    nodes = [
        helper.make_node("Flatten", ["x"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w1", "b1"], ["hidden"]),
        helper.make_node("Relu", ["hidden"], ["active"]),
        helper.make_node("Gemm", ["active", "w2", "b2"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", *input_shape])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", classes])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(path))


@pytest.fixture(scope="session")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder; nothing in it may be changed."""
    folder = tmp_path_factory.mktemp("workplace")
    dense_model(folder / "model.onnx", (1, 4, 4), 3)
    dense_model(folder / "flat.onnx", (5,), 3)
    dense_model(folder / "one.onnx", (1, 4, 4), 1)
    hard_model(folder / "hard.onnx")
    np.save(folder / "hard.npy", np.random.default_rng(0).random((2, 1, 8, 8)))
    _sound_inputs(folder)
    _wrong_inputs(folder)
    return folder


def _sound_inputs(folder: Path) -> None:
    image = np.random.default_rng(5).integers(0, 256, (4, 4), dtype=np.uint8)
    x = (image.astype(np.float32) / np.float32(255)).reshape(1, 4, 4)
    np.save(folder / "x.npy", x)
    np.save(folder / "five.npy", np.full(5, 0.5))
    np.save(folder / "batch.npy", np.stack([x, 1 - x, x.transpose(0, 2, 1)]))
    np.savez(folder / "x.npz", x=x)
    np.savez(folder / "two.npz", x=x, z=1 - x)
    np.savez(folder / "domain.npz", lower=np.full((1, 4, 4), -1.0), upper=np.full((1, 4, 4), 2.0))
    Image.fromarray(image).save(folder / "x.png")
    np.savetxt(folder / "x.csv", x.reshape(1, 16), delimiter=",")


def _wrong_inputs(folder: Path) -> None:
    x = np.load(folder / "x.npy")
    np.save(folder / "pixels.npy", np.rint(x * 255))
    np.save(folder / "negative.npy", x - 1)
    np.save(folder / "nan.npy", np.where(x == x.max(), np.nan, x))
    np.save(folder / "wrong.npy", np.zeros((5, 5)))
    np.save(folder / "empty.npy", np.zeros((0, 1, 4, 4)))
    np.save(folder / "objects.npy", np.array([{}], object), allow_pickle=True)
    np.savez(folder / "halfdomain.npz", lower=np.zeros(16))
    np.savez(folder / "crossed.npz", lower=np.ones(16), upper=np.zeros(16))
    np.savez(folder / "short.npz", lower=np.zeros(3), upper=np.ones(3))
    (folder / "x.txt").write_text("0.5")
    (folder / "not.png").write_text("0.5")
    (folder / "not.npz").write_text("0.5")
    (folder / "words.csv").write_text("a,b\n1,2\n")
    (folder / "ragged.csv").write_text("1,2\n1\n")
    Image.new("L", (7, 7)).save(folder / "large.png")
    (folder / "junk.onnx").write_bytes(b"\x08\x07junk")
    (folder / "cut.onnx").write_bytes((folder / "model.onnx").read_bytes()[:200])
    (folder / "folder").mkdir()
    (folder / "folder.npz").mkdir()
    (folder / "mnist").mkdir()
    header = bytes((0, 0, 8, 3)) + struct.pack(">3I", 10, 28, 28)
    (folder / "mnist" / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(header + bytes(100)))
    (folder / "cifar").mkdir()
    (folder / "cifar" / "test_batch").write_bytes(pickle.dumps(print))  # unpickling it would run code of its choice


@pytest.fixture
def inside(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder, as the current one."""
    monkeypatch.chdir(workplace)
    return workplace
