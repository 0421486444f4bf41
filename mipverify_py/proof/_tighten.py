"""Pre-activation bounds for inputs whose margin may reach the threshold, from a linear bound of it; outward rounded.

Where  L(x) = g x + k >= f_j - f_c  holds, an input with f_j - f_c >= t has  g x + k - t >= 0. So for every gamma >= 0

    z = w x + b  <=  max over the box of (w + gamma g) x  +  b + gamma (k - t),

and the same for -z. (This is Lagrangian duality for the linear program  max z  subject to  L(x) >= t  over the box.)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from bounds import Bounds, LinearForms
from bounds._rounding import UNDERFLOW, gamma, inflate, up
from onnx_models import Array

BLOCK_ENTRIES = 30_000
"""Entries of w + gamma g that are formed at once (240 kB: they stay in a processor's cache)."""


class AffineUnits:
    """U units z = w x + b over a box of inputs x.

    With any middle m of the box and radii r >= |x - m|:  max of c x <= c m + |c| r. Of |w + gamma g| r only the entries
    where w is not 0 depend on the unit; `_fields` holds their positions, padded with n, and `_weights` w r there.
    """

    def __init__(self, weight: sparse.csr_array, bias: Array, box: Bounds, error: Array | None = None) -> None:
        """`error` is how far w x + b may be from z for x in the box, shape (U,); None: not at all."""
        self._error = np.zeros(len(bias)) if error is None else error
        self._middle = box.lower / 2 + box.upper / 2
        distance = np.maximum(box.upper - self._middle, self._middle - box.lower)
        self._radius = np.where(distance == 0, 0.0, np.nextafter(distance, np.inf))
        self._reach = np.abs(self._middle) + self._radius
        sizes = sparse.csr_array((np.abs(weight.data), weight.indices, weight.indptr), shape=weight.shape)
        self._sizes = np.abs(bias) + sizes @ self._reach
        self._centres = weight @ self._middle + bias
        dense = weight.toarray() * self._radius
        self._fields = _fields(dense)
        self._weights = dense if self._fields is None else _gathered(dense, self._fields)

    def bounds(self, forms: LinearForms, threshold: float, gammas: Array) -> tuple[Array, Array]:
        """Lower and upper bounds of z, each of shape (B, U), in B regions where the margin is to reach the threshold.

        `gammas` has shape (B, 2, U): multipliers for the lower bounds, then for the upper ones. Where a multiplier is
        not a positive finite number, or floats overflow, the bound is infinite.
        """
        used = np.isfinite(gammas) & (gammas > 0)
        tops = np.full(gammas.shape, np.inf)
        centre = forms.slopes @ self._middle + (forms.constant - threshold)
        size = np.abs(forms.slopes) @ self._reach + np.abs(forms.constant) + abs(threshold)
        row, side, unit = np.nonzero(used)
        chosen, sign = gammas[used], np.where(side == 1, 1.0, -1.0)
        spread = self._spreads(forms.slopes * self._radius, (row, unit), sign, chosen)
        value = sign * self._centres[unit] + chosen * centre[row] + spread
        # Higham's bound of all sums and products above is less than a quarter of this, also in the size itself.
        error = 4.0 * gamma(len(self._middle) + 12) * (self._sizes[unit] + chosen * size[row]) + UNDERFLOW * (
            1.0 + chosen
        )
        error += self._error[unit]
        top = up(value, inflate(error, np.ones(len(row), np.bool_)))
        tops[used] = np.where(np.isfinite(top), top, np.inf)
        return -tops[:, 0], tops[:, 1]

    def _spreads(
        self, slopes: Array, pairs: tuple[NDArray[np.intp], NDArray[np.intp]], sign: Array, chosen: Array
    ) -> Array:
        """sum over entries of |sign w + chosen g| r  for pairs (row of g, unit); `slopes` is g r, shape (B, n)."""
        row, unit = pairs
        spread = np.zeros(len(row))
        padded = np.hstack([slopes, np.zeros((len(slopes), 1))])
        total = np.abs(slopes).sum(axis=1)
        step = max(1, BLOCK_ENTRIES // max(1, self._weights.shape[1]))
        for first in range(0, len(row), step):
            part = slice(first, first + step)
            if self._fields is None:
                block = slopes[row[part]]
            else:
                block = padded[row[part, None], self._fields[unit[part]]]
                spread[part] = chosen[part] * (total[row[part]] - np.abs(block).sum(axis=1))
            block *= (sign * chosen)[part, None]
            block += self._weights[unit[part]]  # |sign w + chosen g| = |w + sign chosen g|
            spread[part] += np.abs(block, out=block).sum(axis=1)
        return spread


def _fields(dense: Array) -> NDArray[np.intp] | None:
    """Positions of the nonzero entries of every row, padded with n; None where they are no small part of the row."""
    longest, n = int((dense != 0).sum(axis=1).max(initial=0)), dense.shape[1]
    if 4 * longest > n:
        return None
    fields = np.full((len(dense), longest), n)
    row, entry = np.nonzero(dense)
    start = np.searchsorted(row, np.arange(len(dense)))
    fields[row, np.arange(len(row)) - start[row]] = entry
    return fields


def _gathered(dense: Array, fields: NDArray[np.intp]) -> Array:
    padded = np.hstack([dense, np.zeros((len(dense), 1))])
    return np.take_along_axis(padded, fields, axis=1)
