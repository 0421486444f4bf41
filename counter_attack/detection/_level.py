"""The nearest point to the origin under the k-level of an arrangement of lines: a chance constraint in the plane."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onnx_models import Array

FEW = 48
"""Lines among which all crossings in an interval are looked at; with more the interval is halved."""

CLOSED = 1e-12
"""Share of the best value by which an interval has to promise an improvement to be looked at."""


@dataclass(frozen=True, slots=True, eq=False)
class Lines:
    """Lines s = u - v h in the plane of (v, s), equal ones once.

    Attributes:
        u, h: shape (M,).
        count: how often each occurs, shape (M,).
    """

    u: Array
    h: Array
    count: NDArray[np.int64]

    @classmethod
    def of(cls, u: Array, h: Array) -> Lines:
        """Lines of which some may be equal."""
        rows, count = np.unique(np.stack([u, h], axis=1), axis=0, return_counts=True)
        return cls(rows[:, 0], rows[:, 1], count.astype(np.int64))

    def at(self, v: Array) -> Array:
        """s of every line, shape (len(v), M)."""
        return np.asarray(self.u - v[:, None] * self.h)


def nearest_under_level(lines: Lines, k: int, weight_v: float, weight_s: float) -> tuple[float, float]:
    """The (v, s) that minimises weight_v v^2 + weight_s s^2 with at most k of the lines below s at v.

    For a given v the condition is s <= L(v), the (k + 1)-th smallest of u_i - v h_i: the k-level of the arrangement, a
    continuous piecewise linear function. Intervals of v are searched depth first. An interval is dropped once even the
    (k + 1)-th smallest of the lines' larger ends, which is at least L, promises nothing better than the best so far.
    Where few lines can be the level, L has few pieces, and on each the function is convex with a closed minimum. So the
    optimum is found up to rounding, whatever the number of lines and of those exempt.

    Args:
        lines: at least k + 1 of them.
        k: lines that may lie below, >= 0.
        weight_v: > 0.
        weight_s: > 0.
    """
    value = _kth(lines.at(np.zeros(1)), lines.count, k)[0]
    best, v_best = weight_s * min(0.0, value) ** 2, 0.0
    reach = float(np.sqrt(best / weight_v))  # further out, v alone costs more
    stack = [(-reach, 0.0), (0.0, reach)]
    while stack:
        a, b = stack.pop()
        ends = lines.at(np.array([a, b]))
        low, high = ends.min(axis=0), ends.max(axis=0)
        highest = _kth(high[None], lines.count, k)[0]
        v_near = float(np.clip(0.0, a, b))
        promise = weight_v * v_near**2 + weight_s * min(0.0, highest) ** 2
        if promise >= best * (1 - CLOSED):
            continue
        lowest = _kth(low[None], lines.count, k)[0]
        able = (high >= lowest) & (low <= highest)
        middle = 0.5 * (a + b)
        if able.sum() > FEW and a < middle < b:
            stack += sorted([(a, middle), (middle, b)], key=lambda part: -abs(part[0] + part[1]))
            continue
        below = int(lines.count[high < lowest].sum())
        few = Lines(lines.u[able], lines.h[able], lines.count[able])
        found, v = _best_piece(few, k - below, (a, b), (weight_v, weight_s))
        if found < best:
            best, v_best = found, v
    return v_best, min(0.0, float(_kth(lines.at(np.array([v_best])), lines.count, k)[0]))


def _best_piece(lines: Lines, k: int, ends: tuple[float, float], weights: tuple[float, float]) -> tuple[float, float]:
    """The least value over the interval and where it is taken: between crossings, the same line is the level."""
    (a, b), (weight_v, weight_s) = ends, weights
    with np.errstate(divide="ignore", invalid="ignore"):
        crossings = (lines.u[:, None] - lines.u) / (lines.h[:, None] - lines.h)
    inside = np.unique(crossings[(crossings > a) & (crossings < b)])
    cuts = np.concatenate([[a], inside, [b]])
    middles = 0.5 * (cuts[:-1] + cuts[1:])
    values = lines.at(middles)
    order = np.argsort(values, axis=1, kind="stable")
    place = (np.cumsum(lines.count[order], axis=1) <= k).sum(axis=1)
    line = order[np.arange(len(middles)), place]
    u, h = lines.u[line], lines.h[line]
    # s = min(0, u - v h): convex in v, with its minimum at 0 where u >= 0
    v = np.where(u >= 0, 0.0, weight_s * u * h / (weight_s * h**2 + weight_v))
    v = np.clip(v, cuts[:-1], cuts[1:])
    value = weight_v * v**2 + weight_s * np.minimum(0.0, u - v * h) ** 2
    least = int(np.argmin(value))
    return float(value[least]), float(v[least])


def _kth(values: Array, count: NDArray[np.int64], k: int) -> Array:
    """The (k + 1)-th smallest entry of each row, entries counted `count` times; shape (rows,)."""
    order = np.argsort(values, axis=1, kind="stable")
    place = (np.cumsum(count[order], axis=1) <= k).sum(axis=1)
    return np.asarray(values[np.arange(len(values)), order[np.arange(len(values)), place]])
