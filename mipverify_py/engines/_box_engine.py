"""The engine `boxes`: one proof for all targets over a box of few inputs, cut into smaller and smaller boxes."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from mipverify_py._attack import GradientAttack, ball
from mipverify_py._enums import Evidence, Objective, StopReason
from mipverify_py._result import layer_statistics
from mipverify_py._search import Search
from mipverify_py.engines._box_search import BoxSearch, Round
from mipverify_py.engines._claim import Claim
from mipverify_py.engines._torch_threads import one_torch_thread
from mipverify_py.proof import BoxTree, Proof
from onnx_models import Array

if TYPE_CHECKING:
    from mipverify_py._cells import CellSearch

DIVES = 4
"""Points per round that are followed through their activation cells, in rounds 1, 2, 4, 8, ..."""

STARTS, FIRST_CLIMB = 1000, 8
"""Random points that climb in rounds 8, 16, 32, ... while there is no witness: rare ones need not be hard to reach."""

SHRINK = 1e-12
"""Share by which a radius is drawn in so that its ball does not touch the nearest open box."""

SALVAGE = 1.0
"""Seconds for the proof of a threshold after the search has been cut short."""

MOST_INPUTS, FEWEST_UNITS = 8, 10
"""`auto` cuts the input where at most this many inputs are free and more than this many units are unstable."""


def suits_boxes(search: Search) -> bool:
    """Whether the region that has to be proved first is better cut along its inputs than along its units."""
    region = Claim.of(search).region
    if np.sum(region.lower < region.upper) > MOST_INPUTS:
        return False
    with search.clock.during("bounds"):
        bounds = search.regions(region)
    return sum(bounds.unstable_counts(search.query.network)) > FEWEST_UNITS


class BoxEngine:
    """Answers a query by branch and bound over boxes of inputs; see `BoxSearch` and, for the claims, `NativeEngine`."""

    def __init__(self, search: Search) -> None:
        self._search, self._query, self._options = search, search.query, search.options
        self._closest = self._query.objective is Objective.CLOSEST
        self._worst = self._query.objective is Objective.WORST
        self._claim = Claim.of(search)
        self._boxes: BoxSearch | None = None
        self._cells: CellSearch | None = None
        self._nodes = self._rounds = self._tries = 0

    def run(self) -> None:
        """Searches until the answer is known or a limit ends it; what is known stands in the search at any time."""
        with one_torch_thread():
            try:
                self._improve()
                if self._closest and self._query.clearance > 0:
                    self._search.prove(self._query.clearance)
                if self._done():
                    return
                self._begin()
                self._rounds_of()
            except KeyboardInterrupt:
                self._salvage()
                raise
            finally:
                self._count()
            if self._left():
                self._salvage()
            else:
                self._conclude()

    def _done(self) -> bool:
        """Whether a witness alone is the answer."""
        search = self._search
        return search.closed or (not self._closest and not self._worst and search.witness is not None)

    def _left(self) -> bool:
        return self._boxes is not None and self._boxes.left.size > 0

    def _begin(self) -> None:
        query, search, options = self._query, self._search, self._options
        self._claim = Claim.of(search)
        with search.clock.during("bounds"):
            search.bounds = search.regions(self._claim.region)
        layers = layer_statistics(query.network, search.bounds)
        search.statistics = replace(search.statistics, layers=layers)
        jobs = max(options.jobs, options.threads)
        self._boxes = BoxSearch(query, self._claim, search.clock, device=options.device, jobs=jobs)

    def _rounds_of(self) -> None:
        """Bounds boxes until none is open that floats can decide."""
        assert self._boxes is not None
        while self._boxes.open.size and not self._stopped():
            found = self._boxes.advance(self._search.deadline)
            self._nodes += found.nodes
            if self._left():
                self._try(found)
                if self._done():
                    return
                self._shrink()
                self._show_progress()
        if self._boxes.stuck.size and not self._boxes.open.size:
            self._search.stop(StopReason.NUMERICAL, "floats cannot decide what is left of the proof")

    def _stopped(self) -> bool:
        """Whether a limit is reached; records which."""
        limit = self._options.node_limit
        if self._search.seconds_left == 0.0:
            self._search.stop(StopReason.TIME_LIMIT)
        elif limit is not None and self._nodes >= limit:
            self._search.stop(StopReason.NODE_LIMIT)
        else:
            return False
        return True

    def _shrink(self) -> None:
        """Goes on with the box or threshold that a better witness or margin leaves."""
        claim = Claim.of(self._search)
        if not claim.same(self._claim):
            assert self._boxes is not None
            self._claim = claim
            self._boxes.restrict(claim)
            self._rounds += 1

    # ------------------------------------------------------------------------------------------------ better witnesses

    def _improve(self) -> None:
        """Descends from the witness in hand through activation cells."""
        search = self._search
        if self._closest and search.witness is not None:
            point = self._cell_search().descend(search.witness.point, None, search.deadline)
            if point is not None:
                search.offer(point)

    def _cell_search(self) -> CellSearch:
        from mipverify_py._cells import CellSearch

        if self._cells is None:
            self._cells = CellSearch(self._query, self._options)
        return self._cells

    def _try(self, found: Round) -> None:
        """Takes the best of a round's points as a witness or better margin, as it is or after a dive.

        Dives become rarer the longer they fail: after 1, 2, 4, 8, ... rounds.
        """
        if not found.nodes:
            return
        query, search = self._query, self._search
        self._tries += 1
        best, dives = found.points[0], self._tries & (self._tries - 1) == 0
        if self._worst:
            search.offer_margin(best)
            if dives:
                search.offer_margin(self._cell_search().ascend(best, deadline=search.deadline))
            return
        point: Array | None = best if found.margins[0] >= query.margin else None
        if point is None and dives:
            radius = query.reach if search.witness is None else self._claim.radius
            point = self._cell_search().dive(found.points[:DIVES], radius, None, search.deadline)
        if point is None and self._boxes is not None and self._boxes.stuck.size:
            point = best  # on the boundary to within rounding, perhaps
        if point is None and dives and search.witness is None and self._tries >= FIRST_CLIMB:
            point = self._climbed()
        if point is not None and search.offer(point):
            self._tries = 0
            self._improve()

    def _climbed(self) -> Array | None:
        """A point that reaches the margin, from many random starts; other ones each time."""
        query, options = self._query, self._options
        starts = max(1, STARTS // len(query.target_classes))
        seed = (options.seed + self._tries) % 2**31
        attack = GradientAttack(query, replace(options, restarts=starts, seed=seed))
        return attack.within(query.box, self._search.deadline)

    # ------------------------------------------------------------------------------------------------------ the answer

    def _near(self) -> float:
        """The radius around x0 that no box is in on which something is left to prove, at most the claim's."""
        assert self._boxes is not None
        left, x0 = self._boxes.left, self._query.x0
        gaps = np.maximum(np.maximum(left.lower - x0, x0 - left.upper), 0.0).max(axis=1)
        radius = self._claim.radius if self._search.witness is not None else self._query.reach
        return min(radius, float(gaps.min(initial=np.inf)) * (1.0 - SHRINK))

    def _show_progress(self) -> None:
        search = self._search
        if self._closest and search.on_progress is not None and search.witness is not None and self._left():
            near = self._near()
            if near > 0:
                search.prove(near)

    def _take(self, tree: BoxTree, claim: Claim) -> None:
        query = self._query
        self._search.proof = Proof(query.network, query.reference, claim.region, claim.threshold, (), boxes=tree)

    def _conclude(self) -> None:
        """Nothing is left to prove: the bracket is closed, or the query's box holds no adversarial example."""
        search, claim = self._search, self._claim
        if self._boxes is None or (self._done() and not self._closest and not self._worst):
            return
        tree = self._boxes.proof(claim.region)
        assert tree is not None, "every leaf was replayed when it was closed"
        self._take(tree, claim)
        if self._worst:
            search.prove(claim.threshold)
        elif search.witness is None:
            search.robust = Evidence.REPLAYED
        else:
            search.prove(claim.radius)

    def _salvage(self) -> None:
        """Turns what is proved so far into an end of the bracket."""
        search, claim, boxes = self._search, self._claim, self._boxes
        if boxes is None or not self._left():
            return
        if self._worst:
            found = boxes.relaxed(time.monotonic() + SALVAGE)
            if found is not None:
                self._take(found[1], replace(claim, threshold=found[0]))
                search.prove(found[0])
        elif self._closest and search.witness is not None:
            near = self._near()
            region = ball(self._query, near)
            tree = boxes.proof(region) if near > 0 else None
            if tree is not None:
                self._take(tree, replace(claim, region=region, radius=near))
                search.prove(near)

    def _count(self) -> None:
        """Fills in the statistics."""
        boxes, targets = self._boxes, self._query.target_classes
        left = [] if boxes is None else np.flatnonzero(np.any(boxes.left.targets, axis=0)).tolist()
        self._search.statistics = replace(
            self._search.statistics,
            nodes=self._nodes,
            open_targets=tuple(targets[k] for k in left),
            trees=len(targets) if self._nodes > 1 else 0,
            rounds=self._rounds,
        )
