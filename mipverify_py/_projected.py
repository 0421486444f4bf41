"""Upper bounds on distances in L1 and L2, and points of balls of these norms: projected gradient steps."""

from __future__ import annotations

import numpy as np

from bounds import Bounds
from mipverify_py._attack import ROUGH_BITS, GradientAttack, passed
from mipverify_py._balls import NormBall, into_ball
from mipverify_py._enums import Norm, Objective
from mipverify_py._gradients import Gradients
from mipverify_py._options import Options
from mipverify_py._query import Query
from onnx_models import Array

STEPS = 40
"""Steps of a climb within the perturbation set."""

SHRINKING_STEPS = 60
"""Steps within the shrinking ball."""

LEAD = (0.05, 1e-3)
"""How much smaller than the best distance the ball is, as a share of it: at the first step and at the last."""

STRIDE = (0.3, 0.01)
"""Length of a step as a share of the ball's radius: at the first step and at the last."""


def attack_for(query: Query, options: Options) -> GradientAttack:
    """The attack for the query's set and norm; for sets that are neither boxes nor balls, only its help to others."""
    known = query.perturbation
    other = query.objective is Objective.CLOSEST and query.norm is not Norm.LINF
    if query.measured is None and (isinstance(known, NormBall) or (known.is_box and other)):
        return ProjectedAttack(query, options)
    return GradientAttack(query, options)


class ProjectedAttack(GradientAttack):
    """`GradientAttack` for distances in L1 and L2 and for balls of these norms; it proves nothing either.

    Gradient ascent of f_j - f_c, for every target j from several starts at once, with a projection after every step
    (Madry et al., 2018). For a distance all points climb within one ball of the query's norm, always a little smaller
    than the distance of the best point so far, as in FMN (Pintor et al., 2021).
    """

    def nearest(self, deadline: float | None) -> Array | None:
        """See `GradientAttack.nearest`; starts from the nearest point in L-infinity of the set's bounding box."""
        query = self._query
        first = super().nearest(deadline)
        best = None if first is None else self._reaching(self._inside(first[:, None], None))
        if best is None:
            best = self.within(query.box, deadline)
        if best is None:
            return None
        starts = np.stack([query.x0, best if first is None else first], axis=1)
        points, targets = self._per_target(starts)
        for step in range(SHRINKING_STEPS):
            if passed(deadline):
                break
            share = step / SHRINKING_STEPS
            radius = query.distance_of(best) * (1.0 - _between(LEAD, share))
            if radius <= 0.0:
                break
            points = self._inside(self._stepped(points, targets, _between(STRIDE, share) * radius), radius)
            found = self._reaching(points)
            if found is not None:
                nearer = self._inside(self._moved(found, bits=ROUGH_BITS)[:, None], None)
                for candidate in (self._reaching(nearer), found):
                    if candidate is not None and query.distance_of(candidate) < query.distance_of(best):
                        best = candidate
        return best

    def within(self, box: Bounds, deadline: float | None) -> Array | None:
        """A point of the set, and of `box`, that reaches the margin in float64, or None."""
        point, margin = self._climb(box, deadline, enough=self._query.margin)
        return point if margin >= self._query.margin else None

    def largest_margin(self, box: Bounds, deadline: float | None) -> Array:
        """The point of the set with the largest margin met by the search."""
        return self._climb(box, deadline, enough=np.inf)[0]

    def _climb(self, box: Bounds, deadline: float | None, *, enough: float) -> tuple[Array, float]:
        query, rng = self._query, np.random.default_rng(self._options.seed)
        noise = rng.random((box.size, self._options.restarts))
        random = box.lower[:, None] + (box.upper - box.lower)[:, None] * noise
        random[:, 0] = query.x0
        points, targets = self._per_target(random)
        points = self._inside(points, None)
        ball = query.perturbation
        width = ball.radius if isinstance(ball, NormBall) else float(np.linalg.norm(box.upper - box.lower)) / 2
        best, value = points[:, 0], -np.inf
        for step in range(STEPS):
            margins = query.margin_at(Gradients.of(query.network).values(points)[-1].T)
            leader = int(margins.argmax())
            if margins[leader] > value:
                best, value = points[:, leader].copy(), float(margins[leader])
            if value >= enough or passed(deadline):
                break
            points = self._inside(self._stepped(points, targets, (1.0 - step / STEPS) * width), None)
        return best, value

    def _per_target(self, starts: Array) -> tuple[Array, list[int]]:
        """Every start, shape (n, k), for every target: points of shape (n, k * targets) and the target of each."""
        targets = list(self._query.target_classes)
        return np.repeat(starts, len(targets), axis=1), targets * starts.shape[1]

    def _stepped(self, points: Array, targets: list[int], length: float) -> Array:
        """The points moved along their gradients by `length` in L2."""
        network = Gradients.of(self._query.network)
        values = network.values(points)
        seeds = np.zeros_like(values[-1])
        seeds[targets, np.arange(len(targets))] = 1.0
        seeds[self._query.reference] = -1.0
        slopes = network.backward(values, {len(values) - 1: seeds})
        sizes = np.maximum(np.linalg.norm(slopes, axis=0), np.finfo(np.float64).tiny)
        stepped: Array = points + length * slopes / sizes
        return stepped

    def _inside(self, points: Array, radius: float | None) -> Array:
        """The points, shape (n, N), moved into the perturbation set and, about, into the ball around x0 of a radius."""
        query = self._query
        x0, moved = query.x0[:, None], points
        if radius is not None:
            moved = x0 + into_ball(moved - x0, radius, query.norm)
        box = query.box
        moved = np.clip(moved, box.lower[:, None], box.upper[:, None])
        if query.perturbation.is_box:
            return moved
        columns = [query.perturbation.project(column, query.x0, query.input_domain) for column in moved.T]
        return np.stack(columns, axis=1)

    def _reaching(self, points: Array) -> Array | None:
        """The nearest of the points that reach the margin in float64, or None."""
        query = self._query
        reached = query.margin_at(Gradients.of(query.network).values(points)[-1].T) >= query.margin
        found = [points[:, k] for k in np.flatnonzero(reached)]
        return min(found, key=query.distance_of, default=None)


def _between(ends: tuple[float, float], share: float) -> float:
    """From the first of two positive numbers to the last, geometrically."""
    return float(ends[0] * (ends[1] / ends[0]) ** share)
