"""From a point that nearly reaches the margin to a checked witness as near to x0 as it can be had cheaply."""

from __future__ import annotations

import numpy as np

from bounds import Bounds, interval_bounds
from mipverify_py._attack import GradientAttack
from mipverify_py._balls import NormBall
from mipverify_py._enums import Norm, Objective
from mipverify_py._query import Query
from mipverify_py._witness import NotAdversarialError, Witness
from onnx_models import Array

PUSHES = tuple(4.0**k * 1e-10 for k in range(9))
"""How far a candidate is pushed across the boundary, as shares of the box's width: from rounding error to the worst
that a solver's tolerances leave (6.6e-6)."""


def polish(query: Query, point: Array, attack: GradientAttack) -> Witness | None:
    """A witness at or very near `point`, shape (n,), or None.

    A point that reaches the margin answers a feasibility query as it is: the further it is beyond the boundary, the
    better it survives float32. For the distance it is first moved along the segment from x0 towards the boundary, up to
    where rounding could still doubt it. One that misses the margin by a solver's tolerance is pushed along the margin's
    steepest ascent, in growing steps, inside the perturbation set.
    """
    start = query.perturbation.project(point, query.x0, query.input_domain)
    reached = query.margin_at(query.network.forward_batch(start[None]))[0] - query.margin
    if reached < 0:
        return _pushed(query, start, attack)
    if query.objective is Objective.FEASIBILITY:
        return _first_witness(query, [start]) or _pushed(query, start, attack)
    doubt = _doubt(query, start)
    nearer = attack.onto_boundary(start, excess=doubt) if reached >= doubt else start
    return _first_witness(query, _by_distance(query, [nearer, start])) or _pushed(query, start, attack)


def _by_distance(query: Query, points: list[Array]) -> list[Array]:
    """The points moved into the perturbation set, nearest first.

    Where x0 is no member the way to it may leave the set, and a member near that way may be further from x0.
    """
    inside = [query.perturbation.project(point, query.x0, query.input_domain) for point in points]
    return sorted(inside, key=query.distance_of)


def _doubt(query: Query, point: Array) -> float:
    """By how much the float64 margin near `point` can differ from the exact one, with a factor to spare."""
    logits = interval_bounds(query.network, Bounds(point, point)).nodes[-1]
    return 4.0 * float(np.max(logits.upper - logits.lower))


def _pushed(query: Query, start: Array, attack: GradientAttack) -> Witness | None:
    direction = _uphill(query, start, attack.gradient(start))
    width = float(np.max(query.box.upper - query.box.lower, initial=0.0))
    reach = np.abs(start - query.x0).max()
    for share in PUSHES:
        step = share * width
        room = Bounds(query.x0 - (reach + step), query.x0 + (reach + step))
        moved = np.clip(start + 2.0 * step * direction, room.lower, room.upper)
        found = _first_witness(query, [moved])
        if found is not None:
            return found
    return None


def _uphill(query: Query, point: Array, slope: Array) -> Array:
    """The direction, of largest entry 1, that gains most for its norm, in what measures the perturbation."""
    known = query.perturbation
    norm = known.norm if isinstance(known, NormBall) else query.norm
    size = float(np.abs(slope).max(initial=0.0))
    if norm is Norm.LINF or size == 0.0:
        return np.sign(slope)
    if norm is Norm.L2:
        return slope / size
    movable = np.where(slope > 0, point < query.box.upper, point > query.box.lower)
    best = int(np.argmax(np.abs(slope) * movable))
    result = np.zeros_like(slope)
    result[best] = np.sign(slope[best])
    return result


def _first_witness(query: Query, candidates: list[Array]) -> Witness | None:
    for candidate in candidates:
        inside = query.perturbation.project(candidate, query.x0, query.input_domain)
        try:
            return Witness(query, inside)
        except NotAdversarialError:
            continue
    return None
