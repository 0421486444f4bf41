"""Pruning keeps the function and every unit that matters, and drops every one that does not."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings

from onnx_models import ConvolutionMap, DenseMap, NetworkBuilder, ReluNetwork, SparseMap
from onnx_models._prune import prune
from tests.helpers.networks import networks, random_inputs


@settings(max_examples=60)
@given(networks())
def test_the_function_stays(network: ReluNetwork) -> None:
    x = random_inputs(np.random.default_rng(0), network, 5)
    pruned = prune(network)
    np.testing.assert_allclose(pruned.forward_batch(x), network.forward_batch(x), rtol=1e-12, atol=1e-12)
    assert pruned.relu_count <= network.relu_count


def test_a_network_without_dead_units_is_returned_as_it_is() -> None:
    builder = NetworkBuilder((3,))
    network = builder.build(builder.relu(0))
    assert prune(network) is network


def test_units_behind_zero_coefficients_go() -> None:
    builder = NetworkBuilder((3,))
    hidden = builder.relu(builder.affine((0,), (DenseMap(np.eye(3)),)))
    last = builder.relu(builder.affine((hidden,), (DenseMap(np.array([[1.0, 0, 2], [0, 1, 0]])),)))
    network = builder.build(builder.affine((last,), (DenseMap(np.array([[1.0, 0.0]])),), 3.0))
    pruned = prune(network)
    assert [pruned.nodes[k].size for k in pruned.relu_indices] == [2, 1]
    np.testing.assert_array_equal(pruned.forward([1, 5, -1]), [4.0])


def test_a_layer_that_nothing_reads_goes() -> None:
    builder = NetworkBuilder((3,))
    builder.notes.append("a note")
    hidden = builder.relu(0)
    maps = SparseMap.diagonal(np.zeros(3)), SparseMap.identity(3)
    pruned = prune(builder.build(builder.affine((hidden, 0), maps)))
    assert pruned.relu_count == 0
    assert pruned.notes == ("a note",)
    np.testing.assert_array_equal(pruned.forward([1, 2, -3]), [1, 2, -3])


def test_convolutions_stay_convolutions() -> None:
    builder = NetworkBuilder((1, 4, 4))
    kernel = np.ones((2, 1, 3, 3))
    hidden = builder.relu(builder.affine((0,), (ConvolutionMap(kernel, (1, 4, 4)),)))
    second = builder.relu(builder.affine((hidden,), (ConvolutionMap(np.ones((3, 2, 2, 2)), (2, 2, 2)),)))
    network = builder.build(builder.affine((second,), (SparseMap.selection(np.array([0, 2]), 3),)))
    pruned = prune(network)
    assert pruned.relu_count == 8 + 2
    kinds = [type(m) for node in pruned.nodes if hasattr(node, "maps") for m in node.maps]
    assert kinds.count(ConvolutionMap) == 2
    x = np.random.default_rng(0).normal(size=(5, 16))
    np.testing.assert_allclose(pruned.forward_batch(x), network.forward_batch(x))
