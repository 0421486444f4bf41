"""Distances per input and attack, as a value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onnx_models import Array
from onnx_models.errors import InputError


@dataclass(frozen=True, slots=True, eq=False)
class Closest:
    """The least distance of each input and where it comes from.

    Attributes:
        distance: shape (N,); NaN where every attack failed.
        attack: the attack's position in the table (the first among equals), shape (N,); -1 where every attack failed.
        ties: how many attacks reach that distance, shape (N,); 0 where every attack failed.
    """

    distance: Array
    attack: NDArray[np.int64]
    ties: NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class DistanceTable:
    """Distances of N inputs by k attacks.

    Attributes:
        attacks: their names, all different, k >= 1.
        distance: shape (N, k), >= 0; NaN where an attack failed.

    Raises:
        InputError: shapes that do not fit, a name twice, or a distance that is negative or infinite.
    """

    attacks: tuple[str, ...]
    distance: Array

    def __post_init__(self) -> None:
        if not self.attacks or len(set(self.attacks)) < len(self.attacks):
            raise InputError(f"A table needs attacks of different names; got {', '.join(self.attacks) or 'none'}.")
        if self.distance.ndim != 2 or self.distance.shape[1] != len(self.attacks):
            raise InputError(
                f"Distances have shape {self.distance.shape}; expected (N, {len(self.attacks)}), a column per attack."
            )
        wrong = ~(np.isnan(self.distance) | ((self.distance >= 0) & np.isfinite(self.distance)))
        if wrong.any():
            row, column = np.argwhere(wrong)[0]
            raise InputError(
                f"Input {row} has the distance {self.distance[row, column]} by {self.attacks[column]}; "
                "a distance is a finite number of at least 0, or NaN for a failure."
            )

    @classmethod
    def of(cls, columns: Mapping[str, ArrayLike]) -> DistanceTable:
        """A table from a column of distances, shape (N,), for each attack."""
        arrays = [np.asarray(column, dtype=np.float64) for column in columns.values()]
        if len({array.shape for array in arrays}) > 1 or any(array.ndim != 1 for array in arrays):
            shapes = ", ".join(f"{name} {array.shape}" for name, array in zip(columns, arrays, strict=True))
            raise InputError(f"Every attack needs one distance per input; got shapes {shapes}.")
        return cls(tuple(columns), np.stack(arrays, axis=1) if arrays else np.empty((0, 0)))

    def __len__(self) -> int:
        return len(self.distance)

    def only(self, attacks: Sequence[str]) -> DistanceTable:
        """The columns of these attacks, in this order."""
        missing = [name for name in attacks if name not in self.attacks]
        if missing:
            raise InputError(f"There are no distances by {', '.join(missing)}; there are {', '.join(self.attacks)}.")
        return DistanceTable(tuple(attacks), self.distance[:, [self.attacks.index(name) for name in attacks]])

    def rows(self, chosen: NDArray[np.bool_] | NDArray[np.integer]) -> DistanceTable:
        """The inputs chosen, by a mask of shape (N,) or by their positions."""
        return DistanceTable(self.attacks, self.distance[chosen])

    def closest(self) -> Closest:
        """The least distance of each input."""
        filled = np.where(np.isnan(self.distance), np.inf, self.distance)
        least = filled.min(axis=1)
        found = np.isfinite(least)
        return Closest(
            distance=np.where(found, least, np.nan),
            attack=np.where(found, filled.argmin(axis=1), -1),
            ties=np.where(found, (filled == least[:, None]).sum(axis=1), 0),
        )
