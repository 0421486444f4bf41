"""Formulas in conjunctive normal form: reading DIMACS files, drawing random ones, checking assignments."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mipverify_py._arguments import whole_number
from onnx_models.errors import InputError

MOST_VARIABLES = 1_000_000
"""A header that promises more is taken for a mistake."""

MOST_CLAUSES = 1_000_000
"""Random clauses that are drawn; no network has room for as many."""

Assignment = tuple[bool, ...]
"""A value for each variable; entry i belongs to variable i + 1."""


@dataclass(frozen=True, slots=True)
class Formula:
    """A conjunction of clauses, each a disjunction of literals.

    A literal is +v for variable v and -v for its negation, 1 <= v <= `variables`, as in DIMACS files. Clauses may have
    any length: none at all (never true), one literal, the same literal twice, a literal and its negation (always true).
    Without clauses the formula is true.

    Raises:
        InputError: a number of variables below 0 or above a million, or a literal that is 0 or names no variable.
    """

    variables: int
    clauses: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        if not 0 <= whole_number(self.variables, "The number of variables") <= MOST_VARIABLES:
            raise InputError(f"The formula has {self.variables} variables; 0 to {MOST_VARIABLES:,} are possible.")
        for number, clause in enumerate(self.clauses, start=1):
            for literal in clause:
                if literal == 0 or abs(literal) > self.variables:
                    raise InputError(
                        f"Clause {number} has the literal {literal}; literals are -{self.variables} to "
                        f"{self.variables} without 0."
                    )

    def __repr__(self) -> str:
        return f"Formula({self.variables} variables, {len(self.clauses)} clauses)"

    def failing(self, assignment: Sequence[bool]) -> int:
        """How many clauses are false under an assignment of all variables; raises InputError for another length."""
        if len(assignment) != self.variables:
            raise InputError(f"The assignment has {len(assignment)} values, the formula {self.variables} variables.")
        return sum(not any(assignment[abs(v) - 1] == (v > 0) for v in clause) for clause in self.clauses)

    def holds(self, assignment: Sequence[bool]) -> bool:
        """Whether the formula is true under an assignment of all variables; raises InputError as `failing`."""
        return self.failing(assignment) == 0

    def dimacs(self) -> str:
        """The formula as the text of a DIMACS CNF file."""
        lines = [" ".join(map(str, (*clause, 0))) for clause in self.clauses]
        return "\n".join([f"p cnf {self.variables} {len(self.clauses)}", *lines, ""])


def read_dimacs(path: str | Path) -> Formula:
    """The formula of a DIMACS CNF file; raises InputError, with the line where there is one, if it is none."""
    try:
        text = Path(path).read_text("utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}).") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is no text file; a DIMACS CNF file is expected.") from error
    return parse_dimacs(text, str(path))


def parse_dimacs(text: str, name: str = "the text") -> Formula:
    """The formula that a DIMACS CNF text describes.

    Lines that begin with c are comments. One line `p cnf VARIABLES CLAUSES` comes before the clauses. A clause is a
    list of non-zero whole numbers ended by 0 and may span lines. A line that begins with % ends the text (so do the
    files of SATLIB).

    Args:
        text: what to read.
        name: what to call it in errors.

    Raises:
        InputError: the text is not of this form, or has another number of clauses than it says; names the line.
    """
    header: tuple[int, int] | None = None
    clauses: list[tuple[int, ...]] = []
    open_clause: list[int] = []
    for number, line in _lines(text):
        place = f"{name}, line {number}"
        if line.startswith("p"):
            if header is not None:
                raise InputError(f"{place}: a second line 'p cnf'; there may be one only.")
            header = _header(line, place)
            continue
        if header is None:
            raise InputError(f"{place}: a line 'p cnf VARIABLES CLAUSES' has to come before the clauses.")
        for word in line.split():
            literal = _literal(word, header[0], place)
            if literal:
                open_clause.append(literal)
            else:
                clauses.append(tuple(open_clause))
                open_clause.clear()
    if header is None:
        raise InputError(f"{name}: has no line 'p cnf VARIABLES CLAUSES'; a DIMACS CNF file is expected.")
    if open_clause:
        raise InputError(f"{name}: the last clause does not end with 0.")
    if len(clauses) != header[1]:
        raise InputError(f"{name}: the header promises {header[1]} clauses, {len(clauses)} were found.")
    return Formula(header[0], tuple(clauses))


def random_formula(variables: int, clauses: int, *, literals: int = 3, seed: int = 0) -> Formula:
    """A random formula: each clause has distinct variables, drawn uniformly, and fair signs; clauses are independent.

    For three literals and many variables, formulas with fewer than about 4.26 clauses per variable are almost always
    satisfiable and those with more almost never; the hardest ones lie there (Mitchell, Selman, Levesque 1992).

    Args:
        variables: how many, at least `literals`.
        clauses: how many, 0 to a million.
        literals: of each clause, >= 1.
        seed: of the draws, >= 0.

    Raises:
        InputError: a number out of range.
    """
    for value, least, what in (
        (literals, 1, "number of literals"),
        (variables, literals, "number of variables"),
        (clauses, 0, "number of clauses"),
        (seed, 0, "seed"),
    ):
        if whole_number(value, f"The {what}") < least:
            raise InputError(f"The {what} is {value}; it must be at least {least}.")
    if clauses > MOST_CLAUSES:
        raise InputError(f"The number of clauses is {clauses:,}; at most {MOST_CLAUSES:,} are drawn.")
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(clauses):
        chosen = rng.choice(variables, size=literals, replace=False) + 1
        signs = rng.choice((-1, 1), size=literals)
        drawn.append(tuple(int(v) for v in signs * chosen))
    return Formula(variables, tuple(drawn))


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Numbers and contents of the lines that say something."""
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        if stripped.startswith("%"):
            return
        if stripped and not stripped.startswith("c"):
            yield number, stripped


def _header(line: str, place: str) -> tuple[int, int]:
    words = line.split()
    numbers = words[2:]
    if words[:2] != ["p", "cnf"] or len(numbers) != 2 or not all(_is_count(word) for word in numbers):
        raise InputError(f"{place}: {line[:60]!r} is no line 'p cnf VARIABLES CLAUSES'.")
    variables, clauses = map(int, numbers)
    if variables > MOST_VARIABLES:
        raise InputError(f"{place}: {variables} variables; at most {MOST_VARIABLES:,} are read.")
    return variables, clauses


def _is_count(word: str) -> bool:
    return word.isascii() and word.isdigit() and len(word) <= 15


def _literal(word: str, variables: int, place: str) -> int:
    digits = word.removeprefix("-")
    if not _is_count(digits):
        raise InputError(f"{place}: {word[:30]!r} is no whole number; clauses are numbers that end with 0.")
    literal = int(word)
    if abs(literal) > variables:
        raise InputError(f"{place}: the literal {literal} names no variable; the header promises {variables}.")
    return literal
