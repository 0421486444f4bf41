"""Hull planes for the batched duals: separation by sorting, a pool per unit, on receptive fields."""

from __future__ import annotations

import copy
import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from bounds import Bounds
from mipverify_py.engines._problem import Layer, Problem, receptive_fields
from mipverify_py.proof import Index, Plane, Tree
from onnx_models import Array

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Count = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class _Pool:
    """The planes of all units; replaced as a whole, so that an interruption leaves the old one or the new one.

    Attributes: see `LayerPlanes`.
    """

    coefficients: Tensor
    offset: Tensor
    numbers: Count
    births: Count


class LayerPlanes:
    """Up to `capacity` planes y <= C.x + D for each of some units of a layer that reads the network's input alone."""

    def __init__(self, layer: Layer, units: Index, n: int, capacity: int, device: torch.device) -> None:
        import torch

        self.first, self.units, self.capacity, self._n = layer.first, units, capacity, n
        matrix = sparse.csr_array(layer.weight[units][:, :n])
        matrix.sort_indices()  # a proof's planes list their entries in ascending order
        lengths = np.diff(matrix.indptr)
        width = int(lengths.max(initial=0))
        self._gather: Tensor | None = None
        if 2 * width > n:
            weight, entries = matrix.toarray(), np.broadcast_to(np.arange(n), (len(units), n))
            mask = np.ones_like(weight)
        else:
            weight, entries, mask = receptive_fields(matrix)
            self._gather = torch.from_numpy(entries).to(device)
            self._scatter = _scatter(entries, mask, n).to(device)
        self._entries, self._mask = entries, torch.from_numpy(mask).to(device)
        self.weight = torch.from_numpy(weight).to(device)
        self.bias = torch.from_numpy(layer.bias[units]).to(device)
        self.unit_index = torch.from_numpy(units.astype(np.int64)).to(device)
        none = np.zeros((len(units), 0), np.int64)
        zeros = self.weight.new_zeros
        self._pool = _Pool(zeros(len(units), 0, weight.shape[1]), zeros(len(units), 0), none, none)
        self._separations = 0

    def copy(self) -> LayerPlanes:
        """Planes that start as these; from then on neither sees what the other adds."""
        twin = copy.copy(self)
        twin._pool = replace(self._pool, numbers=self._pool.numbers.copy())  # the one array that is written to
        return twin

    @property
    def coefficients(self) -> Tensor:
        """C on the receptive fields, shape (K, P, f)."""
        return self._pool.coefficients

    @property
    def offset(self) -> Tensor:
        """D over the present box, shape (K, P)."""
        return self._pool.offset

    @property
    def numbers(self) -> Count:
        """Number of each plane in the tree's list, -1 while no stored node uses it, shape (K, P)."""
        return self._pool.numbers

    @property
    def births(self) -> Count:
        """Which separation each plane comes from: tells planes apart that took the same place. Never written to."""
        return self._pool.births

    @property
    def count(self) -> int:
        """Planes per unit, P."""
        return int(self.coefficients.shape[1])

    def move(self, box: Bounds) -> None:
        """Recomputes every D for another box."""
        import torch

        device = self.weight.device
        low, high = torch.from_numpy(box.lower).to(device), torch.from_numpy(box.upper).to(device)
        if self._gather is None:
            low, high = low[None].expand(len(self.units), -1), high[None].expand(len(self.units), -1)
        else:
            low, high = low[self._gather] * self._mask, high[self._gather] * self._mask
        self._low, self._high = low, high
        self._middle, self._radius = 0.5 * (low + high), 0.5 * (high - low)
        self._pool = replace(self._pool, offset=self._offsets(self.coefficients))

    def _offsets(self, coefficients: Tensor, which: Tensor | slice = slice(None)) -> Tensor:
        """D = max over the box of max(0, w.x + b) - C.x = max(max of -C.x, max of (w - C).x + b)."""
        import torch

        rest = self.weight[which][:, None] - coefficients
        middle, radius = self._middle[which][:, :, None], self._radius[which][:, :, None]
        idle = (coefficients.abs() @ radius - coefficients @ middle)[:, :, 0]
        busy = (rest @ middle + rest.abs() @ radius)[:, :, 0] + self.bias[which][:, None]
        return torch.maximum(idle, busy)

    def values(self, x: Tensor) -> Tensor:
        """C.x + D for a batch of inputs, shape (B, K, P)."""
        if self._gather is None:
            flat = self.coefficients.reshape(-1, self._n)
            found = (x @ flat.T).reshape(len(x), len(self.units), self.count)
        else:
            fields = x[:, self._gather].transpose(0, 1)  # (K, B, f)
            found = (fields @ self.coefficients.transpose(1, 2)).transpose(0, 1)
        return found + self.offset

    def combine(self, weights: Tensor) -> Tensor:
        """Sum over units and planes of weights times C as rows over the input; weights has shape (B, K, P)."""
        if self._gather is None:
            return weights.reshape(len(weights), -1) @ self.coefficients.reshape(-1, self._n)
        fields = (weights.transpose(0, 1) @ self.coefficients).transpose(0, 1)  # (B, K, f)
        return (self._scatter @ fields.reshape(len(weights), -1).T).T

    def spread(self) -> Tensor:
        """The coefficients over all inputs, shape (K, P, n)."""
        if self._gather is None:
            return self.coefficients
        whole = self.coefficients.new_zeros(len(self.units), self.count, self._n)
        index = self._gather[:, None].expand_as(self.coefficients)
        return whole.scatter_add_(2, index, self.coefficients * self._mask[:, None])

    def separate(self, x: Tensor, which: Tensor | slice = slice(None)) -> Tensor:
        """The facet of a unit's hull that is lowest at one input x, shape (units in `which`, f); 0 for stable units.

        `which` are positions among the units. Sorted by (x_i - L'_i) / (U'_i - L'_i), with L' the end of the box at
        which w_i x_i is least, inputs join the set I while l(I) >= 0; the next one, h, gets the slope
        l(I) / (U'_h - L'_h) (Anderson et al., 2020, proposition 2).
        """
        import torch

        weight, low, high = self.weight[which], self._low[which], self._high[which]
        at = x[None].expand(len(weight), -1) if self._gather is None else x[self._gather[which]]
        positive = weight >= 0
        least, width = low.where(positive, high), high - low
        signed = width.where(positive, -width)
        live = (width > 0) & (weight != 0)
        share = ((at - least) / signed.where(live, torch.ones_like(signed))).where(live, torch.full_like(at, 2.0))
        order = share.argsort(dim=1, stable=True)
        gain = (weight * signed).where(live, torch.zeros_like(signed))
        top = self.bias[which] + (weight * self._middle[which] + weight.abs() * self._radius[which]).sum(1)
        left = top[:, None] - gain.gather(1, order).cumsum(1)
        negative = left < 0
        last = negative.to(torch.int8).argmax(1, keepdim=True)
        before = torch.arange(at.shape[1], device=at.device)[None] < last
        chosen = weight.gather(1, order) * before
        rest = left.gather(1, (last - 1).clamp(min=0)).where(last > 0, top[:, None])
        slope = rest / signed.gather(1, order.gather(1, last)).where(
            live.gather(1, order.gather(1, last)), torch.ones_like(rest)
        )
        chosen.scatter_(1, last, slope)
        found = torch.zeros_like(chosen).scatter_(1, order, chosen)
        return found * (negative.any(1, keepdim=True) & (top[:, None] > 0))

    def add(self, coefficients: Tensor) -> None:
        """One more plane for every unit; the pool must have room."""
        import torch

        pool, offset = self._pool, self._offsets(coefficients[:, None])
        self._separations += 1
        fresh, born = np.full((len(self.units), 1), -1), np.full((len(self.units), 1), self._separations)
        self._pool = _Pool(
            torch.cat([pool.coefficients, coefficients[:, None]], 1),
            torch.cat([pool.offset, offset], 1),
            np.concatenate([pool.numbers, fresh], 1),
            np.concatenate([pool.births, born], 1),
        )

    def replace(self, which: Tensor, coefficients: Tensor, use: Tensor) -> None:
        """A new plane for each of some units, in place of its least used one.

        `which` are positions among the units, shape (k,); `use`, shape (K, P), says how much each plane is used now.
        """
        pool = self._pool
        self._separations += 1
        slot = use[which].argmin(1)
        kept, offset = pool.coefficients.clone(), pool.offset.clone()
        kept[which, slot] = coefficients
        offset[which, slot] = self._offsets(coefficients[:, None], which)[:, 0]
        numbers, births = pool.numbers.copy(), pool.births.copy()
        place = which.cpu().numpy(), slot.cpu().numpy()
        numbers[place], births[place] = -1, self._separations
        self._pool = _Pool(kept, offset, numbers, births)

    def fitted(self, mu: Tensor, births: Count) -> Tensor:
        """Weights for the planes as they are now: new ones get a tenth, what gave way goes to the line."""
        import torch

        if births is self.births:
            return mu
        old = births.shape[1]
        fresh = np.ones(self.births.shape, bool)
        fresh[:, :old] = births != self.births[:, :old]
        new = torch.from_numpy(fresh).to(mu)
        kept = mu[:, 1:] * (1.0 - new[:, :old])
        line = mu[:, :1] + (mu[:, 1:] - kept).sum(1, keepdim=True)
        kept = torch.cat([line, kept, kept.new_zeros(len(kept), self.count - old)], 1)
        count = new.sum(1, keepdim=True)
        share = 0.1 * (count > 0).to(mu)
        return (1.0 - share) * kept + share * torch.cat([torch.zeros_like(line), new / count.clamp(min=1)], 1)

    def record(self, tree: Tree, used: tuple[Index, Index]) -> None:
        """Gives the planes at positions (unit, plane) that have none yet a number in the tree's list."""
        new = self.numbers[used] < 0
        for k, p in zip(used[0][new], used[1][new], strict=True):
            row = self.coefficients[k, p].cpu().numpy()
            keep = np.flatnonzero(row)
            unit, entries = int(self.first + self.units[k]), self._entries[k][keep].astype(np.intp)
            tree.planes.append(Plane(unit, entries, row[keep]))
            self.numbers[k, p] = len(tree.planes) - 1


def _scatter(entries: NDArray[np.int64], mask: Array, n: int) -> Tensor:
    """Adds receptive fields up to an input vector: a sparse product, which sums in a fixed order."""
    import torch

    place = np.arange(entries.size)
    one_hot = sparse.csr_array((mask.ravel(), (entries.ravel(), place)), shape=(n, entries.size))
    one_hot.eliminate_zeros()
    start, column = (torch.from_numpy(a.astype(np.int64)) for a in (one_hot.indptr, one_hot.indices))
    values, shape = torch.from_numpy(one_hot.data), (n, entries.size)
    with warnings.catch_warnings():  # torch says once per process that these tensors are young
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(start, column, values, shape, check_invariants=True)


def layers_with_planes(problem: Problem, margin: Array, capacity: int, device: torch.device) -> dict[int, LayerPlanes]:
    """Planes for every layer whose units read the input alone, by the layer's position; none exist at first.

    An upper plane serves only units whose coefficient can be positive: in the last layer those with a positive margin.
    """
    found = {}
    for k, layer in enumerate(problem.layers):
        if layer.source is not None:
            continue
        first = problem.inputs + layer.first
        useful = np.ones(layer.size, bool)
        if k == len(problem.layers) - 1:
            useful = margin[first : first + layer.size] > 0
        if np.any(useful):
            found[k] = LayerPlanes(layer, np.flatnonzero(useful), problem.inputs, capacity, device)
    return found
