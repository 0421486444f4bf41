"""Errors of float32 evaluation carried back from the outputs: what becomes of each layer's own errors on the way there.

Going forward, an error bound is multiplied by |coefficients| at every layer. Going backward the coefficients of the
layers are multiplied with their signs first, so that they cancel as they do in the network: with e the errors of a
ReLU's inputs, those of its results are d e for some 0 <= d <= 1, and d is 1 for a unit that is active and 0 for one
that is inactive in both evaluations. Coefficients are therefore intervals, kept as a centre and a radius.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bounds._bounds import Bounds
from bounds._float32_state import FLOAT32, State, up
from bounds._rounding import UNIT_ROUNDOFF, gamma
from onnx_models import Affine, Array, LinearMap, Relu
from onnx_models.importer._steps import Steps


@dataclass(frozen=True, slots=True, eq=False)
class _Factors:
    """Coefficients within `radius` of `centre`, both of shape (K, node size)."""

    centre: Array
    radius: Array

    @property
    def largest(self) -> Array:
        return np.abs(self.centre) + self.radius

    def __add__(self, other: _Factors) -> _Factors:
        total = self.centre + other.centre
        return _Factors(total, up(self.radius + other.radius + 2 * UNIT_ROUNDOFF * np.abs(total)))

    def before(self, linear_map: LinearMap) -> _Factors:
        """Those of what the map is applied to, its rounding in float64 included."""
        share = gamma(linear_map.fan_out + 1)
        radius = linear_map.absolute().transpose_apply(up(self.radius + share * np.abs(self.centre)))
        return _Factors(linear_map.transpose_apply(self.centre), up(radius))

    def through_relu(self, error: Array, before: Bounds) -> _Factors:
        """Those of a ReLU's inputs, which are wrong by at most `error`."""
        active, inactive = before.lower > up(error), before.upper <= -up(error)
        half = 0.5 * self.centre  # of the interval between 0 and the centre: halving is exact
        centre = np.where(active, self.centre, half)
        radius = np.where(active, self.radius, np.abs(half) + self.radius)
        return _Factors(np.where(inactive, 0.0, centre), np.where(inactive, 0.0, radius))


def carried_back(steps: Steps, states: Sequence[State], ranges: Sequence[Bounds], rows: Array) -> Array:
    """Bounds of |row . error of the outputs| for each of `rows`, shape (K, outputs); the result has shape (K,)."""
    total = up(np.abs(rows) @ states[steps.output].own(FLOAT32))
    waiting = {steps.output: _Factors(rows, np.zeros_like(rows))}
    while waiting:
        index = max(waiting)
        factors, node = waiting.pop(index), steps.nodes[index]
        parts: list[tuple[int, _Factors]] = []
        if isinstance(node, Relu):
            before = states[node.input]
            inner = factors.through_relu(before.error(FLOAT32), ranges[node.input])
            total = up(
                total + inner.largest @ before.own(FLOAT32) + 4.0 * FLOAT32.flushed * factors.largest.sum(axis=1)
            )
            parts.append((node.input, inner))
        elif isinstance(node, Affine):
            parts += [(k, factors.before(m)) for k, m in zip(node.inputs, node.maps, strict=True)]
        for source, part in parts:
            waiting[source] = waiting[source] + part if source in waiting else part
    return total
