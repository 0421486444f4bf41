"""Small files that ask for much memory or time, and networks that share a digest."""

from __future__ import annotations

import base64
import resource
import struct

import numpy as np
import pytest
from scipy.sparse import csr_array

from mipverify_py.certificate import Rejected, check
from onnx_models import DenseMap, NetworkBuilder, SparseMap
from tests.helpers.certificates import Document, closed

CHOICE = {"bits": 0, "alpha": [], "rho": [], "planes": []}


def f8(*values: float) -> str:
    return "f8:" + base64.b64encode(struct.pack(f"<{len(values)}d", *values)).decode()


def certificate(nodes: list[Document], digest: str, n: int, **part: object) -> bytes:
    question = {"x0": f8(*[0.5] * n), "lower": f8(*[0.0] * n), "upper": f8(*[2.0] * n), "reference": 0, "targets": [1]}
    region = {"units": [], "steps": [], "trees": [], "cut": None, **part}
    return closed({
        "format": "mipverify-certificate", "version": 1, "network": {"digest": digest, "nodes": nodes},
        "question": {**question, "margin": "0x0p+0"}, "robust": {"radius": None, "regions": [region]}, "witness": None,
    })  # fmt: skip


def test_networks_that_compute_different_functions_have_different_digests() -> None:
    """w x_3 with a tiny weight of x_1, and w x_0 in sparse rows: the same bytes, unless the kind of map is hashed."""

    def built(first: DenseMap | SparseMap) -> str:
        builder = NetworkBuilder((4,))
        hidden = builder.affine([0], [first])
        return builder.build(builder.affine([hidden], [DenseMap(np.array([[0.0], [1.0]]))]), fuse=False).digest

    dense = DenseMap(np.array([[0.0, 5e-324, 0.0, 4.0]]))
    sparse = SparseMap(csr_array((np.array([4.0]), np.array([0]), np.array([0, 1])), shape=(1, 4)))
    assert built(dense) != built(sparse)


def test_numbers_that_grow_from_layer_to_layer_are_refused() -> None:
    """Weights 2**511, one after another: 14 kB of file, 512 bits more at each of 5,000 nodes."""
    builder, node = NetworkBuilder((1,)), 0
    nodes: list[Document] = [{"input": 1}]
    for k in range(5000):
        node = builder.affine([node], [DenseMap(np.array([[2.0**511]]))])
        nodes.append({"affine": [{"from": k, "map": {"dense": f8(2.0**511)}}], "size": 1, "bias": f8(0.0)})
    builder.affine([node], [DenseMap(np.array([[1.0], [-1.0]]))])
    nodes.append({"affine": [{"from": 5000, "map": {"dense": f8(1.0, -1.0)}}], "size": 2, "bias": f8(0.0, 0.0)})
    digest = builder.build(len(nodes) - 1, fuse=False).digest
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(Rejected, match="longer than is allowed|more work"):
        check(certificate(nodes, digest, 1, trees=[[1, {"planes": [], "nodes": [{"close": CHOICE}]}]]))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB; on Linux


def test_planes_read_earlier_nodes_only() -> None:
    """y <= 1 y + D replaces y by itself: without the rule the bound is never finished."""
    builder = NetworkBuilder((1,))
    hidden = builder.relu(builder.affine([0], [DenseMap(np.array([[1.0]]))], np.array([-1.0])))
    digest = builder.build(builder.affine([hidden], [DenseMap(np.array([[0.0], [1.0]]))]), fuse=False).digest
    nodes = [
        {"input": 1},
        {"affine": [{"from": 0, "map": {"dense": f8(1.0)}}], "size": 1, "bias": f8(-1.0)},
        {"relu": 1},
        {"affine": [{"from": 2, "map": {"dense": f8(0.0, 1.0)}}], "size": 2, "bias": f8(0.0, 0.0)},
    ]
    loop = {"unit": 0, "bits": 0, "terms": [[2, [0], [1]]]}
    tree = {"planes": [loop], "nodes": [{"close": {**CHOICE, "planes": [[0, 1]]}}]}
    with pytest.raises(Rejected, match="whole one from 0 to 1"):
        check(certificate(nodes, digest, 1, units=[[2, [0]]], trees=[[1, tree]]), most_products=10**6)
