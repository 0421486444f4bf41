"""Refinements in proofs: no content makes a bound false, and what is malformed is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bounds import Bounds, NetworkBounds, linear_bounds
from mipverify_py.proof import (
    Multipliers,
    Plane,
    Proof,
    ProofError,
    ProofNode,
    RefinedUnits,
    RegionBounds,
    Slopes,
    Stage,
    Tree,
    replay,
    without_trees,
)
from mipverify_py.proof._refinement import refined_bounds
from onnx_models import DenseMap, NetworkBuilder, ReluNetwork
from tests.helpers.networks import FAMILIES
from tests.helpers.proofs import HOSTILE, random_box, samples, tree_units


def chain(seed: int) -> ReluNetwork:
    rng = np.random.default_rng(seed)
    builder, node = NetworkBuilder((3,)), 0
    for before, after in ((3, 4), (4, 4), (4, 2)):
        weight = DenseMap(rng.normal(size=(after, before)))
        node = builder.affine((node,), (weight,), 0.1 * rng.normal(size=after))
        node = builder.relu(node) if after == 4 else node
    return builder.build(node)


def hostile(rng: np.random.Generator, network: ReluNetwork, box: Bounds) -> tuple[RefinedUnits, ...]:
    """Refinements of every ReLU node with any numbers at all, and trees that split any unit."""
    found, listed = [], tree_units(network, linear_bounds(network, box))
    for relu in network.relu_indices:
        size = network.nodes[relu].size
        units = np.flatnonzero(rng.random(size) < 0.7)
        earlier = [k for k in network.relu_indices if k < relu and rng.random() < 0.8]
        slopes = []
        for k in earlier:
            chosen = np.flatnonzero(rng.random(network.nodes[k].size) < 0.7)
            values = rng.choice(HOSTILE, size=(2, len(units), len(chosen)))
            with np.errstate(over="ignore"):
                slopes.append(Slopes(k, chosen, values.astype(np.float16)))
        limits = rng.choice([np.inf, np.nan, -1e3, 0.0, 0.1, 1e300], size=(2, len(units)))
        before = tuple(u for u in listed if u.relu < relu)
        targets = np.flatnonzero(rng.random(2 * len(units)) < 0.5)
        trees = tuple(hostile_tree(rng, int(t) + 1, before, box) for t in targets)
        found.append(RefinedUnits(relu, units, tuple(slopes), limits, trees))
    return tuple(found)


def hostile_tree(rng: np.random.Generator, target: int, listed: tuple, box: Bounds) -> Tree:
    tree = Tree(target, listed, [Stage(box, 0.0)], [], [ProofNode(-1, -1, 0)])
    count = tree.unit_count
    for number in range(int(rng.integers(4)) if count else 0):
        tree.split(number, int(rng.integers(count)))
    for node in tree.nodes:
        alpha, rho = rng.choice(HOSTILE, size=(2, count))
        node.multipliers = Multipliers(alpha, rho, np.zeros(0, np.intp), np.zeros(0))
        node.gammas = rng.choice(HOSTILE, size=(2, count)) if rng.random() < 0.5 else None
    return tree


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_any_numbers_give_true_bounds(family: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    network = FAMILIES[family](rng, max_relus=10)
    box = random_box(rng, network.input_size, 0.8)
    bounds = refined_bounds(network, box, hostile(rng, network, box))
    for node, values in zip(bounds.nodes, network.activations(samples(rng, box, 60)), strict=True):
        assert np.all(node.lower - 1e-9 <= values) and np.all(values <= node.upper + 1e-9)


def sound(seed: int = 3) -> tuple[ReluNetwork, Bounds, RefinedUnits]:
    """A network, a box, and a refinement of its second ReLU node with slopes and one tree of three nodes."""
    network, box = chain(seed), Bounds(-np.ones(3), np.ones(3))
    first, second = network.relu_indices
    listed = tree_units(network, linear_bounds(network, box))
    before = tuple(u for u in listed if u.relu == first)
    units = np.arange(4)
    tree = Tree(1, before, [Stage(box, 0.0)], [], [ProofNode(-1, -1, 0)])
    count = tree.unit_count
    assert count > 0
    tree.split(0, 0)
    for node in tree.nodes:
        node.multipliers = Multipliers(np.full(count, 0.5), np.zeros(count), np.zeros(0, np.intp), np.zeros(0))
    slopes = Slopes(first, np.arange(4), np.full((2, 4, 4), 0.5, np.float16))
    limits = np.full((2, 4), np.inf)
    limits[0, 0] = 0.0
    return network, box, RefinedUnits(second, units, (slopes,), limits, (tree,))


def stage_proof(network: ReluNetwork, box: Bounds, refinements: tuple[RefinedUnits, ...]) -> Proof:
    """A proof that holds for its threshold is so large, if only its stage's refinements are sound."""
    listed = tree_units(network, linear_bounds(network, box))
    tree = Tree(1, listed, [Stage(box, 1e6, refinements)], [], [ProofNode(-1, -1, 0)])
    count = tree.unit_count
    tree.nodes[0].multipliers = Multipliers(np.zeros(count), np.zeros(count), np.zeros(0, np.intp), np.zeros(0))
    return Proof(network, 0, box, 1e6, (tree,))


def test_a_sound_refinement_replays_and_tightens() -> None:
    network, box, found = sound()
    assert replay(stage_proof(network, box, (found,))).holds
    plain, better = linear_bounds(network, box), refined_bounds(network, box, (found,))
    pre, plain_pre = (b.pre_activation(network, found.relu) for b in (better, plain))
    assert pre.upper[0] < plain_pre.upper[0] - 1e-3


def test_a_wrong_limit_only_loosens() -> None:
    """A limit far below the truth is raised by what its leaves' bounds are above it."""
    network, box, found = sound()
    limits = found.limits.copy()
    limits[0, 0] = -1e3
    bounds = refined_bounds(network, box, (replace(found, limits=limits),))
    values = network.activations(samples(np.random.default_rng(0), box, 500))
    assert values[network.nodes[found.relu].input][:, 0].max() <= bounds.pre_activation(network, found.relu).upper[0]


def test_bounds_are_told_apart_by_their_refinements() -> None:
    network, box, found = sound()
    known = RegionBounds(network)
    plain, better = known(box), known(box, (found,))
    assert known(box) is plain and known(box, (found,)) is better and plain is not better
    stored = NetworkBounds(plain.nodes)
    known.store(box, (found, found), stored)
    assert known(box, (found, found)) is stored
    light = without_trees((found,))
    assert without_trees((found,)) is light and not light[0].trees and np.all(light[0].limits == np.inf)
    assert light[0].slopes is found.slopes


def _tree(change: Callable[[Tree], None]) -> Callable[[RefinedUnits], RefinedUnits]:
    def changed(found: RefinedUnits) -> RefinedUnits:
        change(found.trees[0])
        return found

    return changed


def _slopes(**parts: object) -> Callable[[RefinedUnits], RefinedUnits]:
    return lambda found: replace(found, slopes=(replace(found.slopes[0], **parts),))


MALFORMED: dict[str, tuple[Callable[[RefinedUnits], RefinedUnits], str]] = {
    "no ReLU node": (lambda f: replace(f, relu=1), "no ReLU node"),
    "units out of range": (lambda f: replace(f, units=np.array([0, 1, 2, 9])), "not all below"),
    "units that do not ascend": (lambda f: replace(f, units=np.array([0, 2, 1, 3])), "do not ascend"),
    "limits of another shape": (lambda f: replace(f, limits=np.zeros((2, 3))), "limits"),
    "slopes of another type": (_slopes(alpha=np.zeros((2, 4, 4))), "float16"),
    "slopes of another shape": (_slopes(alpha=np.zeros((2, 4, 3), np.float16)), "float16"),
    "slopes of a later node": (_slopes(relu=4), "no ReLU node"),
    "slopes of units out of range": (_slopes(units=np.array([0, 1, 2, 7])), "not all below"),
    "a target out of range": (_tree(lambda t: setattr(t, "target", 9)), "different limits"),
    "target 0": (_tree(lambda t: setattr(t, "target", 0)), "different limits"),
    "two trees for one limit": (lambda f: replace(f, trees=f.trees * 2), "different limits"),
    "a tree with planes": (_tree(lambda t: t.planes.append(Plane(0, np.zeros(1, np.intp), np.zeros(1)))), "planes"),
    "a tree without nodes": (_tree(lambda t: t.nodes.clear()), "no nodes"),
    "a lost child": (_tree(lambda t: t.nodes.pop()), "children"),
    "two equal children": (_tree(lambda t: setattr(t.nodes[2], "sign", 1)), "signs"),
    "a later stage": (_tree(lambda t: setattr(t.nodes[1], "stage", 1)), "stage"),
    "multipliers of another shape": (
        _tree(lambda t: setattr(t.nodes[1], "multipliers", replace(t.nodes[1].multipliers, alpha=np.zeros(9)))),
        "slopes alpha",
    ),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_refinements_are_refused(name: str) -> None:
    network, box, found = sound()
    change, message = MALFORMED[name]
    report = replay(stage_proof(network, box, (change(found),)))
    assert not report.holds and message in report.failure


def test_trees_with_different_units_are_refused() -> None:
    network, box, found = sound()
    other = replace(found.trees[0], target=2, units=(), nodes=[ProofNode(-1, -1, 0)])
    with pytest.raises(ProofError, match="same units"):
        refined_bounds(network, box, (replace(found, trees=(*found.trees, other)),))


def test_an_unfinished_tree_without_multipliers_shows_nothing() -> None:
    network, box, found = sound()
    found.trees[0].nodes[2].multipliers = None
    bare = refined_bounds(network, box, without_trees((found,)))
    bounds = refined_bounds(network, box, (found,))
    assert bounds.pre_activation(network, found.relu).upper[0] == bare.pre_activation(network, found.relu).upper[0]
