"""Which unit the batched duals split: by what both children's bounds would be, after a line search each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
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

CANDIDATES = 8
"""Units per node whose children are bounded: those with the largest gaps."""

FLOOR = 1e-6
"""Least gain, in logits, that counts in the product of both children's."""


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """What to split in each of B nodes.

    Attributes:
        unit: the unit, -1 where all are fixed, shape (B,).
        beta: what both children's beta of it starts from, the child with z >= 0 first, shape (B, 2).
        settled: nodes without a free unit whose coefficient is positive, shape (B,). With the best multipliers their
            relaxation is exact, so that more steps do more for them than a split.
    """

    unit: Tensor
    beta: Tensor
    settled: Tensor


class Branching:
    """Scores splits of the units of a batch of nodes.

    For a single hidden layer, with A > 0 the coefficient of the unit's output and L the node's linear form, let R = L -
    A (line that bounds the unit now). The children's forms are R + A tau z with tau <= 0 where y = 0 and tau >= 1 where
    y = z, and the score is the product of what both bounds fall by, for the best tau of a few. Units with A <= 0 are
    exact in the optimum of the dual, so they are split only when no other is left. In deeper networks the score is |A|
    times the gap between the unit's line and max(z, 0) at the averaged maximiser, since a form there hides the units
    behind it.
    """

    def __init__(self, bounder: DualBounder, planes: Mapping[int, LayerPlanes]) -> None:
        self._bounder, self._planes = bounder, planes

    def choose(self, bounded: Bounded, lower: Tensor, upper: Tensor, threshold: float) -> Choice:
        """The unit to split per node; `lower`, `upper` are the tightened bounds of its nodes, shape (B, units)."""
        import torch

        beta = lower.new_zeros(len(lower), 2)
        if not lower.numel():
            return Choice(torch.full_like(beta[:, 0], -1, dtype=torch.int64), beta, beta[:, 0] == 0)
        score = self.gaps(bounded, lower, upper)
        convex = bounded.pulled > 0
        settled = ~((score >= 0) & convex).any(1)
        if len(self._bounder.layers) == 1:
            score = score.where(convex | settled[:, None], score.new_full((), -1.0))
            if self._planes and not bool(settled.all()):
                score, starts = self._children(bounded, score, threshold)
                chosen = score.argmax(1, keepdim=True)
                beta = torch.cat([s.gather(1, chosen) for s in starts], 1)
        best, unit = score.max(1)
        return Choice(unit.where(best >= 0, torch.full_like(unit, -1)), beta, settled)

    def gaps(self, bounded: Bounded, lower: Tensor, upper: Tensor) -> Tensor:
        """|A| times the relaxation's gap at the averaged maximiser, -1 for units that are not free."""
        import torch

        batch, pulled, v = bounded.batch, bounded.pulled, bounded.point
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
            gap = (line - y).where(pulled[:, units] > 0, y - batch.alpha[:, units] * z).clamp(min=0)
            # Where no gap is left the least stable unit is as good as any.
            gaps.append(pulled[:, units].abs() * (gap + 1e-4 * torch.minimum(-lower[:, units], upper[:, units])))
            v = torch.cat([v, y], 1)
        return torch.cat(gaps, 1).where(free, lower.new_full((), -1.0))

    def _children(self, bounded: Bounded, score: Tensor, threshold: float) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Scores by both children's bounds, and the betas that gave these; in single precision, since they only rank.

        Scores of other units than those with A > 0 are kept.
        """
        import torch

        (planes,) = self._planes.values()
        unit = planes.unit_index
        gaps = score[:, unit]
        least = gaps.topk(min(CANDIDATES, len(unit)), dim=1).values[:, -1:]
        rows, columns = ((gaps >= 0) & (gaps >= least)).nonzero(as_tuple=True)
        found = score.where(bounded.pulled <= 0, score.new_full((), -1.0))
        starts = torch.zeros_like(score), torch.zeros_like(score)
        single = _Single(self._bounder, planes, bounded, threshold)
        for k in range(0, len(rows), CHUNK):
            row, column = rows[k : k + CHUNK], columns[k : k + CHUNK]
            gain = score.new_ones(len(row))
            for taus, start, exact in ((ACTIVE, starts[0], 1.0), (INACTIVE, starts[1], 0.0)):
                fall, tau = single.fall(row, column, taus)
                start[row, unit[column]] = (tau - exact).abs() * bounded.pulled[row, unit[column]]
                gain = gain * (fall.nan_to_num(0.0) + FLOOR)
            found[row, unit[column]] = gain
        return found, starts


class _Single:
    """A batch in single precision, for falls of the children's bounds."""

    def __init__(self, bounder: DualBounder, planes: LayerPlanes, bounded: Bounded, threshold: float) -> None:
        middle, radius = bounder.box
        layer, batch, unit = bounder.layers[0], bounded.batch, planes.unit_index
        self._radius = radius.float()
        self._weight = layer.weight[unit].float()
        self._at_middle = (layer.weight[unit] @ middle + layer.bias[unit]).float()
        coefficients = planes.spread()
        self._coefficients = coefficients.float()
        self._plane_middle = (coefficients @ middle + planes.offset).float()
        (mu,) = batch.mu.values()
        self._mu, self._pulled = mu.float(), bounded.pulled[:, unit].float()
        l, u = batch.lower[:, unit], batch.upper[:, unit]
        slope = u / (u - l).clamp(min=1e-300)
        self._slope, self._intercept = slope.float(), (-l * slope).float()
        self._form = bounded.form.float()
        self._middle_value = (bounded.form @ middle + bounded.constant).float()
        self._value = bounded.value.float()
        self._enough = 1.1 * (bounded.value - threshold).clamp(min=0).float()

    def fall(self, row: Tensor, column: Tensor, taus: tuple[float, ...]) -> tuple[Tensor, Tensor]:
        """By how much the bound of the child with one of the coefficients falls at best, and that coefficient."""
        import torch

        pull, mu, weight = self._pulled[row, column], self._mu[row, column], self._weight[column]
        chord = mu[:, 0] * self._slope[row, column]
        line = chord[:, None] * weight + (mu[:, None, 1:] @ self._coefficients[column])[:, 0]
        at_middle = chord * self._at_middle[column] + mu[:, 0] * self._intercept[row, column]
        at_middle += (mu[:, 1:] * self._plane_middle[column]).sum(1)
        rest = self._form[row] - pull[:, None] * line
        rest_middle = self._middle_value[row] - pull * at_middle
        values = torch.stack(
            [
                rest_middle
                + pull * tau * self._at_middle[column]
                + torch.addcmul(rest, (pull * tau)[:, None], weight).abs() @ self._radius
                for tau in taus
            ]
        )
        best, which = values.min(0)
        # To fall further below the threshold than it takes is no merit.
        fall = torch.minimum(self._value[row] - best, self._enough[row]).clamp(min=0)
        return fall, values.new_tensor(taus)[which]
