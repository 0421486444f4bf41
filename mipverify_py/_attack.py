"""Upper bounds on the distance: a batched sign-gradient search over all targets, then an exact move to the boundary."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from bounds import Bounds
from mipverify_py._options import Options
from mipverify_py._query import Query
from mipverify_py._tolerances import BOUNDARY_BITS
from onnx_models import Array, to_torch

if TYPE_CHECKING:
    import torch

STEPS = 40
"""Gradient steps of one search; measured on digits and MNIST networks, more steps move the radius by less than 1 %."""

RADIUS_TOLERANCE = 0.02
"""The radius is bisected to this share: what is left costs the exact search less than another round of attack."""

SEGMENT_BITS = 4
"""Bits of the factor that one round of the move onto the boundary settles, with 2**SEGMENT_BITS points at a time."""


class GradientAttack:
    """Finds points that reach the margin. It proves nothing: whoever uses a point builds a `Witness` from it.

    Projected sign-gradient ascent of f_j - f_c for every target j at once (Madry et al., 2018), `options.restarts`
    starts per target of which the first is x0; deterministic for a given seed.
    """

    def __init__(self, query: Query, options: Options) -> None:
        self._query, self._options = query, options

    def nearest(self, deadline: float | None) -> Array | None:
        """A point, shape (n,), on the decision boundary that is near x0, or None if the search met none."""
        query = self._query
        largest = float(np.maximum(np.abs(query.box.lower - query.x0), np.abs(query.box.upper - query.x0)).max())
        best: Array | None = None
        failed, reached, radius = 0.0, np.inf, min(largest, 2.0 * self._linear_estimate())
        while largest > 0 and not _passed(deadline):
            found = self.within(ball(query, radius), deadline)
            if found is not None:
                best = self.onto_boundary(found)
                reached = float(np.abs(best - query.x0).max())
            if found is None or reached > radius:  # a ball that misses the query's box stands for the nearest face
                failed = radius
            if best is None:
                if radius >= largest:
                    return None
                radius = min(2.0 * radius, largest)
                continue
            if reached - failed <= RADIUS_TOLERANCE * reached + sys.float_info.min:
                return best
            radius = 0.5 * (failed + reached)
        return best

    def within(self, box: Bounds, deadline: float | None) -> Array | None:
        """A point of the box that reaches the margin in float64, or None."""
        point, margin = self._ascend(box, deadline, stop=True)
        return point if margin >= self._query.margin else None

    def largest_margin(self, box: Bounds, deadline: float | None) -> Array:
        """The point of the box with the largest margin met by the search."""
        return self._ascend(box, deadline, stop=False)[0]

    def onto_boundary(self, point: Array, *, excess: float = 0.0) -> Array:
        """The nearest point to x0 on the segment x0 -> `point` that reaches the margin plus `excess` in float64.

        The segment is projected onto the query's box, which x0 need not be in. `point` itself must reach the margin.
        The factor is bisected to its last bit, 2**SEGMENT_BITS points at a time; between neighbouring points the
        segment may cross the boundary more than once, so the result is near, not always nearest.
        """
        query, goal = self._query, self._query.margin + excess
        low, high = 0.0, 1.0
        for _ in range(BOUNDARY_BITS // SEGMENT_BITS):
            t = low + (high - low) * np.arange(1, 2**SEGMENT_BITS) * 2.0**-SEGMENT_BITS
            points = self._on_segment(point, t[:, None])
            reached = query.margin_at(query.network.forward_batch(points)) >= goal
            first = int(np.argmax(reached)) if np.any(reached) else len(t)
            low, high = (t[first - 1] if first else low), (t[first] if first < len(t) else high)
        return point if high == 1.0 else self._on_segment(point, high)

    def _on_segment(self, point: Array, t: Array | float) -> Array:
        """x0 + t (point - x0), projected onto the query's box."""
        query = self._query
        result: Array = np.clip(query.x0 + t * (point - query.x0), query.box.lower, query.box.upper)
        return result

    def gradient(self, point: Array) -> Array:
        """Gradient, shape (n,), of f_j - f_c at `point` for the target j with the largest logit there."""
        import torch

        with _threads(self._options.threads):
            x = torch.from_numpy(point[None].copy()).requires_grad_()
            best = self._margins(self._model(x)).max(dim=1).values
            gradient = _gradient(best.sum(), x)
        result: Array = gradient[0].numpy()
        return result

    @cached_property
    def _model(self) -> torch.nn.Module:
        return to_torch(self._query.network)

    def _margins(self, logits: torch.Tensor) -> torch.Tensor:
        """f_j - f_c, shape (N, targets)."""
        return logits[:, list(self._query.target_classes)] - logits[:, [self._query.reference]]

    def _linear_estimate(self) -> float:
        """Distance to the nearest boundary if the network were its linearisation at x0 (DeepFool's first step)."""
        import torch

        with _threads(self._options.threads):
            x = torch.from_numpy(self._query.x0[None].copy()).requires_grad_()
            margins = self._margins(self._model(x))[0]
            slopes = [_gradient(m, x).abs().sum() for m in margins]
            short = (self._query.margin - margins).clamp(min=0.0)
            estimate = float((short / torch.stack(slopes).clamp(min=1e-12)).min().detach())
        return max(estimate, 1e-6)

    def _ascend(self, box: Bounds, deadline: float | None, *, stop: bool) -> tuple[Array, float]:
        """The point of largest margin met, and that margin; with `stop` the search ends at the first that suffices."""
        import torch

        query, targets = self._query, len(self._query.target_classes)
        low, high = torch.from_numpy(box.lower.copy()), torch.from_numpy(box.upper.copy())
        generator = torch.Generator().manual_seed(self._options.seed)
        rows = torch.arange(targets).repeat(self._options.restarts)
        best_point, best_margin = np.clip(query.x0, box.lower, box.upper), -np.inf
        with _threads(self._options.threads):
            noise = torch.rand(len(rows), len(low), generator=generator, dtype=torch.float64)
            x = low + (high - low) * noise
            x[:targets] = torch.from_numpy(best_point)
            for step in range(STEPS):
                x.requires_grad_()
                margins = self._margins(self._model(x))
                top = margins.detach().max(dim=1).values
                leader = int(top.argmax())
                if float(top[leader]) > best_margin:
                    best_point, best_margin = x[leader].detach().numpy().copy(), float(top[leader])
                if (stop and best_margin >= query.margin) or _passed(deadline):
                    break
                gradient = _gradient(margins[torch.arange(len(rows)), rows].sum(), x)
                size = 0.5 * (high - low) * (1.0 - step / STEPS)
                x = torch.clamp(x.detach() + size * gradient.sign(), low, high)
        return best_point, best_margin


def ball(query: Query, radius: float) -> Bounds:
    """The box of points of the query's box within L-infinity distance `radius` of x0, outward rounded.

    Where x0 lies outside the query's box the ball may miss it; the box's nearest face is then returned.
    """
    low, high = np.nextafter(query.x0 - radius, -np.inf), np.nextafter(query.x0 + radius, np.inf)
    return Bounds(np.clip(low, query.box.lower, query.box.upper), np.clip(high, query.box.lower, query.box.upper))


def _gradient(value: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """d value / d x, zero where `value` does not depend on x: networks may be constant."""
    import torch

    if not value.requires_grad:
        return torch.zeros_like(x)
    (gradient,) = torch.autograd.grad(value, x, retain_graph=True, allow_unused=True, materialize_grads=True)
    return gradient


def _passed(deadline: float | None) -> bool:
    return deadline is not None and time.monotonic() >= deadline


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """torch limited to `count` threads, its setting restored afterwards: it belongs to the caller's process."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
