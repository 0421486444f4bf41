"""Rule 7: trees, many of whose nodes are looked at together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from mipverify_py.certificate._document import GRID, MOST_DIGITS, fields, require, whole
from mipverify_py.certificate._fast_pieces import Ask, Dyadic, FastPlane, Piece, State, is_below
from mipverify_py.certificate._rules import MOST_STATES

if TYPE_CHECKING:
    from mipverify_py.certificate._fast_region import FastRegion


class Claim(NamedTuple):
    """That an objective, coefficients by entry of a node, stays below a threshold, by a tree."""

    objective: Mapping[int, int]
    threshold: Dyadic
    tree: Any


class Tree:
    """A tree as it stands in the file, with its planes.

    Attributes:
        second: by the number of a split that of its part z <= 0; the part z >= 0 comes next after a split.
        waiting: how many parts wait behind a node when all that it has are waiting, in the order of the file.
    """

    def __init__(self, region: FastRegion, claim: Claim) -> None:
        planes, nodes = fields(claim.tree, "planes nodes")
        self.claim, self.nodes = claim, list(nodes)
        self.planes: list[FastPlane] = [region.fast_plane(plane) for plane in planes]
        self.second: dict[int, int] = {}
        self.waiting: list[int] = []
        open_parts = [-1]
        for k, node in enumerate(self.nodes):
            require(bool(open_parts), "A tree goes on after its last leaf.")
            parent = open_parts.pop()
            if parent >= 0:
                self.second[parent] = k
            if "split" in node:
                open_parts += [k, -1]
            elif "tighten" in node:
                open_parts.append(-1)
            self.waiting.append(len(open_parts))
        require(not open_parts, "A tree ends before all its parts are closed.")


class Waiting(NamedTuple):
    """A node that has not been looked at, and its part, None if that is empty."""

    tree: Tree
    place: int
    state: State | None


def walk(region: FastRegion, node: int, claims: Sequence[Claim]) -> None:
    """Checks the trees of claims about one node.

    The nodes that wait are a stack, of which many are taken together unless it holds much already.
    """
    stack, held = [Waiting(tree, 0, {}) for tree in [Tree(region, claim) for claim in claims]], 0
    while stack:
        together = 1 if held > MOST_STATES else region.most
        asked: list[tuple[Waiting, Any]] = []
        while stack and len(asked) < together:
            one = stack.pop()
            held -= len(one.state or ())
            found, below = one.tree.nodes[one.place], list[Waiting]()
            if "split" in found:
                below = _split(region, one, found)
            elif one.state is None:
                below = _empty(region, one, found)
            else:
                asked.append((one, found))
            held += sum(len(new.state or ()) for new in below)
            stack += below
        below = _looked_at(region, node, asked)
        held += sum(len(new.state or ()) for new in below)
        stack += below


def _spend(region: FastRegion, one: Waiting, state: State | None) -> None:
    """What the plain rules ask of every node."""
    size = len(state or ())
    region.work.spend(size, GRID)
    require(one.tree.waiting[one.place] * (size + 1) <= MOST_STATES, "A tree is too deep.")


def _split(region: FastRegion, one: Waiting, found: Any) -> list[Waiting]:
    unit = region.numbers[whole(fields(found, "split")[0], len(region.units))]
    _spend(region, one, one.state)
    parts: list[State | None] = [None, None]
    low, high = (region.piece(unit) if one.state is None else one.state.get(unit) or region.piece(unit))[:2]
    if one.state is not None:
        ends = (low, min(high, 0)), (max(low, 0), high)
        parts = [None if part[0] > part[1] else {**one.state, unit: Piece.of(*part)} for part in ends]
    return [Waiting(one.tree, one.tree.second[one.place], parts[0]), Waiting(one.tree, one.place + 1, parts[1])]


def _empty(region: FastRegion, one: Waiting, found: Any) -> list[Waiting]:
    _spend(region, one, None)
    if "tighten" in found:
        fields(found, "tighten bits by")
        return [Waiting(one.tree, one.place + 1, None)]
    fields(found, "close")
    return []


def _looked_at(region: FastRegion, node: int, asked: Sequence[tuple[Waiting, Any]]) -> list[Waiting]:
    """Bounds of nodes that close, which must be below the threshold, or tighten; returns what waits below these."""
    parts, below = [], list[Waiting]()
    for one, found in asked:
        choice = fields(found, "tighten bits by")[2] if "tighten" in found else fields(found, "close")[0]
        assert one.state is not None
        parts.append(Ask(one.tree.claim.objective, one.state, region.chosen(choice, one.tree.planes)))
    for (one, found), answer in zip(asked, region.answers(node, parts), strict=True):
        state = one.state
        assert state is not None
        if "tighten" in found:
            gammas, bits, _ = fields(found, "tighten bits by")
            threshold = one.tree.claim.threshold
            state = region.tightener.tightened(answer, state, threshold, gammas, whole(bits, MOST_DIGITS))
            below.append(Waiting(one.tree, one.place + 1, state))
        else:
            top = region.top_of(answer)
            require(is_below(top, one.tree.claim.threshold), "The bound of a leaf is not below the threshold.")
        _spend(region, one, state)
    return below
