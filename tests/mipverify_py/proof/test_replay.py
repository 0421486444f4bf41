"""Replay accepts complete proofs of tiny networks, and nothing that is false or malformed."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from bounds import Bounds, linear_bounds, linear_forms
from mipverify_py.proof import Proof, ProofError, RegionBounds, Stage, Tree, TreeReplay, Units, replay, replay_tree
from mipverify_py.proof import _replay as replay_module
from onnx_models import DenseMap, NetworkBuilder, ReluNetwork, exact_logits
from tests.helpers.networks import FAMILIES, networks
from tests.helpers.oracles import pieces
from tests.helpers.proofs import (
    absolute_value,
    add_planes,
    complete_tree,
    plain_multipliers,
    proof_of,
    random_box,
    random_gammas,
    random_multipliers,
    root_tree,
    split_proof,
)

seeds = st.integers(0, 2**32 - 1)


def best_margin(network: ReluNetwork, box: Bounds) -> Fraction:
    """f_1 - f_0, exactly, at the best of the points that maximise it over one activation cell each."""
    best, limits = None, list(zip(box.lower, box.upper, strict=True))
    for g, h, f, _ in pieces(network):
        answer = linprog(f[0] - f[1], A_ub=g, b_ub=h, bounds=limits, method="highs")
        if answer.status == 0:
            logits = exact_logits(network, np.clip(answer.x, box.lower, box.upper))
            best = logits[1] - logits[0] if best is None else max(best, logits[1] - logits[0])
    assert best is not None
    return best


def reached(value: Fraction) -> float:
    """The largest float that is not above `value`."""
    result = float(value)
    return result if Fraction(result) <= value else float(np.nextafter(result, -np.inf))


def grow(rng: np.random.Generator, tree: Tree, *, hostile: bool) -> None:
    """Random numbers at the root, and random splits and refinements below it."""
    for number in range(30):
        if number == len(tree.nodes):
            break
        node = tree.nodes[number]
        node.multipliers = random_multipliers(rng, tree, hostile=hostile) if rng.random() < 0.95 else None
        node.gammas = random_gammas(rng, tree, hostile=hostile) if rng.random() < 0.7 else None
        if tree.unit_count and rng.random() < 0.6:
            tree.split(number, int(rng.integers(tree.unit_count)))
        elif rng.random() < 0.3:
            tree.refine(number)


class TestTruth:
    @pytest.mark.parametrize("family", FAMILIES)
    @settings(max_examples=6, deadline=None)
    @given(seed=seeds)
    def test_complete_splitting_proves_just_above_the_maximum_only(self, family: str, seed: int) -> None:
        """What is false by less than the last digit is not proved with multipliers that are right to the last digit."""
        rng = np.random.default_rng(seed)
        network = FAMILIES[family](rng, max_relus=5)
        box = random_box(rng, network.input_size, 0.8)
        top = best_margin(network, box)
        report = replay(proof_of(network, 0, complete_tree(network, 0, 1, box, float(top) + 1e-6, rng)))
        assert report.holds and report.failure == "" and report.nodes >= report.leaves > 0
        report = replay(proof_of(network, 0, complete_tree(network, 0, 1, box, reached(top), rng)))
        assert not report.holds and "not closed" in report.failure

    @settings(max_examples=80, deadline=None)
    @given(networks(max_relus=5), seeds, st.booleans())
    def test_no_numbers_prove_what_is_false(self, network: ReluNetwork, seed: int, hostile: bool) -> None:
        rng = np.random.default_rng(seed)
        box = random_box(rng, network.input_size, 0.8)
        tree = root_tree(network, 1, box, reached(best_margin(network, box)))
        add_planes(rng, network, tree, 2 * tree.unit_count)
        grow(rng, tree, hostile=hostile)
        assert not replay(proof_of(network, 0, tree)).holds

    def test_units_that_are_not_listed_are_relaxed_all_the_same(self) -> None:
        """f_1 - f_0 = |x| - 1/2 on [-1, 1]: the triangles' bound is 1/2 whoever lists the units."""
        network, box = absolute_value(), Bounds.of([-1.0], [1.0])
        tree = root_tree(network, 1, box, 0.5 + 1e-9)
        for units in (tree.units, (Units(2, np.array([1])),), (), (Units(2, np.array([0, 1])),)):
            tree.units, count = units, sum(len(u.units) for u in units)
            tree.nodes[0].multipliers = plain_multipliers(count)
            assert replay_tree(network, 0, tree) == []
            lower = replace(tree.stages[0], threshold=0.5)
            assert replay_tree(network, 0, Tree(1, units, [lower], [], tree.nodes)) == [0]

    def test_a_bound_that_equals_the_threshold_proves_nothing(self) -> None:
        """f_1 - f_0 is 0 everywhere; ties count as reaching the threshold."""
        builder, box = NetworkBuilder((1,)), Bounds.of([0.0], [1.0])
        network = builder.build(builder.affine([0], [DenseMap(np.zeros((2, 1)))]), fuse=False)
        bound = float(linear_forms(network, linear_bounds(network, box), np.array([[-1.0, 1.0]]), {}).bound[0])
        assert 0.0 <= bound < 1e-300
        for threshold, holds in ((0.0, False), (bound, False), (float(np.nextafter(bound, 1.0)), True)):
            tree = root_tree(network, 1, box, threshold)
            tree.nodes[0].multipliers = plain_multipliers(0)
            assert replay(proof_of(network, 0, tree)).holds == holds

    @pytest.mark.parametrize("thin", [5e-3, 1e-9, 5e-324])
    def test_a_thin_side_of_a_split_is_not_taken_for_empty(self, thin: float) -> None:
        """x / 2 - relu(x) on [-1, thin] is -thin / 2 at the right end, and 0 in the middle."""
        network = roof()
        tree = root_tree(network, 1, Bounds.of([-1.0], [thin]), -thin)
        for node in (tree.nodes[n] for n in tree.split(0, 0)):
            node.multipliers = plain_multipliers(1)
        assert replay_tree(network, 0, tree) == [1, 2]
        tree.stages[0] = Stage(Bounds.of([-thin], [1.0]), -thin)
        assert replay_tree(network, 0, tree) == [1, 2]

    def test_a_sum_that_cancels_in_floats_is_not_believed(self) -> None:
        """f_1 - f_0 = 1e16 x + x - 1e16 x = x; in floats the sum is 0."""
        builder = NetworkBuilder((1,))
        hidden = builder.relu(builder.affine([0], [DenseMap(np.ones((3, 1)))]))
        weight = np.array([[0.0, 0.0, 0.0], [1e16, 1.0, -1e16]])
        network = builder.build(builder.affine([hidden], [DenseMap(weight)]), fuse=False)
        tree = root_tree(network, 1, Bounds.of([0.0], [1.0]), 0.5)
        tree.nodes[0].multipliers = plain_multipliers(0)
        assert not replay(proof_of(network, 0, tree)).holds


class TestReport:
    def test_what_was_reached_and_closed_is_counted(self) -> None:
        report = replay(split_proof())
        assert report.holds and (report.nodes, report.leaves) == (3, 2) and report.seconds > 0

    def test_every_tree_must_hold(self) -> None:
        proof = split_proof()
        tree = proof.trees[0]
        open_tree = Tree(
            1, tree.units, tree.stages, tree.planes, [replace(tree.nodes[0], children=(), multipliers=None)]
        )
        report = replay(replace(proof, trees=(tree, open_tree)))
        assert not report.holds and report.failure == "Target 1: 1 leaves were not closed, first node 0."

    def test_a_deadline_that_has_passed_leaves_all_open(self) -> None:
        proof, late = split_proof(), time.monotonic() - 1.0
        report = replay(proof, deadline=late)
        assert not report.holds and "before the deadline" in report.failure
        assert replay_tree(proof.network, 0, proof.trees[0], deadline=late) == [1, 2]
        assert replay(proof, deadline=time.monotonic() + 60.0).holds

    def test_bounds_of_equal_regions_are_computed_once(self) -> None:
        box, known = Bounds.of([-1.0], [1.0]), RegionBounds(absolute_value())
        assert known(box) is known(Bounds.of([-1.0], [1.0])) and known(box) is not known(Bounds.of([-1.0], [0.5]))


class TestGrowth:
    """A tree over |x| - 1/2 that grows between calls; `rows` counts the nodes that are bounded."""

    @pytest.fixture
    def rows(self, monkeypatch: pytest.MonkeyPatch) -> list[int]:
        counted: list[int] = []
        bound = replay_module.linear_forms

        def counting(network, bounds, rows, lines):
            counted.append(len(rows))
            return bound(network, bounds, rows, lines)

        monkeypatch.setattr(replay_module, "linear_forms", counting)
        return counted

    def tree(self) -> Tree:
        """Neither the root nor its first child is closed."""
        tree = root_tree(absolute_value(), 1, Bounds.of([-1.0], [1.0]), 0.6)
        tree.split(0, 0)
        tree.nodes[2].multipliers = plain_multipliers(2)
        return tree

    def test_only_what_is_new_is_bounded(self, rows: list[int]) -> None:
        tree = self.tree()
        walk = TreeReplay(absolute_value(), 0, tree)
        assert walk.failures() == [1] and sum(rows) == 1
        assert walk.failures() == [1] and sum(rows) == 1
        tree.split(1, 1)
        assert walk.failures() == [3, 4] and sum(rows) == 1
        tree.nodes[3].multipliers = tree.nodes[4].multipliers = plain_multipliers(2)
        assert walk.failures() == [] and sum(rows) == 3
        assert (walk.nodes, walk.closed_leaves) == (5, 3)
        assert TreeReplay(absolute_value(), 0, tree).failures() == []

    def test_a_leaf_that_was_closed_is_checked_again_when_its_numbers_change(self, rows: list[int]) -> None:
        tree = self.tree()
        tree.nodes[1].multipliers = plain_multipliers(2)
        walk = TreeReplay(absolute_value(), 0, tree)
        assert walk.failures() == [] and sum(rows) == 2
        tree.nodes[1].multipliers = None
        assert walk.failures() == [1]
        tree.nodes[1].multipliers = plain_multipliers(2)
        assert walk.failures() == [] and sum(rows) == 3

    def test_everything_below_a_changed_node_is_checked_again(self, rows: list[int]) -> None:
        tree = self.tree()
        tree.nodes[1].multipliers = plain_multipliers(2)
        walk = TreeReplay(absolute_value(), 0, tree)
        walk.failures()
        tree.nodes[0].multipliers, tree.nodes[0].gammas = plain_multipliers(2), np.zeros((2, 2))
        assert walk.failures() == [] and sum(rows) == 3  # the root's bound closes it
        tree.nodes[0].gammas = None
        assert walk.failures() == [] and sum(rows) == 5

    def test_a_node_whose_children_were_taken_away_is_a_leaf_again(self) -> None:
        tree = self.tree()
        tree.nodes[0].multipliers = plain_multipliers(2)  # would close the root, but it has children and no gammas
        walk = TreeReplay(absolute_value(), 0, tree)
        assert walk.failures() == [1]
        tree.nodes[0].children = ()
        assert walk.failures() == [] and walk.nodes == 1

    def test_a_later_stage_leaves_closed_leaves_closed(self, rows: list[int]) -> None:
        """With threshold 0.45 the first child, x >= 0, is only closed on the smaller box of the second stage."""
        network, tree = absolute_value(), self.tree()
        tree.stages[0] = Stage(Bounds.of([-0.9], [1.0]), 0.45)
        tree.nodes[1].multipliers = plain_multipliers(2)
        walk = TreeReplay(network, 0, tree)
        assert walk.failures() == [1] and sum(rows) == 2
        tree.stages.append(Stage(Bounds.of([-0.9], [0.9]), 0.45))
        tree.nodes[1].stage = 1
        assert walk.failures() == [] and sum(rows) == 3
        assert replay(proof_of(network, 0, tree)).holds
        first = Proof(network, 0, tree.stages[0].region, 0.45, (tree,))
        assert not replay(first).holds

    def test_parts_of_a_tree_may_only_be_appended_to(self) -> None:
        network, tree = absolute_value(), self.tree()
        walk = TreeReplay(network, 0, tree)
        walk.failures()
        tree.stages[0] = Stage(tree.stages[0].region, 0.7)
        with pytest.raises(ProofError, match="stages of the tree were changed"):
            walk.failures()

    def test_forms_of_open_leaves_bound_the_margin_there(self) -> None:
        """x >= 0: the first unit is x, and the second at most (1 - x) / 2, so |x| - 1/2 <= x / 2."""
        tree = self.tree()
        tree.nodes[1].multipliers = plain_multipliers(2)
        tree.stages[0] = Stage(tree.stages[0].region, 0.3)
        walk = TreeReplay(absolute_value(), 0, tree)
        failing = walk.failures()
        assert failing == [1, 2]
        (forms,) = walk.forms_of(failing)
        assert forms.slopes == pytest.approx(np.array([[0.5], [-0.5]])) and forms.constant == pytest.approx([0.0, 0.0])
        tree.nodes[2].multipliers = None
        assert [f.bound.tolist() for f in walk.forms_of(walk.failures())][1] == [np.inf]

    def test_bounds_of_a_later_stage_are_taken_in(self) -> None:
        """On [0.1, 0.4] both units are stable and |x| - 1/2 is at most -0.1; over [-1, 1] the second unit is not."""
        network = absolute_value()
        tree = root_tree(network, 1, Bounds.of([-1.0], [1.0]), -0.05)
        on, _ = tree.split(0, 0)
        tree.nodes[on].multipliers = plain_multipliers(2)
        assert replay_tree(network, 0, tree) == [1, 2]
        tree.stages.append(Stage(Bounds.of([0.1], [0.4]), -0.05))
        tree.nodes[1].stage = tree.nodes[2].stage = 1
        assert replay_tree(network, 0, tree) == []  # the second child, x <= 0, is empty

    def test_an_only_child_starts_from_the_tightened_state(self) -> None:
        """f = x / 2 - relu(x) <= 0. As relu(x) >= 0, only x >= 0.4 may reach 0.2; there relu(x) is x, so none does."""
        network = roof()
        tree = root_tree(network, 1, Bounds.of([-1.0], [1.0]), 0.2)
        tree.nodes[0].multipliers = plain_multipliers(1)
        tree.nodes[0].gammas = np.full((2, 1), 2.0)
        assert replay_tree(network, 0, tree) == [0]
        child = tree.nodes[tree.refine(0)]
        child.multipliers = plain_multipliers(1)
        walk = TreeReplay(network, 0, tree)
        assert walk.failures() == [1]
        child.gammas = np.full((2, 1), 2.0)
        assert walk.failures() == [] and replay(proof_of(network, 0, tree)).holds
        tree.stages[0] = replace(tree.stages[0], threshold=0.0)
        assert replay_tree(network, 0, tree) == [1]


def roof() -> ReluNetwork:
    """f_0 = 0, f_1 = x / 2 - relu(x)."""
    builder = NetworkBuilder((1,))
    hidden = builder.relu(builder.affine([0], [DenseMap(np.ones((1, 1)))]))
    slopes = [DenseMap(np.array([[0.0], [0.5]])), DenseMap(np.array([[0.0], [-1.0]]))]
    return builder.build(builder.affine([0, hidden], slopes), fuse=False)


def test_replay_knows_no_engine() -> None:
    code = "import sys, mipverify_py.proof; assert not any('engines' in name for name in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
