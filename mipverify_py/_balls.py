"""Balls of the L1 and the L2 norm around x0."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

import numpy as np

from bounds import Bounds, Formulation
from mipverify_py._distance import exact_size
from mipverify_py._enums import Norm
from mipverify_py._norm_rows import Displacement
from mipverify_py._perturbation import LinfBall, PerturbationSet
from onnx_models import Array

SHRINKINGS = tuple(1.0 - 2.0**k for k in range(-52, 1, 2))
"""Factors by which a point that rounding has put outside is drawn towards x0, until it is inside; the last is 0."""


@dataclass(frozen=True, slots=True)
class NormBall(PerturbationSet):
    """All x whose distance from x0 in `norm` is at most `radius`, which is finite and >= 0."""

    radius: float
    norm: ClassVar[Norm]

    def __post_init__(self) -> None:
        object.__setattr__(self, "radius", LinfBall(self.radius).radius)

    def bounding_box(self, x0: Array, domain: Bounds) -> Bounds:
        return LinfBall(self.radius).bounding_box(x0, domain)

    @abstractmethod
    def contains(self, x: Array, x0: Array) -> bool:
        """Whether x is a member, decided by whole numbers: floats are dyadic rationals."""

    def project(self, x: Array, x0: Array, domain: Bounds) -> Array:
        """The nearest member to x in `domain`, about; x0 lies in `domain`, so going there keeps a point inside."""
        inside = np.clip(x, domain.lower, domain.upper)
        if self.contains(inside, x0):
            return inside
        moved = into_ball((inside - x0)[:, None], self.radius, self.norm)[:, 0]
        for share in SHRINKINGS:
            candidate = np.clip(x0 + share * moved, domain.lower, domain.upper)
            if self.contains(candidate, x0):
                return candidate
        return x0.copy()


@dataclass(frozen=True, slots=True)
class L1Ball(NormBall):
    """All x with sum |x_i - x0_i| <= radius; radius is finite and >= 0."""

    norm: ClassVar[Norm] = Norm.L1

    def contains(self, x: Array, x0: Array) -> bool:
        return exact_size(x, x0, Norm.L1) <= Fraction(self.radius)

    def restrict(self, form: Formulation, x0: Array) -> None:
        """One row:  sum t_i <= radius  with  t_i >= |x_i - x0_i|."""
        row, constant = Displacement(form, form.inputs, form.bounds.nodes[0], x0).total()
        form.add_rows(row, -np.inf, self.radius - constant)


@dataclass(frozen=True, slots=True)
class L2Ball(NormBall):
    """All x with sum (x_i - x0_i)**2 <= radius**2; radius is finite and >= 0."""

    norm: ClassVar[Norm] = Norm.L2

    def contains(self, x: Array, x0: Array) -> bool:
        return exact_size(x, x0, Norm.L2) <= Fraction(self.radius) ** 2

    def restrict(self, form: Formulation, x0: Array) -> None:
        """One quadratic row:  sum t_i**2 <= 1  with  t_i = (x_i - x0_i) / radius."""
        if self.radius > 0:  # otherwise the box is x0 alone
            t, rest = Displacement(form, form.inputs, form.bounds.nodes[0], x0).scaled(self.radius)
            form.builder.add_quadratic_row(t, 1.0, 1.0 - rest)


def into_ball(moved: Array, radius: float, norm: Norm) -> Array:
    """The nearest points, in the L2 norm, of the ball around 0 to the columns of `moved`, shape (n, N); to rounding.

    For L1 each entry loses the same amount, found by sorting (Duchi et al., 2008).
    """
    if norm is Norm.LINF:
        clipped: Array = np.clip(moved, -radius, radius)
        return clipped
    if norm is Norm.L2:
        sizes = np.linalg.norm(moved, axis=0)
        shrunk: Array = moved * np.where(sizes > radius, radius / np.maximum(sizes, np.finfo(np.float64).tiny), 1.0)
        return shrunk
    sizes = np.abs(moved)
    ordered = -np.sort(-sizes, axis=0)
    ranks = np.arange(1, len(moved) + 1)[:, None]
    losses = (np.cumsum(ordered, axis=0) - radius) / ranks
    kept = np.maximum((ordered > losses).sum(axis=0), 1)
    loss = np.maximum(losses[kept - 1, np.arange(moved.shape[1])], 0.0)
    reduced: Array = np.sign(moved) * np.maximum(sizes - loss, 0.0)
    return reduced
