"""Direct inputs of ReLU units against the values that the network computes."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from scipy import sparse

from bounds import _direct
from bounds._direct import direct_inputs
from onnx_models import Affine, DenseMap, Input, Relu, ReluNetwork, SparseMap
from tests.helpers.networks import FAMILIES


def network_behind(selection: SparseMap, bias: float = 0.0) -> ReluNetwork:
    """Input (4) -> dense (5) -> what `selection` makes of it -> ReLU -> dense (2), which also reads the first dense."""
    generator = np.random.default_rng(2)
    first = Affine((0,), (DenseMap(generator.normal(size=(5, 4))),), generator.normal(size=5))
    size = selection.output_size
    last = (DenseMap(generator.normal(size=(2, 5))), DenseMap(generator.normal(size=(2, size))))
    middle = Affine((1,), (selection,), np.full(size, bias))
    return ReluNetwork((Input((4,)), first, middle, Relu(2, size), Affine((1, 3), last, np.zeros(2))))


def test_a_selection_is_looked_through() -> None:
    network = network_behind(SparseMap.selection(np.array([3, -1, 0]), 5))
    found, first = direct_inputs(network, 3), network.nodes[1]
    assert isinstance(first, Affine)
    assert found.sources == (0,)
    weight = first.maps[0].to_sparse().toarray()
    assert np.array_equal(found.weight.toarray(), np.stack([weight[3], np.zeros(4), weight[0]]))
    assert np.array_equal(found.bias, [first.bias[3], 0.0, first.bias[0]])


@pytest.mark.parametrize(
    ("rows", "bias"),
    [([[0, 2.0, 0, 0, 0]], 0.0), ([[1.0, 1.0, 0, -0.3, 0]], 0.0), ([[1.0, 0, 0, 0, 0]], 0.5)],
    ids=["scaled", "added", "shifted"],
)
def test_what_rounds_says_by_how_much(rows: list[list[float]], bias: float) -> None:
    network = network_behind(SparseMap(sparse.csr_array(np.array(rows))), bias)
    found = direct_inputs(network, 3)
    assert found.sources == (0,)
    assert_within_errors(network, 3)
    assert found.error(np.array([0]), np.ones(4))[0] < 1e-14


def test_a_source_that_is_read_twice_rounds_behind_a_selection() -> None:
    """0.1 x + (0.2 x) is one coefficient of x that is rounded, though the selection itself rounds nothing."""
    one = sparse.csr_array(np.ones((1, 1)))
    twice = Affine((0, 0), (DenseMap(np.array([[0.1]])), DenseMap(np.array([[0.2]]))), np.zeros(1))
    picked = Affine((1,), (SparseMap(one),), np.zeros(1))
    network = ReluNetwork(
        (Input((1,)), twice, picked, Relu(2, 1), Affine((3,), (DenseMap(np.ones((2, 1))),), np.ones(2)))
    )
    assert direct_inputs(network, 3).sources == (0,)
    assert_within_errors(network, 3)


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("factor", [1e-170, 1e-300])
def test_products_that_underflow_have_errors(factor: float, depth: int) -> None:
    maps = [
        Affine((k,), (DenseMap(np.array([[factor]])),), np.array([factor] if k == 0 else [0.0]))
        for k in range(depth + 1)
    ]
    relu = Relu(depth + 1, 1)
    last = Affine((depth + 2,), (DenseMap(np.ones((2, 1))),), np.ones(2))
    network = ReluNetwork((Input((1,)), *maps, relu, last))
    assert_within_errors(network, depth + 2)


def test_maps_whose_product_overflows_are_not_multiplied() -> None:
    """inf - inf would be no coefficient at all."""
    first = Affine((0,), (DenseMap(np.array([[1e200], [1e200]])),), np.array([1e200, 1e200]))
    second = Affine((1,), (DenseMap(np.array([[1e200, -1e200]])),), np.zeros(1))
    last = Affine((3,), (DenseMap(np.ones((2, 1))),), np.ones(2))
    network = ReluNetwork((Input((1,)), first, second, Relu(2, 1), last))
    assert direct_inputs(network, 3).sources == (1,)
    assert np.array_equal(direct_inputs(network, 3).weight.toarray(), [[1e200, -1e200]])


def assert_within_errors(network: ReluNetwork, relu: int) -> None:
    """Every coefficient is as far from the exact one as its error says, or less."""
    found = direct_inputs(network, relu)
    starts = np.cumsum([0, *(network.nodes[source].size for source in found.sources)]).tolist()
    weight, error = found.weight.toarray(), found.weight_error.toarray()
    for unit in range(network.nodes[relu].size):
        exact, constant = exact_terms(network, network.nodes[relu].input, unit)  # type: ignore[union-attr]
        assert abs(Fraction(float(found.bias[unit])) - constant) <= Fraction(float(found.bias_error[unit]))
        for source, start, end in zip(found.sources, starts, starts[1:], strict=False):
            for j in range(end - start):
                off = Fraction(float(weight[unit, start + j])) - exact.pop((source, j), Fraction(0))
                assert abs(off) <= Fraction(float(error[unit, start + j]))
        assert not any(exact.values())  # nothing that it depends on is missing


def exact_terms(network: ReluNetwork, index: int, entry: int) -> tuple[dict[tuple[int, int], Fraction], Fraction]:
    """An entry of a node in terms of the input and of ReLUs, in fractions."""
    node = network.nodes[index]
    if not isinstance(node, Affine):
        return {(index, entry): Fraction(1)}, Fraction(0)
    terms, constant = dict[tuple[int, int], Fraction](), Fraction(float(node.bias[entry]))
    for source, linear in zip(node.inputs, node.maps, strict=True):
        row = linear.to_sparse()[[entry]].toarray()[0]
        for j in np.flatnonzero(row).tolist():
            inner, rest = exact_terms(network, source, j)
            constant += Fraction(float(row[j])) * rest
            for key, value in inner.items():
                terms[key] = terms.get(key, Fraction(0)) + Fraction(float(row[j])) * value
    return terms, constant


@pytest.mark.parametrize("family", ["maxpool", "residual", "masked", "conv", "dense"])
@pytest.mark.parametrize("seed", range(4))
def test_units_of_random_networks(family: str, seed: int) -> None:
    network = FAMILIES[family](np.random.default_rng(seed), max_relus=8)
    for relu in network.relu_indices:
        assert_within_errors(network, relu)
        sources = direct_inputs(network, relu).sources
        assert not any(isinstance(network.nodes[source], Affine) for source in sources)


def test_products_that_would_be_too_large_are_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_direct, "MOST_ENTRIES", 3)
    network = network_behind(SparseMap(sparse.csr_array(np.array([[1.0, 1.0, 0, 0, 0]]))))
    assert direct_inputs(network, 3).sources == (1,)
