"""The cells of the analysis: one configuration with one attack set, and which of its images count."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from counter_attack.pool import DistanceTable
from onnx_models import Array
from onnx_models.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

GAP_ABSOLUTE: Final = 1e-5
GAP_RELATIVE: Final = 1e-10
"""A bracket has converged if upper - lower is at most the first, or at most the second times upper: UG100's filter."""

TRAININGS: Final = ("standard", "adversarial", "relu")
"""The trainings of UG100, in its order."""


class Rule(Enum):
    """Which images count; the upper end of the bracket is taken for the exact distance."""

    PUBLISHED = "published"
    """All with an upper end: what UG100's published figures count."""
    CONVERGED = "converged"
    """Those whose bracket has converged: what they were meant to count."""


@dataclass(frozen=True, slots=True, eq=False)
class Cell:
    """The distances of one configuration by one attack set.

    Attributes:
        configuration: its name; if it has the form data set, architecture, training, joined by hyphens, these are:
        data_set, architecture, training: its parts; the whole name and two empty texts where it has another form.
        attack_set: the attacks' parameters.
        index: positions of the images in their data set, shape (N,).
        lower: lower ends, shape (N,); NaN where missing, infinite where infeasibility is claimed.
        upper: upper ends, shape (N,); NaN where missing.
        table: distances by the attacks, shape (N, k).
    """

    configuration: str
    data_set: str
    architecture: str
    training: str
    attack_set: str
    index: NDArray[np.int64]
    lower: Array
    upper: Array
    table: DistanceTable

    def counts(self, rule: Rule) -> NDArray[np.bool_]:
        """Which images count, shape (N,)."""
        found = ~np.isnan(self.upper)
        if rule is Rule.CONVERGED:
            with np.errstate(invalid="ignore"):
                gap = np.abs(self.upper - self.lower)
                found &= (gap <= GAP_ABSOLUTE) | (gap <= GAP_RELATIVE * self.upper)
        return found

    def under(self, rule: Rule) -> Cell:
        """The same with only the images that count."""
        kept = self.counts(rule)
        return Cell(
            self.configuration,
            self.data_set,
            self.architecture,
            self.training,
            self.attack_set,
            self.index[kept],
            self.lower[kept],
            self.upper[kept],
            self.table.rows(kept),
        )


def cells(distances: pd.DataFrame) -> list[Cell]:
    """The cells of a tidy table, ordered by data set, attack set, training (as in UG100) and architecture.

    Raises:
        InputError: an attack that has no row for some of the images of its attack set.
    """
    groups = distances.groupby(["configuration", "attack_set"], observed=True, sort=False)
    return sorted((_cell(str(name), str(attack_set), rows) for (name, attack_set), rows in groups), key=_order)


def _cell(name: str, attack_set: str, rows: pd.DataFrame) -> Cell:
    attacks = sorted(str(attack) for attack in rows["attack"].unique())
    wide = rows.pivot(index="index", columns="attack", values="distance")  # rows by index
    if len(rows) != wide.size:
        raise InputError(
            f"{name}, {attack_set}: {len(rows)} rows for {len(wide)} images and {len(attacks)} attacks; "
            "give a row for each attack on each image, with an empty distance where it failed."
        )
    images = rows.drop_duplicates("index").set_index("index").loc[wide.index]
    data_set, architecture, training = parts_of_name(name)
    return Cell(
        configuration=name,
        data_set=data_set,
        architecture=architecture,
        training=training,
        attack_set=attack_set,
        index=wide.index.to_numpy(dtype=np.int64),
        lower=images["lower"].to_numpy(dtype=np.float64),
        upper=images["upper"].to_numpy(dtype=np.float64),
        table=DistanceTable(tuple(attacks), wide[attacks].to_numpy(dtype=np.float64)),
    )


def parts_of_name(name: str) -> tuple[str, str, str]:
    """Data set, architecture and training of a configuration; the whole name and two empty texts for another form."""
    parts = name.split("-")
    return (parts[0], parts[1], parts[2]) if len(parts) == 3 and all(parts) else (name, "", "")


def _order(cell: Cell) -> tuple[tuple[int, str], ...]:
    return (
        _rank(cell.data_set, ("mnist", "cifar10")),
        _rank(cell.attack_set, ("strong", "balanced")),
        _rank(cell.training, TRAININGS),
        _rank(cell.architecture, ()),
    )


def _rank(name: str, known: tuple[str, ...]) -> tuple[int, str]:
    """Orders known names as they are listed and the others behind them by alphabet."""
    return (known.index(name) if name in known else len(known), name)
