"""Points of perturbation sets that are no boxes, or whose distances are those of images, for a start of the search."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from bounds import Bounds
from mipverify_py._attack import GradientAttack, passed
from mipverify_py._balls import NormBall
from mipverify_py._enums import Objective
from mipverify_py._gradients import Gradients
from mipverify_py._options import Options
from mipverify_py._perturbation import Box
from mipverify_py._query import Query
from mipverify_py._sparse import Sparse
from onnx_models import Array

STEPS = 20
"""Projected gradient steps of every start."""

SUPPORTS = 6
"""Choices of pixels that are searched in full."""


def suits_boxes(query: Query) -> bool:
    """Whether `Search.attack` alone serves the query: the set is a box or a ball."""
    known = query.perturbation
    return (known.is_box or isinstance(known, NormBall)) and query.measured is None


def candidates(query: Query, options: Options, deadline: float | None) -> Iterator[Array]:
    """Points, shape (n,), of the set that may reach the margin, or come near it; whoever uses one checks it."""
    if isinstance(query.perturbation, Sparse):
        yield from _few_pixels(query, query.perturbation, options, deadline)
    else:
        yield from _climbs(query, options, deadline)


def _climbs(query: Query, options: Options, deadline: float | None) -> Iterator[Array]:
    """The best points of projected gradient ascents from random members, one for every target and start.

    The sets here have few parameters, so one point after the other is fast enough.
    """
    rng = np.random.default_rng(options.seed)
    width = query.box.upper - query.box.lower
    for start in range(options.restarts + 1):
        for target in query.target_classes:
            point = query.x0 if start == 0 else query.box.lower + width * rng.random(query.box.size)
            point = _member(query, point)
            best = point
            for step in range(STEPS):
                if passed(deadline):
                    break
                slope = _slope(query, point, target)
                size = float(np.abs(slope * width).max(initial=0.0))
                if size == 0.0:
                    break
                moved = point + width * (slope * width / size) * (1.0 - step / STEPS)
                point = _member(query, moved)
                best = max(best, point, key=lambda p: _margin(query, p))
            yield best


def _few_pixels(query: Query, few: Sparse, options: Options, deadline: float | None) -> Iterator[Array]:
    """The best points within the few pixels that promise most.

    A pixel promises what moving it to the better end of its range gains by the gradient; that is seen at x0 and, again,
    at the point that those pixels lead to.
    """
    chosen: dict[tuple[int, ...], float] = {}
    for target in query.target_classes:
        point = query.x0
        for _ in range(STEPS // 4):
            slope = _slope(query, point, target)
            room = np.where(slope > 0, query.box.upper - query.x0, query.box.lower - query.x0)
            order = np.argsort(-(slope * room)[few.pixels].sum(axis=1), kind="stable")
            support = np.sort(order[: few.max_pixels])
            point = few.only(support, query.x0 + room, query.x0)
            key = tuple(support.tolist())
            if key in chosen:
                break
            chosen[key] = _margin(query, point)
    for key in sorted(chosen, key=lambda k: -chosen[k])[:SUPPORTS]:
        if passed(deadline):
            return
        support = np.array(key, np.intp)
        box = Bounds(few.only(support, query.box.lower, query.x0), few.only(support, query.box.upper, query.x0))
        attack = GradientAttack(replace(query, perturbation=Box(box)), options)
        found = attack.nearest(deadline) if query.objective is Objective.CLOSEST else None
        yield attack.largest_margin(box, deadline) if found is None else found


def _member(query: Query, point: Array) -> Array:
    return query.perturbation.project(point, query.x0, query.input_domain)


def _margin(query: Query, point: Array) -> float:
    return float(query.margin_at(query.network.forward_batch(point[None]))[0])


def _slope(query: Query, point: Array, target: int) -> Array:
    """Gradient of f_j - f_c at the point, for j the target."""
    network = Gradients.of(query.network)
    values = network.values(point[:, None])
    seeds = np.zeros_like(values[-1])
    seeds[target], seeds[query.reference] = 1.0, -1.0
    slope: Array = network.backward(values, {len(values) - 1: seeds})[:, 0]
    return slope
