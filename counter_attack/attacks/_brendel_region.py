"""The step of Brendel and Bethge's attack: the least perturbation on a linearised boundary, near the current point.

For each of K inputs, t is the perturbation x' - x of the current point, and p the one that the step leads to:

    minimise |p|  subject to  g.p = g.t + c,  |p - t|_2 <= radius,  low <= p <= high,

where g, with |g|_2 = 1, is normal to the linearised boundary and c its distance from the current point. Where no p
is allowed, the step comes as near to the boundary as the ball and the box permit.

With lam the multiplier of the boundary and u >= 0 growing as that of the ball falls, the Lagrangian has its minimum at

    p(u, lam) = clip(shrink(t + lam g), low, high),

where `shrink` is the proximal map of the norm: clamping to [-(s - u), s - u] in L-infinity, with s the largest entry
for u = 0; soft thresholding by u in L1; and (1 - u) t + lam g in L2, with u <= 1. For given u, g.p is a nondecreasing,
piecewise linear function of lam, and Newton's method finds the lam of the boundary in finitely many steps. The larger
u, the smaller |p| and the larger |p - t|_2: `_brendel_search` finds the u at which the latter is the radius.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mipverify_py import Norm

if TYPE_CHECKING:
    from torch import Tensor

BOUNDARY_ERROR = 1e-9
"""Error of g.p that the search for lam accepts, as a share of the radius."""

ROUNDING = 1e-14
"""The same as a share of g.t + c, which rounding alone may cause."""

NEGLIGIBLE = 1e-12
"""Entries of g up to this size count as zero: they hardly move g.p, but stretch the range of lam beyond all measure."""

MOST_ROUNDS = 100
"""Of a search. All end on their own, after about five; bisection guards them against rounding."""


@dataclass(eq=False)
class Region:
    """K problems, in the symbols of the module; all tensors float64.

    Attributes:
        norm: which |p| to minimise.
        g, t, low, high: shape (K, n), with low <= 0 <= high and low <= t <= high.
        goal: g.t + c, shape (K,), >= 0: p = 0 is on the boundary or where g.p is smaller.
        c: shape (K,).
        radius: shape (K,), > 0.
        start: s of the module in L-infinity, shape (K,); infinite until it is known.
    """

    norm: Norm
    g: Tensor
    t: Tensor
    low: Tensor
    high: Tensor
    goal: Tensor
    c: Tensor
    radius: Tensor
    start: Tensor

    @classmethod
    def of(
        cls, norm: Norm, slope: Tensor, gap: Tensor, t: Tensor, box: tuple[Tensor, Tensor], radius: Tensor
    ) -> Region:
        """The problems with the boundaries slope.(p - t) = gap; a slope of 0 is no boundary at all, g = 0 and c = 0."""
        import torch

        size = slope.square().sum(dim=1).sqrt()
        toward = torch.where((slope * t).sum(dim=1) + gap < 0, -1.0, 1.0)
        scale = torch.where(size > 0, toward / size, 0.0)
        g, c = torch.hardshrink(slope * scale[:, None], NEGLIGIBLE), gap * scale
        goal = ((g * t).sum(dim=1) + c).clamp_(min=0.0)
        return cls(norm, g, t, *box, goal, c, radius, torch.full_like(c, torch.inf))

    def take(self, which: Tensor) -> Region:
        """The problems of these numbers, or where this mask is true."""
        parts = (self.g, self.t, self.low, self.high, self.goal, self.c, self.radius, self.start)
        return Region(self.norm, *(part[which] for part in parts))

    def clip(self, p: Tensor) -> Tensor:
        """p moved into the box."""
        import torch

        return torch.clamp(p, self.low, self.high)

    def moved(self, p: Tensor) -> Tensor:
        """|p - t|_2^2, shape (K,)."""
        return (p - self.t).square_().sum(dim=1)

    def reach(self) -> Tensor:
        """|g_i| times how far p_i can go in the direction of g_i, shape (K, n), >= 0."""
        import torch

        return torch.maximum(self.g * self.low, self.g * self.high)

    def point(self, u: Tensor, lam: Tensor) -> tuple[Tensor, Tensor]:
        """p(u, lam), and d(g.p)/d(lam) to one side or the other, shape (K,)."""
        import torch

        q = torch.addcmul(self.t, self.g, lam[:, None])
        if self.norm is Norm.LINF:
            limit = (self.start - u)[:, None]
            p = self.clip(torch.clamp(q, -limit, limit))
            moving = p == q
        elif self.norm is Norm.L1:
            q -= torch.clamp(q, -u[:, None], u[:, None])
            p = self.clip(q)
            moving = (p == q) & (p != 0)
        else:
            q = torch.addcmul(q, self.t, u[:, None], value=-1.0)
            p = self.clip(q)
            moving = p == q
        return p, (self.g * moving).square_().sum(dim=1)


def on_boundary(region: Region, u: Tensor, lam: Tensor) -> tuple[Tensor, Tensor]:
    """p(u, lam) with g.p = goal, and its lam, shape (K,); `lam` given is where the search begins.

    The goal has to be within reach.
    """
    import torch

    low, high = torch.full_like(lam, -torch.inf), torch.full_like(lam, torch.inf)
    error = BOUNDARY_ERROR * region.radius + ROUNDING * region.goal
    far = region.radius + lam.abs()
    p, slope = region.point(u, lam)
    for _ in range(MOST_ROUNDS):
        gap = region.goal - (region.g * p).sum(dim=1)
        if bool((gap.abs() <= error).all()):
            break
        low, high = lam.where(gap > 0, low), lam.where(gap < 0, high)
        following = lam + gap / slope
        middle = ((low + high) / 2).where(low.isfinite() & high.isfinite(), lam + gap.sign() * far)
        following = following.where((following > low) & (following < high) & following.isfinite(), middle)
        lam = lam.where(gap.abs() <= error, following)
        far = 2 * far
        p, slope = region.point(u, lam)
    return p, lam


def toward_boundary(region: Region) -> Tensor:
    """The p of the ball and the box for which g.p comes nearest to the goal, which is out of their reach.

    p = clip(t + lam g) with |p - t|_2 equal to the radius, or the corner of the box. The square of |p - t|_2 is a
    concave, piecewise linear function of the square of lam, so Newton's method approaches its solution from below.
    """
    import torch

    square = region.radius.square()
    p = region.t
    for _ in range(MOST_ROUNDS):
        q = torch.addcmul(region.t, region.g, (region.c.sign() * square.sqrt())[:, None])
        p = region.clip(q)
        left = region.radius.square() - region.moved(p)
        slope = (region.g * (p == q)).square_().sum(dim=1)
        going = (slope > 0) & (left > BOUNDARY_ERROR * region.radius.square())
        if not bool(going.any()):
            break
        square = (square + left / slope).where(going, square)
    return p


def least_limit(region: Region) -> tuple[Tensor, Tensor]:
    """The least limit on |p|_inf, shape (K,), for which the boundary is within reach, and the p that reaches it.

    The largest g.p for a limit is the sum of min(|g_i| limit, reach_i): concave in the limit, so Newton's method
    approaches the solution from below.
    """
    import torch

    size, reach = region.g.abs(), region.reach()
    limit = torch.where(region.goal > 0, region.goal / size.sum(dim=1), 0.0)
    for _ in range(MOST_ROUNDS):
        most = size * limit[:, None]
        gap = region.goal - torch.minimum(most, reach).sum(dim=1)
        slope = (size * (most < reach)).sum(dim=1)
        going = (gap > ROUNDING * region.goal) & (slope > 0)
        if not bool(going.any()):
            break
        limit = (limit + gap / slope).where(going, limit)
    way = region.g.sign()
    ends = torch.clamp(way * limit[:, None] + region.t * (way == 0), -limit[:, None], limit[:, None])
    return limit, region.clip(ends)


def least_sum(region: Region) -> Tensor:
    """The p of the box on the boundary, which has to be within reach, with the least |p|_1.

    The entries with the largest |g_i| go to their ends of the box, one after the other, until the goal is reached.
    """
    import torch

    size, reach = region.g.abs(), region.reach()
    order = size.argsort(dim=1, descending=True)
    amount = reach.gather(1, order)
    before = amount.cumsum(dim=1) - amount
    share = torch.minimum(amount, (region.goal[:, None] - before).clamp_(min=0.0)) / size.gather(1, order)
    p = torch.zeros_like(size).scatter_(1, order, share.nan_to_num_(nan=0.0))
    return region.clip(p.mul_(region.g.sign()))
