"""A linear, convex quadratic or mixed-integer program as plain arrays, and a builder of its columns and rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from onnx_models import Array


@dataclass(frozen=True, slots=True, eq=False)
class QuadraticRow:
    """The convex row  sum over k of weights[k] * v[columns[k]]**2 <= upper.

    Attributes:
        columns: the columns that occur, each once.
        weights: one weight >= 0 per column, finite.
        upper: finite.
    """

    columns: NDArray[np.intp]
    weights: Array
    upper: float

    def __post_init__(self) -> None:
        assert len(self.columns) == len(self.weights)

    def activity(self, point: Array) -> float:
        """The left-hand side at a point of the model, a float64 sum."""
        return float(self.weights @ point[self.columns] ** 2)


@dataclass(frozen=True, slots=True, eq=False)
class MipModel:
    """minimise  cost . v + quadratic . v**2 + offset

    subject to  row_lower <= A v <= row_upper,  column_lower <= v <= column_upper  and the quadratic rows.

    Infinite ends are +-inf. Nothing here knows of a solver; a backend translates these arrays and nothing else.

    Attributes:
        matrix: A, CSR of shape (rows, columns).
        row_lower, row_upper: shape (rows,).
        column_lower, column_upper: shape (columns,).
        cost: shape (columns,).
        offset: a constant added to the objective.
        integer: shape (columns,), which columns must be whole numbers.
        names: one name per column, unique, of letters, digits and underscores; for written-out models.
        quadratic: the weights, >= 0 and of shape (columns,), of the squared columns in the objective; None for a linear
            objective.
        quadratic_rows: convex rows of squared columns, usually none.
    """

    matrix: sparse.csr_array
    row_lower: Array
    row_upper: Array
    column_lower: Array
    column_upper: Array
    cost: Array
    offset: float
    integer: NDArray[np.bool_]
    names: tuple[str, ...]
    quadratic: Array | None = None
    quadratic_rows: tuple[QuadraticRow, ...] = ()

    def __post_init__(self) -> None:
        rows, columns = self.matrix.shape
        assert self.quadratic is None or len(self.quadratic) == columns
        assert len(self.row_lower) == len(self.row_upper) == rows
        assert len(self.column_lower) == len(self.column_upper) == len(self.cost) == len(self.integer) == columns
        assert len(self.names) == columns

    @property
    def columns(self) -> int:
        """Number of variables."""
        return int(self.matrix.shape[1])

    @property
    def rows(self) -> int:
        """Number of constraints."""
        return int(self.matrix.shape[0])

    @property
    def binaries(self) -> int:
        """Number of integer variables."""
        return int(self.integer.sum())

    @property
    def is_linear(self) -> bool:
        """Whether nothing is squared."""
        return self.quadratic is None and not self.quadratic_rows

    def objective(self, point: Array) -> float:
        """The objective at a point, offset included: a float64 sum."""
        squares = 0.0 if self.quadratic is None else float(self.quadratic @ point**2)
        return float(self.cost @ point) + squares + self.offset

    @property
    def nonzeros(self) -> int:
        """Number of coefficients of A."""
        return int(self.matrix.nnz)


@dataclass(frozen=True, slots=True, eq=False)
class Expression:
    """Affine functions of a model's columns: value = matrix v + constant, one row per entry.

    `matrix` may have fewer columns than the model has by now: later columns do not occur in it.
    """

    matrix: sparse.csr_array
    constant: Array

    @property
    def size(self) -> int:
        """Number of entries."""
        return len(self.constant)

    def rows(self, index: NDArray[np.intp] | Sequence[int]) -> Expression:
        """The expressions of the given entries."""
        return Expression(self.matrix[np.asarray(index, np.intp)].tocsr(), self.constant[np.asarray(index, np.intp)])


class ModelBuilder:
    """Collects columns and rows of a `MipModel`."""

    def __init__(self) -> None:
        self._lower: list[Array] = []
        self._upper: list[Array] = []
        self._integer: list[NDArray[np.bool_]] = []
        self._names: list[str] = []
        self._blocks: list[sparse.csr_array] = []
        self._row_lower: list[Array] = []
        self._row_upper: list[Array] = []
        self._quadratic_rows: list[QuadraticRow] = []

    @property
    def columns(self) -> int:
        """Number of columns so far."""
        return len(self._names)

    def add_columns(
        self, lower: ArrayLike, upper: ArrayLike, names: Sequence[str], *, integer: bool = False
    ) -> NDArray[np.intp]:
        """Adds one column per name with the given bounds (scalars or arrays); returns their indices."""
        shape = (len(names),)
        self._lower.append(np.broadcast_to(np.asarray(lower, np.float64), shape))
        self._upper.append(np.broadcast_to(np.asarray(upper, np.float64), shape))
        self._integer.append(np.full(shape, integer))
        first = self.columns
        self._names.extend(names)
        return np.arange(first, self.columns)

    def add_rows(self, matrix: sparse.csr_array, lower: ArrayLike, upper: ArrayLike) -> None:
        """Adds rows  lower <= matrix v <= upper; `matrix` may lack the last columns, which then do not occur."""
        shape = (matrix.shape[0],)
        self._blocks.append(sparse.csr_array(matrix))
        self._row_lower.append(np.broadcast_to(np.asarray(lower, np.float64), shape))
        self._row_upper.append(np.broadcast_to(np.asarray(upper, np.float64), shape))

    def add_quadratic_row(self, columns: NDArray[np.intp], weights: ArrayLike, upper: float) -> None:
        """Adds the row  sum of weights * columns**2 <= upper; `weights` is a scalar or an array, >= 0."""
        spread = np.broadcast_to(np.asarray(weights, np.float64), (len(columns),))
        self._quadratic_rows.append(QuadraticRow(np.asarray(columns, np.intp), spread, upper))

    def unit(self, index: NDArray[np.intp]) -> sparse.csr_array:
        """The matrix that picks the given columns, one per row."""
        count = len(index)
        return sparse.csr_array((np.ones(count), index, np.arange(count + 1)), shape=(count, self.columns))

    def build(
        self,
        cost: sparse.csr_array | None = None,
        offset: float = 0.0,
        *,
        squared: NDArray[np.intp] | None = None,
    ) -> MipModel:
        """The finished model.

        Args:
            cost: a one-row matrix over the columns (missing: all zero).
            offset: a constant added to the objective.
            squared: the columns whose squares are added to the objective; None for a linear one.
        """
        quadratic = None if squared is None else np.zeros(self.columns)
        if quadratic is not None:
            quadratic[squared] = 1.0
        blocks = [widen(b, self.columns) for b in self._blocks] or [sparse.csr_array((0, self.columns))]
        dense_cost = np.zeros(self.columns) if cost is None else widen(cost, self.columns).toarray()[0]
        return MipModel(
            matrix=sparse.csr_array(sparse.vstack(blocks, format="csr")),
            row_lower=_join(self._row_lower),
            row_upper=_join(self._row_upper),
            column_lower=_join(self._lower),
            column_upper=_join(self._upper),
            cost=dense_cost,
            offset=offset,
            integer=np.concatenate([np.zeros(0, bool), *self._integer]),
            names=tuple(self._names),
            quadratic=quadratic,
            quadratic_rows=tuple(self._quadratic_rows),
        )


def widen(matrix: sparse.csr_array, columns: int) -> sparse.csr_array:
    """The same rows over `columns` columns, the new ones empty."""
    return sparse.csr_array((matrix.data, matrix.indices, matrix.indptr), shape=(matrix.shape[0], columns))


def _join(parts: Sequence[Array]) -> Array:
    return np.concatenate([np.zeros(0), *parts])
