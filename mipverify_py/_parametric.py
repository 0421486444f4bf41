"""Perturbation sets whose members are given by a few parameters, and the set of these parameters."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from fractions import Fraction

import numpy as np
from scipy import sparse

from bounds import Bounds, Formulation
from mipverify_py._image import AffineImage
from mipverify_py._perturbation import PerturbationSet
from onnx_models import Array
from onnx_models.errors import InputError


class ParametricSet(PerturbationSet):
    """All images A(x0) theta + c(x0) for the real parameters theta in a polytope.

    Such an image is hardly ever a vector of float64, and from its rounded entries nobody can tell whether it is one.
    So a member is its parameters: a `Witness` carries them, and its membership and margin are those of the exact image.
    A query about such a set is searched as one about the network after the image, over theta.
    """

    @abstractmethod
    def parameters(self, x0: Array, domain: Bounds) -> Parameters:
        """The parameters whose images lie in `domain`; raises InputError where there can be none."""

    def bounding_box(self, x0: Array, domain: Bounds) -> Bounds:
        known = self.parameters(x0, domain)
        box = known.image_box()
        if np.any(box.lower > domain.upper) or np.any(box.upper < domain.lower):
            raise InputError("No image of the perturbation set lies in the model's domain.")
        return box.intersect(domain)

    def contains(self, x: Array, x0: Array) -> bool:
        """False: rounded entries do not show whether there are parameters behind them. See `Parameters.contains`."""
        return False

    def project(self, x: Array, x0: Array, domain: Bounds) -> Array:
        """The rounded image of parameters near those that fit x best (least squares)."""
        known = self.parameters(x0, domain)
        fitted = np.linalg.lstsq(known.image.matrix.toarray(), x - known.image.constant, rcond=None)[0]
        return known.image.rounded(known.project(fitted, known.identity, known.ranges))


class Parameters(PerturbationSet):
    """All theta in `ranges`, with sum(theta) = `total` if that is not None, whose image lies in `domain`.

    A perturbation set itself: of the input theta of the network after the image.

    Args:
        image: the map from theta to images.
        ranges: a box that contains every member.
        domain: the model's valid inputs x.
        identity: parameters whose image is x0 exactly; they need not be members.
        total: a whole number, or None.
    """

    def __init__(
        self, image: AffineImage, ranges: Bounds, domain: Bounds, identity: Array, *, total: int | None = None
    ) -> None:
        self.image, self.ranges, self.domain = image, ranges, domain
        self.identity, self.total = identity, total

    @property
    def is_box(self) -> bool:
        """One parameter is always an interval."""
        return self.total is None and (self.ranges.size == 1 or not np.any(self._can_leave()))

    def bounding_box(self, x0: Array, domain: Bounds) -> Bounds:
        return self.ranges.intersect(domain)

    def contains(self, x: Array, x0: Array) -> bool:
        """Whether x, here the parameters, shape (K,), is a member, decided in rational arithmetic."""
        if not self.ranges.contains(x):
            return False
        if self.total is not None and sum(map(Fraction, x.tolist())) != self.total:
            return False
        return self.image.lies_in(x, self.domain)

    def project(self, x: Array, x0: Array, domain: Bounds) -> Array:
        """A member near x wherever one is easily found; callers check."""
        for candidate in self._candidates(np.clip(x, self.ranges.lower, self.ranges.upper)):
            if self.contains(candidate, x0):
                return candidate
        return self.identity

    def restrict(self, form: Formulation, x0: Array) -> None:
        theta = form.builder.unit(form.inputs)
        if self.total is not None:
            form.add_rows(sparse.csr_array(theta.sum(axis=0).reshape(1, -1)), float(self.total), float(self.total))
        rows = np.flatnonzero(self._can_leave())
        if len(rows):
            constant = self.image.constant[rows]
            matrix = sparse.csr_array(self.image.matrix[rows] @ theta)
            form.add_rows(matrix, self.domain.lower[rows] - constant, self.domain.upper[rows] - constant)

    def image_box(self) -> Bounds:
        """A box that contains every member's image; that of `domain` is not taken into account."""
        return self.image.enclosure(self.ranges)

    def _candidates(self, x: Array) -> Iterator[Array]:
        """What may be a member near x, best first."""
        yield x
        yield self._towards_identity(x)

    def _towards_identity(self, x: Array) -> Array:
        """The point nearest to x on the segment to the identity whose image, in float64, lies in the domain."""
        there = self.image.matrix @ x + self.image.constant
        here = self.image.matrix @ self.identity + self.image.constant
        step = there - here
        with np.errstate(divide="ignore", invalid="ignore"):
            room = np.where(step > 0, (self.domain.upper - here) / step, (self.domain.lower - here) / step)
        share = float(np.clip(np.nanmin(np.where(step == 0, np.inf, room), initial=1.0), 0.0, 1.0))
        result: Array = self.identity + share * (1.0 - 2.0**-40) * (x - self.identity)
        return result

    def _can_leave(self) -> np.typing.NDArray[np.bool_]:
        """Which entries of the image may leave the domain for some member of the ranges and the total."""
        box = self.image_box()
        return (box.lower < self.domain.lower) | (box.upper > self.domain.upper)
