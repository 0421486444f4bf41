"""Replay of trees of boxes: sound ones hold, spoiled ones do not, and nothing that holds is false."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bounds import Bounds, batched_bounds
from mipverify_py.proof import BoxReplay, BoxTree, Proof, Stage, replay
from onnx_models import Array, DenseMap, NetworkBuilder, ReluNetwork
from tests.helpers.oracles import largest_margin

SEEDS = st.integers(0, 2**32 - 1)


def small_network(rng: np.random.Generator, inputs: int = 2) -> ReluNetwork:
    """Two hidden layers of three units, three classes."""
    builder, node = NetworkBuilder((inputs,)), 0
    for _ in range(2):
        node = builder.relu(
            builder.affine([node], [DenseMap(rng.normal(size=(3, builder.size(node))))], rng.normal(size=3))
        )
    return builder.build(builder.affine([node], [DenseMap(rng.normal(size=(3, 3)))], rng.normal(size=3)))


def cut_until_closed(network: ReluNetwork, box: Bounds, threshold: float, targets: tuple[int, ...] = (1, 2)) -> BoxTree:
    """A tree that halves boxes along their longest edge until one bound is below the threshold; reference class 0."""
    rows, count = np.eye(3)[list(targets)] - np.eye(3)[0], len(targets)
    axes, cuts, children, closed = [0], [0.0], [-1], [[False] * count]
    numbers, lower, upper = [0], box.lower[None], box.upper[None]
    while numbers:
        _, forms = batched_bounds(network, lower, upper, rows)
        left = []
        for place, number in enumerate(numbers):
            closed[number] = (forms.bound[count * place : count * (place + 1)] < threshold).tolist()
            if not all(closed[number]):
                left.append(place)
        below: list[tuple[int, Array, Array]] = []
        for place in left:
            number, low, high = numbers[place], lower[place], upper[place]
            axis = int(np.argmax(high - low))
            axes[number], cuts[number], children[number] = axis, 0.5 * (low[axis] + high[axis]), len(axes)
            closed[number] = [False] * count
            for side in (0, 1):
                ends = low.copy(), high.copy()
                ends[1 - side][axis] = cuts[number]
                below.append((len(axes), *ends))
                axes, cuts, children, closed = [*axes, 0], [*cuts, 0.0], [*children, -1], [*closed, [False] * count]
        assert len(axes) < 5000
        numbers = [number for number, _, _ in below]
        lower, upper = np.array([low for _, low, _ in below]), np.array([high for _, _, high in below])
    return BoxTree(
        targets,
        (Stage(box, threshold),),
        np.array(axes, np.int32),
        np.array(cuts),
        np.array(children, np.int64),
        np.zeros(len(axes), np.int32),
        np.array(closed),
    )


def question(seed: int) -> tuple[ReluNetwork, Bounds, float]:
    """A network, a box, and the largest of f_1 - f_0 and f_2 - f_0 there."""
    rng = np.random.default_rng(seed)
    network, middle = small_network(rng), rng.random(2)
    box = Bounds(middle - 0.5 * rng.random(2), middle + 0.5 * rng.random(2))
    return network, box, largest_margin(network, (1, 2), 0, lower=box.lower, upper=box.upper)


@cache
def sound(seed: int, above: float = 0.02) -> Proof:
    network, box, top = question(seed)
    tree = cut_until_closed(network, box, top + above)
    return Proof(network, 0, box, top + above, (), boxes=tree)


def spoiled(proof: Proof, **changes: object) -> Proof:
    assert proof.boxes is not None
    return replace(proof, boxes=replace(proof.boxes, **changes))


@pytest.mark.parametrize("seed", range(12))
def test_sound_trees_hold_and_no_lower_threshold_does(seed: int) -> None:
    proof = sound(seed)
    assert proof.boxes is not None and proof.targets == (1, 2)
    report = replay(proof)
    assert report.holds, report.failure
    assert report.nodes == proof.boxes.size
    assert report.leaves == np.sum(proof.boxes.children < 0)
    lower = proof.threshold - 0.021
    stages = (replace(proof.boxes.stages[0], threshold=lower),)
    assert not replay(replace(spoiled(proof, stages=stages), threshold=lower)).holds


@cache
def split_seed() -> int:
    """A seed whose tree has several nodes."""
    return next(seed for seed in range(50) if sound(seed).boxes.size > 6)  # type: ignore[union-attr]


def test_a_leaf_without_its_claim_is_named() -> None:
    proof = sound(split_seed())
    assert proof.boxes is not None
    leaf = int(np.flatnonzero(proof.boxes.children < 0)[-1])
    for target in (0, 1):
        closed = proof.boxes.closed.copy()
        closed[leaf, target] = False
        report = replay(spoiled(proof, closed=closed))
        assert not report.holds and f"first node {leaf}" in report.failure


def test_a_claim_that_bounds_do_not_bear_out_counts_for_nothing() -> None:
    proof = sound(split_seed())
    assert proof.boxes is not None
    closed = proof.boxes.closed.copy()
    closed[0] = True
    assert replay(spoiled(proof, closed=closed)).holds  # what is below proves it
    bare = spoiled(proof, closed=closed, children=np.full(proof.boxes.size, -1, np.int64))
    report = replay(bare)
    assert not report.holds and report.nodes == 1


def test_what_an_inner_node_claims_needs_no_proof_below() -> None:
    proof = sound(split_seed())
    assert proof.boxes is not None
    inner = int(np.flatnonzero(proof.boxes.children >= 0)[-1])
    below = proof.boxes.children[inner] + np.arange(2)
    closed, threshold = proof.boxes.closed.copy(), 1e6
    closed[below] = False
    assert not replay(spoiled(proof, closed=closed)).holds
    closed[inner] = True
    stages = (*proof.boxes.stages, replace(proof.boxes.stages[0], threshold=threshold))
    stage = proof.boxes.stage.copy()
    stage[inner] = 1
    eased = spoiled(proof, closed=closed, stages=stages, stage=stage)
    assert replay(replace(eased, threshold=threshold)).holds
    assert not replay(eased).holds  # the stage claims less than the proof


def test_boxes_outside_the_region_need_no_proof() -> None:
    proof = sound(split_seed())
    tree = proof.boxes
    assert tree is not None
    leaf = int(np.flatnonzero(tree.children < 0)[-1])
    closed = tree.closed.copy()
    closed[leaf] = False
    lower, upper = tree.boxes(np.array([leaf]), tree.parents())
    axis = int(tree.axes[tree.parents()[leaf]])
    region = proof.region
    low, high = region.lower.copy(), region.upper.copy()
    if lower[0, axis] > region.lower[axis]:
        high[axis] = np.nextafter(lower[0, axis], -np.inf)
        touching = lower[0, axis]
    else:
        low[axis] = np.nextafter(upper[0, axis], np.inf)
        touching = upper[0, axis]
    assert replay(replace(spoiled(proof, closed=closed), region=Bounds(low, high))).holds
    (high if high[axis] < region.upper[axis] else low)[axis] = touching
    assert not replay(replace(spoiled(proof, closed=closed), region=Bounds(low, high))).holds


def wider(box: Bounds) -> Bounds:
    return Bounds(box.lower, box.upper + np.array([0.0, 1e-9]))


MALFORMED: dict[str, Callable[[BoxTree], dict[str, object]]] = {
    "a cut that is not a number": lambda t: {"cuts": np.full(t.size, np.nan)},
    "an input that does not exist": lambda t: {"axes": np.full(t.size, 2, np.int32)},
    "a negative input": lambda t: {"axes": np.full(t.size, -1, np.int32)},
    "a child before its parent": lambda t: {"children": np.where(t.children >= 0, 0, -1)},
    "a child that does not exist": lambda t: {"children": np.where(t.children >= 0, t.size - 1, -1)},
    "a child number below -1": lambda t: {"children": np.where(t.children >= 0, t.children, -2)},
    "two parents": lambda t: {"children": np.where(t.children >= 0, t.size - 2, -1)},
    "a stage that does not exist": lambda t: {"stage": np.ones(t.size, np.int32)},
    "a negative stage": lambda t: {"stage": np.full(t.size, -1, np.int32)},
    "no stages": lambda _: {"stages": ()},
    "no targets": lambda t: {"targets": (), "closed": t.closed[:, :0]},
    "a target that does not exist": lambda _: {"targets": (1, 3)},
    "claims of another shape": lambda t: {"closed": t.closed[:, :1]},
    "claims that are numbers": lambda t: {"closed": t.closed.astype(np.int64)},
    "axes of another length": lambda t: {"axes": t.axes[:-1]},
    "children that are floats": lambda t: {"children": t.children.astype(np.float64)},
    "a list": lambda t: {"cuts": t.cuts.tolist()},
    "a stage that asks for more": lambda t: {"stages": (replace(t.stages[0], threshold=t.stages[0].threshold + 1e-9),)},
    "a threshold that is not a number": lambda t: {"stages": (replace(t.stages[0], threshold=np.nan),)},
    "an unbounded stage": lambda t: {"stages": (replace(t.stages[0], region=Bounds.of([-np.inf] * 2, [np.inf] * 2)),)},
}


@pytest.mark.parametrize("what", MALFORMED)
def test_malformed_trees_do_not_hold(what: str) -> None:
    proof = sound(split_seed())
    assert proof.boxes is not None
    report = replay(spoiled(proof, **MALFORMED[what](proof.boxes)))
    assert not report.holds and report.failure


def test_a_claim_about_more_does_not_hold() -> None:
    proof = sound(split_seed())
    assert not replay(replace(proof, region=wider(proof.region))).holds
    assert not replay(replace(proof, threshold=proof.threshold - 1e-9)).holds
    assert not replay(replace(proof, threshold=np.nan)).holds
    assert not replay(replace(proof, reference=3)).holds
    assert not replay(replace(proof, boxes=None)).holds


@given(SEEDS)
@settings(deadline=None, max_examples=12)
def test_whatever_holds_is_true(seed: int) -> None:
    """Random changes to a sound tree for a threshold near the true maximum, on either side of it."""
    rng = np.random.default_rng(seed)
    network, box, top = question(seed)
    tree = cut_until_closed(network, box, top + 0.05)
    threshold = top + float(rng.choice([-0.05, -1e-6, 0.02, 0.06]))
    cuts = tree.cuts + rng.choice([0.0, 0.0, 0.1, -0.1, 1.0], size=tree.size)
    axes = np.where(rng.random(tree.size) < 0.1, 1 - tree.axes, tree.axes).astype(np.int32)
    closed = np.where(rng.random(tree.closed.shape) < 0.1, ~tree.closed, tree.closed)
    changed = replace(tree, stages=(Stage(box, threshold),), cuts=cuts, axes=axes, closed=closed)
    if replay(Proof(network, 0, box, threshold, (), boxes=changed)).holds:
        assert top < threshold


def test_a_tree_that_grows_is_looked_at_where_it_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    proof = sound(split_seed())
    tree = proof.boxes
    assert tree is not None
    walk = BoxReplay(proof.network, 0, (1, 2))
    looked_at: list[int] = []
    original = BoxReplay._bound

    def counted(self: BoxReplay, lower: Array, upper: Array, wanted: Array) -> Array:
        looked_at.append(len(lower))
        return original(self, lower, upper, wanted)

    monkeypatch.setattr(BoxReplay, "_bound", counted)
    half = tree.size // 2
    first = walk.check(tree, np.arange(half), tree.parents())
    assert np.array_equal(first, tree.closed[:half])
    before = sum(looked_at)
    assert walk.failures(tree, proof.region) == []
    assert sum(looked_at) == np.sum(np.any(tree.closed, axis=1)) >= before


def test_threads_make_no_difference() -> None:
    proof = sound(split_seed())
    tree = proof.boxes
    assert tree is not None
    for jobs in (1, 3):
        walk = BoxReplay(proof.network, 0, (1, 2), jobs=jobs)
        walk._batched.boxes_at_once = 2
        assert walk.failures(tree, proof.region) == []
        assert walk.nodes == tree.size


def test_what_the_deadline_leaves_undone_does_not_hold() -> None:
    report = replay(sound(split_seed()), deadline=time.monotonic() - 1.0)
    assert not report.holds


def test_boxes_follow_the_cuts() -> None:
    tree = sound(split_seed()).boxes
    assert tree is not None
    parents = tree.parents()
    lower, upper = tree.boxes(np.arange(tree.size), parents)
    for number in np.flatnonzero(tree.children >= 0):
        first, second = tree.children[number], tree.children[number] + 1
        axis, cut = tree.axes[number], tree.cuts[number]
        assert upper[first, axis] == cut == lower[second, axis]
        for child in (first, second):
            inside: Array = (lower[child] >= lower[number]) & (upper[child] <= upper[number])
            assert np.all(inside)
        assert np.array_equal(lower[first], lower[number]) and np.array_equal(upper[second], upper[number])
