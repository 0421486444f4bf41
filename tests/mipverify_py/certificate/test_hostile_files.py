"""Small files that ask for much memory or time, and networks that share a digest."""

from __future__ import annotations

import base64
import resource
import struct
from fractions import Fraction

import numpy as np
import pytest
from scipy.sparse import csr_array

from mipverify_py.certificate import Rejected, check
from mipverify_py.certificate._document import Network, Work
from onnx_models import DenseMap, NetworkBuilder, SparseMap
from tests.helpers.certificates import Document, closed

CHOICE = {"bits": 0, "alpha": [], "rho": [], "planes": []}


def f8(*values: float) -> str:
    return "f8:" + base64.b64encode(struct.pack(f"<{len(values)}d", *values)).decode()


def i4(*values: int) -> str:
    return "i4:" + base64.b64encode(struct.pack(f"<{len(values)}i", *values)).decode()


def scaling(source: int) -> Document:
    """The node that is 2**511 times a node of one entry."""
    return {"affine": [{"from": source, "map": {"dense": f8(2.0**511)}}], "size": 1, "bias": f8(0.0)}


def digest_of(nodes: list[Document]) -> str:
    """What the checker computes for a network: it is noted before it is compared."""
    network = object.__new__(Network)
    with pytest.raises(Rejected, match="digest names"):
        network.__init__({"digest": "", "nodes": nodes})  # type: ignore[misc]
    return network.digest


def certificate(nodes: list[Document], digest: str, n: int, *, top: float = 2.0, **part: object) -> bytes:
    question = {"x0": f8(*[0.5] * n), "lower": f8(*[0.0] * n), "upper": f8(*[top] * n), "reference": 0, "targets": [1]}
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


def test_products_of_maps_do_not_grow_without_end() -> None:
    """0 * 2**511 * 2**511 ...: every bound is 0, and only the coefficients of a plane become long."""
    nodes: list[Document] = [
        {"input": 1},
        *(scaling(k) for k in range(300)),
        {"relu": 300},
        {"affine": [{"from": 301, "map": {"dense": f8(0.0, 0.0)}}], "size": 2, "bias": f8(1.0, 0.0)},
    ]
    digest = digest_of(nodes)
    tree = {"planes": [{"unit": 0, "bits": 0, "terms": []}], "nodes": [{"close": CHOICE}]}
    honest = {"units": [[301, [0]]], "trees": [[1, {**tree, "planes": []}]]}
    assert check(certificate(nodes, digest, 1, top=0.0, **honest)).robust
    with pytest.raises(Rejected, match="longer than is allowed"):
        check(certificate(nodes, digest, 1, top=0.0, **{**honest, "trees": [[1, tree]]}))


def test_products_of_maps_spend_work_for_the_length_of_their_numbers() -> None:
    """Each of K nodes is finer than the one before and reads an entry of the input, so K (K + 1) / 2 are rescaled."""
    count = 200
    nodes: list[Document] = [{"input": count}]
    for k in range(count):
        entry = {"sparse": f8(2.0**-6), "starts": i4(0, 1), "columns": i4(k)}
        before = [{"from": k, "map": {"dense": f8(2.0**-6)}}] if k else []
        nodes.append({"affine": [{"from": 0, "map": entry}, *before], "size": 1, "bias": f8(0.0)})
    network, work = Network({"digest": digest_of(nodes), "nodes": nodes}), Work(10**9)
    terms, _, exponent = network.direct((count, 0), work)
    assert {j: Fraction(c, 2**exponent) for (_, j), c in terms.items()} == {
        k: Fraction(1, 2 ** (6 * (count - k))) for k in range(count)
    }
    assert 10**9 - work.left > sum(k * (1 + 6 * k // 64) for k in range(count))


def test_products_of_maps_do_not_hold_much_memory() -> None:
    """A coefficient of 60,000 bits times a row of 2**17 weights: 1 GB from some 100 kB of file."""
    sum_ = {"from": 0, "map": {"dense": f8(*[1.0] * 2**17)}}
    nodes: list[Document] = [{"input": 2**17}, {"affine": [sum_], "size": 1, "bias": f8(0.0)}]
    nodes += [scaling(k) for k in range(1, 120)]
    network = Network({"digest": digest_of(nodes), "nodes": nodes})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(Rejected, match="longer than is allowed"):
        network.direct((120, 0), Work(2**36))
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
