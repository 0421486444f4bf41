"""Direct inputs of ReLU units against the values that the network computes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from bounds._direct import direct_inputs
from onnx_models import Affine, DenseMap, Input, Relu, ReluNetwork, SparseMap


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
    [([[0, 2.0, 0, 0, 0]], 0.0), ([[1.0, 1.0, 0, 0, 0]], 0.0), ([[1.0, 0, 0, 0, 0]], 0.5)],
    ids=["scaled", "added", "shifted"],
)
def test_what_would_round_is_not_multiplied_out(rows: list[list[float]], bias: float) -> None:
    network = network_behind(SparseMap(sparse.csr_array(np.array(rows))), bias)
    found = direct_inputs(network, 3)
    assert found.sources == (1,)
    assert np.array_equal(found.weight.toarray(), rows) and np.array_equal(found.bias, [bias])
