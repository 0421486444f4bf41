"""The proof of a search that cuts the input's box into smaller ones: a tree in arrays, for all targets at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mipverify_py.proof._proof import Index, Stage
from onnx_models import Array


@dataclass(frozen=True, slots=True, eq=False)
class BoxTree:
    """A tree of boxes that shows, for several targets j, that f_j - f_c stays below a threshold on a region.

    The root's box is the region of the first stage. A node with children is cut at x_axis = cut: its first child is the
    part with x_axis <= cut, the one after it the part with x_axis >= cut; both have the cut itself. A node may claim
    that some targets stay below the threshold of its stage on what its box and its stage's region have in common; what
    is claimed needs no more proof below. Bounds are not stored: the replay computes them.

    Attributes:
        targets: the classes j, shape (T,).
        stages: regions and thresholds; every region contains the region that the tree is to prove something about, and
            no threshold is above what it is to prove. A stage's refinements are not used.
        axes: by node the input that it is cut along; any number where it is a leaf. Shape (N,).
        cuts: where it is cut, shape (N,).
        children: number of the first child, larger than the node's own; -1 for a leaf. Shape (N,).
        stage: number of the stage of a node's claims, shape (N,).
        closed: which targets a node claims, shape (N, T).
    """

    targets: tuple[int, ...]
    stages: tuple[Stage, ...]
    axes: NDArray[np.int32]
    cuts: Array
    children: NDArray[np.int64]
    stage: NDArray[np.int32]
    closed: NDArray[np.bool_]

    @property
    def size(self) -> int:
        """Number of nodes N."""
        return len(self.axes)

    def parents(self) -> NDArray[np.int64]:
        """The parent of every node, shape (N,); -1 for the root and for nodes that nobody names as a child."""
        result = np.full(self.size, -1, np.int64)
        inner = np.flatnonzero(self.children >= 0)
        result[self.children[inner]] = inner
        result[self.children[inner] + 1] = inner
        return result

    def boxes(self, numbers: Index, parents: NDArray[np.int64]) -> tuple[Array, Array]:
        """Lower and upper ends of the boxes of some nodes, two arrays of shape (K, n); empty boxes have crossed ends.

        The way up to the root is followed cut by cut.
        """
        root = self.stages[0].region
        lower, upper = (np.tile(end, (len(numbers), 1)) for end in (root.lower, root.upper))
        rows, nodes = np.arange(len(numbers)), np.asarray(numbers, np.int64)
        while len(rows):
            above = parents[nodes]
            rows, nodes, above = rows[above >= 0], nodes[above >= 0], above[above >= 0]
            axis, cut = self.axes[above], self.cuts[above]
            first = nodes == self.children[above]
            upper[rows, axis] = np.where(first, np.minimum(upper[rows, axis], cut), upper[rows, axis])
            lower[rows, axis] = np.where(first, lower[rows, axis], np.maximum(lower[rows, axis], cut))
            nodes = above
        return lower, upper
