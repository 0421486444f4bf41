"""The search for the multiplier of the ball in the step of Brendel and Bethge's attack; see `_brendel_region`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from counter_attack.attacks._brendel_region import (
    MOST_ROUNDS,
    Region,
    least_limit,
    least_sum,
    on_boundary,
    toward_boundary,
)
from mipverify_py import Norm

if TYPE_CHECKING:
    from torch import Tensor

RADIUS_ERROR = 1e-7
"""Relative error of |p - t|_2^2 where the ball binds."""

LINF_ERROR = 1e-7
"""Relative error of |p|_inf, where |p - t|_2 changes so fast with u that its own error says little."""

SQUARE_ERROR = 1e-13
"""Relative width of the bracket of u^2 at which the search ends, whatever |p - t|_2 is."""

L1_ERROR = 1e-7
"""Error of |p|_1 where the ball does not bind, as a share of radius + |p|_1 for u = 0.

p(u) minimises u |p|_1 + |p - t|_2^2 / 2, so that |p(u)|_1 exceeds the optimum by at most radius^2 / (2 u).
"""

FARTHER = 1.1
FARTHEST = 256.0
"""By which factor to extend the step to the extrapolated u^2, and to go beyond the last u^2 at most."""

NOTICEABLE = 1e-6
"""Change of |p - t|_2^2, as a share of what is left at u = 0, that an extrapolation can rest on."""


def best_perturbations(region: Region) -> Tensor:
    """p for each problem, shape (K, n)."""
    import torch

    p, lam = region.t.clone(), torch.zeros_like(region.c)
    able = (region.reach().sum(dim=1) >= region.goal).nonzero()[:, 0]
    within = region.take(able)
    p[able], lam[able] = on_boundary(within, torch.zeros_like(within.c), within.c)
    near = torch.zeros_like(lam, dtype=torch.bool)
    near[able] = within.moved(p[able]) <= within.radius.square()
    far = (~near).nonzero()[:, 0]
    if len(far):
        p[far] = toward_boundary(region.take(far))
    rest = near.nonzero()[:, 0]
    _Search(p, rest, region.take(rest), lam[rest]).run()
    return p


@dataclass(eq=False)
class _State:
    """Where the search stands for each of K problems; all of shape (K,). "Over" is |p - t|_2^2 - radius^2.

    Attributes:
        square: the u^2 to be tried next.
        most: the largest u^2 there is.
        first: over for u = 0, negative.
        low, low_over: the largest u^2 known to have over <= 0, and its over.
        high, high_over: the least u^2 known to have over > 0; or `most`, with an infinite over where it is unknown.
        old, old_over: the end that the last u^2 replaced.
        newest_low: whether it replaced `low`.
        bracketed: whether `high` has been tried.
        u, lam: those tried last.
        tilt: how lam changed with u.
    """

    square: Tensor
    most: Tensor
    first: Tensor
    low: Tensor
    low_over: Tensor
    high: Tensor
    high_over: Tensor
    old: Tensor
    old_over: Tensor
    newest_low: Tensor
    bracketed: Tensor
    u: Tensor
    lam: Tensor
    tilt: Tensor

    def take(self, which: Tensor) -> _State:
        return _State(**{name: part[which] for name, part in vars(self).items()})

    def narrow(self, over: Tensor) -> None:
        """Takes the u^2 just tried as an end."""
        inside = over <= 0
        self.old, self.old_over = self.low.where(inside, self.high), self.low_over.where(inside, self.high_over)
        self.low, self.low_over = self.square.where(inside, self.low), over.where(inside, self.low_over)
        self.high, self.high_over = self.high.where(inside, self.square), self.high_over.where(inside, over)
        self.newest_low = inside
        self.bracketed = self.bracketed | ~inside

    def following(self) -> Tensor:
        """The next u^2: between the ends, or a little beyond where the line through the last two leads."""
        risen = self.low_over - self.old_over
        left = (self.low - self.old) * (-self.low_over / risen)
        led = (self.low + FARTHER * left).where(risen > -NOTICEABLE * self.first, float("inf"))
        led = led.minimum(FARTHEST * self.low)
        between = self._between().where(self.high_over.isfinite(), self.most)
        return between.where(self.bracketed | (led >= self.most), led)

    def _between(self) -> Tensor:
        """Inverse quadratic interpolation where it can be trusted, or the middle (Chandrupatla 1997)."""
        newest = self.newest_low
        x1, y1 = self.low.where(newest, self.high), self.low_over.where(newest, self.high_over)
        x2, y2 = self.high.where(newest, self.low), self.high_over.where(newest, self.low_over)
        x3, y3 = self.old, self.old_over
        xi, phi = (x1 - x2) / (x3 - x2), (y1 - y2) / (y3 - y2)
        share = y1 / (y2 - y1) * y3 / (y2 - y3) + (x3 - x1) / (x2 - x1) * y1 / (y3 - y1) * y2 / (y3 - y2)
        trusted = (phi.square() < xi) & ((1 - phi).square() < 1 - xi) & (share > 0) & (share < 1)
        return x1 + share.where(trusted, 0.5) * (x2 - x1)


class _Search:
    """Finds the u for which |p - t|_2 is the radius, and puts its p in place, for the problems whose ball binds.

    |p - t|_2^2 is nearly linear in u^2, so that is what secants are drawn in.
    """

    def __init__(self, p: Tensor, which: Tensor, region: Region, lam: Tensor) -> None:
        """`p`, shape (N, n), holds p(0, lam) in its rows `which`, shape (K,); the search puts better ones there."""
        import torch

        self._p, self._which, self._region = p, which, region
        first = region.moved(p[which]) - region.radius.square()
        most, most_over = self._ends(p[which])
        zero = torch.zeros_like(lam)
        self._state = _State(
            square=self._guess(-first, most),
            most=most,
            first=first,
            low=zero,
            low_over=first,
            high=most,
            high_over=most_over,
            old=zero,
            old_over=first,
            newest_low=torch.ones_like(zero, dtype=torch.bool),
            bracketed=torch.zeros_like(zero, dtype=torch.bool),
            u=zero,
            lam=lam,
            tilt=zero,
        )
        self._drop((-first <= RADIUS_ERROR * region.radius.square()) | (most_over <= 0) | self._narrow_enough())

    def run(self) -> None:
        """Searches until no problem is left."""
        for _ in range(MOST_ROUNDS):
            if not len(self._which):
                return
            region, state = self._region, self._state
            u = state.square.sqrt()
            change = (state.tilt * (u - state.u)).clamp(
                -state.lam.abs() - region.radius, state.lam.abs() + region.radius
            )
            p, lam = on_boundary(region, u, state.lam + change)
            over = region.moved(p) - region.radius.square()
            error = RADIUS_ERROR * region.radius.square()
            inside = over <= error
            self._p[self._which[inside]] = p[inside]
            state.tilt = ((lam - state.lam) / (u - state.u)).nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
            state.u, state.lam = u, lam
            done = (over.abs() <= error) | (inside & (state.square >= state.most))
            state.narrow(over)
            done |= self._narrow_enough()
            state.square = state.following()
            self._drop(done)

    def _ends(self, nearest: Tensor) -> tuple[Tensor, Tensor]:
        """The largest u^2, and |p - t|_2^2 - radius^2 there, infinite where unknown."""
        import torch

        region = self._region
        if region.norm is Norm.L2:
            return torch.ones_like(region.c), torch.full_like(region.c, torch.inf)
        if region.norm is Norm.L1:
            error = L1_ERROR * (region.radius + nearest.abs().sum(dim=1))
            most, p = region.radius.square() / (2 * error), least_sum(region)
        else:
            region.start = nearest.abs().amax(dim=1)
            limit, p = least_limit(region)
            most = (region.start - limit).clamp(min=0.0)
        over = region.moved(p) - region.radius.square()
        self._p[self._which[over <= 0]] = p[over <= 0]
        return most.square(), over

    def _guess(self, room: Tensor, most: Tensor) -> Tensor:
        """The first u^2: exact in L2 where the box does not bind, likely too small otherwise."""
        region = self._region
        if region.norm is Norm.L2:
            across = region.t.square().sum(dim=1) - (region.g * region.t).sum(dim=1).square()
            return (room / across.clamp(min=0.0)).minimum(most)
        return (4 * room / region.t.shape[1]).minimum(most / 4)

    def _narrow_enough(self) -> Tensor:
        """Whether the ends are so close that it does not matter where between them u is, shape (K,)."""
        low, high = self._state.low, self._state.high
        if self._region.norm is Norm.LINF:
            return high.sqrt() - low.sqrt() <= LINF_ERROR * self._region.start
        return high - low <= SQUARE_ERROR * high

    def _drop(self, done: Tensor) -> None:
        if bool(done.any()):
            going = ~done
            self._which, self._region, self._state = (
                self._which[going],
                self._region.take(going),
                self._state.take(going),
            )
