"""Exact evaluation against a naive one with fractions, entry by entry."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnx_models import Affine, DenseMap, Input, NetworkBuilder, ReluNetwork, SparseMap, exact_logits
from onnx_models._exact import exact_logits_at
from tests.helpers.networks import networks


def naive_logits(network: ReluNetwork, x: np.ndarray | list[Fraction]) -> list[Fraction]:
    values: list[list[Fraction]] = []
    for node in network.nodes:
        if isinstance(node, Input):
            values.append([Fraction(v) for v in x])
        elif isinstance(node, Affine):
            total = [Fraction(float(b)) for b in node.bias]
            for source, linear_map in zip(node.inputs, node.maps, strict=True):
                weight = linear_map.to_sparse().toarray()
                for i, row in enumerate(weight):
                    for w, v in zip(row, values[source], strict=True):
                        total[i] += Fraction(float(w)) * v
            values.append(total)
        else:
            values.append([max(v, Fraction()) for v in values[node.input]])
    return values[-1]


@settings(max_examples=40, deadline=None)
@given(networks(max_relus=8), st.integers(0, 2**32 - 1))
def test_equals_naive_fractions(network: ReluNetwork, seed: int) -> None:
    x = np.random.default_rng(seed).random(network.input_size)
    assert list(exact_logits(network, x)) == naive_logits(network, x)


@settings(max_examples=40, deadline=None)
@given(networks(max_relus=8), st.integers(0, 2**32 - 1))
def test_inputs_that_are_no_floats_are_taken_exactly(network: ReluNetwork, seed: int) -> None:
    numbers = np.random.default_rng(seed).integers(-(10**6), 10**6, size=(network.input_size, 2))
    x = [Fraction(int(a), abs(int(b)) + 1) for a, b in numbers]
    assert list(exact_logits_at(network, x)) == naive_logits(network, x)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=6))
def test_any_float_survives(values: list[float]) -> None:
    """Huge, tiny, subnormal and zero entries, side by side."""
    builder = NetworkBuilder((len(values),))
    network = builder.build(builder.affine([0], [SparseMap.identity(len(values))], np.array(values)))
    assert [2 * Fraction(v) for v in values] == list(exact_logits(network, np.array(values)))


def test_cancellation_that_floats_lose() -> None:
    """1e16 + 1 - 1e16 = 1: float64 gives 0 or 2, depending on the order."""
    builder = NetworkBuilder((3,))
    network = builder.build(builder.affine([0], [DenseMap(np.array([[1e16, 1.0, -1e16]]))]))
    assert exact_logits(network, np.ones(3)) == (Fraction(1),)


def test_empty_rows_and_zero_weights() -> None:
    builder = NetworkBuilder((2,))
    network = builder.build(builder.affine([0], [SparseMap.selection(np.array([-1, 1, -1]), 2)], 0.5))
    assert exact_logits(network, np.array([3.0, 0.25])) == (Fraction(1, 2), Fraction(3, 4), Fraction(1, 2))


@pytest.mark.parametrize("size", [1, 7])
def test_constant_network(size: int) -> None:
    builder = NetworkBuilder((2,))
    network = builder.build(builder.constant(np.arange(size) / 8))
    assert exact_logits(network, np.zeros(2)) == tuple(Fraction(k, 8) for k in range(size))
