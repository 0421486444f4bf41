"""Properties as values: an OR over input boxes, each with an OR of ANDs of linear constraints on the outputs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from onnx_models._maps import Array

Number = Fraction | float
"""An exact number, or a float, which is one too; never NaN or infinite."""


@dataclass(frozen=True, slots=True)
class Interval:
    """The numbers from `low` to `high`, exactly as the decimals of the file; never empty.

    Attributes:
        low, high: the ends.
        low_open, high_open: whether that end is left out (a strict comparison).
    """

    low: Fraction
    high: Fraction
    low_open: bool = False
    high_open: bool = False

    def contains(self, value: Number) -> bool:
        """Whether the number lies inside, decided exactly."""
        above = value > self.low if self.low_open else value >= self.low
        return above and (value < self.high if self.high_open else value <= self.high)

    @property
    def middle(self) -> Fraction:
        """A number inside."""
        return (self.low + self.high) / 2


@dataclass(frozen=True, slots=True)
class Constraint:
    """sum over terms (i, a) of a * y_i  +  offset  >= 0, or > 0 if `strict`; all numbers exact.

    Attributes:
        terms: output index and coefficient, by ascending index, no coefficient 0.
        offset: the constant.
        outputs: number of outputs of the network.
        strict: whether equality does not do.
    """

    terms: tuple[tuple[int, Fraction], ...]
    offset: Fraction
    outputs: int
    strict: bool = False

    @property
    def coefficients(self) -> Array:
        """The coefficients of all outputs, shape (outputs,), rounded to the nearest float64."""
        row = np.zeros(self.outputs)
        for index, value in self.terms:
            row[index] = float(value)
        return row

    @property
    def constant(self) -> float:
        """`offset`, rounded to the nearest float64."""
        return float(self.offset)

    def holds(self, y: Sequence[Number]) -> bool:
        """Whether the outputs satisfy it, decided exactly."""
        total = sum((a * Fraction(y[i]) for i, a in self.terms), self.offset)
        return total > 0 if self.strict else total >= 0


@dataclass(frozen=True, eq=False)
class Case:
    """x in a box AND, for at least one clause, all of its constraints.

    Attributes:
        intervals: one per input; cases of one property may share the tuple.
        clauses: the OR of ANDs. An empty clause always holds; no clause at all never does.
    """

    intervals: tuple[Interval, ...]
    clauses: tuple[tuple[Constraint, ...], ...]

    @cached_property
    def lower(self) -> Array:
        """Lower ends, shape (n,), rounded down to float64: with `upper` a closed box around the exact one."""
        return _directed([i.low for i in self.intervals], -math.inf, np.float64, None)

    @cached_property
    def upper(self) -> Array:
        """Upper ends, shape (n,), rounded up to float64."""
        return _directed([i.high for i in self.intervals], math.inf, np.float64, None)

    def inner(self, kind: DTypeLike) -> tuple[NDArray[Any], NDArray[Any]]:
        """The smallest and the largest number of a float type that each interval holds, both of shape (n,).

        Where an interval holds none, the first is larger than the second.
        """
        low = _directed([i.low for i in self.intervals], math.inf, kind, [i.low_open for i in self.intervals])
        high = _directed([i.high for i in self.intervals], -math.inf, kind, [i.high_open for i in self.intervals])
        return low, high

    def contains(self, x: Sequence[Number]) -> bool:
        """Whether the input lies in the exact box."""
        return all(i.contains(v) for i, v in zip(self.intervals, x, strict=True))

    def reached(self, y: Sequence[Number]) -> bool:
        """Whether the outputs satisfy all constraints of some clause, decided exactly."""
        return any(all(c.holds(y) for c in clause) for clause in self.clauses)


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor as VNN-LIB 2.0 declares it: its name, the type as written, and its shape."""

    name: str
    element: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of entries."""
        return math.prod(self.shape)


@dataclass(frozen=True, eq=False)
class Property:
    """OR over cases. `sat` means that an input exists for which a case holds, `unsat` that none exists.

    Attributes:
        inputs, outputs: how many the network must have.
        cases: boxes with their clauses; none at all can never hold.
        tensors: input and output as declared in VNN-LIB 2.0; None for VNN-LIB 1.0, which calls them X_i and Y_i.
    """

    inputs: int
    outputs: int
    cases: tuple[Case, ...]
    tensors: tuple[Tensor, Tensor] | None = None

    def __repr__(self) -> str:
        clauses = sum(len(case.clauses) for case in self.cases)
        return f"Property({self.inputs} -> {self.outputs}, {len(self.cases)} cases, {clauses} clauses)"

    def holds(self, x: Sequence[Number], y: Sequence[Number]) -> bool:
        """Whether input and outputs satisfy some case, decided exactly."""
        return any(case.contains(x) and case.reached(y) for case in self.cases)


def _directed(
    values: Sequence[Fraction], towards: float, kind: DTypeLike, exclusive: Sequence[bool] | None
) -> NDArray[Any]:
    """Each value rounded towards -inf or +inf to a number of the type; past it where `exclusive` and it is one."""
    sign, largest = (1 if towards > 0 else -1), float(np.finfo(np.dtype(kind)).max)
    direction = np.array(towards, kind)
    result = np.clip([float(v) for v in values], -largest, largest).astype(kind)
    with np.errstate(over="ignore"):
        for index, value in enumerate(values):
            number = result[index]
            while np.isfinite(number) and (Fraction(float(number)) - value) * sign < 0:
                number = np.nextafter(number, direction)
            if exclusive is not None and exclusive[index] and Fraction(float(number)) == value:
                number = np.nextafter(number, direction)
            result[index] = number
    return result
