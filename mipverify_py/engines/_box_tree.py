"""A tree of boxes that grows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mipverify_py.proof import BoxTree, Index, Stage
from onnx_models import Array

ROOM = 64
"""Nodes there is room for at first; twice as many whenever the room runs out."""


class GrowingBoxTree:
    """The arrays of a `BoxTree`, with room at their ends."""

    def __init__(self, targets: tuple[int, ...], stage: Stage) -> None:
        self.targets, self.stages, self.size = targets, [stage], 1
        self._axes, self._cuts = np.zeros(ROOM, np.int32), np.zeros(ROOM)
        self._children, self._parents = np.full(ROOM, -1, np.int64), np.full(ROOM, -1, np.int64)
        self._stage, self._closed = np.zeros(ROOM, np.int32), np.zeros((ROOM, len(targets)), np.bool_)
        self._bound = np.full(ROOM, np.inf)

    def view(self) -> BoxTree:
        """The tree as it is now; its arrays are views."""
        end = slice(self.size)
        return BoxTree(
            self.targets,
            tuple(self.stages),
            self._axes[end],
            self._cuts[end],
            self._children[end],
            self._stage[end],
            self._closed[end],
        )

    def copy(self) -> BoxTree:
        """The tree as it is now, with arrays of its own."""
        view = self.view()
        return replace(
            view,
            axes=view.axes.copy(),
            cuts=view.cuts.copy(),
            children=view.children.copy(),
            stage=view.stage.copy(),
            closed=view.closed.copy(),
        )

    @property
    def parents(self) -> NDArray[np.int64]:
        """The parent of every node, -1 for the root."""
        return self._parents[: self.size]

    @property
    def bound(self) -> Array:
        """Largest bound that each node had for targets open on it, inf where it has not been bounded."""
        return self._bound[: self.size]

    def claim(self, numbers: Index, closed: NDArray[np.bool_]) -> None:
        """Writes what nodes claim under the last stage; `closed` has shape (K, T)."""
        self._stage[numbers] = len(self.stages) - 1
        self._closed[numbers] = closed

    def split(self, numbers: Index, axes: Index, cuts: Array) -> NDArray[np.int64]:
        """Adds children to K leaves, all first ones and then all second ones; returns their numbers, shape (2, K)."""
        count = len(numbers)
        self._make_room(self.size + 2 * count)
        first = self.size + 2 * np.arange(count, dtype=np.int64)
        self._axes[numbers], self._cuts[numbers] = axes, cuts
        self._parents[first], self._parents[first + 1] = numbers, numbers
        self.size += 2 * count
        self._children[numbers] = first  # last of all, so that an interruption leaves the tree whole
        return np.stack([first, first + 1])

    def _make_room(self, size: int) -> None:
        more = max(size, 2 * len(self._axes)) - len(self._axes)
        if size <= len(self._axes):
            return
        self._axes, self._cuts = np.pad(self._axes, (0, more)), np.pad(self._cuts, (0, more))
        self._children = np.pad(self._children, (0, more), constant_values=-1)
        self._parents = np.pad(self._parents, (0, more), constant_values=-1)
        self._stage, self._closed = np.pad(self._stage, (0, more)), np.pad(self._closed, ((0, more), (0, 0)))
        self._bound = np.pad(self._bound, (0, more), constant_values=np.inf)
