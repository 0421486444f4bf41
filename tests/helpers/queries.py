"""Random questions about tiny networks, and their answers by brute force."""

from __future__ import annotations

import numpy as np

from mipverify_py import Box, Evidence, LinfBall, Query, Result, StopReason, Targets, Unrestricted, Verdict
from onnx_models import Array, DenseMap, NetworkBuilder, ReluNetwork
from tests.helpers.oracles import nearest_adversarial

OWN = (Evidence.REPROVED, Evidence.REPLAYED)
"""What rests on no solver's word."""

ROUNDING = 1e-6
"""How far scipy's LP optima in the oracle may be off."""


def exact_distance(query: Query) -> float | None:
    return nearest_adversarial(
        query.network,
        query.x0,
        query.target_classes,
        query.reference,
        lower=query.box.lower,
        upper=query.box.upper,
        margin=query.margin,
    )


def assert_matches(result: Result, truth: float | None) -> None:
    """The result answers a closest query whose distance is `truth`."""
    assert result.stop_reason is StopReason.SOLVED, result.stop_detail
    if truth is None:
        assert result.verdict is Verdict.ROBUST and result.witness is None and result.upper is None
        return
    assert result.verdict is Verdict.ADVERSARIAL and result.witness is not None
    assert result.lower is not None and result.upper is not None
    assert result.lower <= truth + ROUNDING
    assert truth - ROUNDING <= result.upper <= truth + 2e-6 + 2e-5 * truth + ROUNDING
    assert result.upper == result.witness.distance


def random_query(network: ReluNetwork, seed: int) -> Query:
    """A closest query with a random perturbation set, margin, targets and label."""
    rng = np.random.default_rng(seed)
    x0 = rng.random(network.input_size)
    box = Box.of(np.clip(x0 - rng.random(x0.size), 0, 1), np.clip(x0 + rng.random(x0.size), 0, 1))
    sets = [Unrestricted(), LinfBall(float(rng.random())), box]
    predicted = int(np.argmax(network.forward(x0)))
    others = [j for j in range(network.output_size) if j != predicted]
    targets = [Targets(), Targets.only(int(rng.choice(others))), Targets.excluding(others[0])][int(rng.integers(3))]
    return Query(
        network,
        x0,
        perturbation=sets[int(rng.integers(3))],
        label=predicted if rng.random() < 0.5 else None,
        targets=targets,
        margin=float(rng.choice([0.0, 0.0, 0.2, -0.1])),
    )


def line_classifier(slope: float = 1.0, bias: float = -0.5) -> ReluNetwork:
    """Two classes on [0, 1]: f_1 - f_0 = slope * relu(x) + bias."""
    builder = NetworkBuilder((1,))
    hidden = builder.relu(builder.affine([0], [DenseMap(np.array([[1.0]]))], name="hidden"))
    return builder.build(builder.affine([hidden], [DenseMap(np.array([[0.0], [slope]]))], np.array([0.0, bias])))


def hard_question() -> tuple[ReluNetwork, Array]:
    """A dense network of three hidden layers, and an input whose distance takes a search."""
    rng = np.random.default_rng(5)
    builder, node = NetworkBuilder((12,)), 0
    for _ in range(3):
        weight = DenseMap(rng.normal(size=(30, builder.size(node))) / np.sqrt(builder.size(node)))
        node = builder.relu(builder.affine([node], [weight], rng.normal(size=30) * 0.2))
    return builder.build(builder.affine([node], [DenseMap(rng.normal(size=(4, 30)))])), rng.random(12)
