"""Whole models: random graphs of many operators, trained networks, and what loading costs."""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from onnx_models import Affine, Array, ConvolutionMap, ReluNetwork, load_onnx
from onnx_models.errors import UnsupportedModelError
from onnx_models.importer import load_onnx_bytes
from tests.helpers.onnx_graphs import GraphBuilder, check, inputs_for, random_model, run, weights


def depends_on_its_input(model: onnx.ModelProto) -> bool:
    """Whether any entry that the output needs is left after masks and selections."""
    try:
        load_onnx_bytes(model.SerializeToString(), "model.onnx", cross_check=False)
    except UnsupportedModelError as error:
        if "does not depend on input" in str(error) or "is applied to a constant" in str(error):
            return False
        raise
    return True


@settings(max_examples=60)
@given(
    seed=st.integers(0, 10**6),
    layers=st.integers(1, 9),
    batch=st.sampled_from(["N", 1]),
    opset=st.sampled_from([13, 15, 17]),
)
def test_random_graphs(seed: int, layers: int, batch: str | int, opset: int) -> None:
    model = random_model(seed, layers=layers, batch=batch, opset=opset)
    assume(depends_on_its_input(model))
    check(model, tolerance=1e-4)


def test_loading_is_deterministic() -> None:
    digests = {check(random_model(3), tolerance=1e-4).digest for _ in range(2)}
    assert len(digests) == 1


@pytest.mark.parametrize("opset", [8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28])
def test_every_operator_set(opset: int) -> None:
    """Operator sets newer than onnxruntime knows are accepted where they change nothing that the model uses."""
    if opset > onnx.defs.onnx_opset_version():
        pytest.skip(f"the installed onnx ends at operator set {onnx.defs.onnx_opset_version()}")
    rng = np.random.default_rng(0)
    graph = GraphBuilder((1, 6, 6), opset=opset)
    value = graph.node("Relu", graph.node("Conv", "x", weights(rng, 2, 1, 3, 3), weights(rng, 2)))
    value = graph.node("Flatten", graph.node("MaxPool", value, kernel_shape=[2, 2]))
    model = graph.model(graph.node("Add", graph.node("MatMul", value, weights(rng, 18, 3)), weights(rng, 3)))
    runnable = onnx.ModelProto()
    runnable.CopyFrom(model)  # nothing that it uses changed after set 21
    runnable.opset_import[0].version = min(opset, 21)
    network = load_onnx_bytes(model.SerializeToString(), "model.onnx")
    batch = inputs_for(model)
    np.testing.assert_allclose(network.forward_batch(batch), run(runnable, batch), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("batch", ["N", 1])
def test_residual_network(batch: str | int) -> None:
    """Two blocks with a projection, average pool and dense output; convolutions stay convolutions."""
    rng = np.random.default_rng(0)
    graph = GraphBuilder((2, 6, 6), batch=batch)
    value, channels = "x", 2
    for out, stride in ((2, 1), (4, 2)):
        branch = graph.node("Conv", value, weights(rng, out, channels, 3, 3), pads=[1] * 4, strides=[stride] * 2)
        branch = graph.node("BatchNormalization", branch, *(rng.uniform(0.5, 1, out) for _ in range(4)))
        branch = graph.node("Conv", graph.node("Relu", branch), weights(rng, out, out, 3, 3), pads=[1] * 4)
        if stride > 1:
            value = graph.node("Conv", value, weights(rng, out, channels, 1, 1), strides=[stride] * 2)
        value, channels = graph.node("Relu", graph.node("Add", branch, value)), out
    value = graph.node("Flatten", graph.node("GlobalAveragePool", value))
    network = check(graph.model(graph.node("Gemm", value, weights(rng, 4, 3))))
    assert network.relu_count == 2 * 72 + 2 * 36
    assert len(convolutions(network)) == 5


def test_input_shapes_and_names() -> None:
    graph = GraphBuilder((784, 1), batch=1)
    network = check(graph.model(graph.node("Flatten", "x")))
    assert network.input_shape == (784, 1)
    assert network.nodes[0].name == "x"
    assert network.nodes[-1].name in ("v0", "output")
    unbatched = GraphBuilder((5,), batch=None)
    assert check(unbatched.model(unbatched.node("Relu", "x"))).input_shape == (5,)


def convolutions(network: ReluNetwork) -> list[ConvolutionMap]:
    """All convolutions among the network's maps."""
    maps = [m for node in network.nodes if isinstance(node, Affine) for m in node.maps]
    return [m for m in maps if isinstance(m, ConvolutionMap)]


# ----------------------------------------------------------------------------------------------------- trained networks

TRAINED = [
    # file, input shape, outputs, ReLU units, convolutions
    ("models/wk17a_linf0.1.onnx", (1, 28, 28), 10, 16 * 196 + 32 * 49 + 100, 2),
    ("models/wk_small03.onnx", (1, 28, 28), 10, 4804, 2),
    ("models/wk17_fashion.onnx", (1, 28, 28), 10, 4804, 2),
    ("models/wk17_svhn.onnx", (3, 32, 32), 10, 16 * 256 + 32 * 64 + 100, 2),
    ("models/wk17_har.onnx", (561,), 6, 500, 0),
    ("models/rsl18a_linf0.1.onnx", (1, 28, 28), 10, 500, 0),
    ("vnncomp/mnistfc/mnist-net_256x2.onnx", (784, 1), 10, 512, 0),
    ("vnncomp/mnistfc/mnist-net_256x4.onnx", (784, 1), 10, 1024, 0),
    ("vnncomp/mnistfc/mnist-net_256x6.onnx", (784, 1), 10, 1536, 0),
    *(
        (f"vnncomp/acasxu/ACASXU_run2a_{i}_{j}_batch_2000.onnx", (1, 1, 5), 5, 300, 0)
        for i in (1, 3, 5)
        for j in (1, 9)
    ),
]


@pytest.mark.parametrize(("file", "shape", "outputs", "units", "kernels"), TRAINED, ids=[t[0] for t in TRAINED])
def test_trained_network(
    shared_data: Path, file: str, shape: tuple[int, ...], outputs: int, units: int, kernels: int
) -> None:
    network = load_onnx(shared_data / file)
    assert network.input_shape == shape
    assert network.output_size == outputs
    assert network.relu_count == units
    assert len(convolutions(network)) == kernels
    model = onnx.load(shared_data / file)
    value = next(v for v in model.graph.input if v.name not in {t.name for t in model.graph.initializer})
    value_name, batch = value.name, np.random.default_rng(0).random((5, *shape)).astype(np.float32)
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    expected = [session.run(None, {value_name: row[None]})[0].reshape(-1) for row in batch]
    np.testing.assert_allclose(network.forward_batch(batch), np.array(expected), rtol=1e-4, atol=1e-4)


def mnist(shared_data: Path) -> tuple[Array, Array]:
    """The 10,000 test images as pixel / 255 in float32, and their labels."""
    with gzip.open(shared_data / "mnist" / "t10k-images-idx3-ubyte.gz") as file:
        pixels = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 1, 28, 28)
    with gzip.open(shared_data / "mnist" / "t10k-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read(), np.uint8, offset=8)
    return (pixels / np.float32(255)).astype(np.float64), labels


@pytest.mark.parametrize(("file", "correct"), [("wk17a_linf0.1", 9811), ("rsl18a_linf0.1", 9582), ("wk_small03", 8523)])
def test_accuracy_on_mnist(shared_data: Path, file: str, correct: int) -> None:
    """Accuracies as published with the networks: 98.11 %, 95.82 %, 85.23 % of 10,000."""
    network = load_onnx(shared_data / "models" / f"{file}.onnx")
    images, labels = mnist(shared_data)
    predicted = np.concatenate([network.forward_batch(part).argmax(axis=1) for part in np.split(images, 40)])
    assert int((predicted == labels).sum()) == correct


def test_loading_imports_no_torch_and_stays_below_a_gigabyte(shared_data: Path) -> None:
    path = shared_data / "models" / "wk17a_linf0.1.onnx"
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "import onnx_models\n"
        "assert not {'onnx', 'onnxruntime'} & set(sys.modules)\n"
        f"onnx_models.load_onnx({str(path)!r})\n"
        "assert 'torch' not in sys.modules\n"
        "status = Path('/proc/self/status').read_text()\n"  # getrusage would count the process that this one came from
        "assert int(status.split('VmHWM:')[1].split()[0]) < 2**20\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout == done.stderr == ""
