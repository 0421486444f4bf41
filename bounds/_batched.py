"""Interval and CROWN bounds of a network over many boxes at once, outward rounded, on a CPU or a GPU.

The backward pass of `_linear` for rows that belong to different boxes: one matrix product serves all of them, and only
the lines of the ReLUs are each box's own. Rounding errors are bounded a priori (`_rounding`), which holds for whatever
order a library or a device sums in, with or without fused multiply-add.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bounds._batched_choices import RowChoices
from bounds._batched_rows import SPARE, TINY, BatchedForms, Lines, Substitution, down, up
from bounds._hull import LinearForms
from bounds._rounding import UNIT_ROUNDOFF, gamma
from bounds._sweep import feeds_relu, is_affine_in_input
from onnx_models import Affine, Array, Relu, ReluNetwork
from onnx_models.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from bounds._batched_maps import TensorMap

NodeBounds = tuple[tuple[Array, Array], ...]
"""Lower and upper bounds of every node over B boxes, each of shape (B, size)."""

CHUNK_ENTRIES, DEVICE_ENTRIES = 100_000, 30_000_000
"""Rows times the widest node that are worked on together: what fits a cache, and what keeps a GPU busy."""

BOX_WORK, DEVICE_WORK = 500_000_000, 100_000_000_000
"""Units times coefficients times boxes that are worked on together."""

MOST_BOXES, DEVICE_BOXES = 512, 8192
"""The most boxes that are, where a network is tiny."""


class BatchedNetwork:
    """A network whose maps are laid out for bounds over many boxes."""

    def __init__(self, network: ReluNetwork, device: str = "cpu") -> None:
        """`device` is "cpu" or "cuda" (or "cuda:1", ...)."""
        import torch

        from bounds._batched_maps import tensor_map

        self.network, self.device = network, device
        self._maps: dict[int, tuple[TensorMap, ...]] = {}
        self._bias: dict[int, Tensor] = {}
        for index, node in enumerate(network.nodes):
            if isinstance(node, Affine):
                self._maps[index] = tuple(tensor_map(m, device) for m in node.maps)
                self._bias[index] = torch.tensor(node.bias, device=device)
        widest = max(node.size for node in network.nodes)
        entries = CHUNK_ENTRIES if device == "cpu" else DEVICE_ENTRIES
        self.rows_at_once = max(16, entries // widest)
        """Rows that one backward pass takes."""
        entries = sum(m.entries for node in network.nodes if isinstance(node, Affine) for m in node.maps)
        work, most = (BOX_WORK, MOST_BOXES) if device == "cpu" else (DEVICE_WORK, DEVICE_BOXES)
        self.boxes_at_once = int(np.clip(work // max(1, network.relu_count * entries), 1, most))
        """Boxes that take some tens of milliseconds."""

    def maps(self, index: int) -> tuple[TensorMap, ...]:
        """The maps of affine node `index`."""
        return self._maps[index]

    def bias(self, index: int) -> Tensor:
        """The bias of affine node `index`, shape (m,)."""
        return self._bias[index]

    def over(
        self, lower: Tensor, upper: Tensor, *, tails: frozenset[int] = frozenset(), slopes: bool = False
    ) -> BatchedBounds:
        """Bounds of every node over B boxes, given by tensors of shape (B, n) on this device, float64 and finite.

        As with `linear_bounds`, pre-activations that interval bounds leave unstable are bounded by CROWN too, but those
        of the ReLU nodes in `tails` are not. `slopes` keeps what `BatchedForms.gaps` is made of.
        """
        bounds = BatchedBounds(self, [lower], [upper], {0: _magnitude(lower, upper)})
        if slopes:
            bounds.slopes = {}
        for index, node in enumerate(self.network.nodes):
            if isinstance(node, Relu):
                bounds.rectify(index, node)
            elif isinstance(node, Affine):
                bounds.transform(index, node)
                readers = [k for k in self.network.consumers[index] if isinstance(self.network.nodes[k], Relu)]
                if feeds_relu(self.network, index) and not tails.issuperset(readers):
                    bounds.refine(index, node)
                bounds.settle(index)
        return bounds


@dataclass(eq=False)
class BatchedBounds:
    """Bounds of the nodes of a network over B boxes. Made by `BatchedNetwork.over`.

    Attributes:
        batched: the network.
        lower: lower bounds of every node so far, each of shape (B, size).
        upper: upper bounds.
    """

    batched: BatchedNetwork
    lower: list[Tensor]
    upper: list[Tensor]
    reach: dict[int, Tensor]
    """Largest absolute value of every entry of a node in any of the boxes, shape (size,)."""
    charges: dict[int, Tensor] = field(default_factory=dict)
    """By affine node what a coefficient of 1 of each of its entries costs in rounding errors, shape (size,)."""
    floors: dict[int, float] = field(default_factory=dict)
    """By affine and ReLU node what products that underflow may cost a row."""
    lines: dict[int, Lines] = field(default_factory=dict)
    slopes: dict[int, Tensor] | None = None
    """By pre-activation how steep its forms are in each input, shape (B, size, n), 0 for units that are stable."""

    @property
    def boxes(self) -> int:
        """Number of boxes B."""
        return len(self.lower[0])

    # ------------------------------------------------------------------------------------------- from the input onwards

    def rectify(self, index: int, node: Relu) -> None:
        """Bounds ReLU node `index`; exact."""
        low, high = self.lower[node.input], self.upper[node.input]
        self.lines[index] = Lines.of(low, high)
        self.floors[index] = TINY * (1.0 + float(self.reach[node.input].sum()))
        self._append(index, low.clamp(min=0.0), high.clamp(min=0.0))

    def transform(self, index: int, node: Affine) -> None:
        """Interval bounds of affine node `index`, by middles and radii:  M v + b  is in  M m + b -+ |M| r."""
        import torch

        bias, terms = self.batched.bias(index), sum(m.input_size for m in node.maps) + 4
        centre, spread = bias.expand(self.boxes, -1), gamma(terms) * bias.abs().expand(self.boxes, -1)
        size = bias.abs()
        for source, tensor_map in zip(node.inputs, self.batched.maps(index), strict=True):
            low, high = self.lower[source], self.upper[source]
            middle = 0.5 * (low + high)
            radius = torch.maximum(high - middle, middle - low)
            error = 2.0 * gamma(terms) * (middle.abs() + radius) + TINY
            centre = centre + tensor_map.apply(middle)
            spread = spread + tensor_map.absolute(radius + error)
            size = size + tensor_map.absolute(self.reach[source][None])[0]
        spread = spread * (1.0 + 4.0 * gamma(terms)) + TINY
        low, high = down(centre - spread), up(centre + spread)
        self.lower.append(torch.nan_to_num(low, nan=-np.inf, posinf=np.inf, neginf=-np.inf))
        self.upper.append(torch.nan_to_num(high, nan=np.inf, posinf=np.inf, neginf=-np.inf))
        # Rounding of a row of coefficients times the maps and times the bias.
        self.charges[index] = gamma(node.size + 2) * size * SPARE
        self.floors[index] = TINY * (1.0 + sum(float(self.reach[source].sum()) for source in node.inputs))

    def refine(self, index: int, node: Affine) -> None:
        """Bounds the unstable units of affine node `index`, a pre-activation, by CROWN too."""
        import torch

        exact = is_affine_in_input(self.batched.network, index)
        low, high = self.lower[index], self.upper[index]
        if self.slopes is not None:
            self.slopes[index] = torch.zeros((*low.shape, self.lower[0].shape[1]), dtype=low.dtype, device=low.device)
        boxes, units = torch.nonzero((low < 0) & (high > 0), as_tuple=True)
        step = max(1, self.batched.rows_at_once // 2)
        for start in range(0, 0 if exact else len(boxes), step):
            box, unit = boxes[start : start + step], units[start : start + step]
            forms = self._of_units(index, node, box, unit)
            high[box, unit] = torch.minimum(high[box, unit], forms.bound[: len(box)])
            low[box, unit] = torch.maximum(low[box, unit], -forms.bound[len(box) :])
            if self.slopes is not None:
                both = forms.slopes.abs()
                self.slopes[index][box, unit] = 0.5 * (both[: len(box)] + both[len(box) :])
        if exact and self.slopes is not None and node.maps:
            every = torch.arange(node.size, device=low.device)
            self.slopes[index] += self.batched.maps(index)[0].rows(every).abs()

    def settle(self, index: int) -> None:
        """Takes the bounds of affine node `index` as they are now."""
        self.reach[index] = _magnitude(self.lower[index], self.upper[index])
        if self.is_charged_twice(index):
            self.charges[index] = self.charges[index] + 2.0 * UNIT_ROUNDOFF * SPARE * self.reach[index]

    def is_charged_twice(self, index: int) -> bool:
        """Whether the coefficients of affine node `index` all come out of one ReLU.

        Then what rounded them there is paid for together with what rounds them here.
        """
        network = self.batched.network
        readers = network.consumers[index]
        return len(readers) == 1 and isinstance(network.nodes[readers[0]], Relu)

    def _append(self, index: int, low: Tensor, high: Tensor) -> None:
        self.lower.append(low)
        self.upper.append(high)
        self.reach[index] = _magnitude(low, high)

    def _of_units(self, index: int, node: Affine, box: Tensor, unit: Tensor) -> BatchedForms:
        """Forms of units of affine node `index` in boxes, then of their negatives."""
        import torch

        bias = self.batched.bias(index)[unit]
        walk = Substitution(self, box, torch.cat([bias, -bias]), gaps=False)
        for source, tensor_map in zip(node.inputs, self.batched.maps(index), strict=True):
            rows = tensor_map.rows(unit)
            walk.add(source, torch.cat([rows, -rows]))
        return walk.run({})

    # --------------------------------------------------------------------------------------------- from the logits back

    def forms(self, choices: RowChoices, boxes: Tensor, numbers: Tensor, *, gaps: bool = False) -> BatchedForms:
        """Forms of P choices over P boxes, given by their numbers, shape (P,); `gaps` needs bounds with `slopes`."""
        import torch

        last = len(self.batched.network.nodes) - 1
        device, step, parts = self.lower[0].device, self.batched.rows_at_once, []
        rows = torch.tensor(choices.rows[choices.owners], device=device)
        slopes = {relu: torch.tensor(alpha, device=device) for relu, alpha in choices.slopes.items()}
        for start in range(0, max(len(boxes), 1), step):
            box, number = boxes[start : start + step], numbers[start : start + step]
            walk = Substitution(self, box, torch.zeros(len(box), dtype=torch.float64, device=device), gaps=gaps)
            walk.add(last, rows[number])
            parts.append(walk.run({relu: alpha[number] for relu, alpha in slopes.items()}))
        return BatchedForms(
            torch.cat([part.slopes for part in parts]),
            torch.cat([part.constant for part in parts]),
            torch.cat([part.bound for part in parts]),
            torch.cat([part.gaps for part in parts if part.gaps is not None]) if gaps else None,
        )


def _magnitude(low: Tensor, high: Tensor) -> Tensor:
    import torch

    if not len(low):
        return low.new_zeros(low.shape[1])
    return torch.maximum(low.abs(), high.abs()).amax(0)


def batched_bounds(
    network: ReluNetwork, lower: Array, upper: Array, rows: Array, *, device: str = "cpu"
) -> tuple[NodeBounds, LinearForms]:
    """Bounds of every node over B boxes, and linear upper bounds of R rows over the logits on each of them.

    Args:
        network: the network.
        lower: lower ends of the boxes, shape (B, n), finite.
        upper: upper ends.
        rows: shape (R, logits).
        device: "cpu" or "cuda".

    Returns:
        For every node its lower and upper bounds, two arrays of shape (B, size); and the forms of all rows over the
        first box, then over the second, and so on: slopes of shape (B R, n), constants and bounds of shape (B R,).

    Raises:
        InputError: shapes do not fit the network, or a box is unbounded or has crossed ends.
    """
    import torch

    for ends, width in ((lower, network.input_size), (upper, network.input_size), (rows, network.output_size)):
        if ends.ndim != 2 or ends.shape[1] != width:
            raise InputError(f"An array has shape {ends.shape}; it must have {width} columns.")
    if lower.shape != upper.shape or not np.all(np.isfinite(lower) & np.isfinite(upper) & (lower <= upper)):
        raise InputError("The boxes must be finite, their lower ends must not exceed their upper ends.")
    choices, batched = RowChoices.of(network, rows), BatchedNetwork(network, device)
    low, high = (torch.tensor(np.asarray(e, np.float64), device=device) for e in (lower, upper))
    with torch.no_grad():
        bounds = batched.over(low, high)
        count = len(choices.owners)
        boxes = torch.arange(len(lower), device=device).repeat_interleave(count)
        forms = bounds.forms(choices, boxes, torch.arange(count, device=device).repeat(len(lower)))
    value = forms.bound.cpu().numpy().reshape(-1, count)
    best = np.stack([_smallest(value, np.flatnonzero(choices.owners == row)) for row in range(len(rows))], axis=1)
    picked = (best + count * np.arange(len(lower))[:, None]).reshape(-1)
    nodes = tuple((low.cpu().numpy(), high.cpu().numpy()) for low, high in zip(bounds.lower, bounds.upper, strict=True))
    slopes, constant = forms.slopes.cpu().numpy()[picked], forms.constant.cpu().numpy()[picked]
    return nodes, LinearForms(slopes, constant, value.reshape(-1)[picked])


def _smallest(values: Array, columns: NDArray[np.intp]) -> NDArray[np.intp]:
    """For each row the column, among those given, with the smallest value."""
    result: NDArray[np.intp] = columns[np.argmin(values[:, columns], axis=1)]
    return result
