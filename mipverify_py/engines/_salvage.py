"""What trees that are not finished prove already: a smaller radius, or a larger threshold."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np

from bounds import Bounds, LinearForms
from mipverify_py._attack import ball
from mipverify_py._query import Query
from mipverify_py.engines._dual_bound import DualBounder
from mipverify_py.engines._problem import compile_problem
from mipverify_py.engines._screen import screen
from mipverify_py.proof import Proof, ProofNode, RegionBounds, Stage, Tree, TreeReplay, replay, without_trees
from onnx_models import Array

BISECTIONS, SECONDS = 7, 1.5
"""How far the radius that needs no tree is bisected, and for how long."""

MOST_NODES = 1000
"""Larger trees are cut back to their first nodes, so that an interrupted search answers within a second or two."""

SHRINKS = (1e-9, 1e-3, 1e-2, 0.05, 0.2)
"""How much the radius gives way until every open leaf holds over the smaller box."""


def proof_within(
    query: Query, region: Bounds, radius: float, trees: list[Tree], known: RegionBounds
) -> tuple[float, Proof | None]:
    """The largest radius, at most `radius`, that unfinished trees are seen to prove, and the proof.

    `region` holds the ball of `radius` around x0 inside the query's box; all trees' last stages contain it.

    On an open leaf's region  f_j - f_c <= L(x) = slopes . x + constant  holds whatever smaller box is asked about, and
    the maximum of L over the ball of radius r is increasing and concave in r: where it passes the margin is a bound on
    the distance. The trees are extended by a stage over that ball; what is returned has been replayed, and the radius
    is 0 where nothing holds.
    """
    cut = [_top(tree) for tree in trees]
    reach = min((radius, *(_reach(query, tree, known) for tree in cut)))
    if not reach > 0:
        return 0.0, None
    for share in SHRINKS:
        radius = reach * (1.0 - share)
        inner = ball(query, radius)
        box = Bounds(*(np.clip(end, region.lower, region.upper) for end in (inner.lower, inner.upper)))
        claimed = [_restaged(query, tree, _later(tree, box, query.margin), known) for tree in cut]
        if all(tree is not None for tree in claimed):
            found = tuple(tree for tree in claimed if tree is not None)
            return radius, Proof(query.network, query.reference, box, query.margin, found)
    return 0.0, None


def proof_without_trees(query: Query, radius: float, known: RegionBounds, device: str) -> tuple[float, Proof | None]:
    """The largest radius up to `radius`, to a few per cent, at which one bound per target is enough, and the proof.

    Bounds over a smaller ball are tighter altogether, so this often beats what trees over a larger one leave open.
    """
    low, high, best = 0.0, radius, None
    began = time.monotonic()
    for _ in range(BISECTIONS):
        middle = 0.5 * (low + high)
        if time.monotonic() - began > SECONDS or not middle > 0.0:
            break
        box = ball(query, middle)
        problem = compile_problem(query.network, query.reference, query.target_classes, box, known(box))
        _, trees = screen(problem, DualBounder(problem, device), query.margin)
        proof = Proof(query.network, query.reference, box, query.margin, tuple(trees))
        if len(trees) == len(query.target_classes) and replay(proof).holds:
            low, best = middle, proof
        else:
            high = middle
    return low, best


def proof_below(query: Query, region: Bounds, trees: list[Tree], known: RegionBounds) -> tuple[float, Proof | None]:
    """The least upper bound of f_j - f_c over the query's box that unfinished trees prove, and the proof."""
    cut = [_top(tree) for tree in trees]
    tops = [float(forms.bound.max(initial=-np.inf)) for tree in cut for forms in _open_forms(query, tree, known)]
    top = max(tops, default=-np.inf)
    if top == np.inf:
        return np.inf, None
    for room in (1e-9, 1e-6, 1e-3):
        raised = top + room * (1.0 + abs(top)) if tops else -np.inf
        threshold = max(raised, *(tree.stages[-1].threshold for tree in cut))
        claimed = [_restaged(query, tree, _later(tree, region, threshold), known) for tree in cut]
        if all(tree is not None for tree in claimed):
            found = tuple(tree for tree in claimed if tree is not None)
            return threshold, Proof(query.network, query.reference, region, threshold, found)
    return np.inf, None


def _later(tree: Tree, region: Bounds, threshold: float) -> Stage:
    """Another stage for the tree."""
    return Stage(region, threshold, without_trees(tree.stages[-1].refinements))


def _top(tree: Tree) -> Tree:
    """A copy of the tree's first nodes that can be changed; nodes whose children are cut off become leaves."""
    kept = [replace(node) for node in tree.nodes[:MOST_NODES]]
    for node in kept:
        if any(child >= len(kept) for child in node.children):
            node.children = ()
    return Tree(tree.target, tree.units, list(tree.stages), list(tree.planes), kept)


def _evaluated(tree: Tree, number: int) -> ProofNode | None:
    """The nearest node at or above a leaf that has multipliers."""
    while number >= 0 and tree.nodes[number].multipliers is None:
        number = tree.nodes[number].parent
    return None if number < 0 else tree.nodes[number]


def _open_forms(query: Query, tree: Tree, known: RegionBounds) -> list[LinearForms]:
    """Linear forms of the leaves that do not hold; they get multipliers from above where they have none."""
    _lend(tree)
    walk = TreeReplay(query.network, query.reference, tree, known=known)
    failing = walk.failures()
    return walk.forms_of(failing)


def _lend(tree: Tree) -> None:
    for number, node in enumerate(tree.nodes):
        if not node.children and node.multipliers is None:
            above = _evaluated(tree, number)
            if above is not None:
                node.multipliers, node.stage = above.multipliers, max(node.stage, above.stage)


def _reach(query: Query, tree: Tree, known: RegionBounds) -> float:
    """The radius up to which no open leaf's form reaches the margin; inf without open leaves."""
    found = np.inf
    for forms in _open_forms(query, tree, known):
        found = min(found, float(_radii(query, forms).min(initial=np.inf)))
    return found


def _radii(query: Query, forms: LinearForms) -> Array:
    """For each form the radius r at which  L(x0) + sum of |g_i| min(r, room_i)  is the margin, by bisection.

    room_i is how far x_i can move from x0 in the direction that raises L.
    """
    slopes = forms.slopes
    room = np.where(slopes > 0, query.box.upper - query.x0, query.x0 - query.box.lower)
    short = query.margin - (slopes @ query.x0 + forms.constant)
    low, high = np.zeros(len(short)), np.full(len(short), float(np.abs(room).max(initial=0.0)))
    for _ in range(50):
        middle = 0.5 * (low + high)
        below = (np.abs(slopes) * np.minimum(middle[:, None], room)).sum(axis=1) < short
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    radii: Array = np.where(short > 0, low, 0.0)
    return radii


def _restaged(query: Query, tree: Tree, stage: Stage, known: RegionBounds) -> Tree | None:
    """The tree with its open leaves bounded over another stage, if they all hold there."""
    _lend(tree)
    walk = TreeReplay(query.network, query.reference, tree, known=known)
    failing = walk.failures()
    nodes = [replace(node) for node in tree.nodes]
    for number in failing:
        nodes[number].stage, nodes[number].gammas = len(tree.stages), None
    claimed = Tree(tree.target, tree.units, [*tree.stages, stage], list(tree.planes), nodes)
    return None if TreeReplay(query.network, query.reference, claimed, known=known).failures() else claimed
