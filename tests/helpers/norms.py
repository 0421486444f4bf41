"""Nearest adversarial inputs of tiny networks in L1 and L2, without the code under test."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from scipy.optimize import linprog

from mipverify_py import Norm, Query
from onnx_models import Array, DenseMap, NetworkBuilder, ReluNetwork
from tests.helpers.oracles import pieces

SLACK = 1e-9
"""By how much a point may miss a row and still count as in the polyhedron."""


def dense_network(seed: int, inputs: int = 3, units: int = 4, classes: int = 3) -> ReluNetwork:
    """One hidden layer with random weights."""
    rng = np.random.default_rng(seed)
    builder = NetworkBuilder((inputs,))
    hidden = builder.relu(builder.affine([0], [DenseMap(rng.normal(size=(units, inputs)))], rng.normal(size=units)))
    weight, bias = DenseMap(rng.normal(size=(classes, units))), 0.3 * rng.normal(size=classes)
    return builder.build(builder.affine([hidden], [weight], bias))


def half_space(weights: Array, bias: float) -> ReluNetwork:
    """Two classes without a ReLU: f_1 - f_0 = weights . x + bias."""
    builder = NetworkBuilder((len(weights),))
    matrix = DenseMap(np.stack([np.zeros(len(weights)), weights]))
    return builder.build(builder.affine([0], [matrix], np.array([0.0, bias])))


def exact_norm_distance(query: Query) -> float | None:
    """The distance of a closest query about a box, from every activation pattern; None if there is none."""
    n, best = len(query.x0), None
    eye = np.eye(n)
    for g, h, f, k in pieces(query.network):
        for j in query.target_classes:
            rows = np.vstack([g, eye, -eye, f[query.reference] - f[j]])
            right = np.concatenate([h, query.box.upper, -query.box.lower, [k[j] - k[query.reference] - query.margin]])
            found = _nearest(rows, right, query.x0, query.norm)
            if found is not None and (best is None or found < best):
                best = found
    return best


def _nearest(rows: Array, right: Array, x0: Array, norm: Norm) -> float | None:
    """min |x - x0| over rows x <= right."""
    n = len(x0)
    if norm is Norm.L2:
        return _projected(rows, right, x0)
    columns, eye = {Norm.L1: n, Norm.LINF: 1}[norm], np.eye(n)
    size = np.eye(n) if norm is Norm.L1 else np.ones((n, 1))
    matrix = np.block([[rows, np.zeros((len(rows), columns))], [eye, -size], [-eye, -size]])
    cost = np.concatenate([np.zeros(n), np.ones(columns)])
    limits = [(None, None)] * n + [(0.0, None)] * columns
    answer = linprog(cost, A_ub=matrix, b_ub=np.concatenate([right, x0, -x0]), bounds=limits, method="highs")
    return float(answer.fun) if answer.status == 0 else None


def _projected(rows: Array, right: Array, x0: Array) -> float | None:
    """The L2 distance of x0 to a polyhedron: the projection is that onto the span of at most n active rows."""
    best = None
    for count in range(len(x0) + 1):
        for active in combinations(range(len(rows)), count):
            chosen = rows[list(active)]
            step = np.linalg.lstsq(chosen, right[list(active)] - chosen @ x0, rcond=None)[0] if count else 0.0 * x0
            if np.all(rows @ (x0 + step) <= right + SLACK):
                found = float(np.linalg.norm(step))
                best = found if best is None else min(best, found)
    return best
