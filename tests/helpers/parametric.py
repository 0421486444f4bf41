"""Independent answers about images that are affine in a few parameters, for tiny networks: all activation patterns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linprog

from mipverify_py import Query
from onnx_models import Array
from tests.helpers.oracles import pieces


@dataclass(frozen=True, eq=False)
class Images:
    """x = matrix @ theta + constant for low <= theta <= high, with sum(theta) = total if that is not None."""

    matrix: Array
    constant: Array
    low: Array
    high: Array
    total: float | None = None


def nearest_image(query: Query, images: Images) -> float | None:
    """min |x - x0|_inf over the images in the domain that reach the margin; None if there is none."""
    count, best = len(images.low), None
    ones = np.ones((len(query.x0), 1))
    a, b = images.matrix, images.constant - query.x0
    ball = np.block([[a, -ones], [-a, -ones]])
    for rows, right, row, constant in _cells(query, images):
        margin = np.append(-row, 0.0)
        left = np.vstack([np.hstack([rows, np.zeros((len(rows), 1))]), ball, margin])
        limits = np.concatenate([right, -b, b, [constant - query.margin]])
        answer = _minimum(np.append(np.zeros(count), 1.0), left, limits, images, extra=1)
        if answer is not None and (best is None or answer < best):
            best = answer
    return best


def largest_image_margin(query: Query, images: Images) -> float:
    """max over the images in the domain of max over targets of f_j - f_c; -inf if no image is in the domain."""
    best = -np.inf
    for rows, right, row, constant in _cells(query, images):
        answer = _minimum(-row, rows, right, images, extra=0)
        if answer is not None:
            best = max(best, constant - answer)
    return best


def _cells(query: Query, images: Images) -> list[tuple[Array, Array, Array, float]]:
    """(G, h, s, t) per activation pattern and target: on G theta <= h, f_j - f_c is s . theta + t."""
    a, b = images.matrix, images.constant
    found = []
    for g, h, f, k in pieces(query.network):
        rows = np.vstack([g @ a, a, -a])
        right = np.concatenate([h - g @ b, query.input_domain.upper - b, b - query.input_domain.lower])
        for j in query.target_classes:
            slope = f[j] - f[query.reference]
            found.append((rows, right, slope @ a, float(slope @ b + k[j] - k[query.reference])))
    return found


def _minimum(cost: Array, rows: Array, right: Array, images: Images, *, extra: int) -> float | None:
    limits = [*zip(images.low, images.high, strict=True), *[(0.0, None)] * extra]
    equal = None if images.total is None else np.append(np.ones(len(images.low)), np.zeros(extra))[None]
    total = None if images.total is None else [images.total]
    answer = linprog(cost, A_ub=rows, b_ub=right, A_eq=equal, b_eq=total, bounds=limits, method="highs")
    return float(answer.fun) if answer.status == 0 else None
