"""What attacks contribute to a pool: one left out, every subset, the best of each size, ranks and duels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Final, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from counter_attack.pool._quality import Quality, measured, quality
from counter_attack.pool._table import DistanceTable
from onnx_models import Array
from onnx_models.errors import InputError

LARGEST_POOL: Final = 12
"""Attacks of which every subset is looked at: 4095 subsets."""

Criterion = Literal["r2", "difference", "below"]


@dataclass(frozen=True, slots=True)
class Subset:
    """Some of the attacks, as a pool of their own."""

    attacks: tuple[str, ...]
    quality: Quality


@dataclass(frozen=True, slots=True)
class Dropped:
    """The pool without one attack.

    Attributes:
        attack: the one left out; None for the whole pool.
        quality: of the others; None where there are none.
        alone: inputs whose least distance no other attack reaches, failures of all others included; 0 for None.
    """

    attack: str | None
    quality: Quality | None
    alone: int


@dataclass(frozen=True, slots=True)
class BestPool:
    """The best pool of its size: the highest success rate counts first, then the criterion.

    Attributes:
        attacks: the pool; the first in the table's order among equals.
        quality: its quality.
        equals: other pools of this size that are as good.
    """

    attacks: tuple[str, ...]
    quality: Quality
    equals: int


@dataclass(frozen=True, slots=True)
class Rank:
    """How one attack does among the others.

    Attributes:
        attack: its name.
        mean_rank: 1 is the closest; equal distances share the mean of their ranks, and failures come last together.
        closest: inputs for which no attack is nearer, those shared with others included.
        alone: inputs for which every other attack is farther or fails.
        successes: inputs for which it finds anything.
    """

    attack: str
    mean_rank: float
    closest: int
    alone: int
    successes: int


@dataclass(frozen=True, slots=True, eq=False)
class Wins:
    """Every attack against every other one, input by input.

    Attributes:
        attacks: names of rows and columns.
        wins: entry (i, j): inputs for which i is nearer than j, or succeeds where j fails, shape (k, k).
        ties: entry (i, j): inputs with equal distances, or where both fail, shape (k, k).
        inputs: N; wins[i, j] + wins[j, i] + ties[i, j] = N.
    """

    attacks: tuple[str, ...]
    wins: NDArray[np.int64]
    ties: NDArray[np.int64]
    inputs: int


def drop_one(table: DistanceTable, exact: ArrayLike) -> list[Dropped]:
    """The whole pool, then the pool without each attack in turn, against exact distances of shape (N,)."""
    t = np.asarray(exact, dtype=np.float64)
    found = [Dropped(None, quality(table.closest().distance, t), 0)]
    filled = _filled(table)
    for position, name in enumerate(table.attacks):
        others = np.delete(filled, position, axis=1).min(axis=1, initial=np.inf)
        rest = measured(_unfilled(others), t) if len(table.attacks) > 1 else None
        found.append(Dropped(name, rest, int((filled[:, position] < others).sum())))
    return found


def every_subset(table: DistanceTable, exact: ArrayLike) -> list[Subset]:
    """The quality of each of the 2^k - 1 pools that can be made, small ones first.

    Raises:
        InputError: more than `LARGEST_POOL` attacks, or exact distances (see `quality`) that do not fit.
    """
    if len(table.attacks) > LARGEST_POOL:
        raise InputError(
            f"{len(table.attacks)} attacks have {2 ** len(table.attacks) - 1} subsets; "
            f"choose at most {LARGEST_POOL} of them with DistanceTable.only."
        )
    t = np.asarray(exact, dtype=np.float64)
    quality(table.closest().distance, t)  # judges the arguments once, not 2^k times
    filled = _filled(table)
    return [
        Subset(tuple(table.attacks[i] for i in chosen), measured(_unfilled(filled[:, chosen].min(axis=1)), t))
        for chosen in _subsets(len(table.attacks))
    ]


def best_by_size(subsets: list[Subset], by: Criterion = "r2") -> list[BestPool]:
    """The best pool of each size, from `every_subset`.

    Args:
        subsets: what to choose from.
        by: "r2" (largest), "difference" (least) or "below" (largest share below 1/255); a pool without that figure
            comes after all that have it.
    """
    found = []
    for size in sorted({len(subset.attacks) for subset in subsets}):
        pools = [subset for subset in subsets if len(subset.attacks) == size]
        scores = [_score(subset.quality, by) for subset in pools]
        best = max(scores)
        chosen = pools[scores.index(best)]
        found.append(BestPool(chosen.attacks, chosen.quality, scores.count(best) - 1))
    return found


def ranking(table: DistanceTable) -> list[Rank]:
    """The attacks by mean rank, best first; among equals in the table's order."""
    from scipy.stats import rankdata

    filled = _filled(table)
    ranks = rankdata(filled, axis=1).mean(axis=0) if len(table) else np.full(len(table.attacks), np.nan)
    closest = table.closest()
    nearest = (filled == closest.distance[:, None]) & (closest.attack >= 0)[:, None]
    alone = nearest & (closest.ties == 1)[:, None]
    found = [
        Rank(
            attack=name,
            mean_rank=float(ranks[i]),
            closest=int(nearest[:, i].sum()),
            alone=int(alone[:, i].sum()),
            successes=int(np.isfinite(filled[:, i]).sum()),
        )
        for i, name in enumerate(table.attacks)
    ]
    return sorted(found, key=lambda rank: rank.mean_rank)


def wins(table: DistanceTable) -> Wins:
    """One against one: who is nearer, for how many inputs."""
    filled = _filled(table)
    nearer = (filled[:, :, None] < filled[:, None, :]).sum(axis=0)
    equal = (filled[:, :, None] == filled[:, None, :]).sum(axis=0)
    return Wins(table.attacks, nearer.astype(np.int64), equal.astype(np.int64), len(table))


def _subsets(count: int) -> Iterator[tuple[int, ...]]:
    for size in range(1, count + 1):
        yield from combinations(range(count), size)


def _score(found: Quality, by: Criterion) -> tuple[float, float]:
    value = getattr(found, by)
    figure = -np.inf if value is None else -value if by == "difference" else value
    # Rounded: the error of a mean of shares must not decide between pools that succeed equally often.
    return (0.0 if found.success is None else round(found.success, 12), figure)


def _filled(table: DistanceTable) -> Array:
    """Distances with failures as infinite, so that they compare as the worst."""
    return np.where(np.isnan(table.distance), np.inf, table.distance)


def _unfilled(distance: Array) -> Array:
    return np.where(np.isinf(distance), np.nan, distance)
