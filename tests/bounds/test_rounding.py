"""Bounds hold for real numbers also where float64 underflows, overflows or cancels; checked in rational arithmetic."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from bounds import Bounds, NetworkBounds, interval_bounds, linear_bounds, upper_bounds
from onnx_models import Affine, Array, DenseMap, Input, NetworkBuilder, ReluNetwork
from onnx_models.errors import InvalidBoundsError

seeds = st.integers(0, 2**32 - 1)


def exact_values(network: ReluNetwork, x: Array) -> list[list[Fraction]]:
    """The value of every node, term by term in fractions."""
    values: list[list[Fraction]] = []
    for node in network.nodes:
        if isinstance(node, Input):
            values.append([Fraction(float(v)) for v in x])
        elif isinstance(node, Affine):
            total = [Fraction(float(b)) for b in node.bias]
            for source, linear_map in zip(node.inputs, node.maps, strict=True):
                matrix = linear_map.to_sparse().tocoo()
                for i, j, w in zip(*matrix.coords, matrix.data, strict=True):
                    total[i] += Fraction(float(w)) * values[source][j]
            values.append(total)
        else:
            values.append([max(v, Fraction(0)) for v in values[node.input]])
    return values


def wild_network(rng: np.random.Generator, scale: int) -> ReluNetwork:
    """A DAG with shared nodes whose weights spread over 10**-scale to 10**scale."""
    builder, pool = NetworkBuilder((int(rng.integers(1, 4)),)), [0]

    def weights(rows: int, columns: int) -> DenseMap:
        return DenseMap(rng.normal(size=(rows, columns)) * 10.0 ** rng.integers(-scale, scale + 1, (rows, columns)))

    for _ in range(int(rng.integers(2, 7))):
        inputs, size = [int(k) for k in rng.choice(pool, int(rng.integers(1, 3)))], int(rng.integers(1, 4))
        bias = rng.normal(size=size) * (rng.random() < 0.6)
        node = builder.affine(inputs, [weights(size, builder.size(k)) for k in inputs], bias)
        pool.append(builder.relu(node) if rng.random() < 0.75 else node)
    return builder.build(builder.affine([pool[-1]], [weights(2, builder.size(pool[-1]))]), fuse=False)


def holds(lower: float, value: Fraction, upper: float) -> bool:
    return (lower == -np.inf or Fraction(lower) <= value) and (upper == np.inf or value <= Fraction(upper))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # numpy's, of overflow
@settings(max_examples=150, deadline=None)
@given(seeds, st.sampled_from([0, 8, 100, 170]), st.sampled_from([1.0, 1e-310]), st.sampled_from([0.0, 0.3, 1e-300]))
def test_bounds_hold_for_real_numbers(seed: int, scale: int, centre: float, radius: float) -> None:
    rng = np.random.default_rng(seed)
    network = wild_network(rng, scale)
    middle = centre * rng.random(network.input_size)
    box = Bounds(np.maximum(middle - radius, 0.0), middle + radius)
    try:
        kinds: list[NetworkBounds] = [interval_bounds(network, box), linear_bounds(network, box)]
    except InvalidBoundsError:  # overflow: refused
        return
    rows = np.array([[1.0, -1.0], [-1.0, 1.0], [1.0, 0.0], [0.0, -1.0]])
    tops = upper_bounds(network, kinds[1], len(network.nodes) - 1, sparse.csr_array(rows))
    for corner in (box.lower, box.upper, np.where(rng.random(box.size) < 0.5, box.lower, box.upper)):
        values = exact_values(network, corner)
        for bounds in kinds:
            for node, exact in zip(bounds.nodes, values, strict=True):
                ends = zip(node.lower, exact, node.upper, strict=True)
                assert all(holds(float(low), value, float(high)) for low, value, high in ends)
        for row, top in zip(rows, tops, strict=True):
            assert holds(
                -np.inf, sum((Fraction(a) * v for a, v in zip(row, values[-1], strict=True)), Fraction(0)), top
            )


def chain(*weights: float) -> ReluNetwork:
    builder, node = NetworkBuilder((1,)), 0
    for weight in weights:
        node = builder.relu(builder.affine([node], [DenseMap(np.array([[weight]]))]))
    return builder.build(node, fuse=False)


def test_a_product_that_underflows_to_zero_is_not_taken_for_zero() -> None:
    """1e-200 * 1e-200 is 0 in float64, but 1e300 * 1e300 times it is not."""
    network = chain(1e-200, 1e-200, 1e300, 1e300)
    truth = exact_values(network, np.ones(1))[-1][0]
    assert truth > 10**199
    for kind in (interval_bounds, linear_bounds):
        assert kind(network, Bounds.of([0.0], [1.0])).nodes[-1].upper[0] >= truth


def test_sums_without_terms_stay_exact() -> None:
    builder = NetworkBuilder((2,))
    network = builder.build(builder.affine([0], [DenseMap(np.array([[0.0, 0.0], [0.0, 2.0]]))], np.array([0.1, 0.0])))
    output = interval_bounds(network, Bounds.of([0.5, 0.0], [0.7, 1.0])).nodes[-1]
    assert output.lower.tolist() == [0.1, 0.0] and output.upper[0] == 0.1


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_an_error_bound_that_is_not_a_number_gives_no_bound() -> None:
    """0 * inf in the size of the rounding errors once counted as no error at all."""
    builder = NetworkBuilder((1,))
    hidden = builder.relu(builder.affine([0], [DenseMap(np.array([[1.0], [-1.0]]))], np.array([-0.5, 0.5])))
    network = builder.build(builder.affine([hidden], [DenseMap(np.array([[1.0, 1.0], [1.0, 0.0]]))]), fuse=False)
    known = interval_bounds(network, Bounds.of([0.0], [1.0]))
    wide = Bounds(known.nodes[1].lower, np.array([0.5, np.inf]))
    nodes = (known.nodes[0], wide, Bounds(known.nodes[2].lower, wide.upper), known.nodes[3])
    top = upper_bounds(network, NetworkBounds(nodes), 3, sparse.csr_array(np.array([[0.0, 1.0]])))
    assert top[0] == np.inf
