"""Replay of trees of boxes: the box of every node is cut out again, and its bounds are computed again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bounds import BatchedNetwork, Bounds, RowChoices
from mipverify_py.proof._boxes import BoxTree
from mipverify_py.proof._proof import Index
from mipverify_py.proof._structure import is_inside, require, whole
from onnx_models import Array, ReluNetwork

Flags = NDArray[np.bool_]
Runner = Callable[..., Iterator[Any]]
"""`map`, or something like it."""


class BoxReplay:
    """The replay of one tree of boxes. The tree may grow between calls, at its leaves only.

    Attributes:
        nodes: nodes that the last call of `failures` reached.
        leaves: those of them below which nothing is left to prove.
    """

    def __init__(
        self, network: ReluNetwork, reference: int, targets: tuple[int, ...], *, device: str = "cpu", jobs: int = 1
    ) -> None:
        """`device` is where bounds are computed, `jobs` a number of threads."""
        for name, value in [("reference", reference), *(("target", j) for j in targets)]:
            require(0 <= whole(value, name) < network.output_size, f"The {name} {value} is not a class of the network.")
        rows = np.zeros((len(targets), network.output_size))
        np.add.at(rows, (np.arange(len(targets)), np.array(targets, np.intp)), 1.0)
        rows[:, reference] -= 1.0
        self._batched, self._choices = BatchedNetwork(network, device), RowChoices.of(network, rows)
        self._jobs = jobs
        self._known: Flags = np.zeros((0, len(targets)), np.bool_)
        self._holds: Flags = np.zeros((0, len(targets)), np.bool_)
        self.nodes = self.leaves = 0

    def check(self, tree: BoxTree, numbers: Index, parents: NDArray[np.int64], deadline: float | None = None) -> Flags:
        """Which claims of some nodes hold, shape (K, T); each is looked at once. What the deadline stops does not."""
        self._grow(tree.size)
        due = numbers[np.any(tree.closed[numbers] & ~self._known[numbers], axis=1)]
        step = self._batched.boxes_at_once
        groups = [due[k : k + step] for k in range(0, len(due), step)]
        work = partial(self._check, tree, parents, deadline)
        with one_thread_each(min(self._jobs, len(groups))) as run:
            for group, found in zip(groups, run(work, groups), strict=True):
                if found is not None:
                    self._holds[group] = found
                    self._known[group] = tree.closed[group]
        return self._holds[numbers] & tree.closed[numbers]

    def forget(self, numbers: Index) -> None:
        """Looks at some nodes again, whose claims or stages were changed."""
        self._known[numbers] = False

    def failures(self, tree: BoxTree, region: Bounds, deadline: float | None = None) -> list[int]:
        """Leaves that leave something of `region` unproved, ascending. Errors as in `check_boxes`."""
        parents = tree.parents()
        open_targets = np.ones((1, len(tree.targets)), np.bool_)
        level, failing = np.zeros(1, np.intp), []
        self.nodes = self.leaves = 0
        while len(level):
            open_targets = open_targets & ~self.check(tree, level, parents, deadline)
            left = np.any(open_targets, axis=1)
            leaf = tree.children[level] < 0
            open_leaves = level[left & leaf]
            lower, upper = tree.boxes(open_leaves, parents)
            meets = np.all(np.maximum(lower, region.lower) <= np.minimum(upper, region.upper), axis=1)
            failing += open_leaves[meets].tolist()
            self.nodes += len(level)
            self.leaves += int(np.sum(~left)) + int(np.sum(~meets))
            inner = left & ~leaf
            first = tree.children[level[inner]]
            level = np.concatenate([first, first + 1]).astype(np.intp)
            open_targets = np.concatenate([open_targets[inner]] * 2)
        return sorted(failing)

    def _grow(self, size: int) -> None:
        if size > len(self._known):
            more = ((0, max(size, 2 * len(self._known)) - len(self._known)), (0, 0))
            self._known, self._holds = np.pad(self._known, more), np.pad(self._holds, more)

    def _check(self, tree: BoxTree, parents: NDArray[np.int64], deadline: float | None, numbers: Index) -> Flags | None:
        """Which claims of a group of nodes hold; None past the deadline."""
        if deadline is not None and time.monotonic() > deadline:
            return None
        lower, upper = tree.boxes(numbers, parents)
        stages = [tree.stages[s] for s in tree.stage[numbers]]
        lower = np.maximum(lower, np.stack([stage.region.lower for stage in stages]))
        upper = np.minimum(upper, np.stack([stage.region.upper for stage in stages]))
        empty = np.any(lower > upper, axis=1)
        thresholds = np.array([stage.threshold for stage in stages])
        result = np.repeat(empty[:, None], len(tree.targets), axis=1)
        if not np.all(empty):
            bound = self._bound(lower[~empty], upper[~empty], tree.closed[numbers[~empty]])
            result[~empty] = bound < thresholds[~empty, None]
        return result & tree.closed[numbers]

    def _bound(self, lower: Array, upper: Array, wanted: Flags) -> Array:
        """Upper bounds of f_j - f_c for the targets that are wanted, inf for the others; shape (K, T)."""
        import torch

        device, choices = self._batched.device, self._choices
        box, choice = np.nonzero(wanted[:, choices.owners])
        with torch.no_grad():
            low, high = (torch.tensor(end, device=device) for end in (lower, upper))
            bounds = self._batched.over(low, high, tails=choices.tails)
            numbers = (torch.tensor(part, device=device) for part in (box, choice))
            found = bounds.forms(choices, *numbers).bound.cpu().numpy()
        result = np.full(wanted.shape, np.inf)
        np.minimum.at(result, (box, choices.owners[choice]), found)
        return result


def check_boxes(tree: BoxTree, inputs: int, region: Bounds, threshold: float) -> None:
    """Raises ProofError unless the tree is well formed and its claims are about at least `region` and `threshold`."""
    count, targets = len(tree.axes), len(tree.targets)
    require(count > 0 and targets > 0, "The tree of boxes has no nodes or no targets.")
    require(bool(np.isfinite(threshold)), f"The threshold {threshold!r} of the proof is not a finite number.")
    shapes = {
        "axes": (tree.axes, "i", (count,)),
        "cuts": (tree.cuts, "f", (count,)),
        "children": (tree.children, "i", (count,)),
        "stage": (tree.stage, "i", (count,)),
        "closed": (tree.closed, "b", (count, targets)),
    }
    for name, (array, kind, shape) in shapes.items():
        fits = isinstance(array, np.ndarray) and array.dtype.kind == kind and array.shape == shape
        require(fits, f"The array {name} of the tree of boxes has the wrong type or shape.")
    require(len(tree.stages) > 0, "The tree of boxes has no stages.")
    in_range = tree.stage.min() >= 0 and tree.stage.max() < len(tree.stages)
    require(bool(in_range), "A node of the tree of boxes names a stage that does not exist.")
    for number, stage in enumerate(tree.stages):
        inside = stage.region.size == inputs and is_inside(region, stage.region)
        require(inside, f"The proof's region is not inside the region of stage {number}.")
        finite = bool(np.all(np.isfinite(stage.region.magnitude)) and np.isfinite(stage.threshold))
        require(finite, f"Stage {number} is not finite.")
        require(stage.threshold <= threshold, f"The proof's threshold {threshold!r} is below that of stage {number}.")
    _check_children(tree, inputs)


def _check_children(tree: BoxTree, inputs: int) -> None:
    inner = np.flatnonzero(tree.children >= 0)
    first = tree.children[inner]
    require(bool(np.all(tree.children >= -1)), "A node of the tree of boxes names a child that does not exist.")
    later = bool(np.all(first > inner) and np.all(first + 1 < tree.size))
    require(later, "The children of a node of the tree of boxes are not later nodes.")
    named = np.bincount(np.concatenate([first, first + 1]), minlength=tree.size)
    require(bool(np.all(named <= 1)), "A node of the tree of boxes has two parents.")
    axes, cuts = tree.axes[inner], tree.cuts[inner]
    require(bool(np.all((axes >= 0) & (axes < inputs))), f"A box is cut along an input that is not below {inputs}.")
    require(bool(np.all(np.isfinite(cuts))), "A box is cut at what is not a finite number.")


@contextmanager
def one_thread_each(workers: int) -> Iterator[Runner]:
    """A `map` over threads, each of which lets torch use one of its own; a plain `map` for less than two."""
    import torch

    if workers < 2:
        yield map
        return
    with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        yield pool.map
