"""Small ONNX models, built node by node or drawn at random, and their comparison with onnxruntime."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from onnx_models import ReluNetwork
from onnx_models.importer import load_onnx_bytes

Array = NDArray[Any]


class _X:
    """Stands for the model's input in the arguments of `single`."""

    def __repr__(self) -> str:
        return "X"  # parallel test processes have to agree on the names of tests


X: Final = _X()


class GraphBuilder:
    """Collects nodes and weights; values are named by strings, and the input is "x"."""

    def __init__(
        self, shape: Sequence[int], *, opset: int = 13, batch: str | int | None = "N", dtype: Any = np.float32
    ) -> None:
        self.opset, self.dtype = opset, np.dtype(dtype)
        self.input_shape = [*([] if batch is None else [batch]), *shape]
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def constant(self, value: Any) -> str:
        """Stores a weight; floats get the model's type. Returns its name."""
        array = np.asarray(value)
        if array.dtype.kind == "f":
            array = array.astype(self.dtype)
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(array, name))
        return name

    def node(self, operator: str, *inputs: Any, outputs: int = 1, **attributes: Any) -> str:
        """Adds a node; inputs are names of values, arrays to be stored, or None. Returns its (first) output's name."""
        names = ["" if v is None else v if isinstance(v, str) else self.constant(v) for v in inputs]
        index = len(self.nodes)
        results = [f"v{index}" if k == 0 else f"v{index}_{k}" for k in range(outputs)]
        self.nodes.append(helper.make_node(operator, names, results, name=f"{operator}_{index}", **attributes))
        return results[0]

    def model(self, output: str) -> onnx.ModelProto:
        """The model whose output is the value `output`."""
        kind = helper.np_dtype_to_tensor_dtype(self.dtype)
        graph = helper.make_graph(
            self.nodes,
            "graph",
            [helper.make_tensor_value_info("x", kind, self.input_shape)],
            [onnx.ValueInfoProto(name=output)],
            self.weights,
        )
        graph.output[0].type.tensor_type.elem_type = kind
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8)


def single(
    operator: str,
    shape: Sequence[int],
    *inputs: Any,
    opset: int = 13,
    batch: str | int | None = "N",
    outputs: int = 1,
    **attributes: Any,
) -> onnx.ModelProto:
    """A model of one node. `inputs` are arrays, None, and `X` for the model's input, which comes first by default."""
    graph = GraphBuilder(shape, opset=opset, batch=batch)
    given = inputs if any(v is X for v in inputs) else (X, *inputs)
    named = ["x" if v is X else v for v in given]
    return graph.model(graph.node(operator, *named, outputs=outputs, **attributes))


def run(model: onnx.ModelProto, batch: Array) -> Array:
    """Output of onnxruntime for a batch (N, *shape); row by row where the model's batch is fixed."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    value = session.get_inputs()[0]
    if isinstance(value.shape[0], str):
        return np.asarray(session.run(None, {"x": batch})[0]).reshape(len(batch), -1)
    rows = [session.run(None, {"x": row.reshape(value.shape)})[0] for row in batch]
    return np.stack([np.asarray(row).reshape(-1) for row in rows])


def inputs_for(model: onnx.ModelProto, rows: int = 6, *, scale: float = 2.0) -> Array:
    """Random inputs for a model, of its input type, half of them on a coarse grid so that ties and zeros occur."""
    rng = np.random.default_rng(0)
    tensor = model.graph.input[0].type.tensor_type
    dims = [d.dim_value for d in tensor.shape.dim]
    shape = dims[1:] if (dims[0] in (0, 1) and len(dims) > 1) or dims[0] == 0 else dims
    x = rng.uniform(-scale, scale, (rows, *shape))
    x[::2] = np.round(x[::2])
    return x.astype(helper.tensor_dtype_to_np_dtype(tensor.elem_type))


def check(model: onnx.ModelProto, *, tolerance: float = 1e-5) -> ReluNetwork:
    """Loads the model, cross-check included, compares it with onnxruntime on inputs of our own, and returns it."""
    network = load_onnx_bytes(model.SerializeToString(), "model.onnx")
    batch = inputs_for(model)
    expected = run(model, batch)
    ours = network.forward_batch(batch)
    assert ours.shape == expected.shape
    np.testing.assert_allclose(ours, expected, rtol=tolerance, atol=tolerance * max(1.0, float(np.abs(expected).max())))
    np.testing.assert_allclose(network.source.logits(batch) if network.source else ours, expected, rtol=1e-4, atol=1e-4)
    return network


def weights(rng: np.random.Generator, *shape: int) -> Array:
    """Random float32 weights of about unit gain."""
    fan_in = max(1, int(np.prod(shape[1:])))
    return (rng.normal(size=shape) / np.sqrt(fan_in)).astype(np.float32)


Layer = Callable[[GraphBuilder, np.random.Generator, str, tuple[int, ...]], tuple[str, tuple[int, ...]]]
"""Adds nodes that map the named value of a shape (without batch) to another, and returns that one."""


def _convolution(g: GraphBuilder, rng: np.random.Generator, value: str, shape: tuple[int, ...]) -> Any:
    groups = int(rng.choice([d for d in (1, 2) if shape[0] % d == 0]))
    out, kernel = groups * int(rng.integers(1, 3)), [int(k) for k in rng.integers(1, 4, 2)]
    strides, dilations = [int(s) for s in rng.integers(1, 3, 2)], [int(d) for d in rng.integers(1, 3, 2)]
    pads = [int(p) for p in rng.integers(0, 3, 4)]
    sizes = [
        (n + pads[k] + pads[k + 2] - dilations[k] * (kernel[k] - 1) - 1) // strides[k] + 1
        for k, n in enumerate(shape[1:])
    ]
    if min(sizes) < 1:
        return value, shape
    weight = weights(rng, out, shape[0] // groups, *kernel)
    extra = [weights(rng, out)] if rng.random() < 0.7 else []
    node = g.node(
        "Conv",
        value,
        weight,
        *extra,
        strides=strides,
        dilations=dilations,
        pads=pads,
        group=groups,
        kernel_shape=kernel,
    )
    return node, (out, *sizes)


def _pool(g: GraphBuilder, rng: np.random.Generator, value: str, shape: tuple[int, ...]) -> Any:
    operator = str(rng.choice(["MaxPool", "AveragePool"]))
    kernel, strides = [int(k) for k in rng.integers(1, 4, 2)], [int(s) for s in rng.integers(1, 3, 2)]
    pads = [int(rng.integers(0, k)) for k in (*kernel, *kernel)]
    sizes = [(n + pads[k] + pads[k + 2] - kernel[k]) // strides[k] + 1 for k, n in enumerate(shape[1:])]
    if min(sizes) < 1:
        return value, shape
    return g.node(operator, value, kernel_shape=kernel, strides=strides, pads=pads), (shape[0], *sizes)


def _normalise(g: GraphBuilder, rng: np.random.Generator, value: str, shape: tuple[int, ...]) -> Any:
    c = shape[0]
    parameters = [rng.uniform(0.5, 2, c), rng.normal(size=c), rng.normal(size=c), rng.uniform(0.1, 2, c)]
    return g.node("BatchNormalization", value, *parameters), shape


def _activation(g: GraphBuilder, rng: np.random.Generator, value: str, shape: tuple[int, ...]) -> Any:
    operator = str(rng.choice(["Relu", "Relu", "LeakyRelu", "PRelu", "Abs", "Clip", "Max", "Min"]))
    extra: dict[str, list[Any]] = {
        "PRelu": [rng.uniform(-0.5, 1.5, (shape[0], *[1] * (len(shape) - 1)))],
        "Clip": [np.float32(-0.5), np.float32(0.75)],
        "Max": [rng.normal(size=shape)],
        "Min": [rng.normal(size=shape)],
    }
    return g.node(operator, value, *extra.get(operator, [])), shape


def _residual(g: GraphBuilder, rng: np.random.Generator, value: str, shape: tuple[int, ...]) -> Any:
    branch, _ = _activation(g, rng, value, shape)
    branch = g.node("Mul", branch, rng.normal(size=shape))
    return g.node(str(rng.choice(["Add", "Sub"])), value, branch), shape


def _masked(g: GraphBuilder, rng: np.random.Generator, value: str, shape: tuple[int, ...]) -> Any:
    mask = rng.integers(-1, 2, shape)
    inner = g.node("Where", mask == 1, value, g.node("Relu", value))
    return g.node("Where", mask == -1, np.zeros(shape), inner), shape


def _rearrange(g: GraphBuilder, rng: np.random.Generator, value: str, shape: tuple[int, ...]) -> Any:
    kind = int(rng.integers(0, 3))
    if kind == 0:
        order = [int(k) for k in rng.permutation(len(shape))]
        return g.node("Transpose", value, perm=[0, *(k + 1 for k in order)]), tuple(shape[k] for k in order)
    axis = int(rng.integers(0, len(shape)))
    if kind == 1:
        other = g.node("Neg", value)
        return g.node("Concat", value, other, axis=axis + 1), tuple(
            2 * d if k == axis else d for k, d in enumerate(shape)
        )
    where = rng.integers(0, shape[axis], int(rng.integers(1, shape[axis] + 1)))
    return g.node("Gather", value, where, axis=axis + 1), tuple(
        len(where) if k == axis else d for k, d in enumerate(shape)
    )


def _dense(g: GraphBuilder, rng: np.random.Generator, value: str, shape: tuple[int, ...]) -> Any:
    size, out = int(np.prod(shape)), int(rng.integers(2, 6))
    flat = value if len(shape) == 1 else g.node("Flatten", value)
    return g.node("Gemm", flat, weights(rng, out, size), weights(rng, out), transB=1), (out,)


ON_IMAGES: tuple[Layer, ...] = (_convolution, _pool, _normalise, _activation, _residual, _masked, _rearrange)
ON_VECTORS: tuple[Layer, ...] = (_dense, _activation, _residual, _masked, _rearrange)


def random_model(seed: int, *, layers: int = 6, batch: str | int | None = "N", opset: int = 13) -> onnx.ModelProto:
    """A random model: convolutional layers on a small image, dense ones after, masks, pools and residuals between."""
    rng = np.random.default_rng(seed)
    shape: tuple[int, ...] = (int(rng.integers(1, 4)), int(rng.integers(3, 7)), int(rng.integers(3, 7)))
    graph, value = GraphBuilder(shape, batch=batch, opset=opset), "x"
    for k in range(layers):
        choices = ON_IMAGES if len(shape) == 3 and k < layers // 2 + 1 else ON_VECTORS
        if len(shape) == 3 and choices is ON_VECTORS:
            value, shape = _dense(graph, rng, value, shape)
            continue
        value, shape = choices[int(rng.integers(len(choices)))](graph, rng, value, shape)
        if np.prod(shape) > 300:
            value, shape = _dense(graph, rng, value, shape)
    value, shape = _dense(graph, rng, value, shape)
    return graph.model(value)


def without_raw(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same model with its float32 weights in typed fields instead of raw bytes."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for tensor in copy.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            values = numpy_helper.to_array(tensor).ravel().tolist()
            tensor.ClearField("raw_data")
            tensor.float_data.extend(values)
    return copy
