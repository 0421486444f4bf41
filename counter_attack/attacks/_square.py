"""Square Attack (Andriushchenko et al., 2020): random search with square-shaped updates, which needs no gradients."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from counter_attack.attacks._epsilon import AttackAt, EpsilonAttack, reached
from counter_attack.attacks._problem import AttackProblem
from mipverify_py import Norm
from onnx_models.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

HALVINGS = (0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)
"""Shares of all queries after each of which the squares' area is halved."""

TILES = 5
"""The first perturbation in L2 has so many tiles along the image's height."""

LEAST = 3
"""Least side of a window in L2."""

TINY = 1e-30
"""Least norm that something is divided by."""


@dataclass(frozen=True)
class Square(EpsilonAttack):
    """Random squares of the perturbation are changed; a change stays if it makes the margin larger.

    L-infinity: the perturbation is +-eps everywhere, at first in vertical stripes, then with one sign per square and
    channel. L2: the norm within one window moves to another one, in a shape that falls off from two centres.

    Images have shape (channels, height, width) or (height, width). An input of any other shape is taken for an image of
    height 1: its first perturbation is random entry by entry, and its squares are stripes of neighbouring entries.

    Attributes:
        queries: model calls at most per input and radius, >= 1; an input ends at its first success.
        area: share of the pixels that the first squares cover, in (0, 1].

    Raises:
        InputError: a value out of range.
    """

    name: ClassVar[str] = "square"
    norms: ClassVar[tuple[Norm, ...]] = (Norm.LINF, Norm.L2)

    queries: int = 5000
    area: float = 0.8

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.queries < 1:
            raise InputError(f"The square attack needs at least 1 query; got {self.queries}.")
        if not 0 < self.area <= 1:
            raise InputError(f"The area of the first squares is a share of the image in (0, 1]; got {self.area}.")

    def prepare(self, problem: AttackProblem) -> AttackAt:
        """See `EpsilonAttack`."""
        kind = _Signs if self.norm is Norm.LINF else _Windows

        def attack_at(eps: Tensor, rows: Tensor) -> None:
            left = ~reached(problem, eps, rows)
            if bool(left.any()):
                kind(problem, eps[left], rows[left]).run(self.queries, self.area)

        return attack_at


def image_shape(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Channels, height and width of an input of this shape; (1, 1, n) where it is no image."""
    if len(shape) == 3:
        return shape
    return (1, shape[0], shape[1]) if len(shape) == 2 else (1, 1, math.prod(shape))


def area_at(first: float, query: int, queries: int) -> float:
    """Share of the pixels that a square covers in the query of that number."""
    return first * 0.5 ** sum(query / queries > share for share in HALVINGS)


class _Search(ABC):
    """One random search with fixed radii; rows that have succeeded are dropped.

    Attributes:
        rows, eps: the inputs and their radii, shape (K,) and (K, 1, 1).
        moved: the perturbations, shape (K, channels, pixels), before clipping.
        value: the margins they reach, shape (K,).
    """

    def __init__(self, problem: AttackProblem, eps: Tensor, rows: Tensor) -> None:
        self.problem, self.rows, self.eps = problem, rows, eps[:, None, None]
        self.channels, self.height, self.width = image_shape(problem.classifier.shape)

    def run(self, queries: int, area: float) -> None:
        self.moved = self.start()
        self.value = self._look(self.moved)
        for query in range(1, queries):
            self._keep(self.value < 0)
            if not len(self.rows):
                return
            side = math.sqrt(area_at(area, query, queries) * self.height * self.width)
            if self.height == 1:
                side = side**2  # a stripe of that area
            tried = self.changed(max(round(side), 1))
            value = self._look(tried)
            better = value > self.value
            self.moved[better], self.value[better] = tried[better], value[better]

    @abstractmethod
    def start(self) -> Tensor:
        """The first perturbation."""

    @abstractmethod
    def changed(self, side: int) -> Tensor:
        """Another perturbation, which differs in squares of that side."""

    def placed(self, moved: Tensor) -> Tensor:
        """The perturbed inputs before clipping to the domain, shape (K, n)."""
        return self.problem.x[self.rows] + moved.flatten(1)

    def _look(self, moved: Tensor) -> Tensor:
        import torch

        with torch.no_grad():
            logits = self.problem.logits(self.problem.clip(self.placed(moved)), self.rows)
            return self.problem.margin(logits, self.rows)

    def _keep(self, mask: Tensor) -> None:
        if not bool(mask.all()):
            self.rows, self.eps = self.rows[mask], self.eps[mask]
            self.moved, self.value = self.moved[mask], self.value[mask]

    def signs(self, *shape: int) -> Tensor:
        """Random signs for each row, shape (K, *shape)."""
        return 2.0 * (self.problem.uniform(self.rows, *shape) < 0.5).to(self.problem.x.dtype) - 1.0

    def window(self, height: int, width: int) -> Tensor:
        """Pixels of a random window for each row, shape (K, height * width)."""
        import torch

        drawn, device = self.problem.uniform(self.rows, 2), self.problem.x.device
        top = (drawn[:, 0] * (self.height - height + 1)).long()
        left = (drawn[:, 1] * (self.width - width + 1)).long()
        down, right = torch.arange(height, device=device), torch.arange(width, device=device)
        inner = (down[:, None] * self.width + right[None, :]).flatten()
        return (top * self.width + left)[:, None] + inner[None, :]


class _Signs(_Search):
    """The search in L-infinity."""

    def start(self) -> Tensor:
        stripes = self.signs(self.channels, 1, self.width)
        return self.eps * stripes.expand(-1, -1, self.height, -1).flatten(2)

    def changed(self, side: int) -> Tensor:
        pixels = self.window(min(side, self.height), min(side, self.width))
        sign = self.eps * self.signs(self.channels, 1)
        index = pixels[:, None, :].expand(-1, self.channels, -1)
        return self.moved.scatter(2, index, sign.expand_as(index))


class _Windows(_Search):
    """The search in L2."""

    def start(self) -> Tensor:
        import torch

        side = max(self.height // TILES, 1) if self.height > 1 else max(self.width // TILES, 1)
        high, wide = min(side, self.height), min(side, self.width)
        rows, columns = -(-self.height // high), -(-self.width // wide)
        signs = self.signs(self.channels, rows, columns)
        shape = bumps(high, wide).to(signs.device)
        moved: Tensor = torch.kron(signs, shape)[:, :, : self.height, : self.width]
        return moved.flatten(2)

    def changed(self, side: int) -> Tensor:
        import torch

        side = max(side, LEAST) // 2 * 2 + 1
        high, wide = min(side, self.height), min(side, self.width)
        count, moved = len(self.rows), self._scaled(self.moved)
        into, out = (self.window(high, wide)[:, None, :].expand(-1, self.channels, -1) for _ in range(2))
        union = torch.zeros_like(moved).scatter(2, into, 1.0).scatter(2, out, 1.0)
        spare = (self.eps**2 - moved.square().sum(dim=(1, 2), keepdim=True)).clamp_min(0.0) / self.channels
        budget = (spare + (moved * union).square().sum(dim=2, keepdim=True)).sqrt()
        old = moved.gather(2, into)
        shape = self._shape(high, wide, count)
        new = shape * self.signs(self.channels, 1) + old / _size(old)
        emptied = moved.scatter(2, out, 0.0)
        return emptied.scatter(2, into, new / _size(new) * budget)

    def placed(self, moved: Tensor) -> Tensor:
        return self.problem.x[self.rows] + self._scaled(moved).flatten(1)

    def _scaled(self, moved: Tensor) -> Tensor:
        """With size eps, and clipped: what the domain takes away is spare."""
        x = self.problem.x[self.rows]
        full = moved * (self.eps / moved.square().sum(dim=(1, 2), keepdim=True).sqrt().clamp_min(TINY))
        return (self.problem.clip(x + full.flatten(1)) - x).reshape(moved.shape)

    def _shape(self, high: int, wide: int, count: int) -> Tensor:
        """The bumps, lying or standing at random, shape (K, 1, high * wide)."""
        import torch

        lying = bumps(high, wide).to(self.problem.x.device)
        if high != wide:
            return lying.flatten().expand(count, 1, -1)
        turned = self.problem.uniform(self.rows, 1, 1) < 0.5
        return torch.where(turned, lying.T.flatten(), lying.flatten())


def _size(values: Tensor) -> Tensor:
    """L2 norm per row and channel."""
    return values.square().sum(dim=2, keepdim=True).sqrt().clamp_min(TINY)


def bumps(height: int, width: int) -> Tensor:
    """A positive and a negative bump beside one another, shape (height, width), of L2 norm 1 (the paper's eta).

    The longer side, the height where they are equal, is cut in two halves.
    """
    import torch

    if width > height:
        return bumps(width, height).T
    if height == 1:
        return torch.ones(1, 1, dtype=torch.float64)
    half = height // 2
    both = torch.cat([_bump(half, width), -_bump(height - half, width)])
    return both / both.square().sum().sqrt()


def _bump(height: int, width: int) -> Tensor:
    """Rectangles of growing size around the middle, the k-th adding 1 / (k + 1)^2; of L2 norm 1."""
    import torch

    found = torch.zeros(height, width, dtype=torch.float64)
    top, left = height // 2, width // 2
    for k in range(max(height, width) // 2 + 1):
        found[max(top - k, 0) : top + k + 1, max(left - k, 0) : left + k + 1] += 1.0 / (k + 1) ** 2
    return found / found.square().sum().sqrt()
