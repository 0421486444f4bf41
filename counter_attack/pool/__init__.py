"""Pools of attacks: the closest success per input, and what each attack contributes to it.

>>> from counter_attack.attacks import make_attack
>>> from counter_attack.pool import Pool, drop_one
>>> result = Pool({"bim": make_attack("bim"), "pgd": make_attack("pgd")})(network, images)  # doctest: +SKIP
>>> result.distance, result.winner                                                          # doctest: +SKIP
>>> drop_one(result.table, exact)                                                           # doctest: +SKIP
"""

from counter_attack.pool._finish import FINISH
from counter_attack.pool._pool import Pool, PoolProgress, PoolResult
from counter_attack.pool._quality import EIGHT_BIT, Quality, quality
from counter_attack.pool._statistics import (
    LARGEST_POOL,
    BestPool,
    Dropped,
    Rank,
    Subset,
    Wins,
    best_by_size,
    drop_one,
    every_subset,
    ranking,
    wins,
)
from counter_attack.pool._table import Closest, DistanceTable

__all__ = [
    "EIGHT_BIT",
    "FINISH",
    "LARGEST_POOL",
    "BestPool",
    "Closest",
    "DistanceTable",
    "Dropped",
    "Pool",
    "PoolProgress",
    "PoolResult",
    "Quality",
    "Rank",
    "Subset",
    "Wins",
    "best_by_size",
    "drop_one",
    "every_subset",
    "quality",
    "ranking",
    "wins",
]
