"""Engine `duals`: what it calls proved replays, what it leaves open is undecided, and it can be stopped anywhere."""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bounds import Bounds, linear_bounds
from mipverify_py.engines import _dual_lane as lane_module
from mipverify_py.engines._dual_bound import DualBounder
from mipverify_py.engines._dual_search import DualSearch
from mipverify_py.engines._problem import Problem
from mipverify_py.engines._target import Status
from mipverify_py.proof import Multipliers, Tree, TreeReplay
from tests.helpers.duals import (
    ODD,
    Interrupter,
    advanced,
    failures,
    lineage,
    odd_problem,
    random_problem,
    searched,
    true_maximum,
    wide_problem,
)
from tests.helpers.networks import FAMILIES

seeds = st.integers(0, 2**32 - 1)


def check_ended(problem: Problem, search: DualSearch) -> None:
    """Proved trees replay; otherwise every leaf that does not hold is stuck, and there all units are fixed."""
    failing = failures(problem, search.tree)
    if search.status is Status.PROVED:
        assert failing == [] and search.bound == -np.inf
        return
    assert search.status is Status.STUCK and search.bound >= search.tree.stages[-1].threshold - 1e-6
    left = {node.number: node for node in search.hand_over()}
    assert set(failing) <= set(left)
    for node in left.values():
        assert np.all((node.signs != 0) | (node.lower >= 0) | (node.upper <= 0))


def smaller(box: Bounds, share: float) -> Bounds:
    """The box shrunk towards its middle."""
    middle, radius = 0.5 * (box.lower + box.upper), 0.5 * share * (box.upper - box.lower)
    return Bounds(np.maximum(box.lower, middle - radius), np.minimum(box.upper, middle + radius))


def restricted(problem: Problem, search: DualSearch, bounder: DualBounder, box: Bounds, threshold: float) -> None:
    """Passes a smaller box to a search and its bounder."""
    bounds = linear_bounds(problem.network, box)
    bounder.move(box)
    search.restrict(bounds, threshold)


def same(first: Tree, second: Tree) -> bool:
    """Whether two trees are equal to the last bit."""

    def numbers(m: Multipliers | None) -> list[bytes]:
        return [] if m is None else [a.tobytes() for a in (m.alpha, m.rho, m.planes, m.weights)]

    def told(tree: Tree) -> list[Any]:
        nodes = [
            (
                n.parent,
                n.unit,
                n.sign,
                n.stage,
                n.children,
                *numbers(n.multipliers),
                None if n.gammas is None else n.gammas.tobytes(),
            )
            for n in tree.nodes
        ]
        return [nodes, [(p.unit, p.entries.tobytes(), p.coefficients.tobytes()) for p in tree.planes]]

    return told(first) == told(second)


class TestTruth:
    @pytest.mark.parametrize("family", FAMILIES)
    @settings(max_examples=4)
    @given(seed=seeds)
    def test_thresholds_above_the_maximum_are_proved_and_no_others(self, family: str, seed: int) -> None:
        problem = random_problem(family, seed)
        for target in problem.targets:
            top = true_maximum(problem, target)
            scale = 1.0 + abs(top)
            search = searched(problem, target, top + 1e-3 * scale)
            assert search.status is Status.PROVED
            check_ended(problem, search)
            check_ended(problem, searched(problem, target, top + 1e-8 * scale))
            below = searched(problem, target, top - 1e-7 * scale)
            assert below.status is Status.STUCK
            check_ended(problem, below)

    @pytest.mark.parametrize("name", ODD)
    def test_odd_networks(self, name: str) -> None:
        problem = odd_problem(name)
        for target in problem.targets:
            top = true_maximum(problem, target)
            proved = searched(problem, target, top + 1e-3)
            assert proved.status is Status.PROVED
            check_ended(problem, proved)
            below = searched(problem, target, top - 1e-6)
            assert below.status is Status.STUCK
            check_ended(problem, below)

    @pytest.mark.parametrize("reads", [None, 4])
    def test_wide_layers_with_planes(self, reads: int | None) -> None:
        for seed in range(3):
            problem = wide_problem(seed, inputs=14, units=9, reads=reads)
            top = true_maximum(problem, 1)
            search = searched(problem, 1, top + 1e-3)
            assert search.status is Status.PROVED and search.tree.planes and len(search.tree.nodes) > 1
            check_ended(problem, search)

    def test_units_without_weight_on_the_margin_are_not_split_in_vain(self) -> None:
        """Two of the three unstable units are read by nobody, so one split at most is of use."""
        problem = odd_problem("units that nobody reads")
        search = searched(problem, 1, true_maximum(problem, 1) + 1e-3)
        assert len(search.tree.nodes) <= 3


class TestProgress:
    def test_budgets_and_deadlines_are_kept(self) -> None:
        problem = wide_problem(0, inputs=14, units=10)
        search = DualSearch(problem, 1, true_maximum(problem, 1) + 1e-4, DualBounder(problem))
        assert search.advance(0, None).nodes == 0 and search.bound == np.inf
        assert search.advance(10, time.monotonic() - 1.0).nodes == 0
        total = 0
        for quantum in (1, 1, 3, 7, 50):
            count = sum(1 for n in search.tree.nodes if n.multipliers is not None)
            step = search.advance(quantum, time.monotonic() + 60.0)
            assert step.nodes <= quantum and (step.nodes == quantum or step.status is not Status.OPEN)
            total += step.nodes
            assert sum(1 for n in search.tree.nodes if n.multipliers is not None) == count + step.nodes == total
            assert step.points.shape[1] == 14 and all(problem.box.contains(p) for p in step.points)

    def test_bounds_fall_and_stay_above_the_maximum(self) -> None:
        problem = wide_problem(1, inputs=14, units=10)
        top, before = true_maximum(problem, 1), np.inf
        search = DualSearch(problem, 1, top - 0.5, DualBounder(problem))
        while search.status is Status.OPEN and len(search.tree.nodes) < 400:
            search.advance(5, None)
            assert top - 1e-9 <= search.bound <= before
            before = search.bound

    @pytest.mark.parametrize("family", FAMILIES)
    def test_what_does_not_hold_is_open_at_any_time(self, family: str) -> None:
        for seed in range(4):
            problem = random_problem(family, seed)
            bounder = DualBounder(problem)
            search = DualSearch(problem, 2, true_maximum(problem, 2) + 1e-4, bounder)
            replay = TreeReplay(problem.network, problem.reference, search.tree)
            while search.status is Status.OPEN:
                assert set(replay.failures()) <= set(search.open_nodes) | set(search.stuck_nodes)
                search.advance(2, None)
            check_ended(problem, search)

    def test_points_are_good_witnesses(self) -> None:
        problem = wide_problem(2, inputs=14, units=8)
        top = true_maximum(problem, 1)
        search = DualSearch(problem, 1, top - 1.0, DualBounder(problem))
        points = np.vstack([search.advance(20, None).points for _ in range(3)])
        logits = problem.network.forward_batch(points)
        assert (logits[:, 1] - logits[:, 0]).max() >= top - 1.0


class TestRestrict:
    @pytest.mark.parametrize("family", FAMILIES)
    @settings(max_examples=4)
    @given(seed=seeds, first=st.sampled_from([0, 1, 4, 400]), rise=st.sampled_from([0.0, 0.1]))
    def test_a_smaller_box_and_a_larger_threshold(self, family: str, seed: int, first: int, rise: float) -> None:
        """Also with nodes that are stuck, and after all is proved."""
        problem = random_problem(family, seed)
        bounder, inner = DualBounder(problem), smaller(problem.box, 0.8)
        top = true_maximum(problem, 1, inner)
        search = DualSearch(problem, 1, top + 1e-3 - rise, bounder)
        search.advance(first, None)
        restricted(problem, search, bounder, inner, top + 1e-3)
        advanced(search)
        assert search.status is Status.PROVED and len(search.tree.stages) == 2
        check_ended(problem, search)
        innermost = smaller(problem.box, 0.1)
        restricted(problem, search, bounder, innermost, top + 1.0)
        assert search.status is Status.PROVED and failures(problem, search.tree) == []

    def test_stuck_nodes_are_taken_up_again(self) -> None:
        problem = random_problem("dense", 3)
        bounder, top = DualBounder(problem), true_maximum(problem, 1)
        search = DualSearch(problem, 1, top - 0.2, bounder)
        advanced(search)
        assert search.status is Status.STUCK
        restricted(problem, search, bounder, problem.box, top + 1e-3)
        assert search.status is Status.OPEN
        advanced(search)
        assert search.status is Status.PROVED and failures(problem, search.tree) == []

    def test_a_box_of_one_point(self) -> None:
        problem = wide_problem(3)
        bounder, search_box = DualBounder(problem), smaller(problem.box, 0.0)
        search = DualSearch(problem, 1, 1e-3, bounder)
        search.advance(5, None)
        restricted(problem, search, bounder, search_box, true_maximum(problem, 1, search_box) + 1e-6)
        advanced(search)
        assert search.status is Status.PROVED and failures(problem, search.tree) == []


class TestHandOver:
    def test_all_open_nodes_go_and_nothing_is_left(self) -> None:
        problem = wide_problem(4, inputs=14, units=10)
        search = DualSearch(problem, 1, true_maximum(problem, 1) - 0.1, DualBounder(problem))
        advanced(search, 30, 10)
        open_leaves = failures(problem, search.tree)
        found = search.hand_over()
        assert {n.number for n in found} >= set(open_leaves) and len(open_leaves) > 1
        assert search.advance(10, None).nodes == 0 and search.hand_over() == []
        for node in found:
            entry = search.tree.nodes[node.number]
            assert not entry.children and node.signs.dtype == np.int8 and node.gammas.shape == (2, problem.unit_count)
            above = [search.tree.nodes[k] for k in lineage(search.tree, node.number)]
            path = {entry.unit: entry.sign for entry in above if entry.sign}
            assert {int(k): int(node.signs[k]) for k in np.flatnonzero(node.signs)} == path
            for unit, sign in path.items():
                assert node.lower[unit] >= 0 if sign > 0 else node.upper[unit] <= 0

    def test_a_search_that_has_bounded_nothing_hands_over_the_root(self) -> None:
        problem = wide_problem(5)
        (node,) = DualSearch(problem, 1, 0.0, DualBounder(problem)).hand_over()
        unit = problem.unit_bounds(problem.bounds)
        assert node.number == 0 and node.bound == np.inf and not node.signs.any() and not node.gammas.any()
        np.testing.assert_array_equal(node.lower, unit.lower)
        np.testing.assert_array_equal(node.upper, unit.upper)


class TestReopen:
    def test_the_tree_is_started_again_with_more_room(self) -> None:
        problem = wide_problem(6)
        bounder, box = DualBounder(problem), smaller(problem.box, 0.9)
        top = true_maximum(problem, 1, box)
        search = DualSearch(problem, 1, top + 1e-2, bounder)
        restricted(problem, search, bounder, box, top + 1e-2)
        advanced(search)
        first = search.tree
        search.reopen([0])
        assert search.status is Status.OPEN and search.tree is not first and len(search.tree.nodes) == 1
        assert [stage.region for stage in search.tree.stages] == [problem.box, box]
        advanced(search)
        assert search.status is Status.PROVED and failures(problem, search.tree) == []

    def test_a_threshold_within_the_room_for_rounding_is_not_claimed(self) -> None:
        problem = wide_problem(7)
        top = true_maximum(problem, 1)
        search = DualSearch(problem, 1, top + 1e-6, DualBounder(problem))
        for _ in range(3):
            search.reopen([])
        assert advanced(search) > 0 and search.status is Status.STUCK


class TestDeterminism:
    def test_alternating_and_threaded_searches_build_the_same_trees(self) -> None:
        problem = wide_problem(8, inputs=16, units=10)
        thresholds = {target: true_maximum(problem, target) - 1.0 for target in problem.targets}
        alone = {t: searched(problem, t, thresholds[t], nodes=120, quantum=20).tree for t in problem.targets}
        bounder = DualBounder(problem)
        pair = [DualSearch(problem, t, thresholds[t], bounder) for t in problem.targets]
        for _ in range(6):
            for search in pair:
                search.advance(20, None)
        threaded = [DualSearch(problem, t, thresholds[t], bounder) for t in problem.targets]
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda search: [search.advance(20, None) for _ in range(6)], threaded))
        assert all(len(tree.nodes) > 10 for tree in alone.values())
        for search in (*pair, *threaded):
            assert same(search.tree, alone[search.target])


class TestInterruption:
    @pytest.mark.parametrize("start", [pytest.param(0, marks=pytest.mark.slow), 1])
    def test_at_any_line_no_node_is_lost(self, start: int, monkeypatch: pytest.MonkeyPatch) -> None:
        """The tree can be replayed, every leaf that does not hold is open, and the search goes on to its end."""
        monkeypatch.setattr(lane_module, "ROOT_ROUNDS", 2)
        problem = wide_problem(9, inputs=8, units=4)
        threshold = true_maximum(problem, 1) + 1e-3
        fired, line = True, 0
        while fired:
            line += 9
            search = DualSearch(problem, 1, threshold, DualBounder(problem))
            search.advance(start, None)
            interrupter, before = Interrupter(line), sys.gettrace()
            try:
                sys.settrace(interrupter)
                search.advance(2, None)
            except KeyboardInterrupt:
                pass
            finally:
                sys.settrace(before)
            fired = interrupter.fired
            left = set(search.open_nodes) | set(search.stuck_nodes)
            assert all(left & lineage(search.tree, number) for number in failures(problem, search.tree))
            if line % 90 == 0:
                advanced(search)
                assert search.status is Status.PROVED and failures(problem, search.tree) == []
        assert line > 100


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, which torch does not see here")
@pytest.mark.parametrize("reads", [None, 4])
def test_on_a_gpu_the_tree_replays(reads: int | None) -> None:
    problem = wide_problem(0, inputs=14, units=10, reads=reads)
    search = DualSearch(problem, 1, true_maximum(problem, 1) + 1e-3, DualBounder(problem, "cuda"))
    advanced(search)
    assert search.status is Status.PROVED and failures(problem, search.tree) == []
