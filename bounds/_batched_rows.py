"""The backward pass of `_linear` for rows that belong to different boxes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bounds._rounding import UNIT_ROUNDOFF, gamma
from onnx_models import Affine, Relu

if TYPE_CHECKING:
    from torch import Tensor

    from bounds._batched import BatchedBounds

TINY = 2.0**-900
"""Added to every error bound: covers products that underflow, also on hardware that flushes them to zero."""

SPARE = 1.0 + 1e-9
"""Factor for error bounds that were themselves computed in floats."""


@dataclass(frozen=True, slots=True, eq=False)
class BatchedForms:
    """P linear upper bounds:  row @ logits <= slopes @ x + constant <= bound  for all x in the row's box.

    Attributes:
        slopes: shape (P, n).
        constant: shape (P,), with all rounding errors; inf or NaN where floats overflow.
        bound: shape (P,); inf where floats overflow.
        gaps: by how much the lines of unstable units may make the bound too large, shared among the inputs by what each
            contributes to the width of the unit's pre-activation, shape (P, n); None where not asked for. Computed in
            floats: a guide, not a bound.
    """

    slopes: Tensor
    constant: Tensor
    bound: Tensor
    gaps: Tensor | None


@dataclass(frozen=True, slots=True, eq=False)
class Lines:
    """The lines around the units of one ReLU node in B boxes, shapes (B, units), as in `Relaxation`."""

    slope: Tensor
    intercept: Tensor
    alpha: Tensor
    unstable: Tensor
    dip: Tensor
    """By how much alpha z can fall short of max(z, 0) with CROWN's alpha."""

    @classmethod
    def of(cls, low: Tensor, high: Tensor) -> Lines:
        import torch

        unstable = (low < 0) & (high > 0)
        dip = torch.minimum(high, -low).clamp(min=0.0)
        one, zero = torch.ones_like(low), torch.zeros_like(low)
        slope = (high / torch.where(unstable, high - low, one)).clamp(0.0, 1.0)
        slope = torch.where(unstable, slope, torch.where(low >= 0, one, zero))
        # Valid at both ends, and so between them: slope l + t >= 0 and slope u + t >= u, that is t >= (1 - slope) u.
        t = torch.maximum(-slope * low, (1.0 - slope) * high) * (1.0 + 8 * UNIT_ROUNDOFF)
        t = torch.where(unstable, torch.nextafter(t, torch.full_like(t, np.inf)), zero)
        return cls(slope, t, torch.where(unstable, (high > -low).to(slope.dtype), slope), unstable, dip)


class Substitution:
    """One backward pass for rows, each in a box of its own. Invariant, for every x in the row's box:

        row @ v  <=  sum over nodes of coefficients[node] @ v_node + constant + slack

    where `slack` bounds every rounding error made so far.
    """

    def __init__(self, bounds: BatchedBounds, boxes: Tensor, constant: Tensor, *, gaps: bool) -> None:
        """`boxes` has the box of each of P rows; there may be more rows, P, 2 P, ..., whose boxes are these again."""
        import torch

        self._bounds, self._boxes = bounds, boxes
        self._coefficients: dict[int, Tensor] = {}
        self._copies = max(1, len(constant) // max(1, len(boxes)))
        self._constant, self._slack = constant, torch.full_like(constant, TINY)
        shape = (len(boxes), bounds.lower[0].shape[1])
        self._gaps = torch.zeros(shape, dtype=constant.dtype, device=constant.device) if gaps else None

    def add(self, index: int, rows: Tensor) -> None:
        """Adds coefficients of node `index`."""
        if index in self._coefficients:
            rows = self._coefficients[index] + rows
            self._slack = self._slack + UNIT_ROUNDOFF * SPARE * (rows.abs() @ self._bounds.reach[index])
        self._coefficients[index] = rows

    def run(self, slopes: Mapping[int, Tensor]) -> BatchedForms:
        """Goes back to the input. `slopes` has lower lines of ReLU nodes, shape (P, units), NaN where CROWN chooses."""
        nodes = self._bounds.batched.network.nodes
        while (index := max(self._coefficients, default=0)) > 0:
            rows, node = self._coefficients.pop(index), nodes[index]
            if isinstance(node, Affine):
                self._through_affine(rows, index, node)
            else:
                assert isinstance(node, Relu)
                self._through_relu(rows, index, node, slopes.get(index))
        return self._over_box()

    def _through_affine(self, rows: Tensor, index: int, node: Affine) -> None:
        batched = self._bounds.batched
        charge, floor = self._bounds.charges[index], self._bounds.floors[index]
        self._add_constant(rows @ batched.bias(index), rows.abs() @ charge + floor)
        for source, tensor_map in zip(node.inputs, batched.maps(index), strict=True):
            self.add(source, tensor_map.transposed(rows))

    def _through_relu(self, rows: Tensor, index: int, node: Relu, given: Tensor | None) -> None:
        import torch

        lines = self._bounds.lines[index]
        alpha = self._of_boxes(lines.alpha)
        if given is not None:
            alpha = torch.where(self._of_boxes(lines.unstable) & ~torch.isnan(given), given, alpha)
        rows = rows.view(self._copies, -1, node.size)
        positive = rows.clamp(min=0.0)
        negative = rows - positive
        lost = (positive * self._of_boxes(lines.intercept)).view(-1, node.size)
        total = lost.sum(1)
        self._add_constant(total, gamma(node.size + 1) * total + self._bounds.floors[index])
        if self._gaps is not None:
            self._share(lost - (negative * self._of_boxes(lines.dip)).view(-1, node.size), node.input)
        result = positive.mul_(self._of_boxes(lines.slope)).add_(negative.mul_(alpha)).view(-1, node.size)
        charged = node.input in self._bounds.charges and self._bounds.is_charged_twice(node.input)
        if not charged:
            reach = self._bounds.reach[node.input]
            self._slack = (
                self._slack + 2.0 * UNIT_ROUNDOFF * SPARE * (result.abs() @ reach) + TINY * (1.0 + reach.sum())
            )
        self.add(node.input, result)

    def _of_boxes(self, values: Tensor) -> Tensor:
        """The values of the rows' boxes."""
        return values.index_select(0, self._boxes)

    def _add_constant(self, value: Tensor, error: Tensor) -> None:
        self._constant = self._constant + value
        self._slack = self._slack + error + UNIT_ROUNDOFF * self._constant.abs()

    def _share(self, lost: Tensor, source: int) -> None:
        """Divides what is lost to the lines of the units behind pre-activation `source` among the inputs."""
        import torch

        bounds = self._bounds
        assert bounds.slopes is not None and self._gaps is not None
        if source == 0:
            self._gaps += lost
        if source not in bounds.slopes:
            return
        widths = bounds.upper[0] - bounds.lower[0]
        steepness = bounds.slopes[source] * widths[:, None, :]
        shares = steepness / steepness.sum(2, keepdim=True).clamp(min=TINY)
        self._gaps += torch.einsum("pk,pkn->pn", lost, self._of_boxes(shares))

    def _over_box(self) -> BatchedForms:
        """max over the box of g @ x is  sum of g * u where g > 0 and g * l elsewhere."""
        import torch

        bounds = self._bounds
        low, high = (self._of_boxes(end).repeat(self._copies, 1) for end in (bounds.lower[0], bounds.upper[0]))
        slopes = self._coefficients.get(0, torch.zeros_like(low))
        value = torch.where(slopes > 0, slopes * high, slopes * low).sum(1)
        size = torch.where(slopes != 0, slopes.abs() * bounds.reach[0], 0.0).sum(1)
        slack = self._slack * SPARE
        error = slack + gamma(2 * low.shape[1] + 2) * SPARE * (size + self._constant.abs())
        bound = up(self._constant + value + error * (1.0 + 4 * UNIT_ROUNDOFF) + _rounding(self._constant, value))
        bound = torch.where(torch.isnan(bound), np.inf, bound)
        return BatchedForms(slopes, up(self._constant + slack), bound, self._gaps)


def _rounding(first: Tensor, second: Tensor) -> Tensor:
    """What the few additions of two numbers and small ones behind them may lose."""
    return 4.0 * UNIT_ROUNDOFF * (first.abs() + second.abs())


def up(value: Tensor) -> Tensor:
    """The next larger floats."""
    import torch

    return torch.nextafter(value, torch.full_like(value, np.inf))


def down(value: Tensor) -> Tensor:
    """The next smaller floats."""
    import torch

    return torch.nextafter(value, torch.full_like(value, -np.inf))
