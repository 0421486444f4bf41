"""Branch and bound over boxes of inputs, for all targets at once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from bounds import Bounds
from mipverify_py._attack import passed
from mipverify_py._clock import Clock
from mipverify_py._query import Query
from mipverify_py.engines._box_bound import BoundedBoxes, BoxBounder
from mipverify_py.engines._box_tree import GrowingBoxTree
from mipverify_py.engines._claim import Claim
from mipverify_py.proof import BoxReplay, BoxTree, Index, Stage, one_thread_each
from onnx_models import Array

ROUND = 512
"""Boxes that are bounded between two looks at witnesses, at most; those with the largest bounds."""

MOST_RELAXED = 16
"""Batches of nodes that are bounded once more at the end of a search that was cut short."""

REPLAY_ROOM = 1e-9
"""How far above a bound a threshold has to be for the replay, which rounds otherwise, as a share of 1 + |bound|."""


@dataclass(frozen=True, slots=True, eq=False)
class OpenBoxes:
    """K leaves of the tree on which something is left to prove.

    Attributes:
        numbers: their numbers in the tree, shape (K,).
        lower, upper: the boxes, inside the region asked about, shape (K, n).
        bound: largest bound of the parent, inf for the root, shape (K,).
        targets: which targets are open, shape (K, T).
    """

    numbers: NDArray[np.int64]
    lower: Array
    upper: Array
    bound: Array
    targets: NDArray[np.bool_]

    @classmethod
    def stack(cls, *parts: OpenBoxes) -> OpenBoxes:
        """All boxes of all parts."""
        names = ("numbers", "lower", "upper", "bound", "targets")
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_] | slice) -> OpenBoxes:
        """Some of the boxes."""
        return OpenBoxes(self.numbers[rows], self.lower[rows], self.upper[rows], self.bound[rows], self.targets[rows])

    def within(self, region: Bounds) -> OpenBoxes:
        """The parts of the boxes inside a region; those outside are left out."""
        lower, upper = np.maximum(self.lower, region.lower), np.minimum(self.upper, region.upper)
        kept = np.all(lower <= upper, axis=1)
        return OpenBoxes(self.numbers, lower, upper, self.bound, self.targets).take(kept)

    @property
    def size(self) -> int:
        """Number of boxes K."""
        return len(self.numbers)


@dataclass(frozen=True, slots=True, eq=False)
class Round:
    """What one call of `BoxSearch.advance` did.

    Attributes:
        nodes: boxes bounded.
        points: inputs worth trying as witnesses, by falling margin, shape (k, n).
        margins: their margins in floats, shape (k,).
    """

    nodes: int
    points: Array
    margins: Array


class BoxSearch:
    """Searches for a proof that no target reaches a threshold on a box; keeps its work when the box shrinks.

    Whatever it closes has been replayed. The same for any number of jobs. When it is interrupted, `open` and `stuck`
    still have every box on which something is left to prove.

    Attributes:
        open: boxes to go on with.
        stuck: boxes that floats cannot decide, and none of whose points is a witness in floats.
    """

    def __init__(self, query: Query, claim: Claim, clock: Clock, *, device: str = "cpu", jobs: int = 1) -> None:
        self._bounder, self._clock, self._jobs = BoxBounder(query, device), clock, jobs
        self._replay = BoxReplay(query.network, query.reference, query.target_classes, device=device, jobs=jobs)
        self._claim = claim
        self._tree = GrowingBoxTree(query.target_classes, Stage(claim.region, claim.threshold))
        self._widths = np.maximum(claim.region.upper - claim.region.lower, np.finfo(np.float64).tiny)
        every = np.ones((1, len(query.target_classes)), np.bool_)
        root = np.zeros(1, np.int64)
        self.open = OpenBoxes(root, claim.region.lower[None], claim.region.upper[None], np.full(1, np.inf), every)
        self.stuck = self.open.take(slice(0))

    @property
    def left(self) -> OpenBoxes:
        """All boxes on which something is left to prove."""
        return OpenBoxes.stack(self.open, self.stuck)

    def restrict(self, claim: Claim) -> None:
        """Goes on with a smaller box or a larger threshold; what is closed stays closed."""
        self._claim = claim
        self._tree.stages.append(Stage(claim.region, claim.threshold))
        self.open, self.stuck = self.left.within(claim.region), self.stuck.take(slice(0))

    def advance(self, deadline: float | None) -> Round:
        """Bounds the boxes with the largest bounds, and cuts those that stay open."""
        order = np.argsort(-self.open.bound, kind="stable")
        step = self._bounder.boxes_at_once
        count = max(ROUND, step)
        batch, rest = self.open.take(order[:count]), self.open.take(order[count:])
        groups = [batch.take(slice(k, k + step)) for k in range(0, batch.size, step)]
        with one_thread_each(min(self._jobs, len(groups))) as run:
            found = list(run(partial(self._bound, deadline), groups))
        late = [group for group, bounded in zip(groups, found, strict=True) if bounded is None]
        parts = [bounded for bounded in found if bounded is not None]
        if not parts:
            return Round(0, np.zeros((0, batch.lower.shape[1])), np.zeros(0))
        seen = OpenBoxes.stack(*(group for group, bounded in zip(groups, found, strict=True) if bounded is not None))
        bounded = BoundedBoxes.stack(parts)
        children, stuck = self._settle(seen, bounded, deadline)
        self.open, self.stuck = OpenBoxes.stack(rest, *late, *children), OpenBoxes.stack(self.stuck, stuck)
        best = np.argsort(-bounded.margins, kind="stable")
        return Round(seen.size, bounded.points[best], bounded.margins[best])

    def _bound(self, deadline: float | None, boxes: OpenBoxes) -> BoundedBoxes | None:
        return None if passed(deadline) else self._bounder(boxes.lower, boxes.upper, boxes.targets)

    def _settle(
        self, boxes: OpenBoxes, bounded: BoundedBoxes, deadline: float | None
    ) -> tuple[tuple[OpenBoxes, OpenBoxes], OpenBoxes]:
        """Replays what the bounds close, and cuts what they do not. Returns both halves, and what cannot be cut."""
        closed = boxes.targets & (bounded.bound < self._claim.threshold)
        self._tree.claim(boxes.numbers, closed)
        with self._clock.during("replay"):
            holds = self._replay.check(self._tree.view(), boxes.numbers, self._tree.parents, deadline)
        self._tree.claim(boxes.numbers, holds)
        targets = boxes.targets & ~holds
        bound = np.where(targets, bounded.bound, -np.inf).max(axis=1)
        left = OpenBoxes(boxes.numbers, boxes.lower, boxes.upper, bound, targets)
        axes, cuts, whole = self._cuts(left, bounded.scores)
        self._tree.bound[boxes.numbers] = bound
        is_open = np.any(targets, axis=1)
        stuck = is_open & (whole | bounded.exact)
        cut = np.flatnonzero(is_open & ~stuck)
        return self._cut(left.take(cut), axes[cut], cuts[cut]), left.take(stuck)

    def _cuts(self, boxes: OpenBoxes, scores: Array) -> tuple[Index, Array, NDArray[np.bool_]]:
        """Input and value at which each box is best cut, and whether it is too small to be cut at all."""
        middle = boxes.lower + 0.5 * (boxes.upper - boxes.lower)
        possible = (boxes.lower < middle) & (middle < boxes.upper)
        relative = (boxes.upper - boxes.lower) / self._widths
        promising = np.any(possible & (scores > 0), axis=1, keepdims=True)
        axes = np.argmax(np.where(possible, np.where(promising, scores, relative), -1.0), axis=1)
        return axes, middle[np.arange(boxes.size), axes], ~np.any(possible, axis=1)

    def _cut(self, boxes: OpenBoxes, axes: Index, cuts: Array) -> tuple[OpenBoxes, OpenBoxes]:
        rows = np.arange(boxes.size)
        first, second = self._tree.split(boxes.numbers, axes, cuts)
        upper, lower = boxes.upper.copy(), boxes.lower.copy()
        upper[rows, axes], lower[rows, axes] = cuts, cuts
        return (
            OpenBoxes(first, boxes.lower, upper, boxes.bound, boxes.targets),
            OpenBoxes(second, lower, boxes.upper, boxes.bound, boxes.targets),
        )

    # -------------------------------------------------------------------------------------------------- what is proved

    def proof(self, region: Bounds) -> BoxTree | None:
        """The tree, if it proves the claim's threshold on a region inside the claim's; None otherwise."""
        tree = self._tree.copy()
        return None if self._replay.failures(tree, region) else tree

    def relaxed(self, deadline: float) -> tuple[float, BoxTree] | None:
        """A threshold that the tree as it is proves on the claim's region, and the tree; None past `deadline`.

        Open leaves have not been bounded themselves, so it is their parents that claim it, or, where these are too
        many, nodes further up. Ends the search.
        """
        parents = self._tree.parents
        above = parents[self.open.numbers]
        numbers = np.union1d(above[above >= 0], self.stuck.numbers)
        while len(numbers) > MOST_RELAXED * self._bounder.boxes_at_once:
            numbers = np.unique(np.maximum(parents[numbers], 0))
        top = float(self._tree.bound[numbers].max(initial=self._claim.threshold))
        threshold = float(np.nextafter(top + REPLAY_ROOM * (1.0 + abs(top)), np.inf))
        if not np.isfinite(threshold) or np.any(above < 0):
            return None
        self._tree.stages.append(Stage(self._claim.region, threshold))
        self._tree.claim(numbers, np.ones((len(numbers), self.open.targets.shape[1]), np.bool_))
        self._replay.forget(numbers)
        tree = self._tree.copy()
        return None if self._replay.failures(tree, self._claim.region, deadline) else (threshold, tree)
