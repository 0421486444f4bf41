"""Linear bounds by backward substitution (CROWN; Zhang et al., 2018), on a DAG and outward rounded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from bounds._bounds import Bounds, NetworkBounds
from bounds._interval import magnitudes
from bounds._rounding import UNDERFLOW, UNIT_ROUNDOFF, gamma, inflate, up
from bounds._sweep import named_bounds, sweep
from onnx_models import Affine, Array, DenseMap, LinearMap, Relu, ReluNetwork, SparseMap

CHUNK_ENTRIES = 4_000_000
"""Rows are bounded together as long as rows times the widest node stays below this (32 MB per array)."""

SPARSE_SHARE = 0.1
"""Rows with a smaller share of nonzero entries stay sparse: a unit of a convolution reads few others."""

Rows = Array | sparse.csr_array

Multipliers = Mapping[int, Array]
"""For ReLU node i a weight lambda >= 0 of each unit's row y >= z in each bound, shape (rows, units)."""


@dataclass(frozen=True, slots=True, eq=False)
class Relaxation:
    """Lines around the ReLU: for l <= z <= u,  alpha z <= max(z, 0) <= slope z + intercept, any alpha in [0, 1].

    For an unstable unit  slope = u / (u - l) and intercept = -l u / (u - l); stable units have their exact line, and
    then alpha = slope. `intercept` is rounded up until the upper line is valid for the rounded slope.
    """

    slope: Array
    intercept: Array
    alpha: Array

    @classmethod
    def of(cls, pre: Bounds) -> Relaxation:
        """The lines for pre-activation bounds `pre`; alpha is CROWN's choice, 1 where u > -l and 0 elsewhere."""
        l, u, unstable = pre.lower, pre.upper, pre.straddles_zero
        width = np.where(unstable, u - l, 1.0)
        slope = np.where(unstable, np.clip(u / width, 0.0, 1.0), np.where(pre.lower >= 0, 1.0, 0.0))
        # Valid at both ends, and so between them: slope l + t >= 0 and slope u + t >= u, that is t >= (1 - slope) u.
        t = np.maximum(-slope * l, (1.0 - slope) * u) * (1.0 + 8 * UNIT_ROUNDOFF)
        alpha = np.where(unstable, (u > -l).astype(np.float64), slope)
        return cls(slope, np.where(unstable, np.nextafter(t, np.inf), 0.0), alpha)


def linear_bounds(network: ReluNetwork, region: Bounds, *, start: NetworkBounds | None = None) -> NetworkBounds:
    """Bounds of every node over the box `region`, by CROWN where interval bounds leave a ReLU unstable.

    `start` gives bounds already known for the same region. Never looser than interval bounds. Errors as in `sweep`.
    """
    return sweep(network, region, lambda known, i, units: refine_linear(network, known, i, units), start=start)


def refine_linear(network: ReluNetwork, bounds: NetworkBounds, index: int, units: NDArray[np.intp]) -> Bounds:
    """Bounds of node `index` with the given units bounded by CROWN too."""
    return refined(
        network, bounds, index, units, upper_bounds(network, bounds, index, both_signs(bounds, index, units))
    )


def both_signs(bounds: NetworkBounds, index: int, units: NDArray[np.intp]) -> sparse.csr_array:
    """Rows that pick the given units of node `index`, then the same rows negated."""
    rows = SparseMap.selection(units, bounds.nodes[index].size).matrix
    return sparse.csr_array(sparse.vstack([rows, -rows]))


def refined(network: ReluNetwork, bounds: NetworkBounds, index: int, units: NDArray[np.intp], both: Array) -> Bounds:
    """Bounds of node `index` after taking in upper bounds `both` of the rows of `both_signs`."""
    old = bounds.nodes[index]
    lower, upper = old.lower.copy(), old.upper.copy()
    upper[units] = np.minimum(upper[units], both[: len(units)])
    lower[units] = np.maximum(lower[units], -both[len(units) :])
    return named_bounds(network, index, lower, upper)


def upper_bounds(
    network: ReluNetwork,
    bounds: NetworkBounds,
    index: int,
    rows: sparse.csr_array,
    *,
    multipliers: Multipliers | None = None,
) -> Array:
    """Upper bounds, shape (k,), of  rows @ v  for the value v of node `index`, over the input box in `bounds`.

    `rows` has shape (k, size of node `index`). `bounds` must hold for every node before it. Where a unit occurs with a
    negative coefficient -A it is replaced by alpha z, with CROWN's alpha or, for ReLU nodes in `multipliers`, with
    alpha = lambda / A clipped to [0, 1]. An optimal dual solution of the triangle LP gives lambda for which this pass
    reproduces the LP's optimum (Salman et al., 2019, theorem 4.2), but every choice is valid. The result is rounded
    upward so that it holds for real numbers.
    """
    widest = max(node.size for node in network.nodes[: index + 1])
    step = max(1, CHUNK_ENTRIES // widest)
    parts = [
        _Substitution(network, bounds, index, _compact(rows[k : k + step]), _slice(multipliers, k, step)).run()
        for k in range(0, rows.shape[0], step)
    ]
    return np.concatenate([np.zeros(0), *parts])


def _compact(rows: sparse.csr_array) -> Rows:
    """The rows as they are, or as a full matrix where that is faster."""
    if rows.nnz < SPARSE_SHARE * rows.shape[0] * rows.shape[1]:
        return rows
    full: Array = rows.toarray()
    return full


def _with_data(rows: sparse.csr_array, data: Array) -> sparse.csr_array:
    """The same places with other entries."""
    return sparse.csr_array((data, rows.indices, rows.indptr), shape=rows.shape)


def _nonnegative(rows: Rows) -> Rows:
    """max(rows, 0), elementwise."""
    if isinstance(rows, np.ndarray):
        return np.maximum(rows, 0.0)
    return _with_data(rows, np.maximum(rows.data, 0.0))


def _absolute(rows: Rows) -> Rows:
    """|rows|, elementwise."""
    return np.abs(rows) if isinstance(rows, np.ndarray) else _with_data(rows, np.abs(rows.data))


def _pulled_back(linear_map: LinearMap, rows: Rows) -> Rows:
    """M^T y for every row y."""
    if isinstance(rows, np.ndarray):
        return linear_map.transpose_apply(rows)
    if isinstance(linear_map, DenseMap):
        full: Array = rows @ linear_map.weight
        return full
    return _compact(sparse.csr_array(rows @ linear_map.to_sparse()))


def _slice(multipliers: Multipliers | None, first: int, step: int) -> Multipliers:
    return {i: m[first : first + step] for i, m in (multipliers or {}).items()}


class _Substitution:
    """One backward pass. Invariant, for every x in the box and every row:

        rows @ v_index  <=  sum over nodes of coefficients[node] @ v_node + constant + slack

    where `slack` bounds every rounding error made so far, using |v_node| <= magnitude of the node's bounds. The bounds
    of sums and products hold for any order of summation, and so for sparse and for full rows.
    """

    def __init__(
        self, network: ReluNetwork, bounds: NetworkBounds, index: int, rows: Rows, multipliers: Multipliers
    ) -> None:
        self._network, self._bounds, self._multipliers = network, bounds, multipliers
        self._coefficients: dict[int, Rows] = {index: rows}
        self._count = int(rows.shape[0])
        self._constant, self._slack = np.zeros(self._count), np.zeros(self._count)

    def run(self) -> Array:
        while (index := max(self._coefficients)) > 0:
            rows, node = self._coefficients.pop(index), self._network.nodes[index]
            if isinstance(node, Affine):
                self._through_affine(rows, node)
            else:
                assert isinstance(node, Relu)
                self._through_relu(self._full(rows, index), node, index)
        return self._over_box(self._coefficients[0])

    def _full(self, rows: Rows, index: int) -> Rows:
        """Multipliers come for all units at once: rows that meet them are full."""
        return rows if isinstance(rows, np.ndarray) or index not in self._multipliers else rows.toarray()

    def _through_affine(self, rows: Rows, node: Affine) -> None:
        sizes = _absolute(rows)
        size = sizes @ magnitudes(node, list(self._bounds.nodes))
        reach = sum(float(self._bounds.nodes[source].magnitude.sum()) for source in node.inputs)
        self._allow(rows, gamma(node.size + 2) * size + UNDERFLOW * reach)
        self._add_constant(rows, rows @ node.bias, sizes @ np.abs(node.bias), node.size)
        for source, linear_map in zip(node.inputs, node.maps, strict=True):
            self._accumulate(source, _pulled_back(linear_map, rows))
        if not self._coefficients:
            self._accumulate(0, np.zeros((self._count, self._network.input_size)))

    def _through_relu(self, rows: Rows, node: Relu, index: int) -> None:
        lines = Relaxation.of(self._bounds.nodes[node.input])
        positive = _nonnegative(rows)
        constant = positive @ lines.intercept
        self._add_constant(positive, constant, constant, node.size)
        if isinstance(rows, np.ndarray):
            lower_slope = lines.alpha
            if index in self._multipliers:
                unstable = self._bounds.nodes[node.input].straddles_zero
                ratio = np.clip(self._multipliers[index] / np.where(rows < 0, -rows, 1.0), 0.0, 1.0)
                lower_slope = np.where(unstable, ratio, lines.slope)
            product: Rows = np.where(rows > 0, rows * lines.slope, rows * lower_slope)
        else:
            at = rows.indices
            product = _with_data(rows, rows.data * np.where(rows.data > 0, lines.slope[at], lines.alpha[at]))
        magnitude = self._bounds.nodes[node.input].magnitude
        self._allow(rows, UNIT_ROUNDOFF * (_absolute(product) @ magnitude) + UNDERFLOW * magnitude.sum())
        if not isinstance(product, np.ndarray):
            product.eliminate_zeros()  # those of inactive units; `rows` shares the places and is worth nothing now
        self._accumulate(node.input, product)

    def _allow(self, rows: Rows, error: Array) -> None:
        """Adds an error bound to the slack of every row that has a coefficient; the others are exact."""
        occupied = np.any(rows != 0, axis=1) if isinstance(rows, np.ndarray) else np.diff(rows.indptr) > 0
        self._slack += inflate(error, occupied)

    def _add_constant(self, rows: Rows, value: Array, size: Array, terms: int) -> None:
        """Adds `value`, for each row a sum of `terms` products with the row whose absolute values sum to `size`."""
        total = self._constant + value
        self._allow(rows, gamma(terms + 1) * size + UNIT_ROUNDOFF * np.abs(total))
        self._constant = total

    def _accumulate(self, index: int, rows: Rows) -> None:
        if index in self._coefficients:
            rows = self._coefficients[index] + rows
            self._allow(rows, UNIT_ROUNDOFF * (_absolute(rows) @ self._bounds.nodes[index].magnitude))
        self._coefficients[index] = rows

    def _over_box(self, rows: Rows) -> Array:
        """max over the box of rows @ x is  sum of rows * u where rows > 0 and rows * l elsewhere."""
        box = self._bounds.nodes[0]
        value = _nonnegative(rows) @ box.upper - _nonnegative(-rows) @ box.lower
        self._add_constant(rows, value, _absolute(rows) @ box.magnitude, 2 * box.size)
        bound = up(self._constant, self._slack)
        return np.where(np.isnan(bound), np.inf, bound)  # only overflow makes NaN, and then nothing is known
