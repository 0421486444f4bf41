"""Values and gradients of many points at once, and their climb towards larger margins: what local searches need."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from bounds import Bounds
from mipverify_py._query import Query
from onnx_models import Affine, Array, ConvolutionMap, DenseMap, Input, LinearMap, Relu, ReluNetwork

Index = NDArray[np.intp]

SPARSE_ENTRIES = 30_000
"""A convolution with more coefficients than this, weights counted once per use, is applied as a convolution, a smaller
one as a sparse matrix (measured for 9 to 36 points: 2 times as fast at 6,400, equal at 43,000, half as fast beyond)."""

MOMENTUM = 0.8
"""Share of the direction that one step hands to the next. Without it sign steps jump to and fro across the units that
are at 0 at an optimum and end up to 0.4 % further away (means over MNIST networks)."""


@dataclass(frozen=True, eq=False)
class _Map:
    """A linear map and its transpose, applied to the columns of a matrix."""

    apply: Callable[[Array], Array]
    transposed: Callable[[Array], Array]


class Gradients:
    """The network over columns: points are the columns of a matrix of shape (n, N). Made once per network (`of`)."""

    def __init__(self, network: ReluNetwork) -> None:
        self._nodes = network.nodes
        self._maps = tuple(tuple(_columns(m) for m in getattr(node, "maps", ())) for node in network.nodes)

    @classmethod
    def of(cls, network: ReluNetwork) -> Gradients:
        """Those of `network`, made on first use."""
        if network not in _CACHE:
            _CACHE[network] = cls(network)
        return _CACHE[network]

    def values(self, points: Array) -> list[Array]:
        """Value of every node, each of shape (node size, N)."""
        values: list[Array] = []
        for node, maps in zip(self._nodes, self._maps, strict=True):
            if isinstance(node, Input):
                values.append(points)
            elif isinstance(node, Relu):
                values.append(np.maximum(values[node.input], 0.0))
            else:
                total = np.repeat(node.bias[:, None], points.shape[1], axis=1)
                for source, linear_map in zip(node.inputs, maps, strict=True):
                    total += linear_map.apply(values[source])
                values.append(total)
        return values

    def backward(self, values: list[Array], seeds: Mapping[int, Array]) -> Array:
        """Gradient, shape (n, N), of  sum over nodes of seeds[node] * value of the node  for each column by itself.

        `values` are those of the points, `seeds` has one array of shape (node size, N) per node that occurs. The
        derivative of a ReLU at 0 is taken as 0.
        """
        open_seeds = dict(seeds)
        while (index := max(open_seeds, default=0)) > 0:
            seed, node = open_seeds.pop(index), self._nodes[index]
            if isinstance(node, Affine):
                parts = [(k, m.transposed(seed)) for k, m in zip(node.inputs, self._maps[index], strict=True)]
            else:
                assert isinstance(node, Relu)
                parts = [(node.input, seed * (values[index] > 0))]
            for source, part in parts:
                open_seeds[source] = open_seeds[source] + part if source in open_seeds else part
        return open_seeds[0] if open_seeds else np.zeros_like(values[0])


_CACHE: WeakKeyDictionary[ReluNetwork, Gradients] = WeakKeyDictionary()


def _columns(linear_map: LinearMap) -> _Map:
    if isinstance(linear_map, DenseMap):
        weight, transposed = linear_map.weight, np.ascontiguousarray(linear_map.weight.T)
        return _Map(lambda x: weight @ x, lambda y: transposed @ y)
    if isinstance(linear_map, ConvolutionMap) and linear_map.entries > SPARSE_ENTRIES:
        return _Map(lambda x: linear_map.apply(x.T).T, lambda y: linear_map.transpose_apply(y.T).T)
    matrix = linear_map.to_sparse()
    back = sparse.csr_array(matrix.T.tocsr())
    return _Map(lambda x: np.asarray(matrix @ x), lambda y: np.asarray(back @ y))


class Climb:
    """Points that climb f_j - f_c, each for its own target j, by projected sign steps with momentum.

    Projected gradient ascent (Madry et al., 2018) with momentum on the gradient divided by its 1-norm (Dong et al.,
    2018).

    Args:
        query: the reference class, the targets, the margin.
        points: where they start, shape (n, N).
        targets: position of each point's target in `query.target_classes`, shape (N,).

    Attributes:
        points: where they are, shape (n, N).
        margins: f_j - f_c of each point for its target, shape (N,).
        values: the value of every node there, each of shape (node size, N).
        reaches: by how much each margin would grow from the middle of the box to its best corner if it were linear, by
            the gradient at the last step, shape (N,); 1 before the first.
    """

    def __init__(self, query: Query, points: Array, targets: Index) -> None:
        self._gradients, self._margin = Gradients.of(query.network), query.margin
        self._classes, self._reference = np.array(query.target_classes), query.reference
        self._direction = np.zeros_like(points)
        self.targets = targets
        self._place(points)

    def _place(self, points: Array) -> None:
        self.points, self.values = points, self._gradients.values(points)
        logits = self.values[-1]
        self._all_margins = logits[self._classes] - logits[self._reference]
        self.margins: Array = self._all_margins[self.targets, np.arange(len(self.targets))]
        self.reaches = np.ones(len(self.targets))

    def step(self, box: Bounds, share: float) -> None:
        """Every point moves by `share` of half the box's width per entry, and into the box."""
        seeds = np.zeros_like(self.values[-1])
        seeds[self._classes[self.targets], np.arange(len(self.targets))] = 1.0
        seeds[self._reference] = -1.0
        gradient = self._gradients.backward(self.values, {len(self.values) - 1: seeds})
        low, high = box.lower[:, None], box.upper[:, None]
        half = 0.5 * (high - low)
        absolute = np.abs(gradient)
        reaches = half[:, 0] @ absolute
        self._direction *= MOMENTUM
        self._direction += gradient / np.maximum(absolute.sum(axis=0), np.finfo(np.float64).tiny)
        moved = np.sign(self._direction)
        moved *= share * half
        moved += self.points
        self._place(np.clip(moved, low, high, out=moved))
        self.reaches = reaches

    def run(self, box: Bounds, steps: int, share: float, *, stop: Callable[[], bool]) -> None:
        """`steps` steps whose shares fall evenly from `share` to 0; ends early once `stop()`."""
        for k in range(steps):
            if stop():
                return
            self.step(box, share * (1.0 - k / steps))

    def best(self) -> tuple[Array, float]:
        """The point with the largest margin for any target, shape (n,), and that margin."""
        top = self._all_margins.max(axis=0)
        leader = int(top.argmax())
        return self.points[:, leader].copy(), float(top[leader])

    def keep(self, columns: Index) -> None:
        """Goes on with these points only."""
        self.targets, self._direction = self.targets[columns], self._direction[:, columns]
        reaches = self.reaches[columns]
        self._place(self.points[:, columns])
        self.reaches = reaches
