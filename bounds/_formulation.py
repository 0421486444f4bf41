"""A network as rows and columns: big-M with binaries for a MIP, the triangle relaxation for an LP."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from bounds._bounds import Bounds, NetworkBounds
from bounds._linear import Relaxation
from bounds._model import Expression, ModelBuilder, widen
from onnx_models import Affine, Array, Input, Relu, ReluNetwork

Index = NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class ReluColumns:
    """Where the unstable units of one ReLU node stand in a model.

    Attributes:
        units: their positions in the node, ascending.
        outputs: the column y of each.
        binaries: the column a of each, empty in a relaxation.
        lower_rows: the row  y >= z  of each.
    """

    units: Index
    outputs: Index
    binaries: Index
    lower_rows: Index


class Formulation:
    """Adds a network, restricted to a box and to bounds valid on it, to a `ModelBuilder`.

    For an unstable unit with z = w.v + b in [l, u] and y = max(z, 0), as in Tjeng, Xiao and Tedrake (2019), equation 6:

        y >= z,   y <= z - l (1 - a),   0 <= y <= u a,   a in {0, 1}

    and with `integral=False` the projection of these rows on (z, y):  y >= z, y >= 0, y <= u (z - l) / (u - l).
    A stably inactive unit is the constant 0; a stably active one is its pre-activation z, substituted where that needs
    fewer coefficients than a column of its own.

    Args:
        network, bounds: bounds of all nodes up to `last`, over the box `bounds.nodes[0]`.
        integral: with binaries, or relaxed.
        last: the last node to express; None for the output.
    """

    def __init__(self, network: ReluNetwork, bounds: NetworkBounds, *, integral: bool, last: int | None = None) -> None:
        self.network, self.bounds, self._integral = network, bounds, integral
        self.builder = ModelBuilder()
        box = bounds.nodes[0]
        self.inputs: Index = self.builder.add_columns(box.lower, box.upper, [f"x_{i}" for i in range(box.size)])
        self.relus: dict[int, ReluColumns] = {}
        self._rows = 0
        self._values: list[Expression] = []
        end = len(network.nodes) - 1 if last is None else last
        needed = _ancestors(network, end)
        for index in range(end + 1):
            self._values.append(self._express(index) if index in needed else _constant(np.zeros(0)))

    def value(self, index: int) -> Expression:
        """The value of node `index` over the model's columns."""
        expression = self._values[index]
        return Expression(widen(expression.matrix, self.builder.columns), expression.constant)

    def add_rows(self, matrix: sparse.csr_array, lower: Array | float, upper: Array | float) -> Index:
        """Adds rows to the model and returns their indices."""
        self.builder.add_rows(matrix, lower, upper)
        first, self._rows = self._rows, self._rows + matrix.shape[0]
        return np.arange(first, self._rows)

    def _express(self, index: int) -> Expression:
        node = self.network.nodes[index]
        if isinstance(node, Input):
            return Expression(self.builder.unit(self.inputs), np.zeros(node.size))
        return self._affine(node) if isinstance(node, Affine) else self._relu(node, index)

    def _affine(self, node: Affine) -> Expression:
        columns = self.builder.columns
        matrix = sparse.csr_array((node.size, columns))
        constant = node.bias.copy()
        for source, linear_map in zip(node.inputs, node.maps, strict=True):
            weights, value = linear_map.to_sparse(), self._values[source]
            matrix = matrix + weights @ widen(value.matrix, columns)
            constant = constant + weights @ value.constant
        return Expression(sparse.csr_array(matrix), constant)

    def _relu(self, node: Relu, index: int) -> Expression:
        pre, z = self.bounds.nodes[node.input], self.value(node.input)
        unstable = np.flatnonzero(pre.straddles_zero)
        active = np.flatnonzero(pre.lower >= 0)
        parts = [self._unstable(index, unstable, pre, z), self._active(index, active, pre, z)]
        order = np.concatenate([unstable, active])
        columns = self.builder.columns
        stacked = sparse.csr_array(sparse.vstack([widen(p.matrix, columns) for p in parts], format="csr"))
        place = sparse.csr_array((np.ones(len(order)), (order, np.arange(len(order)))), shape=(node.size, len(order)))
        constant = np.zeros(node.size)
        constant[order] = np.concatenate([p.constant for p in parts])
        return Expression(sparse.csr_array(place @ stacked), constant)

    def _unstable(self, index: int, units: Index, pre: Bounds, z: Expression) -> Expression:
        l, u, weights = pre.lower[units], pre.upper[units], z.rows(units)
        y = self.builder.add_columns(0.0, u if self._integral else np.inf, [f"y_{index}_{k}" for k in units])
        binaries: Index = np.zeros(0, np.intp)
        if self._integral:
            binaries = self.builder.add_columns(0.0, 1.0, [f"a_{index}_{k}" for k in units], integer=True)
        columns = self.builder.columns
        unit_y, w = self.builder.unit(y), widen(weights.matrix, columns)
        lower_rows = self.add_rows(sparse.csr_array(unit_y - w), weights.constant, np.inf)
        if self._integral:
            unit_a = self.builder.unit(binaries)
            self.add_rows(sparse.csr_array(unit_y - w - _scaled(unit_a, l)), -np.inf, weights.constant - l)
            self.add_rows(sparse.csr_array(unit_y - _scaled(unit_a, u)), -np.inf, 0.0)
        else:
            lines = Relaxation.of(Bounds(l, u))
            upper = lines.intercept + lines.slope * weights.constant
            self.add_rows(sparse.csr_array(unit_y - _scaled(w, lines.slope)), -np.inf, upper)
        self.relus[index] = ReluColumns(units, y, binaries, lower_rows)
        return Expression(unit_y, np.zeros(len(units)))

    def _active(self, index: int, units: Index, pre: Bounds, z: Expression) -> Expression:
        value = z.rows(units)
        if self._substituting_is_smaller(index, value):
            return value
        # A relaxation leaves these columns free: bounds on them would be rows that a backward pass cannot re-prove.
        low, high = (np.maximum(pre.lower[units], 0.0), pre.upper[units]) if self._integral else (-np.inf, np.inf)
        y = self.builder.add_columns(low, high, [f"y_{index}_{k}" for k in units])
        unit_y = self.builder.unit(y)
        self.add_rows(
            sparse.csr_array(unit_y - widen(value.matrix, self.builder.columns)), value.constant, value.constant
        )
        return Expression(unit_y, np.zeros(len(units)))

    def _substituting_is_smaller(self, index: int, active: Expression) -> bool:
        """Whether reading z itself gives the nodes behind fewer coefficients than reading a column defined as z."""
        row_lengths = np.diff(active.matrix.indptr)
        readers = [self.network.nodes[k] for k in self.network.consumers[index]]
        reads = [
            m for n in readers if isinstance(n, Affine) for s, m in zip(n.inputs, n.maps, strict=True) if s == index
        ]
        fan_out, rows = sum(m.fan_out for m in reads), sum(m.output_size for m in reads)
        support = len(np.unique(active.matrix.indices))
        substituted = min(fan_out * int(row_lengths.sum()), rows * support)
        defined = int(row_lengths.sum()) + len(row_lengths) * (1 + fan_out)
        return substituted <= defined


def _ancestors(network: ReluNetwork, last: int) -> set[int]:
    """Indices of the nodes that node `last` depends on, itself and the input included."""
    found = {0, last}
    for index in range(last, 0, -1):
        node = network.nodes[index]
        if index in found and not isinstance(node, Input):
            found |= set(node.inputs) if isinstance(node, Affine) else {node.input}
    return found


def _constant(value: Array) -> Expression:
    return Expression(sparse.csr_array((len(value), 0)), value)


def _scaled(matrix: sparse.csr_array, rows: Array) -> sparse.csr_array:
    """`matrix` with each row multiplied by one factor."""
    return sparse.csr_array(sparse.diags_array(rows) @ matrix)
