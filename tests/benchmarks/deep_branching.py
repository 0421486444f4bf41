"""Which unit of a deep network the batched duals split: `python -m tests.benchmarks.deep_branching`.

For each image every target that refined bounds leave open at the radius is searched for a number of nodes by each rule.
`gap` is what the engine does; the others are defined here.

    gap      |A| times the gap between the unit's line and max(z, 0) at the averaged maximiser
    BaBSR    what the bound would lose of the chord's intercept and gain of the biases, by the backward coefficients
             alone (Bunel et al., 2020)
    FSB      the best of BaBSR's four first and the four with the largest intercepts, by the smaller of what both
             children's bounds fall by with the multipliers at hand (De Palma et al., 2021)

    python -m tests.benchmarks.deep_branching [--networks FILE] [--images 0:4] [--radius 0.03] [--nodes 3000]
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch

from bounds import Bounds
from mipverify_py.engines import _dual_lane
from mipverify_py.engines._dual_bound import Bounded, DualBounder
from mipverify_py.engines._dual_branch import Branching, Choice
from mipverify_py.engines._dual_search import DualSearch
from mipverify_py.engines._problem import Problem, compile_problem
from mipverify_py.engines._refine import refine
from mipverify_py.engines._screen import screen
from mipverify_py.engines._target import Status
from onnx_models import ReluNetwork
from tests.benchmarks.common import facts, new_table, rows, show, words
from tests.benchmarks.mnist_networks import subject
from tests.benchmarks.vnncomp import FOLDER

CANDIDATES = 4
QUANTUM = 200
HEADINGS = ("network", "image", "rule", "targets", "proved", "nodes", "seconds", "largest bound left")


class BaBSR(Branching):
    """Scores by the backward coefficients A of the units' outputs, for an upper bound."""

    def choose(self, bounded: Bounded, lower, upper, threshold: float) -> Choice:
        """The unit with the best score per node; what the engine would take where all scores vanish."""
        usual = super().choose(bounded, lower, upper, threshold)
        if not lower.numel():
            return usual
        score, _ = self.scores(bounded, lower, upper)
        best, unit = score.max(1)
        return replace(usual, unit=unit.where((best > 0) & (usual.unit >= 0), usual.unit))

    def scores(self, bounded: Bounded, lower, upper):
        """BaBSR's score and the weighted intercept of each unit, -1 where it is not free, shape (B, units)."""
        batch, pull = bounded.batch, bounded.pulled
        free = (batch.signs == 0) & (lower < 0) & (upper > 0)
        width = (batch.upper - batch.lower).clamp(min=1e-300)
        slope, intercept = batch.upper / width, -batch.lower * batch.upper / width * pull.clamp(min=0)
        bias = torch.cat([layer.bias for layer in self._bounder.layers]) * pull
        # The child with y = z loses (slope - 1) of the bias, the one with y = 0 all of its slope's share.
        gain = intercept + torch.minimum((slope - 1.0) * bias, slope * bias)
        none = gain.new_full((), -1.0)
        return gain.abs().where(free, none), intercept.where(free, none)


class FSB(BaBSR):
    """Bounds both children of a few of BaBSR's units, without a step on the multipliers."""

    def choose(self, bounded: Bounded, lower, upper, threshold: float) -> Choice:
        """The candidate whose worse child falls most."""
        usual = super().choose(bounded, lower, upper, threshold)
        if not lower.numel():
            return usual
        count = min(CANDIDATES, lower.shape[1])
        found = torch.cat([score.topk(count, 1).indices for score in self.scores(bounded, lower, upper)], 1)
        falls = torch.stack([self._fall(bounded, lower, upper, found[:, k], threshold) for k in range(2 * count)], 1)
        best, place = falls.max(1)
        unit = found.gather(1, place[:, None])[:, 0]
        return replace(usual, unit=unit.where((best > 0) & (usual.unit >= 0), usual.unit))

    def _fall(self, bounded: Bounded, lower, upper, unit, threshold: float):
        every, worst = torch.arange(len(unit)), torch.full((len(unit),), np.inf, dtype=lower.dtype)
        free = (bounded.batch.signs[every, unit] == 0) & (lower[every, unit] < 0) & (upper[every, unit] > 0)
        for sign in (1.0, -1.0):
            signs, low, high = bounded.batch.signs.clone(), lower.clone(), upper.clone()
            signs[every, unit] = sign
            (low if sign > 0 else high)[every, unit] = 0.0
            child = replace(bounded.batch, signs=signs, lower=low, upper=high)
            value = self._bounder.optimise(child, self._planes, 1, threshold).value
            worst = torch.minimum(worst, bounded.value - value)
        return worst.where(free, worst.new_full((), -1.0))


RULES: dict[str, type[Branching]] = {"gap": Branching, "BaBSR": BaBSR, "FSB": FSB}


class Outcome(NamedTuple):
    """What a rule reaches on one image."""

    proved: int
    nodes: int
    seconds: float
    bound: float


def open_problem(network: ReluNetwork, x: np.ndarray, label: int, radius: float) -> Problem | None:
    """The targets that refined bounds leave open within the radius, or None."""
    box = Bounds(np.maximum(x - radius, 0.0), np.minimum(x + radius, 1.0))
    refinements, bounds = refine(network, box)
    targets = tuple(j for j in range(network.output_size) if j != label)
    problem = compile_problem(network, label, targets, box, bounds, refinements)
    _, trees = screen(problem, DualBounder(problem), 0.0)
    left = tuple(j for j in targets if j not in {tree.target for tree in trees})
    return compile_problem(network, label, left, box, bounds, refinements) if left else None


def outcome(problem: Problem, rule: str, nodes: int) -> Outcome:
    """Searches every target of the problem for at most so many nodes."""
    usual, started, bounder = _dual_lane.Branching, time.perf_counter(), DualBounder(problem)
    _dual_lane.Branching = RULES[rule]
    proved, done, bound = 0, 0, -np.inf
    try:
        for target in problem.targets:
            search, used = DualSearch(problem, target, 0.0, bounder), 0
            while search.status is Status.OPEN and used < nodes:
                used += search.advance(min(QUANTUM, nodes - used), None).nodes
            proved, done, bound = proved + (search.status is Status.PROVED), done + used, max(bound, search.bound)
    finally:
        _dual_lane.Branching = usual
    return Outcome(proved, done, time.perf_counter() - started, bound)


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(description="Branching rules of the batched duals on deep networks.")
    parser.add_argument("--networks", type=words, default=(str(FOLDER / "mnistfc" / "mnist-net_256x4.onnx"),))
    parser.add_argument("--images", type=rows, default=(0, 1, 2, 3))
    parser.add_argument("--radius", type=float, default=0.03)
    parser.add_argument("--nodes", type=int, default=3000, help="per target and rule")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    table = new_table(f"Branching rules at radius {chosen.radius:g}", HEADINGS, left=HEADINGS[:3], caption=facts(1))
    for name in chosen.networks:
        known = subject(name)
        for index in chosen.images:
            x, label = known.data.image(index).reshape(-1), int(known.data.labels[index])
            problem = open_problem(known.network, x, label, chosen.radius)
            for rule in RULES if problem is not None else ():
                o = outcome(problem, rule, chosen.nodes)
                left = "-" if o.bound == -np.inf else f"{o.bound:.2f}"
                numbers = (len(problem.targets), o.proved, o.nodes, f"{o.seconds:.1f}", left)
                table.add_row(known.name, str(index), rule, *map(str, numbers))
    show(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
