"""The bound that the row duals of a node's linear program prove, by a backward pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mipverify_py.engines._cuts import Cut
from mipverify_py.engines._problem import Problem
from onnx_models import Array

ROUNDING_ROOM = 1e-13
"""What a unit's plane weights leave of 1 at least, so that their sum does not exceed 1 in any order of rounding."""


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """What a node knows about the pre-activations z of all unstable units.

    Attributes:
        lower, upper: bounds of z, shape (units,).
        sign: +1 or -1 for units split on the way to the node, 0 for others, shape (units,).
    """

    lower: Array
    upper: Array
    sign: NDArray[np.int8]

    @property
    def active(self) -> NDArray[np.bool_]:
        """Units with y = z."""
        active: NDArray[np.bool_] = (self.sign > 0) | (self.lower >= 0)
        return active

    @property
    def inactive(self) -> NDArray[np.bool_]:
        """Units with y = 0."""
        inactive: NDArray[np.bool_] = ~self.active & ((self.sign < 0) | (self.upper <= 0))
        return inactive

    @property
    def free(self) -> NDArray[np.bool_]:
        """Units of either sign."""
        free: NDArray[np.bool_] = (self.sign == 0) & (self.lower < 0) & (self.upper > 0)
        return free


@dataclass(frozen=True, slots=True, eq=False)
class Duals:
    """Row duals of a node's linear program that maximises f_j - f_c.

    Attributes:
        lines: coefficient that each z has in the bound, shape (units,); NaN leaves it to the backward pass.
        triangles: multipliers of y <= s z + t, shape (units,).
        cuts: multipliers of the cuts, in the order of the LP's cuts.
    """

    lines: Array
    triangles: Array
    cuts: Array


@dataclass(frozen=True, slots=True, eq=False)
class Proved:
    """An upper bound of f_j - f_c on a node, and the multipliers it comes from (see `Multipliers`).

    Attributes:
        bound: max over the box of G . x + constant.
        scale: sum of the absolute values of the terms of `bound`; rounding errors are a small multiple of 1e-16 of it.
        G: shape (n,).
        constant: a number.
        weight_of: coefficient A of each unit's output in the backward pass, shape (units,).
        alpha, rho: as in `Multipliers`.
        cuts, weights: cuts that are used, and their weights.
    """

    bound: float
    scale: float
    G: Array
    constant: float
    weight_of: Array
    alpha: Array
    rho: Array
    cuts: tuple[Cut, ...]
    weights: Array


class BackwardPass:
    """Replaces the units' outputs by lines, last layer first, until f_j - f_c is bounded by a function of the input."""

    def __init__(self, problem: Problem, target: int) -> None:
        position = problem.targets.index(target)
        self._n, self._units = problem.inputs, problem.unit_count
        self._margin, self._constant = problem.margin[position], float(problem.margin_constant[position])
        self._layers = [(layer, layer.weight.T.tocsr()) for layer in reversed(problem.layers)]

    def run(self, state: State, duals: Duals, cuts: Sequence[Cut], box: tuple[Array, Array]) -> Proved:
        """The bound that duals prove over a box (middle, radius).

        In the pass a free unit whose output has coefficient A is replaced, if A < 0, by alpha z with alpha = line / A,
        and if A > 0 by its cuts, weighted with their duals, and by its triangle for the rest; where all the duals add
        up to more than A they are scaled down to it. What a unit's line has beyond its z's coefficient is the
        multiplier rho of a bound of z, the lower one if it is positive, else the upper one; cuts that were scaled down
        or belong to a unit that is not free first make up for it, because they lie above z.

        Whatever the duals are, the bound holds, and it is at most their Lagrangian bound of the LP: at a unit, the LP
        has  line z + cuts (C v + D) + triangle t + max(d_y y) + max(d_p p),  d_y = A - line - triangle (1 - s) - cuts,
        d_p = line - triangle s,  y and p over their bounds, which is no less than what the unit is replaced by here,
        for all v in their bounds and l <= z <= u. So optimal duals reproduce the LP's optimum.
        """
        slopes, constant, scale = self._margin.copy(), self._constant, abs(self._constant)
        used = np.flatnonzero(duals.cuts > 0)
        live = [cuts[k] for k in used.tolist()]
        owner = np.array([cut.plane.unit for cut in live], np.intp)
        on_cuts = np.bincount(owner, duals.cuts[used], self._units)
        total = duals.triangles + on_cuts
        alpha, rho, weight_of = np.zeros(self._units), np.zeros(self._units), np.zeros(self._units)
        share = np.zeros(len(used))
        active, free = state.active, state.free
        slope = np.where(free, state.upper / np.where(free, state.upper - state.lower, 1.0), 0.0)
        for layer, transposed in self._layers:
            part = slice(layer.first, layer.first + layer.size)
            outputs = slice(self._n + layer.first, self._n + layer.first + layer.size)
            A = slopes[outputs].copy()  # noqa: N806
            weight_of[part], slopes[outputs] = A, 0.0
            lines, low, high = duals.lines[part], state.lower[part], state.upper[part]
            below = free[part] & (A < 0)
            alpha[part] = np.where(below, np.clip(lines / np.where(below, A, 1.0), 0.0, 1.0), 0.0)
            alpha[part] = np.where(below & np.isnan(lines), high > -low, alpha[part])  # CROWN's choice
            rising = np.where(free[part], np.maximum(A, 0.0), 0.0)
            mine = np.flatnonzero((owner >= layer.first) & (owner < layer.first + layer.size))
            place = owner[mine] - layer.first
            whole = np.maximum(total[part], rising)
            share[mine] = (1.0 - ROUNDING_ROOM) * duals.cuts[used[mine]] / whole[place]
            on_planes = np.bincount(place, share[mine], layer.size)
            line = rising * (1.0 - on_planes)
            z = np.where(active[part], A, alpha[part] * A + line * slope[part])
            spare = np.maximum(on_cuts[part] - rising * on_planes, 0.0)
            beyond = np.where(np.isnan(lines), 0.0, lines - z)
            rho[part] = np.where(beyond < 0, np.minimum(beyond + spare, 0.0), beyond)
            ends = rho[part] * np.where(rho[part] > 0, low, high)
            z = z + rho[part]
            intercept = -line * slope[part] * low
            constant += float(z @ layer.bias + intercept.sum() - ends.sum())
            scale += float(np.abs(z) @ np.abs(layer.bias) + intercept.sum() + np.abs(ends).sum())
            slopes[: layer.weight.shape[1]] += transposed @ z
            if len(mine):
                amounts = rising[place] * share[mine]
                here = [live[k] for k in mine.tolist()]
                rights = np.array([cut.right for cut in here])
                slopes += _combine(here, amounts, len(slopes))
                constant += float(amounts @ rights)
                scale += float(amounts @ np.abs(rights))
        slopes = slopes[: self._n]
        middle, radius = box
        bound = float(slopes @ middle + np.abs(slopes) @ radius) + constant
        scale += float(np.abs(slopes) @ (np.abs(middle) + radius))
        kept = np.flatnonzero(weight_of[owner] > 0)
        chosen = tuple(live[k] for k in kept.tolist())
        return Proved(bound, scale, slopes, constant, weight_of, alpha, rho, chosen, share[kept])

    def value(self, point: Array) -> tuple[float, Array]:
        """f_j - f_c at an input, and all z there, shape (units,)."""
        v, z = np.concatenate([point, np.zeros(self._units)]), np.zeros(self._units)
        for layer, _ in reversed(self._layers):
            part = slice(layer.first, layer.first + layer.size)
            z[part] = layer.weight @ v[: layer.weight.shape[1]] + layer.bias
            v[self._n + layer.first : self._n + layer.first + layer.size] = np.maximum(z[part], 0.0)
        return float(self._margin @ v) + self._constant, z

    def pre_activations(self, columns: Array) -> Array:
        """z of all units as the columns give it, shape (units,)."""
        parts = [layer.weight @ columns[: layer.weight.shape[1]] + layer.bias for layer, _ in reversed(self._layers)]
        return np.concatenate([np.zeros(0), *parts])


def _combine(cuts: Sequence[Cut], amounts: Array, size: int) -> Array:
    """Sum of amounts times the cuts' rows."""
    lengths = [len(cut.columns) for cut in cuts]
    columns = np.concatenate([cut.columns for cut in cuts])
    values = np.concatenate([cut.values for cut in cuts]) * np.repeat(amounts, lengths)
    return np.bincount(columns, values, size).astype(np.float64)


def crown_duals(problem: Problem) -> Duals:
    """Duals with which the backward pass is CROWN's."""
    return Duals(np.full(problem.unit_count, np.nan), np.zeros(problem.unit_count), np.zeros(0))
