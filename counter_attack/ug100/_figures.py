"""The figures of quality in tables: under both rules side by side, as means over configurations with their spread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from counter_attack.pool import Quality, quality
from counter_attack.ug100._cells import Cell, Rule
from counter_attack.ug100._table import Column

_HUNDREDS = {"success": 100.0, "difference": 100.0, "below": 100.0, "r2": 1.0}
"""The figures of a quality, and what a row shows them in: percent or shares."""


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """The cells of one data set and attack set, and the attacks that all of them have."""

    data_set: str
    attack_set: str
    cells: tuple[Cell, ...]
    attacks: tuple[str, ...]

    @property
    def name(self) -> str:
        """For file names."""
        return f"{self.data_set}-{self.attack_set}"

    @property
    def title(self) -> str:
        """For the titles of tables and figures."""
        return f"{self.data_set}, {self.attack_set} attacks"

    @property
    def note(self) -> str:
        """Which attacks the means over configurations leave out."""
        left = sorted({name for cell in self.cells for name in cell.table.attacks} - set(self.attacks))
        return f"Left out, because not all configurations have it: {', '.join(left)}." if left else ""

    def images(self) -> str:
        """How many images the configurations have and how many of them count under each rule."""
        total = sum(len(cell.index) for cell in self.cells)
        counted = {rule: sum(int(cell.counts(rule).sum()) for cell in self.cells) for rule in Rule}
        return (
            f"{counted[Rule.PUBLISHED]:,} (published rule) and {counted[Rule.CONVERGED]:,} (converged only) "
            f"of {total:,} images in {len(self.cells)} configurations"
        )


def blocks(cells: Sequence[Cell]) -> list[Block]:
    """The cells by data set and attack set, in their order."""
    grouped: dict[tuple[str, str], list[Cell]] = {}
    for cell in cells:
        grouped.setdefault((cell.data_set, cell.attack_set), []).append(cell)
    found = []
    for (data_set, attack_set), members in grouped.items():
        attacks = tuple(a for a in members[0].table.attacks if all(a in cell.table.attacks for cell in members))
        found.append(Block(data_set, attack_set, tuple(members), attacks))
    return found


def whole(cell: Cell, rule: Rule) -> Quality:
    """The quality of all attacks together on the images that count."""
    counted = cell.under(rule)
    return quality(counted.table.closest().distance, counted.upper)


def mean_quality(found: Sequence[Quality]) -> Quality:
    """The mean of each figure over several configurations, each counting once; None where one of them has none."""
    return Quality(
        inputs=sum(one.inputs for one in found),
        success=_mean([one.success for one in found]),
        difference=_mean([one.difference for one in found]),
        below=_mean([one.below for one in found]),
        r2=_mean([one.r2 for one in found]),
    )


def figures(found: Sequence[Quality], rule: Rule | None = None) -> dict[str, Any]:
    """The fields of a row: figures in percent (R2 as a share), means with population standard deviations over several.

    Args:
        found: one quality per configuration.
        rule: its name is added to the keys; None: it is not.
    """
    ending = "" if rule is None else f"_{rule.value}"
    mean = mean_quality(found)
    row: dict[str, Any] = {f"images{ending}": mean.inputs}
    for name, factor in _HUNDREDS.items():
        value = getattr(mean, name)
        row[f"{name}{ending}"] = None if value is None else factor * value
        if len(found) > 1:
            spread = None if value is None else factor * float(np.std([getattr(one, name) for one in found]))
            row[f"{name}{ending}_std"] = spread
    return row


def columns_of_both_rules(*, images: bool) -> tuple[Column, ...]:
    """The columns for `figures` under both rules; with or without the number of images."""
    shown = [("images", "images", "count")] if images else []
    shown += [
        ("success", "success %", "percent"),
        ("difference", "difference %", "percent"),
        ("below", "< 1/255 %", "percent"),
        ("r2", "R2", "share"),
    ]
    return tuple(
        Column(f"{key}_{rule.value}", f"{heading}\n{rule.value}", style)  # type: ignore[arg-type]
        for key, heading, style in shown
        for rule in Rule
        if key != "success" or rule is Rule.PUBLISHED
    )


def columns_of_one_rule() -> tuple[Column, ...]:
    """The columns for `figures` under the rule that the row names."""
    return (
        Column("success", "success %", "percent"),
        Column("difference", "difference %", "percent"),
        Column("below", "< 1/255 %", "percent"),
        Column("r2", "R2", "share"),
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known and len(known) == len(values) else None
