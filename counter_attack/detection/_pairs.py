"""Pairs of heuristic and exact distances: what buffers are fitted on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from onnx_models import Array
from onnx_models.errors import InputError


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Distances of the same inputs, estimated and true, each of shape (N,), copied to float64.

    Attributes:
        heuristic: h = d(x, a(x)), what the attack reached.
        exact: t = d*(x), the exact distance.

    Raises:
        InputError: different shapes, no pair, or a value that is NaN, infinite or negative, naming the first.
    """

    heuristic: Array
    exact: Array

    def __post_init__(self) -> None:
        for name in ("heuristic", "exact"):
            object.__setattr__(self, name, _checked(getattr(self, name), name))
        if self.heuristic.shape != self.exact.shape:
            raise InputError(
                f"There are {len(self.heuristic)} heuristic and {len(self.exact)} exact distances; give as many of "
                "each."
            )

    def __len__(self) -> int:
        return len(self.heuristic)

    def at(self, rows: Array) -> Pairs:
        """The pairs in these rows (indices or a mask)."""
        return Pairs(self.heuristic[rows], self.exact[rows])

    @property
    def contradictions(self) -> int:
        """Pairs whose heuristic distance is below the exact one by more than 1e-6 and by more than its 1e-4.

        An attack's example is an upper end of the exact distance, so such a pair is wrong at one end: a search that was
        cut short, or one in float32.
        """
        return int(np.sum(self.heuristic < self.exact - np.maximum(1e-6, 1e-4 * self.exact)))

    def require(self, least: int, what: str) -> None:
        """Raises InputError, naming `what` needs them, if there are fewer than `least` pairs."""
        if len(self) < least:
            raise InputError(f"{what} needs at least {least} pairs of distances; got {len(self)}.")

    def require_spread(self, what: str) -> None:
        """Raises InputError unless there are two different heuristic distances."""
        self.require(2, what)
        if self.heuristic.min() == self.heuristic.max():
            raise InputError(
                f"All {len(self)} heuristic distances are {self.heuristic[0]:.6g}, so no line can be fitted; give "
                "pairs that differ, or fit the kind multiplicative."
            )


def _checked(values: ArrayLike, name: str) -> Array:
    try:
        found = np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"The {name} distances are not numbers.") from None
    if found.ndim != 1 or not len(found):
        raise InputError(f"The {name} distances have shape {found.shape}; expected (N,) with N >= 1.")
    wrong = ~(np.isfinite(found) & (found >= 0))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise InputError(
            f"Row {row} has the {name} distance {found[row]}; distances are finite and at least 0. Leave out inputs "
            "on which the attack failed or the exact search did not end."
        )
    found.setflags(write=False)
    return found
