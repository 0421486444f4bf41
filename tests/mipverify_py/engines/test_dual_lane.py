"""Fronts of the batched duals: they share one tree's nodes, have planes of their own, and lose nothing."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from mipverify_py.engines import _dual_search as search_module
from mipverify_py.engines._dual_bound import DualBounder
from mipverify_py.engines._dual_search import DualSearch
from mipverify_py.engines._target import Status
from tests.helpers.duals import Interrupter, advanced, failures, lineage, true_maximum, wide_problem


class TestLanes:
    @pytest.fixture(autouse=True)
    def _soon(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Lanes share from two nodes on, and separate planes with every batch."""
        monkeypatch.setattr(search_module, "batch_size", lambda *_: 1)
        monkeypatch.setattr(search_module, "SHARED", 2)
        monkeypatch.setattr(search_module, "FIRST_RENEWAL", 2)
        monkeypatch.setattr(search_module, "PLANES", 1)

    @pytest.mark.parametrize("reads", [None, 4])
    def test_all_lanes_work_on_one_tree(self, reads: int | None) -> None:
        problem = wide_problem(0, inputs=12, units=9, reads=reads)
        search = DualSearch(problem, 1, true_maximum(problem, 1) + 1e-3, DualBounder(problem))
        busy = 0
        while search.status is Status.OPEN:
            search.advance(4, None)
            busy = max(busy, sum(bool(lane.open) for lane in search._lanes))
        assert busy > 1 and failures(problem, search.tree) == []

    def test_a_lane_takes_half_with_planes_of_its_own(self) -> None:
        problem = wide_problem(0, inputs=12, units=9)
        search = DualSearch(problem, 1, true_maximum(problem, 1) + 1e-3, DualBounder(problem))
        first, second, *_ = search._lanes
        while len(first.open) < 2:
            first.open and search._take(
                first, first.newest(1), *first.bound(first.newest(1), renew=True, downward=True)
            )
        before = dict(first.open)
        second.take_from(first)
        assert {**first.open, **second.open} == before and not set(first.open) & set(second.open)
        (mine,), (yours,) = first.planes.values(), second.planes.values()
        assert torch.equal(mine.coefficients, yours.coefficients)
        yours.replace(torch.tensor([0]), torch.zeros(1, 12, dtype=torch.float64), torch.zeros(9, yours.count))
        assert not torch.equal(mine.coefficients, yours.coefficients) and not np.array_equal(mine.births, yours.births)

    @pytest.mark.slow
    def test_sharing_that_is_interrupted_loses_and_doubles_nothing(self) -> None:
        problem = wide_problem(0, inputs=12, units=9)
        threshold, fired, line = true_maximum(problem, 1) + 1e-3, True, 0
        while fired:
            line += 29
            search = DualSearch(problem, 1, threshold, DualBounder(problem))
            search.advance(6, None)
            interrupter, before = Interrupter(line), sys.gettrace()
            try:
                sys.settrace(interrupter)
                search.advance(4, None)
            except KeyboardInterrupt:
                pass
            finally:
                sys.settrace(before)
            fired = interrupter.fired
            assert len(search.open_nodes) == sum(len(lane.open) for lane in search._lanes)
            assert all(search.open_nodes.keys() & lineage(search.tree, n) for n in failures(problem, search.tree))
            if line % 290 == 0:
                advanced(search)
                assert search.status is Status.PROVED and failures(problem, search.tree) == []
        assert line > 100
