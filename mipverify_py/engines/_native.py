"""The native engines: per-target proofs over a box that shrinks with every nearer witness."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from bounds import Bounds, NetworkBounds
from mipverify_py._enums import Evidence, Objective, StopReason
from mipverify_py._result import layer_statistics
from mipverify_py._search import Search
from mipverify_py.engines._choose import Searches
from mipverify_py.engines._claim import Claim
from mipverify_py.engines._cut_search import CutSearch
from mipverify_py.engines._dual_bound import Bounded
from mipverify_py.engines._dual_search import DualSearch
from mipverify_py.engines._ladder import SHARE, climb, is_hopeless
from mipverify_py.engines._limits import EFFORTS, branched_limits
from mipverify_py.engines._problem import compile_problem
from mipverify_py.engines._refine import refine, worth_refining
from mipverify_py.engines._salvage import proof_below, proof_within, proof_without_trees
from mipverify_py.engines._screen import screen
from mipverify_py.engines._target import Status, Step, TargetSearch
from mipverify_py.engines._torch_threads import one_torch_thread
from mipverify_py.proof import Proof, RefinedUnits, Tree, TreeReplay, without_trees
from onnx_models import Array

if TYPE_CHECKING:
    from mipverify_py._cells import CellSearch

FIRST_QUANTUM, LARGEST_QUANTUM = 1, 512
"""Nodes that each open target gets in a round: 1, then twice as many every round up to the largest. Rounds depend on
nothing but the query, so the answer is the same for any number of jobs; points are tried as witnesses between them."""

PATIENCE = 1.0
"""Seconds after which a search that is watched shows a lower end, at the cost of some bounds over smaller balls."""

DIVES = 4
"""Points per round that are followed through their activation cells."""


class NativeEngine:
    """Answers a query by branch and bound per target, see the two engines `CutSearch` and `DualSearch`.

    closest:  with a witness at distance d, prove that no target reaches the margin within d - gap of x0. A nearer
    witness met on the way makes d smaller; what is proved stays proved, and what is open goes on over the smaller box.
    feasibility:  prove the same over the query's box, or meet a witness.
    worst:  with a point of margin m, prove that no target reaches m + gap in the query's box; better points raise m.
    """

    def __init__(self, search: Search) -> None:
        self._search, self._query, self._options = search, search.query, search.options
        self._closest = self._query.objective is Objective.CLOSEST
        self._worst = self._query.objective is Objective.WORST
        self._known = search.regions
        self._refinements: tuple[RefinedUnits, ...] = ()
        self._efforts = list(EFFORTS)
        self._trees: dict[int, Tree] = {}
        self._open: dict[int, TargetSearch] = {}
        self._cells: CellSearch | None = None
        self._region = self._query.box
        self._threshold = self._query.margin
        self._radius = 0.0
        self._early: tuple[float, Proof | None] | None = None
        self._turned = False
        """Whether what is left of the time goes to smaller radii."""
        self._rounds = self._nodes = self._tries = self._iterations = 0

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
                if not self._open:
                    self._conclude()
                    return
                self._salvage()
                if self._turned:
                    self._nodes += climb(self._search, self._radius, lambda search: NativeEngine(search).run())
            except KeyboardInterrupt:
                self._salvage()
                raise
            finally:
                self._count()

    # ---------------------------------------------------------------------------------------------- the claim to prove

    def _claim(self) -> tuple[Bounds, float]:
        """Region and threshold that, once proved, close the bracket around the best point in hand."""
        claim = Claim.of(self._search)
        self._radius = claim.radius
        return claim.region, claim.threshold

    def _done(self) -> bool:
        """Whether a witness alone is the answer."""
        search = self._search
        return search.closed or (not self._closest and not self._worst and search.witness is not None)

    def _begin(self) -> None:
        """Compiles the query over its region, and opens a search for every target that one bound does not exclude."""
        query = self._query
        self._region, self._threshold = self._claim()
        bounded = self._screen(query.target_classes)
        if len(self._trees) < len(query.target_classes) and worth_refining(self._problem):
            bounded = self._refine(refine)
        self._open_all(bounded)

    def _refine(self, method: Callable[..., tuple[tuple[RefinedUnits, ...], NetworkBounds]]) -> Bounded:
        """Screens the targets that are not proved again, with better bounds of the present region."""
        query, options, region = self._query, self._options, self._region
        jobs, deadline = max(options.jobs, options.threads), self._search.deadline
        with self._search.clock.during("bounds"):
            found, bounds = method(query.network, region, device=options.device, jobs=jobs, deadline=deadline)
            self._known.store(region, found, bounds)
        self._refinements = found
        return self._screen(tuple(j for j in query.target_classes if j not in self._trees))

    def _deepen(self) -> None:
        """Starts the open targets again with bounds that took more effort, once they have proved hard."""
        if self._open and self._efforts and self._nodes >= self._efforts[0].after and worth_refining(self._problem):
            bounded = self._refine(partial(branched_limits, effort=self._efforts.pop(0)))
            self._open.clear()
            self._open_all(bounded)

    def _open_all(self, bounded: Bounded) -> None:
        """Opens a search for every target of the problem that is not proved."""
        problem = self._problem
        order = np.argsort(-bounded.value.cpu().numpy(), kind="stable")
        for row in order.tolist():
            target = problem.targets[row]
            if target not in self._trees:
                self._open[target] = self._searches.open(target)
        self._try(bounded.point.cpu().numpy()[order[:DIVES]])
        self._shrink()

    def _screen(self, targets: tuple[int, ...]) -> Bounded:
        """Compiles the query for some targets and bounds each of them once; keeps the trees that this completes."""
        query = self._query
        with self._search.clock.during("bounds"):
            self._bounds = bounds = self._known(self._region, self._refinements)
        problem = compile_problem(query.network, query.reference, targets, self._region, bounds, self._refinements)
        self._problem = problem
        self._search.bounds = problem.bounds
        self._searches = Searches(problem, self._threshold, self._options)
        bounded, trees = screen(problem, self._searches.bounder, self._threshold)
        for tree in trees:
            if not self._failing(tree, 1):
                self._trees[tree.target] = tree
        return bounded

    def _shrink(self) -> None:
        """Passes a better witness or margin on to every open search."""
        region, threshold = self._claim()
        if threshold == self._threshold and _same(region, self._region):
            return
        self._region, self._threshold = region, threshold
        self._rounds += 1
        with self._search.clock.during("bounds"):
            inner = self._known(region, without_trees(self._refinements)).nodes
        pairs = zip(inner, self._bounds.nodes, strict=True)
        self._bounds = bounds = NetworkBounds(tuple(new.intersect(old) for new, old in pairs))
        self._searches.move(bounds)
        for search in self._open.values():
            search.restrict(bounds, threshold)

    # ------------------------------------------------------------------------------------------------------ the search

    def _rounds_of(self) -> None:
        """Gives every open target its nodes, round after round."""
        quantum = FIRST_QUANTUM
        with ExitStack() as stack:
            jobs = max(self._options.jobs, self._options.threads)
            targets_at_once = min(jobs, len(self._open))
            pool = stack.enter_context(_pool(targets_at_once)) if targets_at_once > 1 else None
            while self._open and not self._stopped() and not self._done():
                targets = list(self._open)
                for search in self._open.values():
                    search.jobs = jobs
                steps = list((pool.map if pool else map)(partial(self._advance, quantum), targets))
                self._nodes += sum(step.nodes for step, _ in steps)
                self._iterations += sum(step.iterations for step, _ in steps)
                for target, (step, failing) in zip(targets, steps, strict=True):
                    self._settle(target, step, failing)
                self._try(_interleaved([step.points for step, _ in steps]))
                if self._open and all(self._is_stuck(target) for target in self._open):
                    self._search.stop(StopReason.NUMERICAL, "floats cannot decide what is left of the proof")
                    break
                self._shrink()
                self._deepen()
                self._show_progress()
                quantum = min(2 * quantum, LARGEST_QUANTUM)

    def _is_stuck(self, target: int) -> bool:
        search = self._open[target]
        return isinstance(search, CutSearch) and search.status is Status.STUCK

    def _advance(self, nodes: int, target: int) -> tuple[Step, list[int]]:
        """Lets a search go on; of one that says its tree is complete also the leaves that do not hold in a replay."""
        search = self._open[target]
        step = search.advance(nodes, self._search.deadline)
        return step, self._failing(search.tree, search.jobs) if step.status is Status.PROVED else []

    def _stopped(self) -> bool:
        """Whether a limit is reached; records which."""
        limit, left = self._options.node_limit, self._search.seconds_left
        if left == 0.0 or self._turns_to_smaller_radii(left):
            self._search.stop(StopReason.TIME_LIMIT)
        elif limit is not None and self._nodes >= limit:
            self._search.stop(StopReason.NODE_LIMIT)
        else:
            return False
        return True

    def _turns_to_smaller_radii(self, left: float | None) -> bool:
        """Whether a distance will not be closed within its time limit, so that what is left is for a lower end."""
        search, limit = self._search, self._options.time_limit
        if self._closest and left is not None and limit is not None and search.witness is not None:
            self._turned = left < SHARE * limit and is_hopeless([found.tree for found in self._open.values()])
        return self._turned

    def _show_progress(self) -> None:
        """Gives a search that takes a while, and that somebody watches, a first lower end."""
        search = self._search
        watched = search.on_progress is not None and search.proven is None and search.witness is not None
        if watched and self._closest and time.monotonic() - search.started > PATIENCE:
            self._early = proof_without_trees(self._query, self._radius, self._known, self._options.device)
            if self._early[1] is not None:
                search.prove(self._early[0])

    def _settle(self, target: int, step: Step, failing: list[int]) -> None:
        """Keeps a tree that is complete: only the replay's word counts, not the search's.

        Nodes at which the duals are stuck go on as linear programs.
        """
        search = self._open[target]
        if step.status is Status.STUCK and isinstance(search, DualSearch):
            nodes, bounds = search.hand_over(), self._bounds
            self._open[target] = CutSearch.adopt(self._problem, search.tree, nodes, bounds)
        if step.status is not Status.PROVED:
            return
        if failing:
            search.reopen(failing)
        else:
            self._trees[target] = self._open.pop(target).tree

    def _failing(self, tree: Tree, jobs: int) -> list[int]:
        """Leaves of the tree that do not hold."""
        query = self._query
        with self._search.clock.during("replay"):
            return TreeReplay(query.network, query.reference, tree, known=self._known, jobs=jobs).failures()

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

    def _try(self, points: Array) -> None:
        """Takes the best of the points, shape (k, n), as a witness or better margin, as it is or after a dive.

        Dives become rarer, since where many have failed there is probably nothing to find: after 1, 2, 4, 8, ... calls.
        """
        self._tries += 1
        if not len(points) or not self._open:
            return
        query, search = self._query, self._search
        margins = query.margin_at(query.network.forward_batch(points))
        best, dives = points[int(np.argmax(margins))], self._tries & (self._tries - 1) == 0
        if self._worst:
            search.offer_margin(best)
            if dives:
                search.offer_margin(self._cell_search().ascend(best, deadline=search.deadline))
            return
        found = best if margins.max() >= query.margin else None
        if found is None and self._closest and search.witness is None and self._nodes == 0:
            raised = self._cell_search().ascend(best, deadline=search.deadline, enough=query.margin)
            found = raised if query.margin_at(query.network.forward(raised)[None])[0] >= query.margin else None
        elif found is None and dives:
            order = np.argsort(-margins, kind="stable")[:DIVES]
            radius = query.reach if search.witness is None else self._radius
            found = self._cell_search().dive(points[order], radius, None, search.deadline)
        if found is not None and search.offer(found):
            self._tries = 0
            self._improve()

    # ------------------------------------------------------------------------------------------------------ the answer

    def _conclude(self) -> None:
        """Every target is proved: the bracket is closed, or the query's box holds no adversarial example."""
        search, query = self._search, self._query
        if self._done() and not self._closest and not self._worst:
            return
        trees = tuple(self._trees[j] for j in query.target_classes)
        search.proof = Proof(query.network, query.reference, self._region, self._threshold, trees)
        if self._worst:
            search.prove(self._threshold)
        elif search.witness is None:
            search.robust = Evidence.REPLAYED
        else:
            search.prove(self._radius)

    def _salvage(self) -> None:
        """Turns what the trees show so far into an end of the bracket."""
        query, search = self._query, self._search
        if search.witness is None and not self._worst:
            return
        known = {**{j: search.tree for j, search in self._open.items()}, **self._trees}
        trees = [known[j] for j in query.target_classes if j in known]
        whole = len(trees) == len(query.target_classes)  # an interruption may come before all are open
        if self._worst:
            top, proof = proof_below(query, self._region, trees, self._known) if whole else (np.inf, None)
            if proof is not None:
                search.proof = proof
                search.prove(top)
            return
        found = [self._early or proof_without_trees(query, self._radius, self._known, self._options.device)]
        if whole:
            found.append(proof_within(query, self._region, self._radius, trees, self._known))
        radius, proof = max(found, key=lambda pair: pair[0])
        if proof is not None and (search.proven is None or radius > search.proven or search.proof is None):
            search.proof = proof
            search.prove(radius)

    def _count(self) -> None:
        """Fills in the statistics."""
        trees = [*self._trees.values(), *(search.tree for search in self._open.values())]
        bounds = self._search.bounds
        self._search.statistics = replace(
            self._search.statistics,
            nodes=self._nodes,
            open_targets=tuple(sorted(self._open)),
            trees=sum(len(tree.nodes) > 1 for tree in trees),
            rounds=self._rounds,
            cuts=sum(len(tree.planes) for tree in trees),
            iterations=self._iterations,
            layers=() if bounds is None else layer_statistics(self._query.network, bounds),
        )


def _pool(workers: int) -> ThreadPoolExecutor:
    """Threads for targets; torch has to be told in each of them."""
    import torch

    return ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,))


def _same(first: Bounds, second: Bounds) -> bool:
    return np.array_equal(first.lower, second.lower) and np.array_equal(first.upper, second.upper)


def _interleaved(parts: list[Array]) -> Array:
    """The rows of several arrays, first all first ones, then all second ones."""
    rows = [p[k] for k in range(max((len(p) for p in parts), default=0)) for p in parts if k < len(p)]
    return np.array(rows)
