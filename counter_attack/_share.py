"""Shares of inputs with their Wilson intervals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

LEVEL = 0.95
"""Confidence level of every interval."""


@dataclass(frozen=True, slots=True)
class Share:
    """`count` out of `of` inputs.

    Attributes:
        count: 0 <= count <= of.
        of: how many there are, >= 1.
    """

    count: int
    of: int

    def __post_init__(self) -> None:
        assert 0 <= self.count <= self.of and self.of >= 1

    @classmethod
    def true(cls, which: NDArray[Any]) -> Share:
        """How many of the entries of `which`, shape (N,), are true."""
        return cls(int(which.sum()), len(which))

    @property
    def ratio(self) -> float:
        """count / of."""
        return self.count / self.of

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of Wilson (1927) for the share among all inputs that these are drawn from, by scipy."""
        from scipy.stats import binomtest

        found = binomtest(self.count, self.of).proportion_ci(LEVEL, method="wilson")
        return float(found.low), float(found.high)
