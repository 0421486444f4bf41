"""Fusing keeps the function, merges what can be merged, and never costs a convolution its form."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnx_models import Affine, ConvolutionMap, DenseMap, Input, NetworkBuilder, Relu, ReluNetwork, SparseMap
from onnx_models import _builder as builder_module
from tests.helpers.networks import FAMILIES, random_inputs


def affine_nodes(network: ReluNetwork) -> list[Affine]:
    return [node for node in network.nodes if isinstance(node, Affine)]


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(list(FAMILIES)), st.integers(0, 2**32 - 1))
def test_fused_equals_unfused(family: str, seed: int) -> None:
    fused, plain = (FAMILIES[family](np.random.default_rng(seed), max_relus=12, fuse=fuse) for fuse in (True, False))
    inputs = random_inputs(np.random.default_rng(seed), fused, 5)
    np.testing.assert_allclose(fused.forward_batch(inputs), plain.forward_batch(inputs), rtol=0, atol=1e-12)
    assert len(fused.nodes) <= len(plain.nodes)
    assert fused.relu_count == plain.relu_count
    assert convolution_count(fused) == convolution_count(plain)


def convolution_count(network: ReluNetwork) -> int:
    return sum(isinstance(m, ConvolutionMap) for node in affine_nodes(network) for m in node.maps)


def test_a_chain_of_affine_maps_becomes_one() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(4, 3)), rng.normal(size=(2, 4))
    builder = NetworkBuilder((3,))
    node = builder.affine((0,), (DenseMap(first),), np.arange(4.0))
    node = builder.affine((node,), (SparseMap.diagonal(np.array([1.0, -1.0, 2.0, 0.5])),), 1.0)
    network = builder.build(builder.affine((node,), (DenseMap(second),)))
    assert [type(n) for n in network.nodes] == [Input, Affine]
    x = rng.normal(size=3)
    scale = np.array([1.0, -1.0, 2.0, 0.5])
    np.testing.assert_allclose(network.forward(x), second @ (scale * (first @ x + np.arange(4.0)) + 1.0), atol=1e-13)


def test_batch_normalisation_disappears_into_the_convolution() -> None:
    convolution = ConvolutionMap(np.ones((2, 1, 2, 2)), (1, 3, 3))
    builder = NetworkBuilder((1, 3, 3))
    node = builder.affine((0,), (convolution,), 0.5)
    scale = SparseMap.diagonal(np.repeat([2.0, 3.0], 4))
    network = builder.build(builder.relu(builder.affine((node,), (scale,), -1.0)))
    assert [type(n) for n in network.nodes] == [Input, Affine, Relu]
    merged = affine_nodes(network)[0]
    assert isinstance(merged.maps[0], ConvolutionMap)
    np.testing.assert_array_equal(merged.maps[0].kernel[:, 0, 0, 0], [2.0, 3.0])
    np.testing.assert_array_equal(merged.bias, np.repeat([0.0, 0.5], 4))


def test_a_dense_layer_after_a_convolution_stays_beside_it() -> None:
    convolution = ConvolutionMap(np.ones((2, 1, 2, 2)), (1, 3, 3))
    builder = NetworkBuilder((1, 3, 3))
    node = builder.affine((0,), (convolution,))
    network = builder.build(builder.affine((node,), (DenseMap(np.ones((3, 8))),)))
    assert [type(n.maps[0]) for n in affine_nodes(network)] == [ConvolutionMap, DenseMap]


def test_a_shared_node_is_not_copied_into_its_readers() -> None:
    """Two wide readers of one bottleneck: repeating the bottleneck in both would cost coefficients."""
    rng = np.random.default_rng(0)
    builder = NetworkBuilder((10,))
    bottleneck = builder.affine((0,), (DenseMap(rng.normal(size=(2, 10))),))
    relus = [builder.relu(builder.affine((bottleneck,), (DenseMap(rng.normal(size=(10, 2))),))) for _ in range(2)]
    total = builder.affine(tuple(relus), (SparseMap.identity(10), SparseMap.identity(10)))
    network = builder.build(total)
    assert sum(n.size == 2 for n in affine_nodes(network)) == 1
    assert len(network.consumers[1]) == 2


def test_a_shared_identity_is_read_through() -> None:
    builder = NetworkBuilder((2,))
    relu = builder.relu(builder.affine((0,), (DenseMap(np.eye(2)),), -0.5))
    copy = builder.affine((relu,), (SparseMap.identity(2),))
    network = builder.build(builder.affine((copy, copy), (SparseMap.identity(2), SparseMap.diagonal(np.full(2, 2.0)))))
    assert [type(n) for n in network.nodes] == [Input, Affine, Relu, Affine]
    last = affine_nodes(network)[-1]
    assert last.inputs == (2,) and len(last.maps) == 1
    assert network.forward([1.0, 0.0]).tolist() == [1.5, 0.0]


def test_residual_branches_keep_their_skip() -> None:
    builder = NetworkBuilder((2,))
    stem = builder.affine((0,), (DenseMap(np.array([[1.0, 1.0], [1.0, -1.0]])),))
    branch = builder.relu(stem)
    network = builder.build(builder.affine((stem, branch), (SparseMap.identity(2), SparseMap.identity(2))))
    x = np.array([0.25, 0.75])
    np.testing.assert_array_equal(network.forward(x), [2.0, -0.5])


def test_dead_nodes_are_dropped_with_and_without_fusing() -> None:
    builder = NetworkBuilder((2,))
    used = builder.affine((0,), (DenseMap(np.eye(2)),), name="used")
    builder.relu(builder.affine((used,), (DenseMap(np.ones((5, 2))),), name="dead"), name="dead")
    for fuse in (True, False):
        names = [n.name for n in builder.build(used, fuse=fuse).nodes]
        assert names == ["input", "used"]


def test_the_input_itself_may_be_the_output() -> None:
    network = NetworkBuilder((2, 2)).build(0)
    assert network.output_size == 4
    assert network.forward(np.arange(4.0)).tolist() == [0.0, 1.0, 2.0, 3.0]


def test_constants_are_folded_into_biases() -> None:
    builder = NetworkBuilder((2,))
    constant = builder.constant(np.array([1.0, 2.0]))
    network = builder.build(builder.affine((0, constant), (SparseMap.identity(2), SparseMap.diagonal(np.full(2, 3.0)))))
    assert len(network.nodes) == 2
    assert network.forward([0.0, 1.0]).tolist() == [3.0, 7.0]


def test_constants_pass_through_convolutions() -> None:
    builder = NetworkBuilder((1, 2, 2))
    constant = builder.constant(np.arange(4.0))
    convolution = ConvolutionMap(np.ones((1, 1, 2, 2)), (1, 2, 2))
    network = builder.build(builder.affine((0, constant), (convolution, convolution)))
    assert network.forward(np.ones(4)).tolist() == [10.0]


@pytest.mark.parametrize(("first", "second"), [(1.0, 2.0), (2.0, 1.0), (-1.0, -1.0), (0.0, -3.0)])
def test_maximum(first: float, second: float) -> None:
    builder = NetworkBuilder((2,))
    left, right = (builder.affine((0,), (SparseMap.selection(np.array([k]), 2),)) for k in (0, 1))
    assert builder.build(builder.maximum(left, right)).forward([first, second]).tolist() == [max(first, second)]


def test_products_that_would_grow_beyond_the_limit_stay_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """A narrow bottleneck written out as one matrix would have more coefficients than its two factors."""
    monkeypatch.setattr(builder_module, "FUSED_ENTRIES", 50)
    builder = NetworkBuilder((20,))
    node = builder.affine((0,), (DenseMap(np.ones((1, 20))),))
    network = builder.build(builder.affine((node,), (DenseMap(np.ones((20, 1))),)))
    assert [n.size for n in affine_nodes(network)] == [1, 20]
    np.testing.assert_array_equal(network.forward(np.ones(20)), np.full(20, 20.0))


def test_building_twice_gives_the_same_network() -> None:
    builder = NetworkBuilder((2,))
    node = builder.relu(builder.affine((0,), (DenseMap(np.ones((3, 2))),)))
    first = builder.build(node)
    builder.affine((node,), (DenseMap(np.ones((1, 3))),))
    assert builder.build(node).digest == first.digest
