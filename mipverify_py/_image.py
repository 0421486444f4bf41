"""Images that are affine in a few parameters: evaluated exactly, rounded, and measured."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np
from scipy import sparse

from bounds import Bounds, interval_bounds
from mipverify_py._distance import distance, root_down
from mipverify_py._enums import Norm
from onnx_models import Affine, Array, Input, ReluNetwork, SparseMap, exact_logits


@dataclass(frozen=True, eq=False)
class AffineImage:
    """x = matrix @ parameters + constant, over the real numbers: the float64 coefficients are taken as they are.

    Attributes:
        matrix: shape (n, K).
        constant: shape (n,).
    """

    matrix: sparse.csr_array
    constant: Array

    @cached_property
    def network(self) -> ReluNetwork:
        """The map as a network of one affine node."""
        node = Affine((0,), (SparseMap(self.matrix),), self.constant, "image")
        return ReluNetwork((Input((self.matrix.shape[1],), "parameters"), node))

    def exact(self, parameters: Array) -> tuple[Fraction, ...]:
        """The image, n rational numbers."""
        return exact_logits(self.network, parameters)

    def enclosure(self, parameters: Bounds) -> Bounds:
        """Bounds of the image for parameters in a box."""
        return interval_bounds(self.network, parameters).nodes[-1]

    def rounded(self, parameters: Array) -> Array:
        """The image with every entry rounded to the nearest float64, shape (n,)."""
        return np.array([float(value) for value in self.exact(parameters)])

    def distance(self, parameters: Array, x0: Array, norm: Norm) -> float:
        """Norm of image - x0, rounded up; `x0` of shape (n,).

        Every entry is first rounded away from that of x0, which makes no difference smaller.
        """
        away = [_away(value, float(origin)) for value, origin in zip(self.exact(parameters), x0, strict=True)]
        return distance(np.array(away), x0, norm)

    def stretch(self, norm: Norm) -> Fraction:
        """By how much images move when the only parameter moves by 1: the norm of the column, rounded down for L2."""
        column = [abs(Fraction(v)) for v in self.matrix.toarray()[:, 0].tolist()]
        if norm is Norm.LINF:
            return max(column)
        if norm is Norm.L1:
            return sum(column, Fraction(0))
        return Fraction(root_down(float_below(sum((v * v for v in column), Fraction(0)))))

    def lies_in(self, parameters: Array, box: Bounds) -> bool:
        """Whether the image lies in the box, decided exactly."""
        known = self.enclosure(Bounds(parameters, parameters))
        if np.all((box.lower <= known.lower) & (known.upper <= box.upper)):
            return True
        if np.any((known.upper < box.lower) | (known.lower > box.upper)):
            return False
        near = np.flatnonzero((known.lower < box.lower) | (known.upper > box.upper))
        values = AffineImage(self.matrix[near].tocsr(), self.constant[near]).exact(parameters)
        ends = zip(values, box.lower[near].tolist(), box.upper[near].tolist(), strict=True)
        return all(_within(*end) for end in ends)


def composed(image: AffineImage, network: ReluNetwork) -> ReluNetwork:
    """The network after the image: parameters in, logits out, with the image as node 1.

    Nothing is fused, so over the real numbers it is exactly the one function after the other.
    """
    nodes = [*image.network.nodes]
    for node in network.nodes[1:]:
        if isinstance(node, Affine):
            nodes.append(Affine(tuple(k + 1 for k in node.inputs), node.maps, node.bias, node.name))
        else:
            assert not isinstance(node, Input)
            nodes.append(type(node)(node.input + 1, node.size, node.name))
    return ReluNetwork(tuple(nodes))


def _within(value: Fraction, low: float, high: float) -> bool:
    """Whether low <= value <= high; the nearest float64 decides, since rounding keeps order, unless it is an end."""
    near = float(value)
    return low < near < high or (low <= near <= high and low <= value <= high)


def float_below(value: Fraction) -> float:
    """The largest float64 that is at most `value`."""
    nearest = float(value)
    return nearest if Fraction(nearest) <= value else float(np.nextafter(nearest, -np.inf))


def float_above(value: Fraction) -> float:
    """The smallest float64 that is at least `value`."""
    return -float_below(-value)


def _away(value: Fraction, origin: float) -> float:
    """`value` rounded to a float64 that is at least as far from `origin`, on the same side."""
    return float_above(value) if value >= origin else float_below(value)
