"""Norms of a displacement x - x0 as columns and rows of a program."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from bounds import Bounds, Formulation
from onnx_models import Array

Index = NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class Displacement:
    """x - x0 for columns x of a program.

    Attributes:
        form: the program; the methods add columns and rows to it.
        columns: those of x, shape (n,).
        box: bounds of x.
        origin: x0, shape (n,).
    """

    form: Formulation
    columns: Index
    box: Bounds
    origin: Array

    @property
    def reach(self) -> Array:
        """The largest |x_i - x0_i| in the box, shape (n,)."""
        farthest: Array = np.maximum(np.abs(self.box.lower - self.origin), np.abs(self.box.upper - self.origin))
        return farthest

    @property
    def _live(self) -> Index:
        """The entries that can move; the others are constants."""
        return np.flatnonzero(self.box.lower < self.box.upper)

    @property
    def _fixed(self) -> Array:
        """|x_i - x0_i| of the entries that cannot move."""
        still: Array = self.reach[self.box.lower == self.box.upper]
        return still

    def largest(self) -> sparse.csr_array:
        """Adds d >= |x_i - x0_i| for all i; entries that cannot move only bound d from below. Returns the row of d."""
        least = float(self._fixed.max(initial=0.0))
        most = max(float(self.reach.max(initial=0.0)), least)
        form, live = self.form, self._live
        d = form.builder.add_columns(least, most, ["d"])
        x, distance = form.builder.unit(self.columns[live]), form.builder.unit(np.repeat(d, len(live)))
        form.add_rows(sparse.csr_array(x - distance), -np.inf, self.origin[live])
        form.add_rows(sparse.csr_array(x + distance), self.origin[live], np.inf)
        return form.builder.unit(d)

    def total(self) -> tuple[sparse.csr_array, float]:
        """A row and a constant whose sum is at least sum |x_i - x0_i|, and may be exactly that.

        An entry whose box lies on one side of x0_i is  +-(x_i - x0_i)  itself. Any other that can move gets a column
        t_i with the rows  t_i >= x_i - x0_i  and  t_i >= x0_i - x_i.
        """
        live, origin, form = self._live, self.origin, self.form
        above = live[self.box.lower[live] >= origin[live]]
        below = live[self.box.upper[live] <= origin[live]]
        both = np.setdiff1d(live, np.concatenate([above, below]))
        t = form.builder.add_columns(0.0, self.reach[both], [f"t_{i}" for i in both])
        x, size = form.builder.unit(self.columns[both]), form.builder.unit(t)
        form.add_rows(sparse.csr_array(x - size), -np.inf, origin[both])
        form.add_rows(sparse.csr_array(x + size), origin[both], np.inf)
        row = np.zeros(form.builder.columns)
        row[self.columns[above]], row[self.columns[below]], row[t] = 1.0, -1.0, 1.0
        constant = float(origin[below].sum() - origin[above].sum() + self._fixed.sum())
        return sparse.csr_array(row.reshape(1, -1)), constant

    def scaled(self, scale: float) -> tuple[Index, float]:
        """Columns t_i = (x_i - x0_i) / scale of the entries that can move, and the squares of the others, summed.

        Solvers keep rows to an absolute tolerance: a sum of squares about 1 loses least to it.
        """
        live, form, origin = self._live, self.form, self.origin[self._live]
        low, high = (self.box.lower[live] - origin) / scale, (self.box.upper[live] - origin) / scale
        low, high = np.nextafter(low, -np.inf), np.nextafter(high, np.inf)  # no tighter than the box, by rounding
        t = form.builder.add_columns(low, high, [f"t_{i}" for i in live])
        x, moved = form.builder.unit(self.columns[live]), form.builder.unit(t)
        form.add_rows(sparse.csr_array(x - scale * moved), origin, origin)
        return t, float(((self._fixed / scale) ** 2).sum())
