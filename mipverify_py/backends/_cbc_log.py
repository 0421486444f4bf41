"""What CBC prints while it runs, read line by line; figures are rounded to the safe side of how they are printed."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

MESSAGE_ROUNDING = 1e-7
"""Messages print 8 significant digits: the number meant is within this share of the one printed."""

ROOT_ROUNDING = 1e-5
"""The root relaxation is printed with 6 significant digits."""

SUMMARY_ROUNDING = 6e-4
"""The summary's "Lower bound" has 3 decimals, rounded to nearest; this is just over half of the last one."""

_NUMBER = r"([-+]?[\d.]+(?:e[-+]?\d+)?)"
_ROOT = re.compile(rf"Continuous objective value is {_NUMBER}")
_TREE = re.compile(rf"Cbc00(?:05|10)I .*best possible {_NUMBER}")
_SUMMARY = re.compile(rf"Lower bound: +{_NUMBER}")
_POINT = re.compile(rf"Cbc00(?:04|12|16)I Integer solution of {_NUMBER} found")
_GAP = re.compile(rf"Cbc0011I Exiting as integer gap of {_NUMBER}")
_NODES = re.compile(r"Enumerated nodes: +(\d+)")
_ITERATIONS = re.compile(r"Total iterations: +(\d+)")
_RESULT = re.compile(r"Result - (.*)")


@dataclass(slots=True)
class CbcLog:
    """What the lines so far say.

    Attributes:
        bound: the best dual bound, rounded down, or None.
        objective: the cost of the best point, rounded up, or None.
        gap: the gap at which the search stopped because it was small enough, rounded up, or None.
        nodes: nodes of the tree.
        iterations: simplex iterations.
        result: the summary's one-line result, or None.
        infeasible: whether the last line says that the problem is infeasible.
    """

    bound: float | None = None
    objective: float | None = None
    gap: float | None = None
    nodes: int = 0
    iterations: int = 0
    result: str | None = None
    infeasible: bool = False

    def read(self, line: str) -> bool:
        """Takes in one line; whether it brought a better bound or objective."""
        if line.strip():
            self.infeasible = line.startswith("Problem is infeasible")
        for pattern, handle in self._handlers().items():
            found = pattern.search(line)
            if found:
                return handle(found[1])
        return False

    def _handlers(self) -> Mapping[re.Pattern[str], Callable[[str], bool]]:
        return {
            _TREE: lambda text: self._bounded(_down(float(text), MESSAGE_ROUNDING)),
            _ROOT: lambda text: self._bounded(_down(float(text), ROOT_ROUNDING)),
            _SUMMARY: lambda text: self._bounded(float(text) - SUMMARY_ROUNDING),
            _POINT: self._improved,
            _GAP: self._closed,
            _NODES: self._counted,
            _ITERATIONS: self._iterated,
            _RESULT: self._ended,
        }

    def _bounded(self, value: float) -> bool:
        better = self.bound is None or value > self.bound
        if better:
            self.bound = value
        return better

    def _improved(self, text: str) -> bool:
        value = -_down(-float(text), MESSAGE_ROUNDING)
        better = self.objective is None or value < self.objective
        if better:
            self.objective = value
        return better

    def _closed(self, text: str) -> bool:
        self.gap = -_down(-float(text), MESSAGE_ROUNDING)
        return False

    def _counted(self, text: str) -> bool:
        self.nodes = int(text)
        return False

    def _iterated(self, text: str) -> bool:
        self.iterations = int(text)
        return False

    def _ended(self, text: str) -> bool:
        self.result = text.strip()
        return False


def _down(value: float, rounding: float) -> float:
    return value - rounding * abs(value)
