"""Smaller radii, where a distance is not closed in time."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from mipverify_py import Options, Query, Result, StopReason, distance, replay
from mipverify_py._search import Search
from mipverify_py._witness import Witness
from mipverify_py.engines import _ladder, _native
from mipverify_py.engines._ladder import climb, is_hopeless
from mipverify_py.engines._native import NativeEngine
from mipverify_py.proof import Tree
from tests.helpers.queries import OWN, hard_question


def tree(*nodes: tuple[int, int, bool]) -> Tree:
    """A tree of (parent, sign, whether it is bounded)."""
    made = Tree(0, ())
    for parent, sign, bounded in nodes:
        children = tuple(k for k, (above, _, _) in enumerate(nodes) if above == len(made.nodes))
        made.nodes.append(SimpleNamespace(parent=parent, sign=sign, children=children, multipliers=bounded or None))
    return made


@pytest.mark.parametrize(
    ("nodes", "share"),
    [
        ([(-1, 0, False)], 1.0),
        ([(-1, 0, True)], 0.0),
        ([(-1, 0, True), (0, 1, False), (0, -1, True)], 0.5),
        ([(-1, 0, True), (0, 1, True), (0, -1, True), (1, 1, False), (1, -1, False)], 0.5),
        ([(-1, 0, True), (0, 0, True), (1, 1, True), (1, -1, True), (3, 1, False), (3, -1, True)], 0.25),
    ],
)
def test_each_half_of_a_split_counts_half(nodes: list[tuple[int, int, bool]], share: float) -> None:
    assert _ladder._open_share(tree(*nodes)) == share
    assert is_hopeless([tree(*nodes)]) == (share > 0.5)
    assert is_hopeless([tree(*nodes)] * 3) == (share > 0.5 / 3)


RESOLUTION = 0.03
"""Coarser than in earnest: the last radii take the most time."""


@pytest.fixture(autouse=True)
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_ladder, "RESOLUTION", RESOLUTION)


def turned(monkeypatch: pytest.MonkeyPatch) -> Result:
    """A distance of which the engine thinks, after its first round, that it will not be closed."""
    network, x0 = hard_question()
    monkeypatch.setattr(_native, "SHARE", 1.0)
    monkeypatch.setattr(_native, "is_hopeless", lambda _: True)
    return distance(network, x0, options=Options(time_limit=60.0))


@pytest.mark.slow
def test_radii_up_to_a_little_below_the_distance_are_proved(monkeypatch: pytest.MonkeyPatch) -> None:
    result = turned(monkeypatch)
    network, x0 = hard_question()
    truth = distance(network, x0).upper
    assert result.stop_reason is StopReason.TIME_LIMIT and result.evidence in OWN
    assert result.lower is not None and result.upper is not None and truth is not None
    assert result.lower <= truth <= result.upper * (1 + 1e-9)
    assert result.lower >= (1 - 2 * RESOLUTION) * truth
    assert result.proof is not None and replay(result.proof).holds
    assert np.abs(result.proof.region.upper - x0).max() >= 0.999 * result.lower
    assert result.statistics.nodes > 0


def test_an_interruption_keeps_the_best_radius(monkeypatch: pytest.MonkeyPatch) -> None:
    proved: list[float] = []

    def interrupted(search: Search, radius: float, run: object) -> int:
        def once(inner: Search) -> None:
            if proved:
                raise KeyboardInterrupt
            NativeEngine(inner).run()
            proved.append(float((inner.query.box.upper - inner.query.x0).max()))

        return climb(search, radius, once)

    monkeypatch.setattr(_native, "climb", interrupted)
    result = turned(monkeypatch)
    assert result.stop_reason is StopReason.INTERRUPTED
    assert result.lower is not None and proved and result.lower >= 0.999 * proved[0]
    assert result.proof is not None and replay(result.proof).holds


def test_a_witness_on_the_way_is_a_nearer_one_and_a_bound_from_above() -> None:
    network, x0 = hard_question()
    query = Query(network, x0)
    near = distance(network, x0)
    assert near.witness is not None and near.upper is not None
    far = np.clip(x0 + 1.5 * (near.witness.point - x0), query.box.lower, query.box.upper)
    search = Search(query, Options(time_limit=60.0), None, witness=Witness(query, far))
    asked: list[float] = []

    def run(inner: Search) -> None:
        asked.append(float((inner.query.box.upper - inner.query.x0).max()))
        if asked[-1] > near.upper:
            inner.witness = near.witness
        else:
            NativeEngine(inner).run()

    climb(search, search.witness.distance, run)
    assert any(radius > near.upper for radius in asked)
    assert search.witness.distance == pytest.approx(near.upper, rel=1e-9)
    assert search.proven is not None and (1 - 3 * RESOLUTION) * near.upper <= search.proven <= near.upper


def test_without_time_nothing_is_tried() -> None:
    network, x0 = hard_question()
    search = Search(Query(network, x0), Options(time_limit=1e-9), None)
    assert climb(search, 1.0, lambda _: pytest.fail("was asked")) == 0
    assert search.proven is None
