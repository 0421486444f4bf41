"""Perturbation sets: which inputs count as perturbed versions of x0."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from bounds import Bounds, Formulation, NetworkBounds
from mipverify_py._arguments import real_number
from mipverify_py._distance import difference_up
from onnx_models import Array, ReluNetwork
from onnx_models.errors import InputError


class PerturbationSet(ABC):
    """A set of inputs around x0; the model's domain is intersected with it by the query."""

    @abstractmethod
    def bounding_box(self, x0: Array, domain: Bounds) -> Bounds:
        """A box that contains every member inside `domain`; the box itself unless rounding makes it an ulp larger."""

    @abstractmethod
    def contains(self, x: Array, x0: Array) -> bool:
        """Whether x, shape (n,), is a member, decided exactly."""

    @abstractmethod
    def project(self, x: Array, x0: Array, domain: Bounds) -> Array:
        """A member in `domain` near x, shape (n,)."""

    def for_shape(self, shape: tuple[int, ...]) -> PerturbationSet:
        """The set for a model whose input has this shape; the query asks, and keeps it. Most sets need no shape."""
        return self

    @property
    def is_box(self) -> bool:
        """Whether the set is its bounding box, up to rounding; False unless a set says so."""
        return False

    def narrowed(self, network: ReluNetwork, bounds: NetworkBounds) -> NetworkBounds:
        """Bounds of all nodes for members only, from bounds over a box; a set that knows nothing more returns them."""
        return bounds

    def restrict(self, form: Formulation, x0: Array) -> None:
        """Adds the columns and rows to a MIP that confine `form.inputs` to the set; they lie in its bounding box.

        Rows are added with `form.add_rows`, which counts them. In a query for a distance the box of the program,
        `form.bounds.nodes[0]`, may be smaller than the set's.

        Raises:
            InputError: the set has no such rows. A set that does not define this must not be taken for its box.
        """
        if not self.is_box:
            name = type(self).__name__
            raise InputError(f"The perturbation set {name} has no MIP encoding; choose a set that has one.")


@dataclass(frozen=True, slots=True)
class LinfBall(PerturbationSet):
    """All x with |x_i - x0_i| <= radius for every i; radius is finite and >= 0."""

    radius: float

    def __post_init__(self) -> None:
        radius = real_number(self.radius, "The radius (eps)")
        if not (np.isfinite(radius) and radius >= 0):
            raise InputError(f"The radius (eps) is {radius!r}; it must be a finite number that is at least 0.")
        object.__setattr__(self, "radius", radius)

    def bounding_box(self, x0: Array, domain: Bounds) -> Bounds:
        # Directed by one ulp, so that the box contains the ball of real numbers.
        low = np.nextafter(x0 - self.radius, -np.inf)
        high = np.nextafter(x0 + self.radius, np.inf)
        if self.radius == 0.0:
            low, high = x0, x0
        return Bounds(np.maximum(low, domain.lower), np.minimum(high, domain.upper))

    def contains(self, x: Array, x0: Array) -> bool:
        return bool(np.all(difference_up(x, x0) <= self.radius))

    def project(self, x: Array, x0: Array, domain: Bounds) -> Array:
        box = self.bounding_box(x0, domain)
        inside = np.clip(x, box.lower, box.upper)
        for _ in range(2):  # the box is at most one rounding and one ulp too large on either side
            inside = np.where(difference_up(inside, x0) > self.radius, np.nextafter(inside, x0), inside)
        return inside

    @property
    def is_box(self) -> bool:
        return True


@dataclass(frozen=True, slots=True, eq=False)
class Box(PerturbationSet):
    """All x with lower <= x <= upper, elementwise; need not be centred at x0 nor contain it."""

    bounds: Bounds

    @classmethod
    def of(cls, lower: ArrayLike, upper: ArrayLike) -> Box:
        """A box from anything array-like."""
        return cls(Bounds.of(lower, upper))

    def bounding_box(self, x0: Array, domain: Bounds) -> Bounds:
        if self.bounds.size != x0.size:
            raise InputError(f"The box has {self.bounds.size} entries, the model's input has {x0.size}.")
        if np.any(self.bounds.lower > domain.upper) or np.any(self.bounds.upper < domain.lower):
            raise InputError("The box lies outside the model's domain; give a wider domain or another box.")
        return self.bounds.intersect(domain)

    def contains(self, x: Array, x0: Array) -> bool:
        return self.bounds.contains(x)

    def project(self, x: Array, x0: Array, domain: Bounds) -> Array:
        box = self.bounding_box(x0, domain)
        return np.clip(x, box.lower, box.upper)

    @property
    def is_box(self) -> bool:
        return True


@dataclass(frozen=True, slots=True)
class Unrestricted(PerturbationSet):
    """Every input in the model's domain."""

    def bounding_box(self, x0: Array, domain: Bounds) -> Bounds:
        return domain

    def contains(self, x: Array, x0: Array) -> bool:
        return True

    def project(self, x: Array, x0: Array, domain: Bounds) -> Array:
        return np.clip(x, domain.lower, domain.upper)

    @property
    def is_box(self) -> bool:
        return True
