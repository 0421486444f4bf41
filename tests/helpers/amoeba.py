"""Small classifiers whose boxes can be checked by hand or on a grid."""

from __future__ import annotations

import numpy as np

from onnx_models import Array, DenseMap, NetworkBuilder, ReluNetwork


def plane_network(seed: int, *, hidden: int = 8, classes: int = 3) -> ReluNetwork:
    """Two inputs, two layers of ReLUs, random weights."""
    rng = np.random.default_rng(seed)
    builder, node = NetworkBuilder((2,)), 0
    for _ in range(2):
        weight = DenseMap(rng.normal(size=(hidden, builder.size(node))))
        node = builder.relu(builder.affine([node], [weight], rng.normal(size=hidden) * 0.5))
    return builder.build(builder.affine([node], [DenseMap(rng.normal(size=(classes, hidden)))]))


def linear_classifier(w: Array, b: float) -> ReluNetwork:
    """Two classes: f_0 - f_1 = w x + b."""
    builder = NetworkBuilder((len(w),))
    return builder.build(builder.affine([0], [DenseMap(np.stack([w, 0.0 * w]))], np.array([b, 0.0])))


def grid(lower: Array, upper: Array, *, side: int = 101) -> Array:
    """A grid over a rectangle, corners included, shape (side^2, 2)."""
    axes = [np.linspace(low, high, side) for low, high in zip(lower, upper, strict=True)]
    return np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, 2)


def least_margins(network: ReluNetwork, points: Array, kept: int) -> Array:
    """min over j of f_c - f_j at each point, shape (N,)."""
    logits = network.forward_batch(points)
    others = np.delete(logits, kept, axis=1)
    margins: Array = logits[:, kept] - others.max(axis=1)
    return margins


def robust_point(network: ReluNetwork, seed: int) -> Array:
    """A point of the unit square with a comfortable margin, shape (2,)."""
    points = np.random.default_rng(seed).uniform(0.2, 0.8, size=(200, 2))
    logits = np.sort(network.forward_batch(points), axis=1)
    chosen: Array = points[np.argmax(logits[:, -1] - logits[:, -2])]
    return chosen
