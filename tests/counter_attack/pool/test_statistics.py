"""Statistics of pools against naive loops over inputs and attacks."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import linregress

from counter_attack.pool import (
    DistanceTable,
    Quality,
    Subset,
    best_by_size,
    drop_one,
    every_subset,
    quality,
    ranking,
    wins,
)
from onnx_models.errors import InputError

# Few different values, so that ties are common.
_DISTANCE = st.one_of(st.none(), st.integers(0, 5).map(lambda v: v / 256))
_EXACT = st.integers(0, 6).map(lambda v: v / 256)


@st.composite
def _tables(draw: st.DrawFn) -> tuple[DistanceTable, list[list[float | None]], list[float]]:
    """A table, the same as lists with None for failures, and exact distances."""
    attacks, inputs = draw(st.integers(1, 4)), draw(st.integers(1, 8))
    rows = [[draw(_DISTANCE) for _ in range(attacks)] for _ in range(inputs)]
    array = np.array([[np.nan if v is None else v for v in row] for row in rows])
    return DistanceTable(tuple("abcd"[:attacks]), array), rows, [draw(_EXACT) for _ in range(inputs)]


def _naive(rows: list[list[float | None]], columns: tuple[int, ...], exact: list[float]) -> dict[str, float | None]:
    pairs = []
    for row, t in zip(rows, exact, strict=True):
        found = [row[c] for c in columns if row[c] is not None]
        if found:
            pairs.append((min(found), t))  # type: ignore[type-var]
    if not pairs:
        return {"success": 0.0, "difference": None, "below": None, "r2": None}
    a, t = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    mean_a, mean_t = sum(a) / len(a), sum(t) / len(t)
    flat = len(set(a)) == 1 or len(set(t)) == 1
    return {
        "success": len(pairs) / len(rows),
        "difference": (mean_a - mean_t) / mean_t if mean_t > 0 else None,
        "below": sum(abs(u - v) < 1 / 255 for u, v in pairs) / len(pairs),
        "r2": None if flat else linregress(t, a).rvalue ** 2,
    }


def _agree(found: Quality, expected: dict[str, float | None]) -> None:
    for key, value in expected.items():
        if value is None:
            assert getattr(found, key) is None, key
        else:
            assert getattr(found, key) == pytest.approx(value, rel=1e-9, abs=1e-12), key


@given(_tables())
def test_closest_is_the_least_that_succeeds(case: Any) -> None:
    table, rows, _ = case
    closest = table.closest()
    for i, row in enumerate(rows):
        known = [v for v in row if v is not None]
        if not known:
            assert math.isnan(closest.distance[i])
            assert (closest.attack[i], closest.ties[i]) == (-1, 0)
        else:
            assert closest.distance[i] == min(known)
            assert closest.attack[i] == row.index(min(known))
            assert closest.ties[i] == row.count(min(known))


@given(_tables())
def test_every_subset_is_measured(case: Any) -> None:
    table, rows, exact = case
    k = len(table.attacks)
    expected = [c for size in range(1, k + 1) for c in itertools.combinations(range(k), size)]
    found = every_subset(table, exact)
    assert [subset.attacks for subset in found] == [tuple(table.attacks[i] for i in c) for c in expected]
    for subset, columns in zip(found, expected, strict=True):
        _agree(subset.quality, _naive(rows, columns, exact))


@given(_tables())
def test_dropping_one_leaves_the_others(case: Any) -> None:
    table, rows, exact = case
    k = len(table.attacks)
    whole, *rest = drop_one(table, exact)
    assert whole.attack is None
    assert whole.quality is not None
    _agree(whole.quality, _naive(rows, tuple(range(k)), exact))
    for i, dropped in enumerate(rest):
        assert dropped.attack == table.attacks[i]
        others = tuple(j for j in range(k) if j != i)
        if others:
            assert dropped.quality is not None
            _agree(dropped.quality, _naive(rows, others, exact))
        else:
            assert dropped.quality is None
        alone = sum(
            row[i] is not None and all(row[j] is None or row[i] < row[j] for j in others)
            for row in rows  # type: ignore[operator]
        )
        assert dropped.alone == alone


@given(_tables(), st.sampled_from(["r2", "difference", "below"]))
def test_the_best_pool_of_each_size_is_beaten_by_none(case: Any, by: Any) -> None:
    table, _, exact = case
    subsets = every_subset(table, exact)

    def better(one: Subset, other: Subset) -> bool:
        a, b = one.quality, other.quality
        if a.success != b.success:
            return bool(a.success > b.success)  # type: ignore[operator]
        u, v = getattr(a, by), getattr(b, by)
        if u is None or v is None:
            return u is not None and v is None
        return bool(u < v if by == "difference" else u > v)

    for size, best in enumerate(best_by_size(subsets, by), start=1):
        pools = [subset for subset in subsets if len(subset.attacks) == size]
        chosen = next(subset for subset in pools if subset.attacks == best.attacks)
        assert not any(better(other, chosen) for other in pools)
        assert best.equals == sum(not better(chosen, other) for other in pools) - 1
        assert next(p for p in pools if not better(chosen, p)).attacks == best.attacks  # the first among equals


@given(_tables())
def test_duels_count_wins_and_ties(case: Any) -> None:
    table, rows, _ = case
    found = wins(table)
    for i, j in itertools.product(range(len(table.attacks)), repeat=2):
        pairs = [(math.inf if row[i] is None else row[i], math.inf if row[j] is None else row[j]) for row in rows]
        assert found.wins[i, j] == sum(u < v for u, v in pairs)
        assert found.ties[i, j] == sum(u == v for u, v in pairs)
        assert found.wins[i, j] + found.wins[j, i] + found.ties[i, j] == found.inputs == len(rows)


@given(_tables())
def test_ranks_share_ties_and_put_failures_last(case: Any) -> None:
    table, rows, _ = case
    found = {rank.attack: rank for rank in ranking(table)}
    assert [rank.mean_rank for rank in found.values()] == sorted(rank.mean_rank for rank in found.values())
    for i, name in enumerate(table.attacks):
        ranks, closest, alone = [], 0, 0
        for row in rows:
            values = [math.inf if v is None else v for v in row]
            less, same = sum(v < values[i] for v in values), sum(v == values[i] for v in values)
            ranks.append(less + (same + 1) / 2)
            closest += less == 0 and row[i] is not None
            alone += less == 0 and same == 1 and row[i] is not None
        assert found[name].mean_rank == pytest.approx(sum(ranks) / len(ranks))
        assert (found[name].closest, found[name].alone) == (closest, alone)
        assert found[name].successes == sum(row[i] is not None for row in rows)


def test_tiny_distances_keep_their_correlation() -> None:
    t = np.array([1.0, 2.0, 3.0, 5.0]) * 1e-200
    assert quality(2 * t, t).r2 == pytest.approx(1.0)


def test_thirteen_attacks_have_too_many_subsets() -> None:
    table = DistanceTable(tuple(map(str, range(13))), np.ones((2, 13)))
    with pytest.raises(InputError, match="8191 subsets; choose at most 12"):
        every_subset(table, np.ones(2))
    assert len(every_subset(table.only(table.attacks[:12]), np.ones(2))) == 4095


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({}, "different names; got none"),
        ({"a": [1.0], "b": [1.0, 2.0]}, r"shapes a \(1,\), b \(2,\)"),
        ({"a": [[1.0]]}, r"got shapes a \(1, 1\)"),
        ({"a": [0.5], "b": [-1.0]}, "Input 0 has the distance -1.0 by b"),
        ({"a": [0.5, np.inf]}, "Input 1 has the distance inf by a"),
    ],
)
def test_a_table_that_makes_no_sense_is_refused(columns: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        DistanceTable.of(columns)


def test_names_come_once_and_are_known() -> None:
    with pytest.raises(InputError, match="different names; got a, a"):
        DistanceTable(("a", "a"), np.ones((1, 2)))
    with pytest.raises(InputError, match="no distances by c; there are a, b"):
        DistanceTable.of({"a": [1.0], "b": [1.0]}).only(["a", "c"])


@pytest.mark.parametrize("exact", [[1.0], [1.0, np.nan], [1.0, -1.0], [1.0, np.inf]])
def test_exact_distances_that_make_no_sense_are_refused(exact: list[float]) -> None:
    with pytest.raises(InputError, match="xact"):
        quality([1.0, 2.0], exact)
