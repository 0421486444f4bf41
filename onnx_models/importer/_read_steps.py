"""Reading a model's operators one by one for bounds of float32 errors, and refusing those without any."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from onnx_models._prune import prune
from onnx_models._source import OnnxSource
from onnx_models.errors import InputError, UnsupportedModelError
from onnx_models.importer._graph import Graph, read_graph
from onnx_models.importer._lower import Lowered, lower
from onnx_models.importer._node import NodeInfo
from onnx_models.importer._read import parse
from onnx_models.importer._steps import Step, Steps
from onnx_models.importer._tensors import type_name
from onnx_models.importer._values import Constant, Tensor
from onnx_models.importer._words import quoted

_FLOAT = 1
"""float32, as ONNX numbers element types."""

_EXTRA = 3
"""Two for a scaled product (Gemm) or a quotient that is formed first (Div, Mean), one for our coefficients' own."""

_EXTRA_NORMALIZATION = 8
"""Epsilon, a sum, a root, a reciprocal and a product for the factor, its product with x or the mean, and two sums."""

_SMALLEST_VARIANCE = 2.0**-100
"""A variance plus epsilon of at least this stays clear of the numbers that some processors take for zero (2**-126)."""


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


MOVES = _names(
    "Cast Concat Dropout Expand Flatten Gather Identity LogSoftmax Neg Pad Reshape Slice Softmax Split Squeeze "
    "Transpose Unsqueeze Where"
)
"""Operators whose every result is an entry of an input, its negative, or a stored constant: nothing is rounded."""

ROUNDS = _names(
    "Abs Add AveragePool BatchNormalization Clip Conv Div Gemm GlobalAveragePool GlobalMaxPool HardSigmoid LeakyRelu "
    "MatMul Max MaxPool Mean Min Mul PRelu ReduceMax ReduceMean ReduceMin ReduceSum Relu Sub Sum"
)
"""Operators that round as their affine and ReLU nodes would. Maxima and the like need not round at all, which is one
way of rounding: max(a, b) is relu(a - b) + b without an error. An operator in neither set is refused."""

_ROUND_ONCE = _names("Add Constant ConstantOfShape Div Max Min Mul Reciprocal Sqrt Sub")
"""Operators that, applied to constants, round once and correctly, or not at all. Where float64 gives a float32 number,
float32 gives the same: the exact result is nearer to it than to any other."""


def read_steps(source: OnnxSource, digest: str) -> Steps:
    """The operators of a model that holds the network of that digest; errors as for `float32_steps`."""
    model = parse(source.data, source.name, None)
    kind = next(v for v in model.graph.input if v.name not in {w.name for w in model.graph.initializer}).type
    if kind.tensor_type.elem_type != _FLOAT:
        raise UnsupportedModelError(
            f"{source.name} computes in {type_name(kind.tensor_type.elem_type)}; float32 bounds need a float32 model."
        )
    graph = read_graph(model, source.name)
    lowered = lower(graph)
    if prune(lowered.builder.build(lowered.output.node)).digest != digest:
        raise InputError(f"The network is not the one that {source.name} holds; float32 needs the file's own.")
    steps, start = [], 1
    for info, end in zip(graph.nodes, lowered.counts, strict=True):
        if any(isinstance(lowered.values.get(name), Tensor) for name in info.outputs):
            steps.append(_step(graph, info, lowered, range(start, end)))
        else:
            _check_folded(graph, info, lowered)
        start = end
    for name in graph.weights:
        _check_float32(graph, f"weight {quoted(name)}", lowered.values[name])
    return Steps(tuple(lowered.builder.nodes), tuple(steps), lowered.output.node)


def _step(graph: Graph, info: NodeInfo, lowered: Lowered, nodes: range) -> Step:
    if info.operator not in MOVES | ROUNDS:
        raise UnsupportedModelError(f"{graph.name}: {info.label}: no bound of its float32 rounding errors is known.")
    if info.operator == "Cast" and info.attributes.get("to") != _FLOAT:
        raise UnsupportedModelError(f"{graph.name}: {info.label} leaves float32; bounds need a model that keeps to it.")
    if info.operator == "BatchNormalization":
        return Step(info.label, False, nodes, _EXTRA_NORMALIZATION, _spread_of_normalization(graph, info, lowered))
    return Step(info.label, info.operator in MOVES, nodes, _EXTRA, 1.0)


def _spread_of_normalization(graph: Graph, info: NodeInfo, lowered: Lowered) -> float:
    """Bounds the products of scale, 1/sqrt(variance + epsilon) and variance + epsilon, from which factors are made."""
    scale, variance = (_numbers(lowered.values[info.inputs[k]]) for k in (1, 4))
    total = variance + float(info.attributes.get("epsilon", 1e-5))
    if total.min() < _SMALLEST_VARIANCE or variance.min() < 0.0:
        raise UnsupportedModelError(f"{graph.name}: {info.label} has a variance too near to 0 for a bound of errors.")
    factors = (np.abs(scale).max(), 1.0 / np.sqrt(total.min()), total.max())
    return float(np.prod([max(1.0, 2.0 * float(factor)) for factor in factors]))


def _numbers(value: object) -> NDArray[np.float64]:
    return np.asarray(value, np.float64)


def _check_folded(graph: Graph, info: NodeInfo, lowered: Lowered) -> None:
    """Refuses a constant of which float32 may make another number than float64."""
    results = [lowered.values[name] for name in info.outputs if name]
    if not any(isinstance(r, np.ndarray) and r.dtype.kind == "f" for r in results):
        return
    if info.operator not in MOVES | _ROUND_ONCE:
        raise UnsupportedModelError(
            f"{graph.name}: {info.label} computes a constant, in which float32 may round otherwise than float64; fold "
            "constants before exporting (for example with onnxsim)."
        )
    for result in results:
        _check_float32(graph, f"{info.label} computes a constant that", result)


def _check_float32(graph: Graph, what: str, value: Tensor | Constant) -> None:
    if isinstance(value, Tensor) or value.dtype.kind != "f":
        return
    with np.errstate(over="ignore"):
        rounded = value.astype(np.float32).astype(np.float64)
    if not np.array_equal(rounded, value):
        raise UnsupportedModelError(
            f"{graph.name}: {what} holds numbers that are no float32 numbers; float32 bounds need a float32 model."
        )
