"""Tighter pre-activation bounds, for the points alone at which f_j - f_c can reach the threshold."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from bounds import Bounds
from mipverify_py.engines._problem import Layer, Problem, receptive_fields
from onnx_models import Array

if TYPE_CHECKING:
    import torch

CHUNK_ENTRIES = 1 << 18
"""Unit-node pairs are handled together as long as pairs times receptive field stays below this: it fits the cache."""

WORTHWHILE = 0.03
"""A bound moves if it gains this share of the unit's interval; smaller gains cost the replay more than they help."""

COLD_RATIOS = (1.0, 4.0, 0.25, 2.0, 0.5)
"""Values of gamma tried where nothing is known, as multiples of |w|.rad / |G|.rad."""

WARM_RATIOS = (1.0, 1.3)
"""Values tried around the parent's; turned over at every other call, so that both directions get a turn."""

ROUNDING = 4e-6
"""Share of |w|.rad + gamma top by which bounds found in float32 are widened. The search then knows a little less
than the proof, whose bounds are recomputed in outward-rounded float64 from the same gammas."""


class Tightener:
    """Bounds z = w.x + b over the part of a box on which a linear form L(x) = G.x + constant reaches a threshold.

    With rad and mid the box's half-widths and middle and M = max over the box of L - threshold, weak duality gives for
    every gamma >= 0

        u(gamma) = max over the box of  z + gamma (L - threshold)
                 = w.mid + b + gamma M + sign(G) w.rad + 2 sum over i of max(-sign(G_i) w_i - gamma |G_i|, 0) rad_i

    and the same for -z. u is convex and piecewise linear in gamma; a few values are tried, starting from the parent's.
    This is the one-constraint case of bounding a network from its outputs (Kotha et al., 2023, INVPROP) in closed form.
    Only inputs that a unit reads cost time. Tightened are the units of layers whose direct inputs are the network's
    input: those that `replay` tightens, too.
    """

    def __init__(self, problem: Problem, box: Bounds, device: str = "cpu") -> None:
        import torch

        self._device = torch.device(device)
        self._n, self._units = problem.inputs, problem.unit_count
        self._layers = [_Field(layer, problem.inputs, self._device) for layer in problem.layers if layer.source is None]
        self._downward = False
        self.move(box)

    def move(self, box: Bounds) -> None:
        """Goes on with another box."""
        import torch

        middle, radius = 0.5 * (box.lower + box.upper), 0.5 * (box.upper - box.lower)
        self._middle = torch.from_numpy(middle).to(self._device)
        self._radius = torch.from_numpy(radius).to(self._device)
        for field in self._layers:
            field.move(self._middle, self._radius)

    def run(
        self,
        G: Array,  # noqa: N803
        constant: Array,
        threshold: float,
        lower: Array,
        upper: Array,
        gammas: Array | None = None,
    ) -> tuple[Array, Array, Array]:
        """Tightened bounds and the gammas that prove them, for a batch of B forms.

        Args:
            G: slopes of the forms L, shape (B, n).
            constant: shape (B,).
            threshold: what L must reach.
            lower: present bounds of all units, shape (B, units).
            upper: shape (B, units).
            gammas: where to start, shape (B, 2, units); 0 where nothing is known.

        Returns:
            lower, upper, shape (B, units), never looser than the arguments, possibly crossed, which means that no point
            of the region reaches the threshold; gammas, shape (B, 2, units), 0 where nothing was gained.
        """
        import torch

        start = np.zeros((len(G), 2, self._units)) if gammas is None else gammas
        arrays = [np.ascontiguousarray(a) for a in (G, constant, lower, upper, start)]
        form, intercept, low, high, known = (torch.from_numpy(a).to(self._device) for a in arrays)
        self._downward = not self._downward
        found = self.run_tensors(form, intercept, threshold, low, high, known, downward=self._downward)
        tightened = [t.cpu().numpy() for t in found]
        return tightened[0], tightened[1], tightened[2]

    def run_tensors(
        self,
        G: torch.Tensor,  # noqa: N803
        constant: torch.Tensor,
        threshold: float,
        lower: torch.Tensor,
        upper: torch.Tensor,
        gammas: torch.Tensor,
        *,
        downward: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """The same as `run` on tensors of the device, always with a start, and what to start from below these nodes.

        `downward` turns the ratios over: gammas below the start are tried instead of those above.
        """
        import torch

        ratios = tuple(tuple(1.0 / r for r in each) if downward else each for each in (WARM_RATIOS, COLD_RATIOS))
        lower, upper, used, leads = lower.clone(), upper.clone(), torch.zeros_like(gammas), gammas.clone()
        top = (G * self._middle).sum(1) + constant - threshold + G.abs() @ self._radius
        sign = 1.0 - 2.0 * (G < 0).to(torch.float32)  # not 0 where G_i = 0: |w_i + gamma G_i| is |w_i| there
        size = (G.abs() * self._radius).to(torch.float32)
        for field in self._layers:
            units = slice(field.first, field.first + field.size)
            nodes, columns = ((lower[:, units] < 0) & (upper[:, units] > 0)).nonzero(as_tuple=True)
            step = max(1, CHUNK_ENTRIES // max(field.width, 1))
            for k in range(0, len(nodes), step):
                pairs = nodes[k : k + step], columns[k : k + step]
                self._pairs(field, pairs, (sign, size, top), (lower, upper), (gammas, used, leads), ratios)
        return lower, upper, used, leads

    def _pairs(
        self,
        field: _Field,
        pairs: tuple[torch.Tensor, torch.Tensor],
        form: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
        bounds: tuple[torch.Tensor, torch.Tensor],
        gammas: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
        ratios: tuple[tuple[float, ...], ...],
    ) -> None:
        """Improves the bounds of (node, unit) pairs in place."""
        import torch

        (rows, columns), (sign, size, top) = pairs, form
        unit = field.first + columns
        along = field.pick(sign, rows, columns) * field.reach_of(columns)  # sign(G_i) w_i rad_i
        cost, top = field.pick(size, rows, columns), top[rows]
        drift, spread = along.sum(1).to(top.dtype), field.spread[columns]
        lift = top + ROUNDING * top.abs()
        width = bounds[1][rows, unit] - bounds[0][rows, unit]
        guess = spread / cost.sum(1).to(top.dtype).clamp(min=1e-300)
        for side, direction in ((0, -1.0), (1, 1.0)):
            start = gammas[0][rows, side, unit]
            warm = bool((start > 0).all())
            gamma = start.where(start > 0, guess).clamp(1e-12, 1e12)
            middle = direction * (field.middle[columns] + drift) + ROUNDING * spread
            least, lead = gamma.new_full((len(gamma),), np.inf), gamma
            against = along if direction < 0 else -along
            for ratio in ratios[0 if warm else 1]:
                tried = gamma * ratio
                left = against.addcmul(cost, -tried[:, None].to(cost.dtype)).clamp_(min=0).sum(1)
                value = middle + tried * lift + 2.0 * left
                better = value < least
                least, lead = value.where(better, least), tried.where(better, lead)
            old = direction * bounds[side][rows, unit]
            gained = least < old - WORTHWHILE * width
            bounds[side][rows, unit] = direction * least.where(gained, old)
            gammas[1][rows, side, unit] = lead.where(gained, torch.zeros_like(lead))
            gammas[2][rows, side, unit] = lead


class _Field:
    """The receptive fields of one layer's units, padded to equal width; `width` = n means that all read everything."""

    def __init__(self, layer: Layer, n: int, device: torch.device) -> None:
        import torch

        self.first, self.size = layer.first, layer.size
        matrix = sparse.csr_array(layer.weight[:, :n])
        weight, index, mask = receptive_fields(matrix)
        self.width = weight.shape[1]
        self.bias = torch.from_numpy(layer.bias.copy()).to(device)
        self.index: torch.Tensor | None = None
        if 2 * self.width > n:
            self.width, weight, mask = n, matrix.toarray(), np.ones((self.size, n))
        else:
            self.index = torch.from_numpy(index).to(device)
        self.weight, self._mask = torch.from_numpy(weight).to(device), torch.from_numpy(mask).to(device)

    def move(self, middle: torch.Tensor, radius: torch.Tensor) -> None:
        """Goes on with another box, with this middle and these half-widths."""
        import torch

        if self.index is None:
            radius, centre = radius[None], middle[None]
        else:
            radius, centre = radius[self.index] * self._mask, middle[self.index]
        self.middle = (self.weight * centre).sum(1) + self.bias
        self.spread = (self.weight.abs() * radius).sum(1)
        self._reach, self._inside = (self.weight * radius).to(torch.float32), self._mask.to(torch.float32)

    def reach_of(self, columns: torch.Tensor) -> torch.Tensor:
        """w_i rad_i on the fields of units, 0 on padding."""
        return self._reach[columns]

    def pick(self, values: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
        """Entries of `values`, shape (B, n), on the field of each pair, 0 on padding."""
        if self.index is None:
            return values[rows]
        return values[rows[:, None], self.index[columns]] * self._inside[columns]
