"""Exact distances of tiny networks, in fractions: every activation pattern, one linear program each by Bland's rule."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import product
from typing import NamedTuple

from mipverify_py import Query
from onnx_models import Affine, Input, ReluNetwork

Vector = list[Fraction]
"""Coefficients of the inputs, and one more for the constant."""


class Question(NamedTuple):
    """A question about a distance; its numbers are taken as the rational numbers that they are."""

    network: ReluNetwork
    x0: Sequence[float]
    lower: Sequence[float]
    upper: Sequence[float]
    reference: int
    targets: Sequence[int]
    margin: Fraction

    @classmethod
    def of(cls, query: Query) -> Question:
        """The question that a query asks."""
        ends = query.x0.tolist(), query.box.lower.tolist(), query.box.upper.tolist()
        return cls(query.network, *ends, query.reference, query.target_classes, Fraction(query.margin))


def exact_nearest(asked: Question) -> Fraction | None:
    """min |x - x0|_inf over the box with  max over targets of f_j - f_c >= margin; None if there is none."""
    n, best = asked.network.input_size, None
    for rows, logits in pattern_pieces(asked.network):
        for j in asked.targets:
            margin = [a - b for a, b in zip(logits[j], logits[asked.reference], strict=True)]
            margin[-1] -= asked.margin
            at_least = [[*row[:-1], Fraction(0), row[-1]] for row in (*rows, margin)]
            for i in range(n):
                x0, low, high = Fraction(asked.x0[i]), Fraction(asked.lower[i]), Fraction(asked.upper[i])
                unit = [Fraction(int(k == i)) for k in range(n)]
                minus = [-u for u in unit]
                at_least += [[*unit, Fraction(1), -x0], [*minus, Fraction(1), x0]]
                at_least += [[*unit, Fraction(0), -low], [*minus, Fraction(0), high]]
            found = least([Fraction(0)] * n + [Fraction(1)], at_least)
            if found is not None and (best is None or found < best):
                best = found
    return best


def pattern_pieces(network: ReluNetwork) -> Iterator[tuple[list[Vector], list[Vector]]]:
    """For each activation pattern the rows that are >= 0 on its inputs, and the logits there."""
    n = network.input_size
    for pattern in product((False, True), repeat=network.relu_count):
        left, rows, values = iter(pattern), list[Vector](), list[list[Vector]]()
        for node in network.nodes:
            if isinstance(node, Input):
                values.append([[Fraction(int(k == i)) for k in range(n + 1)] for i in range(n)])
            elif isinstance(node, Affine):
                total = [[Fraction(0)] * n + [Fraction(float(b))] for b in node.bias]
                for source, linear_map in zip(node.inputs, node.maps, strict=True):
                    matrix = linear_map.to_sparse().tocoo()
                    for i, j, w in zip(*matrix.coords, matrix.data, strict=True):
                        total[i] = [
                            t + Fraction(float(w)) * v for t, v in zip(total[i], values[source][j], strict=True)
                        ]
                values.append(total)
            else:
                kept = list[Vector]()
                for z in values[node.input]:
                    on = next(left)
                    rows.append(z if on else [-v for v in z])
                    kept.append(z if on else [Fraction(0)] * (n + 1))
                values.append(kept)
        yield rows, values[-1]


def least(cost: Vector, at_least: Sequence[Vector]) -> Fraction | None:
    """min cost . y over all y with  row . (y, 1) >= 0  for every row; None if there is none. Must be bounded below.

    The dual program, max b . u subject to A' u = cost, u >= 0, is solved by the simplex method with artificial columns:
    its optimum is the same, and it is unbounded exactly where no y exists.
    """
    n, m = len(cost), len(at_least)
    signs = [-1 if c < 0 else 1 for c in cost]
    table = [
        [signs[i] * row[i] for row in at_least] + [Fraction(int(k == i)) for k in range(n)] + [signs[i] * cost[i]]
        for i in range(n)
    ]
    basis = [m + i for i in range(n)]
    phase = _price(table, basis, [Fraction(0)] * m + [Fraction(1)] * n)
    assert _pivot(table, basis, phase, m + n) and -phase[-1] == 0, "the dual has no point: the program is unbounded"
    for i in range(n):  # artificial columns that stayed at 0 leave the basis where they can
        if basis[i] >= m:
            column = next((j for j in range(m) if table[i][j] != 0), None)
            if column is not None:
                _exchange(table, basis, phase, i, column)
    price = _price(table, basis, [row[-1] for row in at_least] + [Fraction(0)] * n)
    return price[-1] if _pivot(table, basis, price, m) else None


def _price(table: list[Vector], basis: list[int], cost: Vector) -> Vector:
    """Reduced costs of minimising `cost`, and behind them minus its present value."""
    row = [*cost, Fraction(0)]
    for line, column in zip(table, basis, strict=True):
        factor = row[column]
        row = [r - factor * v for r, v in zip(row, line, strict=True)]
    return row


def _pivot(table: list[Vector], basis: list[int], price: Vector, columns: int) -> bool:
    """Goes to the minimum; False if there is none."""
    while True:
        column = next((j for j in range(columns) if price[j] < 0), None)
        if column is None:
            return True
        ratios = [(line[-1] / line[column], basis[i], i) for i, line in enumerate(table) if line[column] > 0]
        if not ratios:
            return False
        _exchange(table, basis, price, min(ratios)[2], column)


def _exchange(table: list[Vector], basis: list[int], price: Vector, line: int, column: int) -> None:
    pivot = table[line][column]
    table[line] = [v / pivot for v in table[line]]
    for i, other in enumerate(table):
        if i != line and other[column] != 0:
            table[i] = [v - other[column] * w for v, w in zip(other, table[line], strict=True)]
    factor = price[column]
    price[:] = [v - factor * w for v, w in zip(price, table[line], strict=True)]
    basis[line] = column
