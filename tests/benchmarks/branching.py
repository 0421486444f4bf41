"""Branching rules and search orders of branch and cut: `python -m tests.benchmarks.branching`.

For each image the largest radius is sought at which every target is proved; at 0.1 % below it, where trees are
largest, every variant proves all targets again. `gap` is what the engine does; the others are defined here.

    gap              |A| times the gap between a unit's output in the LP and max(z, 0); newest node first
    best first       the same, but the node with the largest bound first
    width            the gap times u - l
    look-ahead       the best of four candidates by the product of what both children's LPs gain
    pseudo-costs     gain per gap as seen so far, product of both signs

    python -m tests.benchmarks.branching [--networks C-adversarial] [--images 0,1] [--seconds 60]
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from bounds import Bounds, linear_bounds
from mipverify_py.engines._cut_bound import State
from mipverify_py.engines._cut_search import CutSearch
from mipverify_py.engines._problem import Problem, compile_problem
from mipverify_py.engines._target import Status
from onnx_models import Array, ReluNetwork
from tests.benchmarks.common import facts, new_table, rows, show, words
from tests.benchmarks.mnist_networks import subject

CANDIDATES = 4
HEADINGS = ("network", "image", "radius", "variant", "nodes", "seconds", "open")


class BestFirst(CutSearch):
    def _next(self):
        ready = [node for node in self._open.values() if not node.stuck]
        return max(ready, key=lambda node: (node.bound, node.number), default=None)


class _Scored(CutSearch):
    """Variants that score the free units on their own; without an LP point they do what `gap` does."""

    def _branch(self, state, evaluation):
        free = np.flatnonzero(state.free)
        if not len(free) or evaluation.columns is None:
            return super()._branch(state, evaluation)
        z = self._backward.pre_activations(evaluation.columns)
        gap = np.abs(evaluation.columns[self._problem.inputs :] - np.maximum(z, 0.0))
        weight = np.abs(evaluation.proved.weight_of)
        unit = self._best(state, evaluation, free, (weight + 1e-3 * weight.max()) * gap)
        return unit, 1 if z[unit] > 0 else -1


class Width(_Scored):
    def _best(self, state, evaluation, free, gap) -> int:
        return int(free[np.argmax((gap * (state.upper - state.lower))[free])])


class LookAhead(_Scored):
    def _best(self, state, evaluation, free, gap) -> int:
        candidates = free[np.argsort(-gap[free], kind="stable")][:CANDIDATES].tolist()
        return max(
            candidates,
            key=lambda unit: self._gain(state, evaluation, unit, 1) * self._gain(state, evaluation, unit, -1),
        )

    def _gain(self, state, evaluation, unit: int, sign: int) -> float:
        """How far a child's LP falls below the node's bound, at most to the threshold."""
        lower, upper, signs = state.lower.copy(), state.upper.copy(), state.sign.copy()
        signs[unit] = sign
        (lower if sign > 0 else upper)[unit] = 0.0
        bound = self._lp.solve(State(lower, upper, signs), self._threshold - 1e-6).proved.bound
        return float(np.clip(evaluation.proved.bound - bound, 1e-9, evaluation.proved.bound - self._threshold + 1e-6))


class PseudoCosts(_Scored):
    """A child's gain is known once it is evaluated; units never split have the mean of the others."""

    def __init__(self, problem: Problem, target: int, threshold: float) -> None:
        super().__init__(problem, target, threshold)
        self._sums, self._counts = np.zeros((2, problem.unit_count)), np.zeros((2, problem.unit_count))
        self._gaps: dict[int, float] = {}

    def _best(self, state, evaluation, free, gap) -> int:
        mean = self._sums.sum() / max(self._counts.sum(), 1.0) if self._counts.any() else 1.0
        rates = np.where(self._counts > 0, self._sums / np.maximum(self._counts, 1.0), mean)
        unit = int(free[np.argmax((rates.prod(0) * gap**2)[free])])
        self._chosen = float(gap[unit])
        return unit

    def _write(self, node, evaluation, remaining) -> None:
        gap, record = self._gaps.pop(node.number, 0.0), self.tree.nodes[node.number]
        if gap > 0 and evaluation.proved is not None:
            side = 0 if record.sign > 0 else 1
            self._sums[side, record.unit] += max(node.bound - evaluation.proved.bound, 0.0) / gap
            self._counts[side, record.unit] += 1
        self._chosen = 0.0
        super()._write(node, evaluation, remaining)
        self._gaps.update({number: self._chosen for number in remaining if number not in self._open})


VARIANTS: dict[str, type[CutSearch]] = {
    "gap": CutSearch,
    "best first": BestFirst,
    "width": Width,
    "look-ahead": LookAhead,
    "pseudo-costs": PseudoCosts,
}


class Row(NamedTuple):
    """All targets of an image under one variant; `open` counts those that were not proved."""

    nodes: int
    seconds: float
    open: int


def problem_at(network: ReluNetwork, image: Array, radius: float) -> Problem:
    """All targets of the image over the box of that radius."""
    reference = int(network.forward(image).reshape(-1).argmax())
    flat = image.reshape(-1)
    box = Bounds(np.clip(flat - radius, 0, 1), np.clip(flat + radius, 0, 1))
    targets = tuple(j for j in range(network.output_size) if j != reference)
    return compile_problem(network, reference, targets, box, linear_bounds(network, box))


def measure(problem: Problem, variant: type[CutSearch], seconds: float) -> Row:
    """Searches every target until it is proved, a point reaches the threshold, or the time is over."""
    begin, nodes, left_open = time.monotonic(), 0, 0
    for target in problem.targets:
        search = variant(problem, target, 0.0)
        status, reached = Status.OPEN, False
        while status is Status.OPEN and not reached and time.monotonic() < begin + seconds:
            step = search.advance(10, begin + seconds)
            status, nodes = step.status, nodes + step.nodes
            reached = len(step.points) > 0 and search._backward.value(step.points[0])[0] >= 0.0
        left_open += status is not Status.PROVED
        if left_open:
            break
    return Row(nodes, time.monotonic() - begin, left_open)


def largest_radius(network: ReluNetwork, image: Array, seconds: float, *, gap: float = 1e-3) -> float:
    """A radius at which every target is proved, and at which not when enlarged by the share `gap`; 0 if none."""
    low, high = 0.0, 0.25
    while high - low > gap * high and high > 1e-6:
        middle = 0.5 * (low + high)
        if measure(problem_at(network, image, middle), CutSearch, seconds).open:
            high = middle
        else:
            low = middle
    return low


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table; returns 1 if a variant reaches the threshold where another proves that none does."""
    parser = argparse.ArgumentParser(description="Branching rules and search orders of branch and cut.")
    parser.add_argument("--networks", type=words, default=("C-standard", "C-adversarial"))
    parser.add_argument("--images", type=rows, default=(0, 1, 2, 3))
    parser.add_argument("--seconds", type=float, default=60.0, help="time limit per image and variant, default 60")
    parser.add_argument("--variants", type=words, default=tuple(VARIANTS))
    chosen = parser.parse_args(arguments)
    caption = f"Limit {chosen.seconds:g} s. {facts(1)}"
    table = new_table("Branch and cut, all targets", HEADINGS, left=("network", "variant"), caption=caption)
    wrong = 0
    for name in chosen.networks:
        asked = subject(name)
        for index in chosen.images:
            image = asked.data.image(index)
            radius = largest_radius(asked.network, image, chosen.seconds)
            problem = problem_at(asked.network, image, radius * (1 - 1e-3))
            for variant in chosen.variants:
                row = measure(problem, VARIANTS[variant], chosen.seconds)
                wrong += row.open > 0 and row.seconds < chosen.seconds
                figures = (str(row.nodes), f"{row.seconds:.2f}", str(row.open))
                table.add_row(name, str(index), f"{radius:.5f}", variant, *figures)
            table.add_section()
    show(table)
    if wrong:
        print(f"{wrong} variants missed a proof that `gap` has.", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
