"""Values and gradients over columns, and the climb, against the network itself and against torch's derivatives."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bounds import Bounds
from mipverify_py import Query, _gradients
from mipverify_py._gradients import Climb, Gradients
from onnx_models import ReluNetwork, to_torch
from tests.helpers.networks import FAMILIES, networks, random_inputs

seeds = st.integers(0, 2**32 - 1)


def columns(network: ReluNetwork, seed: int, count: int = 5) -> np.ndarray:
    return random_inputs(np.random.default_rng(seed), network, count).reshape(count, -1).T


@settings(max_examples=30, deadline=None)
@given(networks(), seeds)
def test_values_are_the_activations(network: ReluNetwork, seed: int) -> None:
    points = columns(network, seed)
    expected = network.activations(points.T)
    for value, activation in zip(Gradients.of(network).values(points), expected, strict=True):
        np.testing.assert_allclose(value, activation.T, rtol=0, atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(networks(), seeds)
def test_gradients_are_those_of_torch(network: ReluNetwork, seed: int) -> None:
    """Seeds at every node at once; points away from kinks, where the derivative is a matter of convention."""
    rng = np.random.default_rng(seed)
    points = columns(network, seed) + 1e-3 * rng.random((network.input_size, 5))
    gradients = Gradients.of(network)
    values = gradients.values(points)
    weights = {k: rng.normal(size=v.shape) for k, v in enumerate(values) if k > 0}
    x = torch.from_numpy(points.T.copy()).requires_grad_()
    activations = to_torch(network).activations(x)
    total = sum((activations[k] * torch.from_numpy(w.T.copy())).sum() for k, w in weights.items())
    (expected,) = torch.autograd.grad(total, x, allow_unused=True, materialize_grads=True)
    np.testing.assert_allclose(gradients.backward(values, weights), expected.numpy().T, rtol=0, atol=1e-10)


def test_a_large_convolution_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    network = FAMILIES["conv"](np.random.default_rng(3))
    points = columns(network, 0)
    small = Gradients(network)
    monkeypatch.setattr(_gradients, "SPARSE_ENTRIES", 0)
    large = Gradients(network)
    seed = {len(network.nodes) - 1: np.random.default_rng(0).normal(size=(network.output_size, 5))}
    values = small.values(points)
    np.testing.assert_allclose(large.values(points)[-1], values[-1], rtol=0, atol=1e-12)
    np.testing.assert_allclose(large.backward(values, seed), small.backward(values, seed), rtol=0, atol=1e-12)


def test_they_are_made_once_per_network() -> None:
    network = FAMILIES["dense"](np.random.default_rng(0))
    assert Gradients.of(network) is Gradients.of(network)


def test_no_seed_gives_no_gradient() -> None:
    network = FAMILIES["dense"](np.random.default_rng(0))
    gradients, points = Gradients.of(network), columns(network, 0)
    assert not np.any(gradients.backward(gradients.values(points), {}))


@settings(max_examples=25, deadline=None)
@given(networks(), seeds)
def test_a_climb_stays_in_the_box_and_knows_its_margins(network: ReluNetwork, seed: int) -> None:
    points = columns(network, seed)
    query = Query(network, points[:, 0].copy())
    box = Bounds(np.clip(query.x0 - 0.2, 0, 1), np.clip(query.x0 + 0.3, 0, 1))
    targets = np.arange(5) % len(query.target_classes)
    climb = Climb(query, np.clip(points, box.lower[:, None], box.upper[:, None]), targets)
    climb.run(box, 7, 1.0, stop=lambda: False)
    assert all(box.contains(point) for point in climb.points.T)
    logits = network.forward_batch(climb.points.T)
    classes = np.array(query.target_classes)[targets]
    expected = logits[np.arange(5), classes] - logits[:, query.reference]
    np.testing.assert_allclose(climb.margins, expected, rtol=0, atol=1e-12)
    point, margin = climb.best()
    assert abs(margin - query.margin_at(network.forward_batch(point[None]))[0]) < 1e-12
    assert margin >= climb.margins.max()
    climb.keep(np.array([1, 4]))
    np.testing.assert_allclose(climb.margins, expected[[1, 4]], rtol=0, atol=1e-12)
    assert climb.points.shape[1] == 2 and climb.targets.tolist() == targets[[1, 4]].tolist()


def test_a_climb_stops_when_told() -> None:
    network = FAMILIES["dense"](np.random.default_rng(0))
    points = columns(network, 0)
    climb = Climb(Query(network, points[:, 0].copy()), points, np.zeros(5, np.intp))
    climb.run(Bounds(np.zeros(len(points)), np.ones(len(points))), 7, 1.0, stop=lambda: True)
    assert np.array_equal(climb.points, points)
