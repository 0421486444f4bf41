"""Smaller radii, where the one that would close the bracket is out of reach."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from mipverify_py._attack import ball
from mipverify_py._enums import Objective
from mipverify_py._perturbation import Box
from mipverify_py._search import Search
from mipverify_py.proof import Tree

SHARE = 0.3
"""Of the time limit, kept for smaller radii where `is_hopeless`."""

OPEN_SHARE = 0.5
"""Trees of which more is open altogether when that is left, halves of a split counting half each, are not finished."""

STEP = 0.35
"""How far the next radius goes from the lower towards the upper end: easier than the middle, and mostly proved."""

PATIENCE = 0.5
"""Share of the time left that a radius gets."""

LEAST_SECONDS, RESOLUTION = 0.3, 2e-3
"""With less time, or where the ends differ by a smaller share of the upper one, another radius is not worth a try."""


def is_hopeless(trees: list[Tree]) -> bool:
    """Whether more of the trees is open than what is left of the time would close."""
    return sum(map(_open_share, trees)) > OPEN_SHARE


def climb(search: Search, radius: float, run: Callable[[Search], None]) -> int:
    """Proves ever larger radii below `radius`, each as a question of its own, for as long as there is time.

    Bounds over a smaller ball are tighter from the first layer on, so trees over it are smaller, and a finished one
    proves more than what a larger ball's unfinished ones leave. `run` answers the search it is given with a native
    engine. A witness that it meets is a nearer one for `search`, too. Returns how many nodes all this took.
    """
    query, low, high, nodes = search.query, search.proven or 0.0, radius, 0
    while high - low > RESOLUTION * high and (left := search.seconds_left) is not None and left > LEAST_SECONDS:
        middle = low + STEP * (high - low)
        asked = replace(query, objective=Objective.FEASIBILITY, perturbation=Box(ball(query, middle)))
        inner = Search(asked, replace(search.options, time_limit=PATIENCE * left, node_limit=None), None)
        run(inner)
        nodes += inner.statistics.nodes
        if inner.robust is not None and inner.proof is not None:
            search.proof, low = inner.proof, middle
            search.prove(middle)
        elif inner.witness is not None:
            search.offer(inner.witness.point)
            high = middle
        else:
            high = middle
    return nodes


def _open_share(tree: Tree) -> float:
    """How much of the tree is open: leaves without a bound, each weighing 1 / 2^depth."""
    share, weights = 0.0, [1.0] * len(tree.nodes)
    for number, node in enumerate(tree.nodes):
        if node.parent >= 0:
            weights[number] = weights[node.parent] * (0.5 if node.sign else 1.0)
        if not node.children and node.multipliers is None:
            share += weights[number]
    return share
