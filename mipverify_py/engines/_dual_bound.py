"""Upper bounds of f_j - f_c for a batch of nodes at once, by gradient steps on the Lagrangian dual; no LP solver."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

import numpy as np

from bounds import Bounds
from mipverify_py.engines._dual_planes import LayerPlanes
from mipverify_py.engines._problem import Problem
from onnx_models import Array

if TYPE_CHECKING:
    import torch
    from torch import Tensor

SLACK = 1e-9
"""Share of a linear form's variation over the box that is left for rounding when floats close a node.

The outward-rounded replay needs 1e-13 to 1e-11 of it."""


BATCH = 32
"""Nodes bounded together on a CPU. Fewer share planes better, more hide better what a torch call costs."""

DEVICE_BATCH = 4096
"""The same on a GPU, if its memory allows."""


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """B nodes. Rows belong to nodes; units are numbered as in the tree.

    Attributes:
        margin: f_j - f_c over the columns, shape (B, columns).
        margin_constant: its constant, shape (B,).
        signs: +1, -1 for split units and 0 for others, shape (B, units).
        lower, upper: pre-activation bounds, shape (B, units).
        alpha, beta: multipliers, shape (B, units).
        mu: per layer with planes the weights of the triangle's line and the planes, shape (B, K, 1 + P); they sum to 1.
    """

    margin: Tensor
    margin_constant: Tensor
    signs: Tensor
    lower: Tensor
    upper: Tensor
    alpha: Tensor
    beta: Tensor
    mu: dict[int, Tensor]

    @property
    def free(self) -> Tensor:
        """Which units are neither split nor stable, shape (B, units)."""
        return (self.signs == 0) & (self.lower < 0) & (self.upper > 0)

    def rows(self, which: Tensor | slice) -> Batch:
        """Some of the nodes."""
        parts = {f.name: getattr(self, f.name)[which] for f in fields(self) if f.name != "mu"}
        return Batch(**parts, mu={k: m[which] for k, m in self.mu.items()})


@dataclass(frozen=True, slots=True, eq=False)
class Bounded:
    """What is known about a batch after some steps.

    Attributes:
        value: the bounds, shape (B,); +inf where overflow left none.
        form: slopes of L(x) = form.x + constant >= f_j - f_c on the node's region, shape (B, n).
        constant: shape (B,); +inf where overflow left none.
        pulled: coefficient A of each unit's output in the backward pass, shape (B, units).
        batch: the nodes with the multipliers of these bounds.
        point: the weighted average of the maximisers, close to the relaxation's optimum, shape (B, n).
    """

    value: Tensor
    form: Tensor
    constant: Tensor
    pulled: Tensor
    batch: Batch
    point: Tensor

    def rows(self, which: Tensor | slice) -> Bounded:
        """Some of the nodes."""
        parts = {f.name: getattr(self, f.name)[which] for f in fields(self) if f.name != "batch"}
        return Bounded(**parts, batch=self.batch.rows(which))

    def assign(self, which: Tensor, part: Bounded) -> None:
        """Writes what is known about the nodes `which`, rows of `part`, into this."""
        for f in fields(self):
            if f.name != "batch":
                getattr(self, f.name)[which] = getattr(part, f.name)
        self.batch.alpha[which], self.batch.beta[which] = part.batch.alpha, part.batch.beta
        for k, m in part.batch.mu.items():
            self.batch.mu[k][which] = m


def batch_size(problem: Problem, planes: Iterable[LayerPlanes], device: torch.device) -> int:
    """How many nodes a device takes at once; on a GPU as many as an eighth of its memory holds."""
    if device.type == "cpu":
        return BATCH
    import torch

    memory = torch.cuda.get_device_properties(device).total_memory
    coefficients = sum(p.weight.numel() + 6 * len(p.units) * (1 + p.capacity) for p in planes)
    per_node = 8 * (12 * (problem.inputs + problem.unit_count) + coefficients)
    return int(np.clip(memory // (8 * per_node), 16, DEVICE_BATCH))


class LayerTensors:
    """One layer of the problem on the device."""

    def __init__(self, weight: Array, bias: Array, first: int, n: int, device: torch.device) -> None:
        import torch

        self.first, self.size, self.column = first, len(bias), n + first
        self.weight = torch.from_numpy(np.ascontiguousarray(weight)).to(device)
        self.bias = torch.from_numpy(bias.copy()).to(device)
        self.units = slice(first, first + self.size)
        self.columns = slice(self.column, self.column + self.size)


class DualBounder:
    """Minimises the dual bound of nodes over (alpha, beta, mu).

    With the coefficient A of a unit's output in the backward pass, the unit is replaced by
    its exact line if it is stable or split (a split one adds beta >= 0 times its half-space), by alpha z if A < 0, and
    by the mu-weighted planes if A > 0. What reaches the input is L(x) = g.x + const, and the bound is
    g.mid + |g|.rad + const: convex and piecewise linear in each group of multipliers, valid for all of them. Its
    subgradients come from one forward pass of the maximiser x = mid + sign(g) rad through the same lines
    (alpha-beta-CROWN: Wang et al., 2021; active sets of hull planes: De Palma et al., 2021).
    """

    def __init__(self, problem: Problem, device: str = "cpu") -> None:
        import torch

        self.device = torch.device(device)
        self._n = problem.inputs
        self.layers = [
            LayerTensors(layer.weight.toarray(), layer.bias, layer.first, self._n, self.device)
            for layer in problem.layers
        ]
        self.move(problem.box)

    def move(self, box: Bounds) -> None:
        """Goes on with another box."""
        import torch

        self._middle = torch.from_numpy(0.5 * (box.lower + box.upper)).to(self.device)
        self._radius = torch.from_numpy(0.5 * (box.upper - box.lower)).to(self.device)

    def slack(self, bounded: Bounded) -> Tensor:
        """How far below the threshold a bound has to be for rounding not to matter, shape (B,)."""
        return SLACK * (1.0 + bounded.form.abs() @ self._radius + bounded.constant.abs())

    def optimise(
        self,
        batch: Batch,
        planes: Mapping[int, LayerPlanes],
        steps: int,
        threshold: float,
        caution: float = 1.0,
    ) -> Bounded:
        """Bounds after at most `steps` >= 1 steps, at least as good as those of the multipliers in `batch`.

        Nodes that are below the threshold by `caution` times the slack are left alone from then on.
        """
        return _Descent(self, batch, planes).run(steps, threshold, caution)

    @property
    def box(self) -> tuple[Tensor, Tensor]:
        """Middle and half-widths of the box."""
        return self._middle, self._radius


@dataclass(frozen=True, slots=True)
class Pace:
    """Step sizes: `first / (1 + decay * k)` at step k, relative to the largest slope."""

    mu: float = 3.0
    mu_decay: float = 0.3
    alpha: float = 0.3
    alpha_decay: float = 0.2
    beta: float = 0.15
    beta_decay: float = 0.93
    look_back: float = 0.4
    """Weight of the averaged maximiser, against the last one, in the subgradient."""


PACE = Pace()


@dataclass(frozen=True, slots=True, eq=False)
class _Pass:
    """What a backward pass finds: value = form.mid + span + constant, span = |form|.rad, and A per layer."""

    value: Tensor
    span: Tensor
    form: Tensor
    constant: Tensor
    pulled: list[Tensor]


class _Descent:
    """One call of `DualBounder.optimise`; `_where` are the rows that are still worked on."""

    def __init__(self, bounder: DualBounder, batch: Batch, planes: Mapping[int, LayerPlanes]) -> None:
        import torch

        self._middle, self._radius = bounder.box
        self._layers, self._planes = bounder.layers, planes
        n, size, zeros = len(self._middle), len(batch.signs), self._middle.new_zeros
        self._input = slice(0, n)
        self._take(batch, torch.arange(size, device=bounder.device))
        self._average, self._total = zeros(size, n), zeros(size, 1)
        self._best = Bounded(
            value=zeros(size).fill_(np.inf),
            form=zeros(size, n),
            constant=zeros(size).fill_(np.inf),
            pulled=torch.zeros_like(batch.beta),
            batch=self._owned(batch),
            point=self._average,
        )
        self._first, self._second = torch.zeros_like(batch.beta), torch.zeros_like(batch.beta)
        self._beta_scale = PACE.beta * batch.margin[:, n:].abs().sum(1, keepdim=True) / max(1, batch.signs.shape[1])

    @staticmethod
    def _owned(batch: Batch) -> Batch:
        return replace(
            batch, alpha=batch.alpha.clone(), beta=batch.beta.clone(), mu={k: m.clone() for k, m in batch.mu.items()}
        )

    def _take(self, batch: Batch, where: Tensor) -> None:
        """Makes `batch`, rows `where` of the whole, the nodes that are still worked on."""
        self._batch, self._where = batch, where
        self._active = (batch.lower >= 0) | (batch.signs > 0)
        self._free = ~self._active & ~((batch.upper <= 0) | (batch.signs < 0))
        width = (batch.upper - batch.lower).where(self._free, batch.upper.new_ones(()))
        self._slope = (batch.upper / width).where(self._free, batch.upper.new_zeros(()))
        self._intercept = (-batch.lower * self._slope).where(self._free, batch.upper.new_zeros(()))
        self._is_active, self._is_free = self._active.to(batch.lower.dtype), self._free.to(batch.lower.dtype)

    def run(self, steps: int, threshold: float, caution: float) -> Bounded:
        for step in range(steps):
            found = self._backward()
            closed = self._keep(found, threshold, caution)
            x, pulled = self._middle + found.form.sign() * self._radius, found.pulled
            self._total[self._where] += step + 1
            self._average[self._where] += (step + 1) * x
            if bool(closed.all()) or step == steps - 1:
                break
            if step % 5 == 4 and 4 * int(closed.sum()) > len(closed):
                keep = (~closed).nonzero()[:, 0]
                x, pulled = x[keep], [p[keep] for p in pulled]
                self._take(self._batch.rows(keep), self._where[keep])
            blend = PACE.look_back
            x = (1 - blend) * x + blend * self._average[self._where] / self._total[self._where]
            self._forward(x, pulled, step)
        return replace(self._best, point=self._average / self._total)

    def _keep(self, found: _Pass, threshold: float, caution: float) -> Tensor:
        """Stores what is better than before; returns which of the present nodes are closed."""
        best, where, batch = self._best, self._where, self._batch
        better = found.value < best.value[where]
        rows = where[better]
        best.value[rows], best.form[rows] = found.value[better], found.form[better]
        best.constant[rows] = found.constant[better]
        for layer, pull in zip(self._layers, found.pulled, strict=True):
            best.pulled[rows, layer.units] = pull[better]
        best.batch.alpha[rows], best.batch.beta[rows] = batch.alpha[better], batch.beta[better]
        for k, m in batch.mu.items():
            best.batch.mu[k][rows] = m[better]
        slack = caution * SLACK * (1.0 + found.span + found.constant.abs())
        return best.value[where] < threshold - slack

    def _backward(self) -> _Pass:
        """Bound, L, and the coefficient A of every layer's outputs."""
        batch = self._batch
        g, constant = batch.margin.clone(), batch.margin_constant.clone()
        pulled: list[Tensor] = []
        for k in range(len(self._layers) - 1, -1, -1):
            layer = self._layers[k]
            units = layer.units
            pull = g[:, layer.columns]
            pulled.append(pull)
            positive = pull.clamp(min=0) * self._is_free[:, units]
            negative = pull.clamp(max=0) * self._is_free[:, units]
            chord = positive
            if k in self._planes:
                planes, mu = self._planes[k], batch.mu[k]
                chord = positive.clone()
                upward = positive[:, planes.unit_index]
                chord[:, planes.unit_index] = upward * mu[:, :, 0]
                weights = upward[:, :, None] * mu[:, :, 1:]
                constant += (weights * planes.offset).sum((1, 2))
                if planes.count:
                    g[:, self._input] += planes.combine(weights)
            multiplier = pull * self._is_active[:, units] + negative * batch.alpha[:, units]
            multiplier += chord * self._slope[:, units] + batch.signs[:, units] * batch.beta[:, units]
            constant += (chord * self._intercept[:, units]).sum(1) + multiplier @ layer.bias
            g[:, : layer.column] += multiplier @ layer.weight
        form = g[:, self._input]
        span = form.abs() @ self._radius
        value = (form @ self._middle + span + constant).nan_to_num(nan=np.inf, posinf=np.inf, neginf=-np.inf)
        return _Pass(value, span, form, constant, pulled[::-1])

    def _forward(self, x: Tensor, pulled: list[Tensor], step: int) -> None:
        """One step on every multiplier along the slopes at x."""
        import torch

        batch, v = self._batch, x
        alpha, slopes, mus = batch.alpha.clone(), torch.zeros_like(batch.beta), {}
        for k, layer in enumerate(self._layers):
            units, pull = layer.units, pulled[k]
            z = v @ layer.weight.T + layer.bias
            upper = self._slope[:, units] * z + self._intercept[:, units]
            if k in self._planes:
                planes, mu = self._planes[k], batch.mu[k]
                values = torch.cat([upper[:, planes.unit_index, None], planes.values(x)], 2)
                mixed = (values * mu).sum(2)
                mus[k] = self._reweighted(mu, values - mixed[:, :, None], pull[:, planes.unit_index].clamp(min=0), step)
                upper = upper.clone()
                upper[:, planes.unit_index] = mixed
            slope = pull.clamp(max=0) * z * self._is_free[:, units]
            size = PACE.alpha / (1 + PACE.alpha_decay * step)
            alpha[:, units] = (alpha[:, units] - size * slope / (slope.abs().amax(1, keepdim=True) + 1e-9)).clamp(0, 1)
            slopes[:, units] = batch.signs[:, units] * z
            if k + 1 < len(self._layers):
                y = upper.where(pull > 0, batch.alpha[:, units] * z)
                y = z.where(self._active[:, units], y.where(self._free[:, units], torch.zeros_like(z)))
                v = torch.cat([v, y], 1)
        beta = self._stepped_beta(slopes, step)
        self._batch = replace(batch, alpha=alpha, beta=beta, mu={**batch.mu, **mus})

    def _reweighted(self, mu: Tensor, slope: Tensor, size: Tensor, step: int) -> Tensor:
        """Exponentiated gradient: a plane that is high at x loses weight."""
        slope = slope * size[:, :, None]
        pace = PACE.mu / (1 + PACE.mu_decay * step)
        moved = mu * (-pace * slope / (slope.abs().amax(2, keepdim=True) + 1e-9)).exp()
        return moved / moved.sum(2, keepdim=True)

    def _stepped_beta(self, slope: Tensor, step: int) -> Tensor:
        """Adam's step, projected on beta >= 0."""
        where, power = self._where, step + 1
        first = 0.8 * self._first[where] + 0.2 * slope
        second = 0.95 * self._second[where] + 0.05 * slope * slope
        self._first[where], self._second[where] = first, second
        size = self._beta_scale[where] * PACE.beta_decay**step
        direction = (first / (1 - 0.8**power)) / ((second / (1 - 0.95**power)).sqrt() + 1e-12)
        return (self._batch.beta - size * direction).clamp(min=0)
