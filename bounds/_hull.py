"""Linear upper bounds of many branch-and-bound nodes at once, with planes of the units' convex hulls; outward rounded.

The backward pass of `_linear`, except that every row has its own pre-activation bounds and multipliers. A unit
y = max(z, 0) with bounds l <= z <= u in a row and coefficient A is replaced by

    z  if l >= 0,   0  if u <= 0,   alpha z  if A <= 0,   and if A > 0 by
    sum over planes p of w_p (C_p v + D_p)  +  (what is missing of weight 1) * (triangle's line),

and every unit adds rho (z - l) if its multiplier rho is positive, |rho| (u - z) if it is negative: neither is negative
where the row must hold. (For the half-space of a split this is beta of Wang et al., 2021; the planes are those of
Anderson et al., 2020.)

Nothing here trusts its multipliers: entries that are not numbers or are out of range are replaced, and weights may sum
to anything, because planes lie above y >= 0, so that more weight only loosens a bound.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from bounds._bounds import Bounds, NetworkBounds
from bounds._direct import DirectInputs, direct_inputs
from bounds._linear import Relaxation, Rows, _Substitution
from bounds._rounding import UNDERFLOW, UNIT_ROUNDOFF, gamma, inflate, up
from onnx_models import Array, Relu, ReluNetwork

ROW_ENTRIES = 1_000_000
"""Rows are bounded together as long as rows times the widest node stays below this (8 MB per array)."""

DENSE_SHARE = 0.1
"""A matrix with a larger share of nonzero entries is multiplied as a dense one."""


@dataclass(frozen=True, slots=True, eq=False)
class HullPlanes:
    """Upper planes of units of one ReLU node:  max(z, 0) <= coefficients[p] @ v + constants[p]  for v in a box.

    v are the node's direct inputs (`DirectInputs`).

    Attributes:
        units: position in the node of each plane's unit, shape (P,).
        coefficients: shape (P, size of v), finite.
        constants: shape (P,); inf where floats cannot bound it.
        sizes: at least |coefficients[p]| @ |v| for every v in the box, shape (P,).
    """

    units: NDArray[np.intp]
    coefficients: sparse.csr_array
    constants: Array
    sizes: Array

    @classmethod
    def over(
        cls, direct: DirectInputs, box: Bounds, units: NDArray[np.intp], coefficients: sparse.csr_array
    ) -> HullPlanes:
        """The planes with given coefficients over the box `box` of v; entries that are not finite are taken as 0.

        With z = w v + b, every C is valid with  D = max( max over the box of -C v,  max over it of (w - C) v + b ).
        """
        slopes = _with_data(coefficients, np.where(np.isfinite(coefficients.data), coefficients.data, 0.0))
        weight, bias = sparse.csr_array(direct.weight[units]), direct.bias[units]
        terms = 2 * (_longest_row(slopes) + _longest_row(weight)) + 4
        always = np.ones(len(units), np.bool_)
        sizes = inflate(_with_data(slopes, np.abs(slopes.data)) @ box.magnitude, always)
        weight_sizes = inflate(_with_data(weight, np.abs(weight.data)) @ box.magnitude + np.abs(bias), always)
        off = up(_largest(-slopes, box), inflate(gamma(terms) * sizes, always))
        difference = sparse.csr_array(weight - slopes)  # each entry rounded once, which `terms` covers
        error = gamma(terms) * (sizes + weight_sizes) + direct.error(units, box.magnitude)
        on = up(_largest(difference, box) + bias, inflate(error, always))
        constants = np.maximum(off, on)
        return cls(units, slopes, np.where(np.isnan(constants), np.inf, constants), sizes)


@dataclass(frozen=True, slots=True, eq=False)
class UnitLines:
    """How units of one ReLU node are relaxed in each of B rows.

    Attributes:
        units: positions in the node, ascending, shape (K,); every unit that the box leaves unstable is among them.
        lower: pre-activation bounds, at most `upper`, shape (B, K).
        upper: shape (B, K).
        alpha: slope of the lower line, clipped to [0, 1]; NaN leaves the choice to CROWN; shape (B, K).
        rho: multiplier of z >= lower where positive, of z <= upper where negative; what is not finite counts as 0, and
            so does any multiplier of an infinite bound; shape (B, K).
        weights: of the planes, shape (B, P).
        planes: P planes of these units.
    """

    units: NDArray[np.intp]
    lower: Array
    upper: Array
    alpha: Array
    rho: Array
    weights: sparse.csr_array
    planes: HullPlanes


@dataclass(frozen=True, slots=True, eq=False)
class LinearForms:
    """For each of B rows:  rows @ logits <= slopes @ x + constant <= bound  for the inputs x that it must hold for.

    Attributes:
        slopes: shape (B, n).
        constant: shape (B,); all rounding errors are in it.
        bound: shape (B,).
    """

    slopes: Array
    constant: Array
    bound: Array


def linear_forms(
    network: ReluNetwork, bounds: NetworkBounds, rows: Array, lines: Mapping[int, UnitLines], *, index: int = -1
) -> LinearForms:
    """Upper bounds of  rows @ logits, shape (B,), for inputs in the box of `bounds` that fit the rows' `lines`.

    Row k must hold for the inputs whose pre-activations lie in row k's bounds. `bounds` must hold for every node over
    the whole box; `lines` has an entry for each ReLU node with units that `bounds` leave unstable. With `index` the
    rows are of that node instead of the logits, and only what is before it is needed. Where floats overflow the bound
    is inf. Memory grows with B: see `rows_at_once`.
    """
    return _HullSubstitution(network, bounds, rows, lines, index % len(network.nodes)).forms()


def rows_at_once(network: ReluNetwork) -> int:
    """How many rows `linear_forms` should be given at most, for about 200 MB."""
    return max(1, ROW_ENTRIES // max(node.size for node in network.nodes))


class _HullSubstitution(_Substitution):
    """One backward pass; the invariant is its parent's, for the inputs that each row must hold for."""

    def __init__(
        self, network: ReluNetwork, bounds: NetworkBounds, rows: Array, lines: Mapping[int, UnitLines], index: int
    ) -> None:
        super().__init__(network, bounds, index, rows, {})
        self._intercept = self._constant
        self._lines = lines

    def forms(self) -> LinearForms:
        bound = self.run()
        slopes = self._coefficients[0]
        assert isinstance(slopes, np.ndarray)
        return LinearForms(slopes, self._intercept, bound)

    def _over_box(self, rows: Rows) -> Array:
        """As in the parent, of the linear form as it is handed out, with all slack in its constant."""
        constant = up(self._constant, self._slack)
        self._intercept = np.where(np.isnan(constant), np.inf, constant)
        self._constant, self._slack = self._intercept, np.zeros(self._count)
        return super()._over_box(rows)

    def _through_relu(self, rows: Rows, node: Relu, index: int) -> None:
        assert isinstance(rows, np.ndarray)  # full rows stay full
        pre = self._bounds.nodes[node.input]
        product = rows * (pre.lower >= 0)  # exact
        unstable = pre.straddles_zero
        if index in self._lines:
            lines = self._lines[index]
            unstable[lines.units] = False
            product[:, lines.units] = self._through_units(rows[:, lines.units], lines, index, pre)
        assert not np.any(unstable), "every unstable unit needs its lines"
        self._accumulate(node.input, product)

    def _through_units(self, rows: Array, lines: UnitLines, index: int, pre: Bounds) -> Array:
        """The coefficients of z after those of y, shape (B, K); constants and planes are taken in on the way."""
        shape = Relaxation.of(Bounds(lines.lower, lines.upper))
        free = (lines.lower < 0) & (lines.upper > 0)
        chosen = np.where(np.isnan(lines.alpha), shape.alpha, np.clip(lines.alpha, 0.0, 1.0))
        lower_slope = np.where(free, chosen, shape.slope)
        upward = np.where(free, np.maximum(rows, 0.0), 0.0)  # NaN, from overflow, stays
        left = self._through_planes(upward, lines, index) if lines.weights.nnz else upward
        line = np.einsum("bk,bk->b", left, shape.intercept)
        self._add_constant(left, line, line, left.shape[1])
        product = np.where(rows > 0, np.where(free, left, rows) * shape.slope, rows * lower_slope)
        total = product + self._bound_terms(lines)
        magnitude = pre.magnitude[lines.units]
        error = UNIT_ROUNDOFF * ((np.abs(product) + np.abs(total)) @ magnitude) + UNDERFLOW * magnitude.sum()
        self._allow(rows, error)
        return total

    def _bound_terms(self, lines: UnitLines) -> Array:
        """Adds  rho (z - l)  or  -rho (u - z); returns the coefficients rho of z, shape (B, K)."""
        end = np.where(lines.rho > 0, lines.lower, lines.upper)
        used = np.isfinite(lines.rho) & np.isfinite(end)
        rho, end = np.where(used, lines.rho, 0.0), np.where(used, end, 0.0)
        size = np.einsum("bk,bk->b", np.abs(rho), np.abs(end))
        self._add_constant(rho, -np.einsum("bk,bk->b", rho, end), size, rho.shape[1])
        return rho

    def _through_planes(self, upward: Array, lines: UnitLines, index: int) -> Array:
        """What the planes leave of the coefficients `upward` >= 0 for the triangle's line, shape (B, K).

        A share m_p = A w_p, as rounded, stands for the weight m_p / A. The remainder r is rounded up until the sum of
        all m_p and r is at least A; that suffices, since every plane and line lies above y >= 0.
        """
        planes, size = lines.planes, upward.shape
        usable = np.isfinite(planes.constants) & np.isfinite(planes.sizes)
        given = lines.weights.data
        weights = np.where(usable[lines.weights.indices] & np.isfinite(given) & (given > 0), given, 0.0)
        row = np.repeat(np.arange(size[0]), np.diff(lines.weights.indptr))
        column = np.searchsorted(lines.units, planes.units)[lines.weights.indices]
        share = upward[row, column] * weights
        kept = share != 0
        row, share = row[kept], share[kept]
        place = row * size[1] + column[kept]
        start = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=size[0]))])
        shares = sparse.csr_array((share, lines.weights.indices[kept], start), shape=lines.weights.shape)
        self._take_planes(shares, planes, direct_inputs(self._network, index))
        total = np.bincount(place, weights=share, minlength=upward.size).reshape(size)
        terms = int(np.bincount(place, minlength=1).max())
        missing = upward - total + inflate(gamma(terms + 4) * (upward + total), total > 0)
        return np.where(total == 0, upward, np.maximum(missing, 0.0))

    def _take_planes(self, shares: sparse.csr_array, planes: HullPlanes, direct: DirectInputs) -> None:
        """Adds  shares @ (C v + D)."""
        present, terms = np.diff(shares.indptr)[:, None], _longest_row(shares)
        self._add_constant(present, shares @ planes.constants, shares @ np.abs(planes.constants), terms)
        reach = float(direct.box(self._bounds).magnitude.sum())
        self._allow(present, gamma(terms + 1) * (shares @ planes.sizes) + UNDERFLOW * reach)
        product = _dense_if_full(shares) @ _dense_if_full(planes.coefficients)
        coefficients = product.toarray() if sparse.issparse(product) else product
        first = 0
        for source in direct.sources:
            last = first + self._network.nodes[source].size
            self._accumulate(source, coefficients[:, first:last])
            first = last


def _with_data(matrix: sparse.csr_array, data: Array) -> sparse.csr_array:
    return sparse.csr_array((data, matrix.indices, matrix.indptr), shape=matrix.shape)


def _longest_row(matrix: sparse.csr_array) -> int:
    """Largest number of stored entries of a row."""
    return int(np.diff(matrix.indptr).max(initial=0))


def _largest(matrix: sparse.csr_array, box: Bounds) -> Array:
    """max over the box of matrix @ v, of two products per entry, shape (rows,)."""
    positive, negative = np.maximum(matrix.data, 0.0), np.minimum(matrix.data, 0.0)
    top: Array = _with_data(matrix, positive) @ box.upper + _with_data(matrix, negative) @ box.lower
    return top


def _dense_if_full(matrix: sparse.csr_array) -> sparse.csr_array | Array:
    rows, columns = matrix.shape
    if matrix.nnz <= DENSE_SHARE * rows * columns:
        return matrix
    dense: Array = matrix.toarray()
    return dense
