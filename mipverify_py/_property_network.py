"""A network whose outputs say how far a case of a property is from being reached, one output a clause."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from scipy import sparse

from bounds import Bounds, interval_bounds
from onnx_models import Affine, Array, DenseMap, Node, Relu, ReluNetwork, SparseMap
from onnx_models.errors import InputError
from onnx_models.vnnlib import Case, Constraint


def case_network(network: ReluNetwork, case: Case) -> ReluNetwork:
    """The network followed by nodes that compute [0, g_1, ..., g_m]; g_k is the least value of clause k's constraints.

    The case is reached at x in its box only if some g_k(x) >= 0. Coefficients are rounded to float64, constants are
    rounded up, and by as much as rounded coefficients can take away for inputs of the box: so no g_k is too small. The
    minimum is min(p, q) = p - relu(p - q), which is exact. The network's own nodes stay as they are.

    Raises:
        InputError: coefficients have to be rounded, but the outputs have no finite bounds.
    """
    slack = _output_magnitudes(network, case) if depends_on_box(case) else None
    groups = [1, *(len(clause) for clause in case.clauses)]
    rows = [(np.zeros(network.output_size), 0.0), *(_relaxed(c, slack) for c in _constraints(case))]
    first = Affine(
        (len(network.nodes) - 1,),
        (DenseMap(np.array([row for row, _ in rows])),),
        np.array([constant for _, constant in rows]),
        "constraints",
    )
    nodes: list[Node] = [*network.nodes, first]
    while max(groups) > 1:
        groups = _halve(nodes, groups)
    return ReluNetwork(tuple(nodes), network.notes)


def depends_on_box(case: Case) -> bool:
    """Whether `case_network` looks at the case's box: cases of the same clauses can otherwise share its result."""
    return any(Fraction(float(value)) != value for c in _constraints(case) for _, value in c.terms)


def _constraints(case: Case) -> list[Constraint]:
    return [constraint for clause in case.clauses for constraint in clause]


def _output_magnitudes(network: ReluNetwork, case: Case) -> Array:
    found = interval_bounds(network, Bounds(case.lower, case.upper)).nodes[-1].magnitude
    if not np.all(np.isfinite(found)):
        raise InputError("The property's coefficients are no float64 numbers, and the model's outputs have no bounds.")
    return found


def _relaxed(constraint: Constraint, magnitudes: Array | None) -> tuple[Array, float]:
    """Coefficients and a constant in float64 whose value at the outputs is at least the constraint's."""
    row, offset = constraint.coefficients, constraint.offset
    if magnitudes is not None:
        offset += sum(
            (abs(value - Fraction(float(row[i]))) * Fraction(float(magnitudes[i])) for i, value in constraint.terms),
            Fraction(0),
        )
    constant = float(offset)
    return row, constant if Fraction(constant) >= offset else math.nextafter(constant, math.inf)


@dataclass(slots=True)
class _Rows:
    """A sparse matrix of entries 1 and -1, row by row."""

    rows: list[int]
    columns: list[int]
    values: list[float]

    def matrix(self, shape: tuple[int, int]) -> SparseMap:
        return SparseMap(sparse.csr_array((self.values, (self.rows, self.columns)), shape=shape))


def _halve(nodes: list[Node], groups: Sequence[int]) -> list[int]:
    """Adds nodes after which each group of values is half as long: of every two the smaller one. Returns the sizes."""
    kept, differences, taken = _Rows([], [], []), _Rows([], [], []), _Rows([], [], [])
    left, size, pairs, begin = [], 0, 0, 0
    for count in groups:
        for position in range(begin, begin + count, 2):
            kept.rows.append(size)
            kept.columns.append(position)
            kept.values.append(1.0)
            if position + 1 < begin + count:
                differences.rows += [pairs, pairs]
                differences.columns += [position, position + 1]
                differences.values += [1.0, -1.0]
                taken.rows.append(size)
                taken.columns.append(pairs)
                taken.values.append(-1.0)
                pairs += 1
            size += 1
        begin += count
        left.append((count + 1) // 2)
    source = len(nodes) - 1
    nodes.append(Affine((source,), (differences.matrix((pairs, begin)),), np.zeros(pairs), "difference"))
    nodes.append(Relu(len(nodes) - 1, pairs, "excess"))
    maps = (kept.matrix((size, begin)), taken.matrix((size, pairs)))
    nodes.append(Affine((source, len(nodes) - 1), maps, np.zeros(size), "minimum"))
    return left
