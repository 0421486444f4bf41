"""Float32 witnesses: what is accepted as one, and what is not."""

from __future__ import annotations

import numpy as np
import pytest

from mipverify_py import LinfBall, NotAdversarialError, Query, Targets
from mipverify_py.float32 import Float32Witness
from mipverify_py.float32._witness import flips
from onnx_models import ReluNetwork
from onnx_models.errors import InputError
from onnx_models.importer import load_onnx_bytes
from tests.helpers.onnx_graphs import GraphBuilder


def identity() -> ReluNetwork:
    """Two inputs are the two logits."""
    graph = GraphBuilder((2,))
    return load_onnx_bytes(graph.model(graph.node("Gemm", "x", np.eye(2))).SerializeToString(), "identity.onnx")


QUERY = Query(identity(), np.array([0.75, 0.25]), perturbation=LinfBall(0.375))


def test_a_witness_knows_what_onnxruntime_says() -> None:
    witness = Float32Witness(QUERY, np.array([0.5, 0.5625]))
    assert (witness.distance, witness.predicted, witness.target) == (0.3125, 1, 1)
    assert witness.logits.tolist() == [0.5, 0.5625]
    assert not witness.point.flags.writeable
    assert repr(witness) == "Float32Witness(distance 0.3125, class 1 instead of 0)"


@pytest.mark.parametrize(
    ("point", "reason"),
    [
        ([0.5, 0.1 + 0.5], "no float32 numbers"),
        ([0.25, 0.75], "outside the perturbation set"),
        ([0.5, 0.5], "class does not change"),  # a tie, which argmax gives to class 0
        ([0.75, 0.25], "class does not change"),
    ],
)
def test_what_is_no_witness(point: list[float], reason: str) -> None:
    with pytest.raises(NotAdversarialError, match=reason):
        Float32Witness(QUERY, np.array(point))


def test_a_tie_counts_where_the_other_class_comes_first() -> None:
    query = Query(identity(), np.array([0.25, 0.75]))
    assert Float32Witness(query, np.array([0.5, 0.5])).predicted == 0


def test_point_of_another_shape() -> None:
    with pytest.raises(InputError):
        Float32Witness(QUERY, np.zeros(3))


def test_network_without_a_model() -> None:
    network = ReluNetwork(identity().nodes)
    with pytest.raises(InputError, match="no ONNX model"):
        Float32Witness(Query(network, np.array([0.75, 0.25])), np.array([0.25, 0.75]))


def test_margins_are_compared_exactly() -> None:
    small = 2.0**-80
    assert flips(Query(identity(), np.array([0.75, 0.25]), margin=0.5), np.array([0.0, 0.5]))
    assert not flips(Query(identity(), np.array([0.75, 0.25]), margin=0.5), np.array([small, 0.5]))
    assert flips(Query(identity(), np.array([0.75, 0.25]), margin=-0.25), np.array([0.25, 0.0]))


def test_outputs_that_are_not_finite_are_no_witness() -> None:
    assert not flips(QUERY, np.array([0.0, np.inf]))
    assert not flips(QUERY, np.array([0.0, np.nan]))


def test_a_third_class_may_be_the_largest_unless_targets_must_win() -> None:
    graph = GraphBuilder((3,))
    network = load_onnx_bytes(graph.model(graph.node("Gemm", "x", np.eye(3))).SerializeToString(), "identity.onnx")
    x0, logits = np.array([0.75, 0.25, 0.25]), np.array([0.25, 0.5, 0.75])
    assert flips(Query(network, x0, targets=Targets.only(1)), logits)
    assert not flips(Query(network, x0, targets=Targets.only(1, winning=True)), logits)
