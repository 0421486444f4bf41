"""Independent answers for tiny networks: every activation pattern is tried, one linear program each, by scipy."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np
from scipy.optimize import linprog

from onnx_models import Affine, Array, Input, Relu, ReluNetwork

PatternPiece = tuple[Array, Array, Array, Array]
"""G, h, F, k: on the inputs with G x <= h the logits are F x + k."""


def pieces(network: ReluNetwork) -> Iterator[PatternPiece]:
    """The linear pieces of the network, one per activation pattern, also those that no input has."""
    count = network.relu_count
    for pattern in product((False, True), repeat=count):
        yield _piece(network, np.array(pattern, bool))


def _piece(network: ReluNetwork, pattern: Array) -> PatternPiece:
    n = network.input_size
    values: list[tuple[Array, Array]] = []
    g, h, used = [np.zeros((0, n))], [np.zeros(0)], 0
    for node in network.nodes:
        if isinstance(node, Input):
            values.append((np.eye(n), np.zeros(n)))
        elif isinstance(node, Affine):
            matrix, constant = np.zeros((node.size, n)), node.bias.copy()
            for source, linear_map in zip(node.inputs, node.maps, strict=True):
                weight = linear_map.to_sparse().toarray()
                matrix, constant = matrix + weight @ values[source][0], constant + weight @ values[source][1]
            values.append((matrix, constant))
        else:
            assert isinstance(node, Relu)
            matrix, constant = values[node.input]
            on = pattern[used : used + node.size]
            used += node.size
            sign = np.where(on, -1.0, 1.0)  # on: -z <= 0, off: z <= 0
            g.append(sign[:, None] * matrix)
            h.append(-sign * constant)
            values.append((matrix * on[:, None], constant * on))
    return np.concatenate(g), np.concatenate(h), *values[-1]


def nearest_adversarial(
    network: ReluNetwork,
    x0: Array,
    targets: tuple[int, ...],
    reference: int,
    *,
    lower: Array,
    upper: Array,
    margin: float = 0.0,
) -> float | None:
    """min |x - x0|_inf over lower <= x <= upper with max over targets of f_j - f_c >= margin; None if there is none."""
    n, best = len(x0), None
    eye, ones = np.eye(n), np.ones((n, 1))
    ball = np.block([[eye, -ones], [-eye, -ones]])  # x - d <= x0, -x - d <= -x0
    cost = np.append(np.zeros(n), 1.0)
    limits = [*zip(lower, upper, strict=True), (0.0, None)]
    for g, h, f, k in pieces(network):
        for j in targets:
            rows = np.vstack([np.hstack([g, np.zeros((len(g), 1))]), ball, np.append(f[reference] - f[j], 0.0)])
            right = np.concatenate([h, x0, -x0, [k[j] - k[reference] - margin]])
            answer = linprog(cost, A_ub=rows, b_ub=right, bounds=limits, method="highs")
            if answer.status == 0 and (best is None or answer.fun < best):
                best = float(answer.fun)
    return best


def largest_margin(
    network: ReluNetwork, targets: tuple[int, ...], reference: int, *, lower: Array, upper: Array
) -> float:
    """max over lower <= x <= upper of max over targets of f_j - f_c."""
    best = -np.inf
    for g, h, f, k in pieces(network):
        for j in targets:
            row = f[j] - f[reference]
            answer = linprog(-row, A_ub=g, b_ub=h, bounds=list(zip(lower, upper, strict=True)), method="highs")
            if answer.status == 0:
                best = max(best, -answer.fun + k[j] - k[reference])
    return float(best)
