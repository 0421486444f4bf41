"""Looking for a float32 input near an adversarial example of real numbers that onnxruntime, too, gets wrong.

An example of real numbers lies on the decision boundary. So we go on a little, by steps that double, and round.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mipverify_py._enums import Norm
from mipverify_py._gradients import Gradients
from mipverify_py._query import Query
from mipverify_py._witness import NotAdversarialError, Witness
from mipverify_py.float32._witness import Float32Witness, flips
from onnx_models import Array

DOUBLINGS = 40
"""The first step is the largest possible one divided by two so many times: less than float32 can tell from none."""

REFINEMENTS, PARTS = 2, 16
"""How often the interval between the last step that fails and the first that succeeds is divided, and into how many."""


def float32_witness(query: Query, start: Witness) -> Float32Witness | None:
    """The nearest float32 example found near `start`, or None."""
    best: Float32Witness | None = None
    for direction in _directions(query, start):
        for point in _along(query, start, direction):
            try:
                found = Float32Witness(query, point)
            except NotAdversarialError:  # evaluated alone, a point may give other last digits than in a batch
                continue
            if best is None or found.distance < best.distance:
                best = found
            break
    return best


def _directions(query: Query, start: Witness) -> Iterator[Array]:
    """Away from x0, and up the margin: each with largest entry 1."""
    gradients, count = Gradients.of(query.network), query.network.output_size
    values = gradients.values(start.point[:, None])
    seed = np.zeros((count, 1))
    rival = max(query.rivals, key=lambda i: start.logits[i])
    seed[start.target], seed[rival] = 1.0, -1.0
    slope = gradients.backward(values, {len(values) - 1: seed})[:, 0]
    away = start.point - query.x0
    for direction in (np.sign(slope) if query.norm is Norm.LINF else slope, away):
        largest = np.abs(direction).max(initial=0.0)
        yield direction / largest if largest > 0 else direction


def _along(query: Query, start: Witness, direction: Array) -> list[Array]:
    """Float32 points near the line that onnxruntime gets wrong, nearest first."""
    steps = np.concatenate([[0.0], query.reach * 0.5 ** np.arange(DOUBLINGS, -1, -1.0)])
    found: list[Array] = []
    for _ in range(1 + REFINEMENTS):
        points = np.array([_rounded(query, start, direction, step) for step in steps])
        wrong = [k for k, good in enumerate(_flipped(query, points)) if good]
        if not wrong:
            break
        found = [points[k] for k in wrong] + found
        first = min(wrong, key=lambda k: query.distance_of(points[k]))
        if first == 0:
            break
        steps = np.linspace(steps[first - 1], steps[first], PARTS + 1)
    return sorted(found, key=query.distance_of)


def _flipped(query: Query, points: Array) -> list[bool]:
    """Which points of the perturbation set onnxruntime gets wrong."""
    source = query.network.source
    assert source is not None
    logits = source.logits(points.reshape(len(points), *query.network.input_shape)).astype(np.float64)
    return [
        query.input_domain.contains(point) and query.perturbation.contains(point, query.x0) and flips(query, row)
        for point, row in zip(points, logits, strict=True)
    ]


def _rounded(query: Query, start: Witness, direction: Array, step: float) -> Array:
    """The point one `step` along, moved into the set and no further from x0 than that, as float32 numbers."""
    x0, target = query.x0, start.point + step * direction
    if query.norm is Norm.LINF:
        target = np.clip(target, x0 - (start.distance + step), x0 + (start.distance + step))
    target = query.perturbation.project(target, x0, query.input_domain)
    near = target.astype(np.float32)
    towards = np.clip(x0, query.box.lower, query.box.upper).astype(np.float32)
    further = np.abs(near.astype(np.float64) - x0) > np.abs(target - x0)
    rounded = np.where(further, np.nextafter(near, towards), near).astype(np.float64)
    inside = (query.box.lower <= rounded) & (rounded <= query.box.upper)
    return np.where(inside, rounded, near.astype(np.float64))
