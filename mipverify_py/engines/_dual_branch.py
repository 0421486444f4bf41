"""Which unit the batched duals split: by what both children's bounds would be, after a line search each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from mipverify_py.engines._dual_bound import Bounded, DualBounder
from mipverify_py.engines._dual_planes import LayerPlanes

if TYPE_CHECKING:
    from torch import Tensor

INACTIVE, ACTIVE = (0.0, -0.25, -0.6, -1.2), (1.0, 1.25, 1.6, 2.2)
"""Coefficients of z, as multiples of A, tried for the child with y = 0 and the one with y = z: the exact line
with a multiplier beta of the split's half-space that is 0, 0.25, 0.6 or 1.2 times A."""

CHUNK = 512
"""Pairs of node and unit scored together."""

FLOOR = 1e-6
"""Least gain, in logits, that counts in the product of both children's."""


class Branching:
    """Scores splits of the units of a batch of nodes.

    For a single hidden layer, with A > 0 the coefficient of the unit's output and L the node's linear form, let R = L - A (line
    that bounds the unit now). The children's forms are R + A tau z with tau <= 0 where y = 0 and tau >= 1 where y = z, and
    the score is the product of what both bounds fall by, for the best tau of a few. Units with A <= 0 are exact in the
    optimum of the dual, so they are split only when no other is left. In deeper networks the score is |A| times the gap between
    the unit's line and max(z, 0) at the averaged maximiser, since a form there hides the units behind it.
    """

    def __init__(self, bounder: DualBounder, planes: Mapping[int, LayerPlanes]) -> None:
        self._bounder, self._planes = bounder, planes

    def choose(
        self, bounded: Bounded, lower: Tensor, upper: Tensor, threshold: float
    ) -> tuple[Tensor, Tensor]:
        """The unit to split per node, -1 where a split cannot help, and the children's starts of its beta.

        `lower`, `upper` are the tightened bounds of the nodes in `bounded`, shape (B, units). Returns shapes (B,) and (B, 2).
        """
        import torch

        single = len(self._bounder.layers) == 1
        score = self._gaps(bounded, lower, upper)
        if single:
            score = score.where(bounded.pulled > 0, score.new_full((), -1.0))
        beta = lower.new_zeros(len(lower), 2)
        if single and self._planes:
            score, starts = self._children(bounded, score, threshold)
        best, unit = score.max(1)
        if single and self._planes:
            beta = torch.stack([s.gather(1, unit[:, None])[:, 0] for s in starts], 1)
        return unit.where(best >= 0, torch.full_like(unit, -1)), beta

    def _gaps(self, bounded: Bounded, lower: Tensor, upper: Tensor) -> Tensor:
        """|A| times the relaxation's gap at the averaged maximiser, -1 for units that are not free."""
        import torch

        batch, A, v = bounded.batch, bounded.pulled, bounded.point
        free = (batch.signs == 0) & (lower < 0) & (upper > 0)
        gaps = []
        for k, layer in enumerate(self._bounder.layers):
            units = layer.units
            z = v @ layer.weight.T + layer.bias
            y = z.clamp(min=0)
            l, u = batch.lower[:, units], batch.upper[:, units]
            line = u * (z - l) / (u - l).clamp(min=1e-300)
            if k in self._planes:
                planes = self._planes[k]
                values = torch.cat([line[:, planes.unit_index, None], planes.values(bounded.point)], 2)
                line = line.clone()
                line[:, planes.unit_index] = (values * batch.mu[k]).sum(2)
            gap = (line - y).where(A[:, units] > 0, y - batch.alpha[:, units] * z).clamp(min=0)
            # Where no gap is left the least stable unit is as good as any.
            gaps.append(A[:, units].abs() * (gap + 1e-4 * torch.minimum(-lower[:, units], upper[:, units])))
            v = torch.cat([v, y], 1)
        return torch.cat(gaps, 1).where(free, lower.new_full((), -1.0))

    def _children(
        self, bounded: Bounded, score: Tensor, threshold: float
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Scores by both children's bounds, and the betas that gave these; in single precision, since they only rank."""
        import torch

        (planes,) = self._planes.values()
        unit = planes.unit_index
        rows, columns = (score[:, unit] >= 0).nonzero(as_tuple=True)
        found = torch.full_like(score, -1.0)
        starts = torch.zeros_like(score), torch.zeros_like(score)
        single = _Single(self._bounder, planes, bounded, threshold)
        for k in range(0, len(rows), CHUNK):
            row, column = rows[k : k + CHUNK], columns[k : k + CHUNK]
            gain = score.new_ones(len(row))
            for taus, start, exact in ((ACTIVE, starts[0], 1.0), (INACTIVE, starts[1], 0.0)):
                fall, tau = single.fall(row, column, taus)
                start[row, unit[column]] = (tau - exact).abs() * bounded.pulled[row, unit[column]]
                gain = gain * (fall + FLOOR)
            found[row, unit[column]] = gain
        return found, starts


class _Single:
    """A batch in single precision, for falls of the children's bounds."""

    def __init__(self, bounder: DualBounder, planes: LayerPlanes, bounded: Bounded, threshold: float) -> None:
        import torch

        middle, radius = bounder.box
        layer, batch, unit = bounder.layers[0], bounded.batch, planes.unit_index
        self._radius = radius.float()
        self._weight = layer.weight[unit].float()
        self._at_middle = (layer.weight[unit] @ middle + layer.bias[unit]).float()
        self._planes, self._coefficients = planes, planes.spread().float()
        self._plane_middle = (planes.spread() @ middle + planes.offset).float()
        self._mu, self._A = batch.mu[next(iter(batch.mu))].float(), bounded.pulled[:, unit].float()
        l, u = batch.lower[:, unit], batch.upper[:, unit]
        slope = u / (u - l).clamp(min=1e-300)
        self._slope, self._intercept = slope.float(), (-l * slope).float()
        self._form = bounded.form.float()
        self._middle_value = (bounded.form @ middle + bounded.constant).float()
        self._value = bounded.value.float()
        self._enough = 1.1 * (bounded.value - threshold).clamp(min=0).float()
        self._torch = torch

    def fall(self, row: Tensor, column: Tensor, taus: tuple[float, ...]) -> tuple[Tensor, Tensor]:
        """By how much the bound of the child with one of the coefficients falls at best, and that coefficient."""
        torch = self._torch
        A, mu, weight = self._A[row, column], self._mu[row, column], self._weight[column]
        chord = mu[:, 0] * self._slope[row, column]
        line = chord[:, None] * weight + (mu[:, None, 1:] @ self._coefficients[column])[:, 0]
        at_middle = chord * self._at_middle[column] + mu[:, 0] * self._intercept[row, column]
        at_middle += (mu[:, 1:] * self._plane_middle[column]).sum(1)
        rest = self._form[row] - A[:, None] * line
        rest_middle = self._middle_value[row] - A * at_middle
        values = torch.stack(
            [
                rest_middle
                + A * tau * self._at_middle[column]
                + torch.addcmul(rest, (A * tau)[:, None], weight).abs() @ self._radius
                for tau in taus
            ]
        )
        best, which = values.min(0)
        # To fall further below the threshold than it takes is no merit.
        fall = torch.minimum(self._value[row] - best, self._enough[row]).clamp(min=0)
        return fall, values.new_tensor(taus)[which]
