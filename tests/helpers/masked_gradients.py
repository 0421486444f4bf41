"""Networks whose gradients mislead: what checks for obfuscated gradients have to tell from others."""

from __future__ import annotations

import numpy as np

from onnx_models import Array, DenseMap, NetworkBuilder, ReluNetwork


def staircase(n: int, *, ramp: float = 1e-3) -> ReluNetwork:
    """Two classes told by the mean s of the entries, rounded to 0 or 1 before anything else sees it.

    q(s) = relu((s - 1/2) / ramp) - relu((s - 1/2) / ramp - 1) is flat but for a ramp of that width, so the margin
    f_1 - f_0 = q(s) - 1/2 has no gradient at inputs away from s = 1/2.
    """
    builder = NetworkBuilder((n,))
    scaled = DenseMap(np.full((2, n), 1.0 / (n * ramp)))
    stairs = builder.relu(builder.affine([0], [scaled], -0.5 / ramp - np.array([0.0, 1.0])))
    weight = np.array([[0.0, 0.0], [1.0, -1.0]])
    return builder.build(builder.affine([stairs], [DenseMap(weight)], np.array([0.5, 0.0])))


def staircase_inputs(n: int, count: int, seed: int = 0) -> Array:
    """Inputs of class 0 with means a little below 1/2, so that random points of a small ball change the class."""
    return _with_means(n, np.random.default_rng(seed), 0.46, 0.49, count)


def ridge(n: int) -> ReluNetwork:
    """Two classes told by the mean s of the entries, with a margin f_1 - f_0 that has a ridge in front of the boundary.

    From s = 0.4 it rises to -0.8 at 0.43, falls to -1.6 at 0.47 and rises to 0 at 0.5. Small steps end on the ridge,
    a large one leaps over it.
    """
    builder = NetworkBuilder((n,))
    corners, slopes = np.array([0.43, 0.47]), np.array([0.2 / 0.03, -20.0, 1.6 / 0.03])
    mean = np.full((1, n), 1.0 / n)
    bends = builder.relu(builder.affine([0], [DenseMap(np.repeat(mean, 2, axis=0))], -corners))
    turn = np.diff(slopes)
    linear = np.concatenate([np.zeros((1, n)), slopes[0] * mean])
    bent = np.stack([np.zeros(2), turn])
    bias = np.array([0.0, -0.8 - slopes[0] * 0.43])
    return builder.build(builder.affine([0, bends], [DenseMap(linear), DenseMap(bent)], bias))


def ridge_inputs(n: int, count: int, seed: int = 0) -> Array:
    """Inputs of class 0 at the foot of the ridge: means from 0.40 to 0.41."""
    return _with_means(n, np.random.default_rng(seed), 0.40, 0.41, count)


def _with_means(n: int, rng: np.random.Generator, low: float, high: float, count: int) -> Array:
    spread = rng.uniform(-0.1, 0.1, size=(count, n))
    return spread - spread.mean(axis=1, keepdims=True) + rng.uniform(low, high, size=(count, 1))
