"""Formulas as an OR of ANDs (disjunctive normal form), and these as boxes with clauses."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from onnx_models.vnnlib._linear import COMPARISONS, CONSTANT, LARGEST, Linear, Names
from onnx_models.vnnlib._property import Case, Constraint, Interval
from onnx_models.vnnlib._reader import Expression, Group, Source, Word

MAX_CONJUNCTIONS = 20_000
"""How many ANDs a property may have; multiplying out nested ORs can double their number with every assertion."""

End = tuple[Fraction, bool]
"""A lower end is (value, open), an upper end (value, closed): the larger and the smaller of two is the tighter one."""


@dataclass(slots=True)
class Conjunction:
    """Bounds of single inputs and constraints on the outputs, all of which hold."""

    low: dict[int, End] = field(default_factory=dict)
    high: dict[int, End] = field(default_factory=dict)
    constraints: tuple[Constraint, ...] = ()

    def take(self, other: Conjunction) -> None:
        """Adds what the other says."""
        for column, end in other.low.items():
            self.low[column] = max(self.low.get(column, end), end)
        for column, end in other.high.items():
            self.high[column] = min(self.high.get(column, end), end)
        self.constraints += other.constraints

    def joined(self, other: Conjunction) -> Conjunction:
        """Both as one."""
        result = Conjunction(dict(self.low), dict(self.high), self.constraints)
        result.take(other)
        return result


@dataclass(frozen=True, slots=True)
class Formulas:
    """Turns formulas over `inputs` inputs and `outputs` outputs into conjunctions."""

    source: Source
    names: Names
    inputs: int
    outputs: int

    def disjunction(self, formula: Expression) -> list[Conjunction]:
        """The conjunctions of which at least one holds; none for a formula that is false."""
        if isinstance(formula, Word):
            raise self.source.error(formula, f"expected a formula in brackets, got {formula.text!r}.")
        if formula.head in COMPARISONS:
            return self._atom(formula)
        if formula.head not in ("and", "or") or len(formula.items) < 2:
            what = f"({formula.head} ...)" if len(formula.items) > 1 and formula.head else "an empty formula"
            raise self.source.error(formula, f"expected and, or, {', '.join(COMPARISONS)}, got {what}.")
        parts = [self.disjunction(item) for item in formula.items[1:]]
        if formula.head == "or":
            return self._limited(formula, [one for part in parts for one in part])
        base, rest = self.multiplied(formula, parts)
        return [base.joined(one) for one in rest]

    def multiplied(
        self, where: Expression | int, parts: Iterable[list[Conjunction]]
    ) -> tuple[Conjunction, list[Conjunction]]:
        """The AND of several disjunctions: what holds in any case, and the conjunctions of which one holds besides."""
        base, rest = Conjunction(), [Conjunction()]
        for part in parts:
            if len(part) == 1:
                base.take(part[0])
            else:
                if len(rest) * len(part) > MAX_CONJUNCTIONS:
                    self._limited(where, [Conjunction()] * (len(rest) * len(part)))
                rest = [one.joined(other) for one in rest for other in part]
        return base, rest

    def cases(self, base: Conjunction, rest: Sequence[Conjunction]) -> tuple[Case, ...]:
        """Conjunctions with the same box as one case, empty boxes left out."""
        clauses: dict[tuple[object, ...], list[tuple[Constraint, ...]]] = {}
        boxes: dict[tuple[object, ...], tuple[Interval, ...]] = {}
        for one in rest:
            key = (tuple(sorted(one.low.items())), tuple(sorted(one.high.items())))
            if key not in boxes:
                box = self._box(base, one)
                if box is None:
                    continue
                boxes[key], clauses[key] = box, []
            clauses[key].append(base.constraints + one.constraints)
        return tuple(Case(box, tuple(clauses[key])) for key, box in boxes.items())

    def _box(self, base: Conjunction, one: Conjunction) -> tuple[Interval, ...] | None:
        """The intervals of all inputs, None if one of them is empty."""
        intervals = []
        for column in range(self.inputs):
            lows = [ends[column] for ends in (base.low, one.low) if column in ends]
            highs = [ends[column] for ends in (base.high, one.high) if column in ends]
            if not lows or not highs:
                side = "lower" if not lows else "upper"
                name = next(name for name, index in self.names.columns.items() if index == column)
                raise self.source.error(
                    len(self.source.text), f"input {name} has no {side} bound; every input needs both."
                )
            (low, low_open), (high, closed) = max(lows), min(highs)
            if low > high or (low == high and (low_open or not closed)):
                return None
            intervals.append(Interval(low, high, low_open, not closed))
        return tuple(intervals)

    def _atom(self, atom: Group) -> list[Conjunction]:
        expression, strict, equal = self.names.difference(atom)
        columns = [column for column in expression if column != CONSTANT]
        directions: tuple[Linear, ...] = (expression,)
        if equal:
            directions = (expression, {column: -value for column, value in expression.items()})
        if not columns:
            constant = expression.get(CONSTANT, Fraction(0))
            true = constant == 0 if equal else (constant > 0 if strict else constant >= 0)
            return [Conjunction()] if true else []
        read = [column for column in columns if column < self.inputs]
        if read and len(read) < len(columns):
            raise self.source.error(atom, "a comparison that mixes inputs with outputs is not supported.")
        if len(read) > 1:
            raise self.source.error(atom, "a comparison of several inputs is not supported; bound single inputs.")
        result = Conjunction()
        for direction in directions:
            if read:
                self._bound(atom, result, direction, strict)
            else:
                result.constraints += (self._constraint(direction, strict),)
        return [result]

    def _bound(self, atom: Group, result: Conjunction, expression: Linear, strict: bool) -> None:
        """Adds a x + b >= 0."""
        (column, factor), *_ = ((c, value) for c, value in expression.items() if c != CONSTANT)
        end = -expression.get(CONSTANT, Fraction(0)) / factor
        if abs(end) >= LARGEST:
            raise self.source.error(atom, "bounds of 1e300 and more are beyond the range of float64.")
        one = Conjunction(low={column: (end, strict)}) if factor > 0 else Conjunction(high={column: (end, not strict)})
        result.take(one)

    def _constraint(self, expression: Linear, strict: bool) -> Constraint:
        terms = tuple(sorted((c - self.inputs, value) for c, value in expression.items() if c != CONSTANT))
        return Constraint(terms, expression.get(CONSTANT, Fraction(0)), self.outputs, strict)

    def _limited(self, where: Expression | int, found: list[Conjunction]) -> list[Conjunction]:
        if len(found) > MAX_CONJUNCTIONS:
            raise self.source.error(
                where,
                f"multiplied out, the property has {len(found):,} conjunctions, at most {MAX_CONJUNCTIONS:,} are "
                "handled; split it into several files.",
            )
        return found
