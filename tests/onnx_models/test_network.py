"""Evaluation, identity and input checks of the frozen network."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings

from onnx_models import Affine, ConvolutionMap, DenseMap, NetworkBuilder, Relu, ReluNetwork, SparseMap
from onnx_models.errors import InputError
from tests.helpers.maps import SEEDS
from tests.helpers.networks import networks, random_dense, random_inputs


@pytest.fixture
def network() -> ReluNetwork:
    """relu(x - y), relu(y - x) over an input of shape (1, 2)."""
    builder = NetworkBuilder((1, 2), "pair")
    return builder.build(builder.relu(builder.affine((0,), (DenseMap(np.array([[1.0, -1.0], [-1.0, 1.0]])),))))


def test_shapes_and_counts(network: ReluNetwork) -> None:
    assert network.input_shape == (1, 2)
    assert (network.input_size, network.output_size, network.relu_count) == (2, 2, 2)
    assert network.relu_indices == (2,)
    assert network.consumers == ((1,), (2,), ())
    assert network.nodes[0].name == "pair"


def test_forward_takes_the_input_shape_or_a_flat_input(network: ReluNetwork) -> None:
    assert network.forward([[3.0, 1.0]]).tolist() == [2.0, 0.0]
    assert network.forward([1.0, 3.0]).tolist() == [0.0, 2.0]
    assert network.forward_batch([[[3.0, 1.0]], [[1.0, 3.0]]]).tolist() == [[2.0, 0.0], [0.0, 2.0]]
    assert network.forward_batch([[3.0, 1.0]]).tolist() == [[2.0, 0.0]]
    assert network.forward_batch(np.zeros((0, 2))).shape == (0, 2)


def test_integers_and_single_precision_are_embedded_exactly(network: ReluNetwork) -> None:
    single = np.array([0.1, 0.7], np.float32)
    assert network.forward(single).tolist() == [0.0, float(single[1]) - float(single[0])]
    assert network.forward([3, 1]).dtype == np.float64


@pytest.mark.parametrize("value", [np.zeros(3), np.zeros((2, 2)), np.zeros(0), 1.0])
def test_inputs_of_another_size_are_refused(network: ReluNetwork, value: object) -> None:
    with pytest.raises(InputError, match=r"expects \(1, 2\) \(2 entries\)"):
        network.forward(value)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_refused(network: ReluNetwork, value: float) -> None:
    with pytest.raises(InputError, match="NaN or infinite"):
        network.forward([0.0, value])


@pytest.mark.parametrize("shape", [(4, 3), (2, 2, 2), (1, 1)])
def test_batches_of_another_shape_are_refused(network: ReluNetwork, shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"expects \(N, 1, 2\)"):
        network.forward_batch(np.zeros(shape))


@settings(max_examples=60, deadline=None)
@given(networks(max_relus=16), SEEDS)
def test_rows_of_a_batch_do_not_touch_each_other(network: ReluNetwork, seed: int) -> None:
    inputs = random_inputs(np.random.default_rng(seed), network, 4)
    single = np.stack([network.forward(x) for x in inputs])
    np.testing.assert_allclose(network.forward_batch(inputs), single, rtol=0, atol=1e-13)


@settings(max_examples=60, deadline=None)
@given(networks(max_relus=16), SEEDS)
def test_activations_follow_the_definition_of_each_node(network: ReluNetwork, seed: int) -> None:
    values = network.activations(random_inputs(np.random.default_rng(seed), network, 3))
    for node, value in zip(network.nodes, values, strict=True):
        assert value.shape == (3, node.size)
        if isinstance(node, Relu):
            np.testing.assert_array_equal(value, np.maximum(values[node.input], 0))
        elif isinstance(node, Affine):
            terms = [values[k] @ m.to_sparse().toarray().T for k, m in zip(node.inputs, node.maps, strict=True)]
            np.testing.assert_allclose(value, sum(terms) + node.bias, rtol=0, atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(networks(max_relus=16))
def test_digest_ignores_names_and_notes_only(network: ReluNetwork) -> None:
    renamed = tuple(replace(node, name=f"{node.name}'") for node in network.nodes)
    assert ReluNetwork(renamed, ("note",)).digest == network.digest
    last = network.nodes[-1]
    assert isinstance(last, Affine)
    moved = replace(last, bias=np.nextafter(last.bias, np.inf))
    assert ReluNetwork((*network.nodes[:-1], moved)).digest != network.digest


def test_digests_of_different_geometries_and_forms_differ() -> None:
    kernel = np.ones((1, 1, 2, 2))
    maps = [
        ConvolutionMap(kernel, (1, 4, 4), strides=(2, 2)),
        ConvolutionMap(kernel, (1, 4, 4), strides=(2, 2), dilations=(2, 2)),
        ConvolutionMap(kernel, (1, 4, 4), strides=(3, 3), pads=(1, 1, 0, 0)),
        ConvolutionMap(kernel, (1, 4, 4), strides=(3, 3), pads=(0, 0, 1, 1)),
        ConvolutionMap(np.full((1, 1, 2, 2), 2.0), (1, 4, 4), strides=(2, 2)),
        SparseMap.selection(np.arange(4), 16),
        SparseMap.selection(np.arange(1, 5), 16),
        DenseMap(np.ones((4, 16))),
    ]
    digests = set()
    for linear_map in maps:
        builder = NetworkBuilder((1, 4, 4))
        digests.add(builder.build(builder.affine((0,), (linear_map,))).digest)
    assert len(digests) == len([m for m in maps if m.output_size])


def test_digest_is_stable_over_processes_and_rebuilds() -> None:
    first, second = (random_dense(np.random.default_rng(7)) for _ in range(2))
    assert first is not second and first.digest == second.digest
    assert len(first.digest) == 64
