"""The tables of the analysis, each under the published rule and over converged images only."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from counter_attack.pool import LARGEST_POOL, Quality, Subset, best_by_size, drop_one, every_subset, quality
from counter_attack.ug100._calibration import calibrate
from counter_attack.ug100._cells import TRAININGS, Cell, Rule, cells
from counter_attack.ug100._figures import (
    Block,
    blocks,
    columns_of_both_rules,
    columns_of_one_rule,
    figures,
    mean_quality,
    whole,
)
from counter_attack.ug100._labels import Labels, label_tables
from counter_attack.ug100._table import Column, Table
from onnx_models.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

QUANTILES: Final = (0.01, 0.5, 0.99)
FOLDS: Final = 5

_NETWORK = (Column("architecture", "network", "text"), Column("training", "training", "text"))


def tables(
    distances: pd.DataFrame,
    names: Sequence[str] | None = None,
    *,
    labels: Mapping[str, Labels] | None = None,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> Iterator[Table]:
    """The tables, each as soon as it is computed.

    Args:
        distances: a tidy table, see `read_distances`.
        names: which of `TABLES`; None: all.
        labels: data set -> the classes of its images by position, for the table "labels".
        seed: of the folds of the calibration.
        progress: called with the name of each table before it is computed.

    Raises:
        InputError: an unknown name, or distances that leave out attacks for some images.
    """
    wanted = TABLES if names is None else tuple(names)
    unknown = [name for name in wanted if name not in TABLES]
    if unknown:
        raise InputError(f"There is no table {', '.join(unknown)}; there are {', '.join(TABLES)}.")
    found = cells(distances)
    for name in wanted:
        if name == "tightness":
            yield from map(_tightness, _by_data_set(found).items())
        elif name == "labels":
            yield from label_tables(_by_data_set(found), labels or {})
        else:
            for block in blocks(found):
                if progress is not None:
                    progress(f"{name}, {block.title}")
                yield _calibration(block, seed) if name == "calibration" else _OF_A_BLOCK[name](block)


def _by_data_set(found: Sequence[Cell]) -> dict[str, list[Cell]]:
    """Each configuration once, by data set: the brackets are the same in every attack set."""
    grouped: dict[str, list[Cell]] = {}
    for cell in found:
        members = grouped.setdefault(cell.data_set, [])
        if all(cell.configuration != member.configuration for member in members):
            members.append(cell)
    return grouped


def _tightness(item: tuple[str, list[Cell]]) -> Table:
    data_set, members = item
    rows = []
    for cell in members:
        known = cell.under(Rule.PUBLISHED)
        both = np.isfinite(known.lower)
        gap, upper = (known.upper - known.lower)[both], float(known.upper[both].sum())
        converged = int(cell.counts(Rule.CONVERGED).sum())
        rows.append(
            {
                **_network(cell),
                "images": len(cell.index),
                "with_upper": len(known.index),
                "converged": converged,
                "converged_share": 100 * converged / len(cell.index),
                "gap_mean": float(gap.mean()) if len(gap) else None,
                "gap_max": float(gap.max()) if len(gap) else None,
                "gap_relative": 100 * float(gap.sum()) / upper if upper > 0 else None,
                "infeasible": int(np.isinf(cell.lower).sum()),
            }
        )
    total = sum(len(cell.index) for cell in members)
    return Table(
        name=f"tightness-{data_set}",
        title=f"Tightness of the exact brackets: {data_set}, {total:,} images in {len(members)} configurations",
        columns=(
            *_NETWORK,
            Column("images", "images", "count"),
            Column("with_upper", "with an\nupper end", "count"),
            Column("converged", "converged", "count"),
            Column("converged_share", "converged\n%", "percent"),
            Column("gap_mean", "mean gap", "distance"),
            Column("gap_max", "largest\ngap", "distance"),
            Column("gap_relative", "gap, % of\nupper", "percent"),
            Column("infeasible", "called\ninfeasible", "count"),
        ),
        rows=tuple(rows),
        note="Gaps are upper - lower, over images with both ends; converged: gap at most 1e-5 or 1e-10 of upper.",
    )


def _configurations(block: Block) -> Table:
    rows = [{**_network(cell), **_both({rule: [whole(cell, rule)] for rule in Rule})} for cell in block.cells]
    return Table(
        name=f"configurations-{block.name}",
        title=f"Pool against exact distances: {block.title}, {block.images()}",
        columns=(*_NETWORK, *columns_of_both_rules(images=True)),
        rows=tuple(rows),
    )


def _trainings(block: Block) -> Table:
    known = [training for training in TRAININGS if any(cell.training == training for cell in block.cells)]
    others = sorted({cell.training for cell in block.cells} - set(TRAININGS))
    rows = []
    for training in [*known, *others, None]:
        members = [cell for cell in block.cells if training is None or cell.training == training]
        name = "all" if training is None else training
        rows.append(
            {
                "training": name,
                "configurations": len(members),
                **_both({rule: [whole(cell, rule) for cell in members] for rule in Rule}),
            }
        )
    return Table(
        name=f"trainings-{block.name}",
        title=f"Pool against exact distances, by training: {block.title}, {block.images()}",
        columns=(
            Column("training", "training", "text"),
            Column("configurations", "networks", "count"),
            *columns_of_both_rules(images=False),
        ),
        rows=tuple(rows),
        note="Mean ± standard deviation over the networks, each counting once.",
    )


def _attacks(block: Block) -> Table:
    def alone(rule: Rule, attack: str) -> list[Quality]:
        counted = [cell.under(rule) for cell in block.cells]
        return [quality(cell.table.only([attack]).distance[:, 0], cell.upper) for cell in counted]

    rows = [{"attack": name, **_both({rule: alone(rule, name) for rule in Rule})} for name in block.attacks]
    return Table(
        name=f"attacks-{block.name}",
        title=f"Each attack alone against exact distances: {block.title}, {block.images()}",
        columns=(Column("attack", "attack", "text"), *columns_of_both_rules(images=False)),
        rows=tuple(rows),
        note=_means("An attack's figures are over the images where it succeeded.", block),
    )


def _drop_one(block: Block) -> Table:
    found = {rule: [_dropped(cell.under(rule), block.attacks) for cell in block.cells] for rule in Rule}
    rows = []
    for position, name in enumerate(("none", *block.attacks)):
        row: dict[str, Any] = {"dropped": name}
        for rule, per_cell in found.items():
            kept = [one[position] for one in per_cell]
            row |= figures(kept, rule)
        rows.append(row)
    return Table(
        name=f"drop-one-{block.name}",
        title=f"The pool without one attack: {block.title}, {block.images()}",
        columns=(Column("dropped", "dropped", "text"), *columns_of_both_rules(images=False)),
        rows=tuple(rows),
        note=_means("", block),
    )


def _dropped(cell: Cell, attacks: Sequence[str]) -> list[Quality]:
    nothing = Quality(len(cell.index), 0.0, None, None, None)
    return [one.quality or nothing for one in drop_one(cell.table.only(attacks), cell.upper)]


def _pools(block: Block) -> Table:
    notes, rows = [_means("Best: highest success rate, then largest mean R2.", block)], []
    if len(block.attacks) > LARGEST_POOL:
        notes.append(f"Not computed: {len(block.attacks)} attacks have too many subsets; at most {LARGEST_POOL} do.")
    else:
        found = {rule: best_pools(block, rule) for rule in Rule}
        for size in range(len(block.attacks)):
            for rule, best in found.items():
                attacks, per_cell = best[size]
                rows.append({"size": size + 1, "rule": rule.value, "pool": ", ".join(attacks), **figures(per_cell)})
    return Table(
        name=f"pools-{block.name}",
        title=f"The best pool of each size: {block.title}, {block.images()}",
        columns=(
            Column("size", "size", "count"),
            Column("rule", "rule", "text"),
            Column("pool", "pool", "text"),
            *columns_of_one_rule(),
        ),
        rows=tuple(rows),
        note=" ".join(notes),
    )


def best_pools(block: Block, rule: Rule) -> list[tuple[tuple[str, ...], list[Quality]]]:
    """The best pool of each size over all configurations, by mean R2, and its quality in each of them."""
    counted = [cell.under(rule) for cell in block.cells]
    per_cell = [every_subset(cell.table.only(block.attacks), cell.upper) for cell in counted]
    together = list(zip(*per_cell, strict=True))
    means = [Subset(same[0].attacks, mean_quality([one.quality for one in same])) for same in together]
    qualities = {same[0].attacks: [one.quality for one in same] for same in together}
    return [(best.attacks, qualities[best.attacks]) for best in best_by_size(means)]


def _calibration(block: Block, seed: int) -> Table:
    rows = [
        {**_network(cell), "expected": 100 * quantile, **_calibrated(cell, quantile, seed)}
        for cell in block.cells
        for quantile in QUANTILES
    ]
    return Table(
        name=f"calibration-{block.name}",
        title=f"Quantile calibration, {FOLDS} folds: {block.title}, {block.images()}",
        columns=(
            *_NETWORK,
            Column("expected", "expected\nquantile %", "percent"),
            *(Column(f"true_{rule.value}", f"true quantile %\n{rule.value}", "percent") for rule in Rule),
        ),
        rows=tuple(rows),
        note="Share of held-out images whose exact distance is at most its prediction; mean ± deviation over folds.",
    )


def _calibrated(cell: Cell, quantile: float, seed: int) -> dict[str, Any]:
    """The shares under each rule; None with fewer than two images per fold."""
    row: dict[str, Any] = {}
    for rule in Rule:
        counted = cell.under(rule)
        found = counted.table.closest().distance
        success = ~np.isnan(found)
        row[f"images_{rule.value}"] = int(success.sum())
        mean = spread = None
        if success.sum() >= 2 * FOLDS:
            result = calibrate(found[success], counted.upper[success], quantile, folds=FOLDS, seed=seed)
            mean, spread = 100 * result.mean, 100 * result.spread
        row |= {f"true_{rule.value}": mean, f"true_{rule.value}_std": spread}
    return row


def _network(cell: Cell) -> dict[str, Any]:
    return {
        "configuration": cell.configuration,
        "architecture": cell.architecture or cell.configuration,
        "training": cell.training or None,
    }


def _both(found: Mapping[Rule, list[Quality]]) -> dict[str, Any]:
    return {key: value for rule, qualities in found.items() for key, value in figures(qualities, rule).items()}


def _means(first: str, block: Block) -> str:
    return " ".join(part for part in (first, "Mean ± standard deviation over the configurations.", block.note) if part)


_OF_A_BLOCK: Final[dict[str, Callable[[Block], Table]]] = {
    "configurations": _configurations,
    "trainings": _trainings,
    "attacks": _attacks,
    "drop-one": _drop_one,
    "pools": _pools,
}

TABLES: Final = ("tightness", *_OF_A_BLOCK, "calibration", "labels")
"""Names of the tables, in their order."""
