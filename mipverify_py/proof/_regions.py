"""The regions of proofs: a box with its stage's bounds, and in it the pre-activation bounds of every node of a tree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Lock

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from bounds import HullPlanes, LinearForms, NetworkBounds, UnitLines
from bounds._direct import direct_inputs
from mipverify_py.proof._proof import Index, Plane, Units
from mipverify_py.proof._tighten import AffineUnits
from onnx_models import Array, ReluNetwork


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """Columns for the units of a tree, and for all others that the bounds of its first stage leave unstable.

    Attributes:
        network: the network.
        nodes: for each ReLU node with such units its index and its columns.
        units: position in its node of every column's unit, shape (K,).
        relus: ReLU node of every column, shape (K,).
        columns: column of each of the tree's units.
    """

    network: ReluNetwork
    nodes: tuple[tuple[int, slice], ...]
    units: Index
    relus: Index
    columns: Index

    @classmethod
    def of(cls, network: ReluNetwork, listed: tuple[Units, ...], bounds: NetworkBounds) -> Layout:
        """The layout for a tree whose first stage has these bounds."""
        nodes, parts, columns, first = [], [np.zeros(0, np.intp)], [np.zeros(0, np.intp)], 0
        given = {units.relu: units.units for units in listed}
        for relu in network.relu_indices:
            unstable = np.flatnonzero(bounds.pre_activation(network, relu).straddles_zero)
            units = np.union1d(unstable, given.get(relu, unstable))
            columns.append(first + np.searchsorted(units, given.get(relu, unstable[:0])))
            if len(units):
                nodes.append((relu, slice(first, first + len(units))))
                parts.append(units)
            first += len(units)
        relus = [np.full(place.stop - place.start, relu) for relu, place in nodes]
        return cls(
            network,
            tuple(nodes),
            np.concatenate(parts).astype(np.intp),
            np.concatenate([np.zeros(0, np.intp), *relus]),
            np.concatenate(columns).astype(np.intp),
        )


@dataclass(frozen=True, slots=True, eq=False)
class States:
    """What is known of the pre-activations in each of B nodes of a tree; each array has shape (B, K).

    Attributes:
        lower: lower bounds.
        upper: upper bounds; below the lower ones where the node's region is empty.
    """

    lower: Array
    upper: Array

    @classmethod
    def stack(cls, parts: Sequence[States]) -> States:
        """All rows of all parts."""
        return cls(np.concatenate([p.lower for p in parts]), np.concatenate([p.upper for p in parts]))

    def take(self, rows: Index) -> States:
        """A copy of some rows."""
        return States(self.lower[rows], self.upper[rows])

    def empty(self) -> NDArray[np.bool_]:
        """Which regions no input lies in, shape (B,)."""
        result: NDArray[np.bool_] = np.any(self.lower > self.upper, axis=1)
        return result

    def split(self, row: Index, columns: Index, signs: Index) -> None:
        """Cuts row row[k] by z >= 0 (sign 1) or z <= 0 (sign -1) for the unit of columns[k]."""
        low, high = self.lower[row, columns], self.upper[row, columns]
        self.lower[row, columns] = np.where(signs > 0, np.maximum(low, 0.0), low)
        self.upper[row, columns] = np.where(signs < 0, np.minimum(high, 0.0), high)


@dataclass(slots=True, eq=False)
class Region:
    """One stage of a tree, bounded by us.

    Attributes:
        layout: the columns of the tree.
        threshold: the stage's.
        bounds: of the network's nodes over the stage's region.
        lower: pre-activation bounds of all columns, shape (K,).
        upper: shape (K,).
    """

    layout: Layout
    threshold: float
    bounds: NetworkBounds
    lower: Array
    upper: Array
    _affine: list[tuple[slice, AffineUnits]] | None = None
    _constants: Array = field(default_factory=lambda: np.zeros(0))
    _sizes: Array = field(default_factory=lambda: np.zeros(0))
    _lock: Lock = field(default_factory=Lock)
    """Held while what nodes share is computed: threads may check several at once."""

    @classmethod
    def of(cls, layout: Layout, threshold: float, bounds: NetworkBounds, previous: Region | None) -> Region:
        """The region of a stage; its bounds also take in those of the stage before, whose box contains its own."""
        if previous is not None:
            pairs = zip(bounds.nodes, previous.bounds.nodes, strict=True)
            bounds = NetworkBounds(tuple(b.intersect(p) for b, p in pairs))
        pre = [bounds.pre_activation(layout.network, relu) for relu, _ in layout.nodes]
        units = [layout.units[place] for _, place in layout.nodes]
        lower = np.concatenate([np.zeros(0), *(p.lower[k] for p, k in zip(pre, units, strict=True))])
        upper = np.concatenate([np.zeros(0), *(p.upper[k] for p, k in zip(pre, units, strict=True))])
        return cls(layout, threshold, bounds, lower, upper)

    def whole(self) -> States:
        """The state of a root, of one row."""
        return States(self.lower[None].copy(), self.upper[None].copy())

    def within(self, states: States) -> States:
        """The states of an earlier or this region, cut by this region's bounds."""
        return States(np.maximum(states.lower, self.lower), np.minimum(states.upper, self.upper))

    def tighten(self, states: States, rows: Index, forms: LinearForms, gammas: Array) -> None:
        """Tightens R rows of the states, for units affine in the input; `gammas` has shape (R, 2, units)."""
        with self._lock:
            if self._affine is None:
                self._affine = self._affine_units()
        full = np.zeros((*gammas.shape[:2], len(self.lower)))
        full[:, :, self.layout.columns] = gammas
        for place, units in self._affine:
            lower, upper = units.bounds(forms, self.threshold, full[:, :, place])
            states.lower[rows, place] = np.maximum(states.lower[rows, place], lower)
            states.upper[rows, place] = np.minimum(states.upper[rows, place], upper)

    def _affine_units(self) -> list[tuple[slice, AffineUnits]]:
        result = []
        for relu, place in self.layout.nodes:
            direct = direct_inputs(self.layout.network, relu)
            if direct.sources == (0,):
                units = self.layout.units[place]
                weight = sparse.csr_array(direct.weight[units])
                box = self.bounds.nodes[0]
                result.append((place, AffineUnits(weight, direct.bias[units], box, direct.error(units, box.magnitude))))
        return result

    def lines(
        self, planes: Sequence[Plane], states: States, slopes: tuple[Array, Array], shares: sparse.csr_array
    ) -> dict[int, UnitLines]:
        """The lines of all units in nodes with the given states, by ReLU node.

        `slopes` are alpha and rho, each of shape (B, units of the tree); `shares` has the weights of all planes.
        """
        full = np.full((2, *states.lower.shape), np.nan)
        full[0][:, self.layout.columns], full[1][:, self.layout.columns] = slopes
        used = np.flatnonzero(np.bincount(shares.indices, minlength=len(planes)))
        columns = self.layout.columns[np.array([planes[int(p)].unit for p in used], np.intp)]
        relus = self.layout.relus[columns]
        by_plane = sparse.csc_array(shares)
        result = {}
        for relu, place in self.layout.nodes:
            here = relus == relu
            chosen = used[here]
            result[relu] = UnitLines(
                self.layout.units[place],
                states.lower[:, place],
                states.upper[:, place],
                full[0][:, place],
                full[1][:, place],
                sparse.csr_array(by_plane[:, chosen]),
                self._hull(relu, self.layout.units[columns[here]], chosen, [planes[int(p)] for p in chosen]),
            )
        return result

    def _hull(self, relu: int, units: Index, numbers: Index, planes: Sequence[Plane]) -> HullPlanes:
        """The planes with the given numbers, all of one ReLU node; their constants are computed once."""
        direct = direct_inputs(self.layout.network, relu)
        slopes = _matrix(planes, direct.weight.shape[1])
        with self._lock:
            missing = int(numbers.max(initial=-1)) + 1 - len(self._constants)
            if missing > 0:
                self._constants = np.concatenate([self._constants, np.full(missing, np.nan)])
                self._sizes = np.concatenate([self._sizes, np.full(missing, np.nan)])
            new = np.flatnonzero(np.isnan(self._constants[numbers]))
            if len(new):
                hull = HullPlanes.over(direct, direct.box(self.bounds), units[new], sparse.csr_array(slopes[new]))
                self._constants[numbers[new]], self._sizes[numbers[new]] = hull.constants, hull.sizes
            return HullPlanes(units, slopes, self._constants[numbers], self._sizes[numbers])


def _matrix(planes: Sequence[Plane], columns: int) -> sparse.csr_array:
    """The coefficients of planes as rows; entries that are not finite are taken as 0, as any coefficients are valid."""
    data = np.concatenate([np.zeros(0), *(p.coefficients for p in planes)])
    entries = np.concatenate([np.zeros(0, np.intp), *(p.entries for p in planes)])
    start = np.cumsum([0, *(len(p.entries) for p in planes)])
    return sparse.csr_array((np.where(np.isfinite(data), data, 0.0), entries, start), shape=(len(planes), columns))
