"""How many units switch between an input and its nearest adversarial example."""

from __future__ import annotations

import numpy as np

from onnx_models import Array, Relu, ReluNetwork

KINK = 1e-7
"""A unit whose pre-activation is this near to 0 is in both phases: nearest examples lie on such kinks to rounding."""


def phase_changes(network: ReluNetwork, x: Array, y: Array) -> tuple[int, ...]:
    """Units of each ReLU node that are on at one of two inputs, shape (n,), and off at the other.

    On and off mean a pre-activation above `KINK` and below -`KINK`; where it is in between the phase has not changed.
    """
    values = network.activations(np.stack([x, y]))
    counts = []
    for index in network.relu_indices:
        node = network.nodes[index]
        assert isinstance(node, Relu)
        first, second = values[node.input]
        switched = ((first > KINK) & (second < -KINK)) | ((first < -KINK) & (second > KINK))
        counts.append(int(switched.sum()))
    return tuple(counts)
