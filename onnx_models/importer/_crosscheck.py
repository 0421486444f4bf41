"""Comparing the lowered network with onnxruntime, value by value.

Every ONNX value that depends on the input is compared, and onnxruntime's result is then used in place of ours for what
follows. So each node is judged by itself, on the very inputs that onnxruntime gave it, and the allowed difference is
the rounding error of that one node: it does not grow with depth, and the first disagreement names the node at fault.

The allowed difference is the classical bound for inner products in any order of summation (Higham, Accuracy and
Stability of Numerical Algorithms, 2nd ed., section 3.1): for y = b + sum of w_k x_k over n terms in arithmetic with
unit roundoff u, |error| <= (n + 2) u (|b| + sum |w_k| |x_k|) to first order. We allow n + 8, for coefficients that are
themselves computed (1/9 in a mean, scale/sqrt(variance) in a normalisation), and u |y| for storing y. u is that of the
coarsest type that occurs among onnxruntime's values: 2^-24 for float32. A wrong pad or a transposed weight changes y by
a sizeable part of sum |w_k| |x_k|, thousands of times more.

What is compared is the network before fusing; the final network must then agree with it in float64.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from onnx_models._maps import Array
from onnx_models._network import Affine, Input, Node, Relu, ReluNetwork
from onnx_models._source import open_session, run_chunks
from onnx_models.errors import CrossCheckError
from onnx_models.importer._graph import Graph
from onnx_models.importer._lower import Checkpoint, Lowered
from onnx_models.importer._runtime import expose
from onnx_models.importer._words import quoted

_LOGGER = logging.getLogger(__name__)

_SEED = 20_250_217
_FEWEST_INPUTS = 4
_WORK = 2**31
"""Multiplications that all inputs together may take, an entry of a value counted as ten; the fewest are always used."""

_CHUNK_ENTRIES = 2**23
"""Intermediate values held at once, per copy: 64 MiB in float64."""

_FUSED_TOLERANCE = 1e-9
"""Fusing changes float64 roundings only, each at most 1.1e-16 of the terms summed. Relative to the largest such sum in
the network, 1e-9 lets their number and the layers behind them amplify that ten-million-fold."""

_SKIP = "load_onnx(..., cross_check=False) skips this check"


def cross_check(lowered: Lowered, network: ReluNetwork, model: onnx.ModelProto, graph: Graph) -> None:
    """Compares on 16 inputs: corners and random points of [0, 1]^n and [-1, 1]^n, and points of [-8, 8]^n.

    Models that need more than about 10^8 multiplications for one input are compared on fewer, at least 4.

    Args:
        lowered: the network before fusing, with the ONNX values it stands for.
        network: the network after fusing.
        model: the model as onnxruntime is given it.
        graph: the graph that was lowered.

    Raises:
        CrossCheckError: a value differs by more than rounding explains; the message names the first node whose value
            does, and both values.
        ModelFileError: onnxruntime cannot run the model.
    """
    by_node: dict[int, list[Checkpoint]] = {}
    for checkpoint in lowered.checkpoints:
        by_node.setdefault(checkpoint.tensor.node, []).append(checkpoint)
    names = [checkpoint.name for checkpoint in lowered.checkpoints]
    session = open_session(expose(model, names), graph.name, optimise=False)
    entries = sum(node.size for node in lowered.builder.nodes)
    batch = _inputs(lowered.builder.nodes, session.get_inputs()[0].type)
    rows = max(1, _CHUNK_ENTRIES // entries)
    compared = start = 0
    for results in run_chunks(session, batch, graph.name, rows=rows):
        length = min(rows, len(batch) - start) if graph.batched else 1
        chunk, start = batch[start : start + length], start + length
        theirs = _shaped(lowered.checkpoints, results, graph, length)
        usable = np.logical_and.reduce([np.isfinite(v).all(axis=1) for v in theirs.values()])
        if usable.any():
            kept = {name: value[usable] for name, value in theirs.items()}
            _compare(lowered.builder.nodes, chunk[usable], by_node, kept, graph.name)
            _compare_fused(lowered, network, chunk[usable], graph.name)
        compared += int(usable.sum())
    if not compared:
        raise CrossCheckError(
            f"{graph.name}: onnxruntime overflows on every test input; nothing was compared. {_SKIP}."
        )
    if compared < len(batch):
        lost = len(batch) - compared
        _LOGGER.warning("%s: onnxruntime overflows on %d of %d test inputs", graph.name, lost, len(batch))


def _inputs(nodes: Sequence[Node], element_type: str) -> Array:
    """The test inputs, exactly representable in the model's input type; fewer where one evaluation takes long."""
    random, size = np.random.default_rng(_SEED), nodes[0].size
    rows = [
        random.uniform(0.0, 1.0, size),
        random.uniform(-1.0, 1.0, size),
        random.integers(0, 2, size).astype(np.float64),
        random.uniform(-8.0, 8.0, size),
        np.zeros(size),
        np.ones(size),
        -np.ones(size),
        np.full(size, 0.5),
        random.integers(0, 2, size).astype(np.float64),
        random.choice([-1.0, 1.0], size),
        random.choice([-1.0, 1.0], size),
        *random.uniform(0.0, 1.0, (2, size)),
        *random.uniform(-1.0, 1.0, (2, size)),
        random.uniform(-8.0, 8.0, size),
    ]
    products = sum(m.entries for node in nodes if isinstance(node, Affine) for m in node.maps)
    work = products + 10 * sum(node.size for node in nodes)
    count = max(_FEWEST_INPUTS, min(len(rows), _WORK // work))
    rounded = np.array(rows[:count], np.float16 if element_type == "tensor(float16)" else np.float32)
    return rounded.astype(np.float64)


def _shaped(
    checkpoints: Sequence[Checkpoint], results: Sequence[NDArray[Any]], graph: Graph, rows: int
) -> dict[str, NDArray[Any]]:
    """onnxruntime's values as rows of flat vectors, their shapes checked first."""
    flat: dict[str, NDArray[Any]] = {}
    for checkpoint, result in zip(checkpoints, results, strict=True):
        shape = checkpoint.tensor.shape
        expected = (rows, *shape[1:]) if graph.batched else shape
        if result.shape != expected:
            raise CrossCheckError(
                f"{graph.name}: {checkpoint.node.label} gives {quoted(checkpoint.name)} the shape {result.shape} in "
                f"onnxruntime, and {expected} in the lowered network. {_SKIP}."
            )
        flat[checkpoint.name] = result.reshape(rows, -1)
    return flat


@dataclass(frozen=True, eq=False)
class _Rounded:
    """A node's value for a batch, and how far rounding may have taken onnxruntime from it; both of shape (N, size)."""

    value: Array
    error: Array


def _compare(
    nodes: Sequence[Node],
    batch: Array,
    by_node: dict[int, list[Checkpoint]],
    theirs: dict[str, NDArray[Any]],
    model: str,
) -> None:
    """Evaluates node by node, each on onnxruntime's own values where it has them."""
    precision = max((np.finfo(v.dtype) for v in theirs.values()), key=lambda info: info.eps)
    results: list[_Rounded] = []
    for index, node in enumerate(nodes):
        ours = _evaluate(node, batch, results, float(precision.eps) / 2, float(precision.smallest_subnormal))
        for checkpoint in by_node.get(index, []):
            expected = theirs[checkpoint.name].astype(np.float64)
            stored = _Rounded(ours.value, ours.error + float(precision.eps) / 2 * np.abs(expected))
            _require_close(stored, expected, checkpoint, model)
            ours = _Rounded(expected, np.zeros_like(expected))
        results.append(ours)


def _evaluate(node: Node, batch: Array, results: Sequence[_Rounded], roundoff: float, tiny: float) -> _Rounded:
    """The node's value in float64 and the error bound described at the top of this module."""
    if isinstance(node, Input):
        return _Rounded(batch, np.zeros_like(batch))
    if isinstance(node, Relu):
        source = results[node.input]
        return _Rounded(np.maximum(source.value, 0.0), source.error)
    terms = sum(m.fan_in for m in node.maps) + 8
    value = np.broadcast_to(node.bias, (len(batch), node.size))
    error = np.broadcast_to(terms * (roundoff * np.abs(node.bias) + tiny), value.shape)
    for index, linear_map in zip(node.inputs, node.maps, strict=True):
        source = results[index]
        value = value + linear_map.apply(source.value)
        error = error + linear_map.absolute().apply(source.error + terms * roundoff * np.abs(source.value))
    return _Rounded(value, error)


def _require_close(ours: _Rounded, expected: Array, checkpoint: Checkpoint, model: str) -> None:
    excess = np.abs(ours.value - expected) - ours.error
    if excess.max(initial=0.0) <= 0.0:
        return
    row, entry = np.unravel_index(int(excess.argmax()), excess.shape)
    position = tuple(int(k) for k in np.unravel_index(int(entry), checkpoint.tensor.shape))
    raise CrossCheckError(
        f"{model}: the lowered network and onnxruntime disagree, first at {checkpoint.node.label}: "
        f"entry {position} of {quoted(checkpoint.name)} is {expected[row, entry]:.9g} in onnxruntime and "
        f"{ours.value[row, entry]:.9g} here; rounding explains a difference of {ours.error[row, entry]:.2g}. "
        f"Please report the model; {_SKIP}."
    )


def _compare_fused(lowered: Lowered, network: ReluNetwork, batch: Array, model: str) -> None:
    """The network after fusing and pruning against the one before, in float64."""
    plain = lowered.builder.build(lowered.output.node, fuse=False)
    expected, first = _outputs_and_largest_terms(plain, batch)
    outputs, second = _outputs_and_largest_terms(network, batch)
    gap = np.abs(outputs - expected).max(axis=1)
    if (gap > _FUSED_TOLERANCE * np.maximum(first, second)).any():
        raise CrossCheckError(
            f"{model}: fusing affine maps changed the outputs by {gap.max():.3g}: weights of unlike size cancel, "
            f"or there is a bug here. Please report the model; {_SKIP}."
        )


def _outputs_and_largest_terms(network: ReluNetwork, batch: Array) -> tuple[Array, Array]:
    """Outputs, shape (N, outputs), and the largest |b| + sum |w_k| |x_k| in any node, shape (N,)."""
    values = network.activations(batch)
    largest = np.abs(batch).max(axis=1)
    for node in network.nodes:
        if isinstance(node, Affine):
            terms = np.broadcast_to(np.abs(node.bias), (len(batch), node.size))
            for index, linear_map in zip(node.inputs, node.maps, strict=True):
                terms = terms + linear_map.absolute().apply(np.abs(values[index]))
            largest = np.maximum(largest, terms.max(axis=1))
    return values[-1], largest
