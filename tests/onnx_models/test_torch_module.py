"""to_torch computes the network's function and its derivative, in any shape of batch, on any device."""

from __future__ import annotations

import copy
import io

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from onnx_models import Affine, Array, DenseMap, LinearMap, NetworkBuilder, Relu, ReluNetwork, to_torch
from onnx_models._torch_maps import torch_map
from onnx_models.errors import InputError
from tests.helpers.maps import linear_maps
from tests.helpers.networks import networks, random_conv, random_dense, random_inputs


@pytest.fixture
def network() -> ReluNetwork:
    return random_conv(np.random.default_rng(3))


@settings(max_examples=80, deadline=None)
@given(linear_maps())
def test_a_map_and_its_transpose_equal_the_torch_map_and_its_derivative(linear_map: LinearMap) -> None:
    rng = np.random.default_rng(0)
    x = torch.tensor(rng.normal(size=(3, linear_map.input_size)), requires_grad=True)
    weight = rng.normal(size=(3, linear_map.output_size))
    y = torch_map(linear_map, torch.float64)(x)
    np.testing.assert_allclose(y.detach().numpy(), linear_map.apply(x.detach().numpy()), rtol=0, atol=1e-12)
    if y.requires_grad:  # a map without coefficients gives constants
        (gradient,) = torch.autograd.grad(y, x, torch.tensor(weight))
        np.testing.assert_allclose(gradient.numpy(), linear_map.transpose_apply(weight), rtol=0, atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(networks(max_relus=20), st.integers(0, 2**32 - 1))
def test_every_node_equals_the_numpy_evaluation(network: ReluNetwork, seed: int) -> None:
    inputs = random_inputs(np.random.default_rng(seed), network, 5)
    values = to_torch(network).activations(torch.tensor(inputs))
    for expected, value in zip(network.activations(inputs), values, strict=True):
        np.testing.assert_allclose(value.numpy(), expected, rtol=0, atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(networks(max_relus=20), st.integers(0, 2**32 - 1))
def test_gradient_equals_central_differences(network: ReluNetwork, seed: int) -> None:
    """Exact up to rounding within one activation cell, so the step is far smaller than any distance to a kink."""
    rng = np.random.default_rng(seed)
    x = rng.random(network.input_size)
    margins = [np.abs(v[0]).min() for v in _pre_activations(network, x) if v.size]
    step = 1e-5
    assume(not margins or min(margins) > 1e3 * step)
    direction = rng.normal(size=network.output_size)
    point = torch.tensor(x[None], requires_grad=True)
    (gradient,) = torch.autograd.grad(to_torch(network)(point) @ torch.tensor(direction), point, torch.ones(1))
    shifted = x + step * np.concatenate([np.eye(len(x)), -np.eye(len(x))])
    values = network.forward_batch(shifted) @ direction
    difference = (values[: len(x)] - values[len(x) :]) / (2 * step)
    np.testing.assert_allclose(gradient[0].numpy(), difference, rtol=1e-6, atol=1e-8)


def _pre_activations(network: ReluNetwork, x: Array) -> list[Array]:
    values = network.activations(x[None])
    return [values[node.input] for node in network.nodes if isinstance(node, Relu)]


def test_batches_may_be_flat_or_shaped(network: ReluNetwork) -> None:
    inputs = torch.tensor(random_inputs(np.random.default_rng(0), network, 4))
    module = to_torch(network)
    assert torch.equal(module(inputs), module(inputs.flatten(1)))
    assert module(inputs).shape == (4, network.output_size)
    assert module(inputs[:0]).shape == (0, network.output_size)


def test_other_shapes_are_refused(network: ReluNetwork) -> None:
    with pytest.raises(InputError, match="the model expects"):
        to_torch(network)(torch.zeros(2, network.input_size + 1))
    with pytest.raises(InputError, match="the model expects"):
        to_torch(network)(torch.zeros(network.input_shape))


def test_a_constant_network_still_follows_the_batch() -> None:
    builder = NetworkBuilder((2,))
    network = builder.build(builder.constant(np.array([1.0, -2.0])))
    assert to_torch(network)(torch.zeros(3, 2)).tolist() == [[1.0, -2.0]] * 3


def test_a_node_may_read_another_one_twice() -> None:
    builder = NetworkBuilder((2,))
    weight = DenseMap(np.array([[1.0, 2.0]]))
    twice = builder.affine((0, 0), (weight, weight), 0.5)
    network = builder.build(twice, fuse=False)
    assert isinstance(network.nodes[-1], Affine) and len(network.nodes[-1].maps) == 2
    assert to_torch(network)(torch.ones(1, 2, dtype=torch.float64)).item() == 6.5


def test_nothing_is_trainable_and_input_types_are_converted(network: ReluNetwork) -> None:
    module = to_torch(network)
    assert not list(module.parameters()) and not module.training
    batch = torch.rand(2, network.input_size, generator=torch.Generator().manual_seed(0))
    assert batch.dtype == torch.float32
    assert torch.equal(module(batch), module(batch.double()))


def test_single_precision_is_close_and_stays_single(network: ReluNetwork) -> None:
    inputs = random_inputs(np.random.default_rng(0), network, 4)
    logits = to_torch(network, dtype=torch.float32)(torch.tensor(inputs))
    assert logits.dtype == torch.float32
    np.testing.assert_allclose(logits.numpy(), network.forward_batch(inputs), atol=1e-5)
    assert to_torch(network).float()(torch.tensor(inputs)).dtype == torch.float32


def test_weights_are_copies() -> None:
    network = random_dense(np.random.default_rng(0))
    before = network.digest
    with torch.no_grad():
        for buffer in to_torch(network).buffers():
            buffer.zero_()
    assert network.digest == before


def test_copies_and_state_dictionaries_work() -> None:
    network = random_conv(np.random.default_rng(5))
    module = to_torch(network)
    inputs = torch.tensor(random_inputs(np.random.default_rng(0), network, 4))
    assert torch.equal(copy.deepcopy(module)(inputs), module(inputs))
    stream = io.BytesIO()
    torch.save(module.state_dict(), stream)
    stream.seek(0)
    other = to_torch(network)
    other.load_state_dict(torch.load(stream, weights_only=True))
    assert torch.equal(other(inputs), module(inputs))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@settings(max_examples=20, deadline=None)
@given(networks(max_relus=20))
def test_a_gpu_gives_the_same_logits_and_gradients(network: ReluNetwork) -> None:
    inputs = torch.tensor(random_inputs(np.random.default_rng(0), network, 4))
    results = []
    for device in ("cpu", "cuda"):
        batch = inputs.to(device).requires_grad_()
        logits = to_torch(network, device=device)(batch)
        (gradient,) = torch.autograd.grad(logits.square().sum(), batch)
        results.append((logits.detach().cpu(), gradient.cpu()))
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=1e-10)
