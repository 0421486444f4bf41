"""Networks, arrays and numbers in the form in which certificates hold them."""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnx_models import Affine, Array, ConvolutionMap, DenseMap, Input, LinearMap, ReluNetwork, SparseMap


def packed(values: Array) -> str:
    """A packed array of floats: float32 where that is exact, else float64."""
    flat = np.ascontiguousarray(values, np.float64).reshape(-1)
    with np.errstate(over="ignore"):
        short = flat.astype("<f4")
    exact = np.array_equal(short.astype(np.float64).view(np.int64), flat.view(np.int64))  # tells -0.0 from 0.0
    data = short.tobytes() if exact else flat.astype("<f8").tobytes()
    return f"f{4 if exact else 8}:{base64.b64encode(data).decode('ascii')}"


def network_section(network: ReluNetwork) -> dict[str, Any]:
    """The network with all its weights."""
    nodes: list[dict[str, Any]] = []
    for node in network.nodes:
        if isinstance(node, Input):
            nodes.append({"input": node.size})
        elif isinstance(node, Affine):
            parts = [{"from": s, "map": _map(m)} for s, m in zip(node.inputs, node.maps, strict=True)]
            nodes.append({"affine": parts, "size": node.size, "bias": packed(node.bias)})
        else:
            nodes.append({"relu": node.input})
    return {"digest": network.digest, "nodes": nodes}


def compressed(document: dict[str, Any]) -> bytes:
    """The file for a document: the same bytes for the same document."""
    return gzip.compress(json.dumps(document, separators=(",", ":")).encode("ascii"), mtime=0)


def _map(linear_map: LinearMap) -> dict[str, Any]:
    if isinstance(linear_map, DenseMap):
        return {"dense": packed(linear_map.weight)}
    if isinstance(linear_map, ConvolutionMap):
        c = linear_map
        return {
            "convolution": packed(c.kernel),
            "kernel": _whole(c.kernel.shape),
            "input": _whole(c.input_shape),
            "strides": _whole(c.strides),
            "pads": _whole(c.pads),
            "dilations": _whole(c.dilations),
            "groups": int(c.groups),
        }
    assert isinstance(linear_map, SparseMap)
    m = linear_map.matrix
    return {"sparse": packed(m.data), "starts": _indices(m.indptr), "columns": _indices(m.indices)}


def _whole(values: tuple[int, ...]) -> list[int]:
    return [int(value) for value in values]


def _indices(values: NDArray[np.integer[Any]]) -> str:
    return "i4:" + base64.b64encode(values.astype("<i4").tobytes()).decode("ascii")
