"""Ideal cuts: the most violated facet of each unit's convex hull, found by sorting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from bounds import NetworkBounds
from mipverify_py.engines._problem import Layer, Problem
from mipverify_py.proof import Index, Plane
from onnx_models import Array


@dataclass(slots=True, eq=False)
class Cut:
    """A plane over the columns v of the problem:  y <= values . v[columns] + rest + offset  for the unit's output y.

    Attributes:
        plane: the plane over the unit's direct inputs.
        columns: columns that occur, each once.
        values: their coefficients.
        rest: what the constants of the direct inputs add.
        offset: D of the plane over the present box; it changes with the box.
    """

    plane: Plane
    columns: Index
    values: Array
    rest: float
    offset: float

    @property
    def right(self) -> float:
        """Right-hand side of  y - values . v[columns] <= right."""
        return self.rest + self.offset

    def at(self, columns: Array) -> float:
        """Upper bound of the unit's output at a point, shape (n + units,)."""
        return float(self.values @ columns[self.columns]) + self.right


class Separation:
    """Finds cuts for all units of a problem; planes are made for the box of the units' direct inputs."""

    def __init__(self, problem: Problem, bounds: NetworkBounds) -> None:
        self._layers = tuple(LayerSeparation(layer, bounds) for layer in problem.layers)
        self._layer_of = np.repeat(np.arange(len(problem.layers)), [layer.size for layer in problem.layers])
        self._inputs = problem.inputs

    def move(self, bounds: NetworkBounds) -> None:
        """Goes on with another box."""
        for layer in self._layers:
            layer.move(bounds)

    def violated(self, point: Array, units: Index, tolerance: float) -> list[Cut]:
        """For each of the units the most violated cut, if `point` violates it by more than `tolerance`.

        Args:
            point: a value for every column, shape (n + units,).
            units: numbers of units, ascending.
            tolerance: how far the unit's output has to be above the cut.
        """
        found: list[Cut] = []
        for number, layer in enumerate(self._layers):
            found += layer.violated(point, units[self._layer_of[units] == number], self._inputs, tolerance)
        return found

    def offsets(self, planes: Sequence[Plane]) -> Array:
        """D of planes over the present box, shape (planes,)."""
        owner = self._layer_of[np.array([plane.unit for plane in planes], np.intp)]
        result = np.zeros(len(planes))
        for number, layer in enumerate(self._layers):
            mine = np.flatnonzero(owner == number)
            result[mine] = layer.offsets([planes[k] for k in mine.tolist()])
        return result


class LayerSeparation:
    """The units of one layer, their receptive fields padded to equal width F.

    For y = max(w.v + b, 0) with v in [lo, hi] put L'_i = lo_i if w_i >= 0 else hi_i, and U'_i the other end. For every
    set I and input h with l(I) >= 0 > l(I + h), where l(I) = sum_{i in I} w_i L'_i + sum_{i not in I} w_i U'_i + b,

        y <= sum_{i in I} w_i (v_i - L'_i) + l(I) (v_h - L'_h) / (U'_h - L'_h)

    is a facet of the hull of {(v, y)}, and with y >= 0, y >= w.v + b these are all of them (Anderson, Huchette, Ma,
    Tjandraatmadja, Vielma, 2020). The one that cuts off most takes inputs in ascending order of
    (v_i - L'_i) / (U'_i - L'_i) into I.
    """

    def __init__(self, layer: Layer, bounds: NetworkBounds) -> None:
        self._layer = layer
        matrix = sparse.csr_array(layer.direct.weight[layer.units])
        matrix.sort_indices()
        self._lengths = lengths = np.diff(matrix.indptr)
        shape = (layer.size, max(int(lengths.max(initial=0)), 1))
        rows = np.repeat(np.arange(layer.size), lengths)
        place = np.arange(matrix.nnz) - np.repeat(matrix.indptr[:-1], lengths)
        self._weight, self._entries = np.zeros(shape), np.zeros(shape, np.intp)
        self._weight[rows, place], self._entries[rows, place] = matrix.data, matrix.indices
        self._bias = layer.direct.bias[layer.units]
        self.move(bounds)

    def move(self, bounds: NetworkBounds) -> None:
        """Goes on with another box."""
        self._box = self._layer.direct.box(bounds)
        lower, upper = self._box.lower[self._entries], self._box.upper[self._entries]
        rising = self._weight >= 0
        self._bottom = np.where(rising, lower, upper)
        self._span = np.where(rising, upper - lower, lower - upper)
        self._top = (self._weight * (self._bottom + self._span)).sum(1) + self._bias

    def violated(self, point: Array, units: Index, inputs: int, tolerance: float) -> list[Cut]:
        """The cuts of `Separation.violated` for units of this layer."""
        if not len(units):
            return []
        values = self._values(point, inputs)
        rows = units - self._layer.first
        coefficients, kept = self._facets(rows, values)
        rows, units, coefficients = rows[kept], units[kept], coefficients[kept]
        offsets = self._offsets(rows, coefficients)
        at_point = (coefficients * values[self._entries[rows]]).sum(1) + offsets
        chosen = np.flatnonzero(point[inputs + units] - at_point > tolerance)
        return self._cuts(rows[chosen], units[chosen], coefficients[chosen], offsets[chosen])

    def offsets(self, planes: Sequence[Plane]) -> Array:
        """D of planes of this layer's units over the present box."""
        rows = np.array([plane.unit for plane in planes], np.intp) - self._layer.first
        coefficients = np.zeros((len(planes), self._weight.shape[1]))
        for line, (row, plane) in enumerate(zip(rows.tolist(), planes, strict=True)):
            places = np.searchsorted(self._entries[row, : self._lengths[row]], plane.entries)
            coefficients[line, places] = plane.coefficients
        return self._offsets(rows, coefficients)

    def _values(self, point: Array, inputs: int) -> Array:
        """The direct inputs at the point, moved into their box."""
        source = self._layer.source
        constant = self._layer.source_constant
        values = point[:inputs] if source is None else source @ point[: source.shape[1]] + constant
        return np.clip(values, self._box.lower, self._box.upper)

    def _facets(self, rows: Index, values: Array) -> tuple[Array, Index]:
        """Coefficients of the most violated facet, shape (rows, F), and the rows that have one.

        A unit that does not change its sign over the box of its direct inputs has none.
        """
        weight, span = self._weight[rows], self._span[rows]
        moves = span != 0
        safe = np.where(moves, span, 1.0)
        share = np.where(moves, (values[self._entries[rows]] - self._bottom[rows]) / safe, np.inf)
        order = share.argsort(1)
        left = self._top[rows][:, None] - np.take_along_axis(weight * span, order, 1).cumsum(1)
        negative = left < 0
        last = negative.argmax(1)
        line = np.arange(len(rows))
        before = np.where(last > 0, left[line, np.maximum(last - 1, 0)], self._top[rows])
        in_order = np.take_along_axis(weight, order, 1) * (np.arange(weight.shape[1]) < last[:, None])
        in_order[line, last] = before / safe[line, order[line, last]]
        coefficients = np.zeros_like(weight)
        np.put_along_axis(coefficients, order, in_order, 1)
        return coefficients, np.flatnonzero(negative.any(1) & (self._top[rows] > 0))

    def _offsets(self, rows: Index, coefficients: Array) -> Array:
        """D = max over the box of  max(z, 0) - coefficients . v, shape (rows,)."""
        bottom, span, rest = self._bottom[rows], self._span[rows], self._weight[rows] - coefficients
        off = np.maximum(-coefficients * bottom, -coefficients * (bottom + span)).sum(1)
        on = np.maximum(rest * bottom, rest * (bottom + span)).sum(1) + self._bias[rows]
        offsets: Array = np.maximum(off, on)
        return offsets

    def _cuts(self, rows: Index, units: Index, coefficients: Array, offsets: Array) -> list[Cut]:
        found, source = [], self._layer.source
        for row, unit, dense, offset in zip(rows, units, coefficients, offsets, strict=True):
            used = np.flatnonzero(dense)
            plane = Plane(int(unit), self._entries[row, used], dense[used])
            if source is None:
                found.append(Cut(plane, plane.entries, plane.coefficients, 0.0, float(offset)))
                continue
            picked = sparse.csr_array((plane.coefficients, plane.entries, [0, len(used)]), shape=(1, source.shape[0]))
            over_columns = sparse.csr_array(picked @ source)
            rest = float(plane.coefficients @ self._layer.source_constant[plane.entries])
            found.append(Cut(plane, over_columns.indices.astype(np.intp), over_columns.data, rest, float(offset)))
        return found
