"""Comparisons of linear expressions, in exact rational arithmetic."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from onnx_models.vnnlib._reader import Expression, Group, Source, Word

COMPARISONS = ("<=", ">=", "<", ">", "=", "==")

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?")
_LONGEST = 1100
"""Characters of a number: the exact decimal of the smallest float64 has 1,076."""
LARGEST = Fraction(10) ** 300
"""Coefficients, constants and bounds stay below this, well inside the range of float64."""
_MOST_BITS = 10_000
"""Of numerator and denominator of a product; one factor has at most 3,700."""

Linear = dict[int, Fraction]
"""Coefficients by column; column -1 is the constant."""

CONSTANT = -1


@dataclass(frozen=True, slots=True)
class Names:
    """The columns that names stand for: inputs first, then outputs."""

    source: Source
    columns: Mapping[str, int]

    def linear(self, expression: Expression) -> Linear:
        """The expression as coefficients; raises InputError unless it is linear in declared variables."""
        if isinstance(expression, Word):
            return self._word(expression)
        operator, arguments = expression.head, expression.items[1:]
        if operator not in ("+", "-", "*") or not arguments:
            what = f"({operator} ...)" if operator else "(...)"
            raise self.source.error(expression, f"expected a number, a variable, or + - * of these, got {what}.")
        parts = [self.linear(argument) for argument in arguments]
        if operator == "*":
            return self._product(expression, parts)
        if operator == "-" and len(parts) == 1:
            return {column: -value for column, value in parts[0].items()}
        total = dict(parts[0])
        sign = 1 if operator == "+" else -1
        for part in parts[1:]:
            for column, value in part.items():
                total[column] = total.get(column, Fraction(0)) + sign * value
        return total

    def difference(self, comparison: Group) -> tuple[Linear, bool, bool]:
        """(expression, strict, equal) such that the comparison says expression >= 0, > 0 if strict, = 0 if equal."""
        operator, arguments = comparison.head, comparison.items[1:]
        if len(arguments) != 2:
            raise self.source.error(comparison, f"expected two sides of {operator}, got {len(arguments)}.")
        left, right = (self.linear(argument) for argument in arguments)
        if operator in ("<=", "<"):
            left, right = right, left
        result = dict(left)
        for column, value in right.items():
            result[column] = result.get(column, Fraction(0)) - value
        kept = {column: value for column, value in result.items() if value}
        if any(abs(value) >= LARGEST for value in kept.values()):
            raise self.source.error(comparison, "numbers of 1e300 and more are beyond the range of float64.")
        return kept, operator in ("<", ">"), operator in ("=", "==")

    def _word(self, word: Word) -> Linear:
        column = self.columns.get(word.text)
        if column is not None:
            return {column: Fraction(1)}
        match = _NUMBER.fullmatch(word.text) if len(word.text) <= _LONGEST else None
        if match is None:
            raise self.source.error(word, f"expected a number or a declared variable, got {_shortened(word.text)!r}.")
        return {CONSTANT: Fraction(word.text)}

    def _product(self, expression: Group, parts: list[Linear]) -> Linear:
        factor, rest = Fraction(1), None
        for part in parts:
            if set(part) <= {CONSTANT}:
                factor *= part.get(CONSTANT, Fraction(0))
                if max(factor.numerator.bit_length(), factor.denominator.bit_length()) > _MOST_BITS:
                    raise self.source.error(expression, "the product's digits are beyond what float64 can tell apart.")
            elif rest is None:
                rest = part
            else:
                raise self.source.error(expression, "products of variables are not supported; constraints are linear.")
        return {CONSTANT: factor} if rest is None else {column: factor * value for column, value in rest.items()}


def _shortened(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:37]}..."
