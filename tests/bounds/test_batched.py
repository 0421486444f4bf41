"""Bounds over many boxes at once: against `linear_bounds`, points, and rational arithmetic."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from bounds import Bounds, RowChoices, batched_bounds, linear_bounds, upper_bounds
from onnx_models import Array, ConvolutionMap, DenseMap, NetworkBuilder, ReluNetwork, SparseMap, exact_logits
from onnx_models.errors import InputError
from tests.helpers.networks import networks, random_convolution
from tests.helpers.proofs import random_box, samples

SEEDS = st.integers(0, 2**32 - 1)


def boxes(rng: np.random.Generator, size: int, count: int) -> tuple[Array, Array]:
    found = [random_box(rng, size, float(rng.choice([1e-6, 0.1, 1.0]))) for _ in range(count)]
    return np.stack([b.lower for b in found]), np.stack([b.upper for b in found])


@given(networks(max_relus=10), SEEDS)
@settings(deadline=None, max_examples=40)
def test_as_tight_as_one_box_at_a_time(network: ReluNetwork, seed: int) -> None:
    rng = np.random.default_rng(seed)
    lower, upper = boxes(rng, network.input_size, 5)
    rows = rng.normal(size=(2, network.output_size))
    nodes, forms = batched_bounds(network, lower, upper, rows)
    for k in range(5):
        alone = linear_bounds(network, Bounds(lower[k], upper[k]))
        for (low, high), known in zip(nodes, alone.nodes, strict=True):
            np.testing.assert_allclose(low[k], known.lower, rtol=1e-9, atol=1e-9)
            np.testing.assert_allclose(high[k], known.upper, rtol=1e-9, atol=1e-9)
        plain = upper_bounds(network, alone, len(network.nodes) - 1, sparse.csr_array(rows))
        assert np.all(forms.bound[2 * k : 2 * k + 2] <= plain + 1e-9 * (1.0 + np.abs(plain)))


@given(networks(max_relus=10), SEEDS)
@settings(deadline=None, max_examples=40)
def test_bounds_hold_exactly_at_points(network: ReluNetwork, seed: int) -> None:
    rng = np.random.default_rng(seed)
    lower, upper = boxes(rng, network.input_size, 3)
    rows = rng.integers(-3, 4, size=(2, network.output_size)).astype(np.float64)
    nodes, forms = batched_bounds(network, lower, upper, rows)
    for k in range(3):
        box = Bounds(lower[k], upper[k])
        for x in samples(rng, box, 3):
            for (low, high), value in zip(nodes, network.activations(x[None]), strict=True):
                assert np.all(low[k] <= value[0] + 1e-9) and np.all(value[0] <= high[k] + 1e-9)
            logits = exact_logits(network, x)
            for r, row in enumerate(rows):
                value = sum(int(a) * f for a, f in zip(row, logits, strict=True))
                form = 2 * k + r
                line = sum(_fraction(g) * _fraction(v) for g, v in zip(forms.slopes[form], x, strict=True))
                assert value <= line + _fraction(forms.constant[form])
                assert value <= _fraction(forms.bound[form])


def _fraction(value: float):
    from fractions import Fraction

    return Fraction(float(value))


@pytest.mark.parametrize("seed", range(8))
def test_no_room_is_lost_on_a_point(seed: int) -> None:
    """On a box of one point bounds are the value itself, a few roundings wide, and never beyond it."""
    rng = np.random.default_rng(seed)
    builder = NetworkBuilder((6,))
    node = 0
    for _ in range(3):
        weight = rng.normal(size=(9, builder.size(node))) * 10.0 ** rng.integers(-3, 4)
        node = builder.relu(builder.affine([node], [DenseMap(weight)], rng.normal(size=9)))
    network = builder.build(builder.affine([node], [DenseMap(rng.normal(size=(2, 9)))]))
    points = rng.normal(size=(20, 6))
    rows = np.eye(2)
    _, forms = batched_bounds(network, points, points, np.concatenate([rows, -rows]))
    bound = forms.bound.reshape(20, 4)
    for x, found in zip(points, bound, strict=True):
        logits = exact_logits(network, x)
        size = float(np.max(np.abs(network.forward(x)))) + 1.0
        for r in range(2):
            assert -_fraction(found[2 + r]) <= logits[r] <= _fraction(found[r])
            assert found[r] + found[2 + r] <= 1e-9 * size * 1e3


@pytest.mark.parametrize("seed", range(12))
def test_convolutions_as_their_matrices(seed: int) -> None:
    rng = np.random.default_rng(seed)
    convolution = random_convolution(rng, max_outputs=40)
    size = convolution.output_size

    def built(first: ConvolutionMap | SparseMap) -> ReluNetwork:
        builder = NetworkBuilder((convolution.input_size,))
        hidden = builder.relu(builder.affine([0], [SparseMap.diagonal(np.linspace(-1, 1, convolution.input_size))]))
        node = builder.relu(builder.affine([hidden], [first], np.linspace(-0.5, 0.5, size)))
        return builder.build(builder.affine([node], [DenseMap(np.linspace(-1, 1, 2 * size).reshape(2, size))]))

    lower, upper = boxes(rng, convolution.input_size, 4)
    rows = np.array([[1.0, -1.0]])
    nodes, forms = batched_bounds(built(convolution), lower, upper, rows)
    others, plain = batched_bounds(built(SparseMap(convolution.to_sparse())), lower, upper, rows)
    np.testing.assert_allclose(forms.bound, plain.bound, rtol=1e-9, atol=1e-9)
    for (low, high), (low2, high2) in zip(nodes, others, strict=True):
        np.testing.assert_allclose(low, low2, atol=1e-9)
        np.testing.assert_allclose(high, high2, atol=1e-9)


def test_sparse_maps_that_are_too_large_to_write_out(monkeypatch: pytest.MonkeyPatch) -> None:
    import bounds._batched_maps as module

    rng = np.random.default_rng(3)
    matrix = sparse.csr_array(rng.normal(size=(7, 5)) * (rng.random((7, 5)) < 0.5))
    builder = NetworkBuilder((5,))
    first = builder.relu(builder.affine([0], [SparseMap(matrix)], rng.normal(size=7)))
    second = builder.relu(builder.affine([first], [SparseMap(sparse.csr_array(matrix.T))], rng.normal(size=5)))
    network = builder.build(builder.affine([second], [DenseMap(rng.normal(size=(2, 5)))]))
    lower, upper = boxes(rng, 5, 3)
    _, dense = batched_bounds(network, lower, upper, np.eye(2))
    monkeypatch.setattr(module, "DENSE_ENTRIES", 0)
    _, thin = batched_bounds(network, lower, upper, np.eye(2))
    np.testing.assert_allclose(thin.bound, dense.bound, rtol=1e-12)


def minimum_network(rng: np.random.Generator, count: int) -> ReluNetwork:
    """[0, min of `count` linear functions of a hidden layer], the minimum made of ReLUs, pair by pair."""
    builder = NetworkBuilder((3,))
    hidden = builder.relu(builder.affine([0], [DenseMap(rng.normal(size=(6, 3)))], rng.normal(size=6)))
    values = [builder.affine([hidden], [DenseMap(rng.normal(size=(1, 6)))], rng.normal(size=1)) for _ in range(count)]
    least = values[0]
    one, minus = DenseMap(np.ones((1, 1))), DenseMap(-np.ones((1, 1)))
    for value in values[1:]:
        excess = builder.relu(builder.affine([least, value], [one, minus]))
        least = builder.affine([least, excess], [one, minus])
    return builder.build(builder.affine([least], [DenseMap(np.array([[0.0], [1.0]]))]), fuse=False)


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_a_minimum_is_bounded_by_the_smallest_of_its_bounds(count: int) -> None:
    rng = np.random.default_rng(count)
    network = minimum_network(rng, count)
    row = np.array([[-1.0, 1.0]])
    choices = RowChoices.of(network, row)
    assert len(choices.owners) == count
    assert len(choices.tails) == count - 1
    lower, upper = boxes(rng, 3, 30)
    _, forms = batched_bounds(network, lower, upper, row)
    alone = np.full(30, np.inf)
    for k in range(count):
        final = max(i for i, node in enumerate(network.nodes) if node.size == 6)
        weights = [n for n in network.nodes[final + 1 :] if n.size == 1 and getattr(n, "inputs", ()) == (final,)]
        part = NetworkBuilder((3,))
        first = network.nodes[1]
        hidden = part.relu(part.affine([0], [first.maps[0]], first.bias))
        value = part.affine([hidden], [weights[k].maps[0]], weights[k].bias)
        single = part.build(part.affine([value], [DenseMap(np.array([[0.0], [1.0]]))]))
        _, found = batched_bounds(single, lower, upper, row)
        alone = np.minimum(alone, found.bound)
    np.testing.assert_allclose(forms.bound, alone, rtol=1e-9, atol=1e-9)


def test_choices_stop_where_there_are_too_many_or_a_coefficient_is_positive() -> None:
    rng = np.random.default_rng(0)
    builder = NetworkBuilder((2,))
    hidden = builder.relu(builder.affine([0], [DenseMap(rng.normal(size=(8, 2)))]))
    network = builder.build(builder.affine([hidden], [DenseMap(np.stack([np.ones(8), -np.ones(8)]))]))
    for row in (np.array([[1.0, -1.0]]), np.array([[-1.0, 1.0]])):
        choices = RowChoices.of(network, row)
        assert len(choices.owners) == 1 and not choices.slopes and not choices.tails


def test_every_combination_of_slopes_is_among_the_choices() -> None:
    builder = NetworkBuilder((2,))
    hidden = builder.relu(builder.affine([0], [DenseMap(np.eye(2))]))
    network = builder.build(builder.affine([hidden], [DenseMap(np.array([[0.0, 0.0], [-1.0, -2.0]]))]))
    choices = RowChoices.of(network, np.array([[-1.0, 1.0]]))
    assert sorted(map(tuple, choices.slopes[2])) == sorted(itertools.product((0.0, 1.0), repeat=2))
    lower, upper = np.array([[-1.0, -1.0]]), np.array([[1.0, 1.0]])
    _, forms = batched_bounds(network, lower, upper, np.array([[-1.0, 1.0]]))
    assert forms.bound[0] == pytest.approx(0.0, abs=1e-12)


def test_overflow_proves_nothing() -> None:
    builder = NetworkBuilder((2,))
    hidden = builder.relu(builder.affine([0], [DenseMap(np.full((3, 2), 1e200))], np.array([0.0, -1e300, 1.0])))
    second = builder.relu(builder.affine([hidden], [DenseMap(np.full((3, 3), 1e200))], np.zeros(3)))
    network = builder.build(builder.affine([second], [DenseMap(np.array([[1.0, -1.0, 1.0], [-1.0, 1.0, 0.0]]))]))
    nodes, forms = batched_bounds(network, np.full((1, 2), -1.0), np.full((1, 2), 1.0), np.eye(2))
    assert np.all(forms.bound == np.inf)
    for low, high in nodes:
        assert not np.any(np.isnan(low)) and not np.any(np.isnan(high))


def test_tiny_products_are_not_lost() -> None:
    """1e-200 x 1e-200 underflows to 0, and its exact value is above 0."""
    builder = NetworkBuilder((1,))
    hidden = builder.relu(builder.affine([0], [DenseMap(np.array([[1e-200]]))]))
    network = builder.build(builder.affine([hidden], [DenseMap(np.array([[1e-200], [0.0]]))]))
    _, forms = batched_bounds(network, np.zeros((1, 1)), np.ones((1, 1)), np.array([[1.0, 0.0]]))
    assert forms.bound[0] > 0


def test_no_boxes_give_no_bounds() -> None:
    network = minimum_network(np.random.default_rng(0), 2)
    nodes, forms = batched_bounds(network, np.zeros((0, 3)), np.zeros((0, 3)), np.eye(2))
    assert forms.bound.shape == (0,) and nodes[-1][0].shape == (0, 2)


@pytest.mark.parametrize(
    ("lower", "upper", "rows"),
    [
        (np.zeros((2, 3)), np.ones((2, 4)), np.eye(2)),
        (np.zeros((2, 3)), np.ones((1, 3)), np.eye(2)),
        (np.zeros((2, 3)), np.ones((2, 3)), np.eye(3)),
        (np.ones((2, 3)), np.zeros((2, 3)), np.eye(2)),
        (np.zeros((2, 3)), np.full((2, 3), np.inf), np.eye(2)),
        (np.zeros((2, 3)), np.full((2, 3), np.nan), np.eye(2)),
    ],
)
def test_boxes_that_make_no_sense(lower: Array, upper: Array, rows: Array) -> None:
    with pytest.raises(InputError):
        batched_bounds(minimum_network(np.random.default_rng(0), 2), lower, upper, rows)


def test_chunks_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    import bounds._batched as module

    rng = np.random.default_rng(1)
    network = minimum_network(rng, 3)
    lower, upper = boxes(rng, 3, 40)
    _, whole = batched_bounds(network, lower, upper, np.eye(2))
    monkeypatch.setattr(module, "CHUNK_ENTRIES", 1)
    _, parts = batched_bounds(network, lower, upper, np.eye(2))
    np.testing.assert_allclose(parts.bound, whole.bound, rtol=1e-13)
