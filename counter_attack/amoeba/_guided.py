"""Which features a guided attack may change, and in which direction, read off a certified box.

The idea is that of Li et al. ("Towards certifying the asymmetric robustness for neural networks: quantification and
applications", Algorithm 2): a certified box [x - e1, x + e2] that was made as large as possible is narrow where the
class gives way soon, so an attack should spend its changes there, and in the direction in which the box ends first.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from bounds import Bounds
from counter_attack.amoeba._box import UNIT, AsymmetricBox, Domain
from onnx_models import Array
from onnx_models.errors import InputError

EQUAL = 1e-9
"""Shares that differ by less are equal: each is a quotient of rounded differences."""


@dataclass(frozen=True, slots=True, eq=False)
class Guide:
    """The features of one input that may change.

    Attributes:
        x: the input, shape (n,).
        decreasing: M1, which features may decrease, shape (n,).
        increasing: M2, which may increase, shape (n,).
        domain: the inputs that this leaves: x itself in every entry that is in neither mask; else from x to the end of
            the domain, on the sides that are allowed.
    """

    x: Array
    decreasing: NDArray[np.bool_]
    increasing: NDArray[np.bool_]
    domain: Bounds

    @property
    def free(self) -> NDArray[np.intp]:
        """Numbers of the features that may change, ascending, shape (k,)."""
        return np.flatnonzero(self.decreasing | self.increasing)


def guide(box: AsymmetricBox, percent: float = 100.0, *, signs: bool = True, domain: Domain = UNIT) -> Guide:
    """The masks M1 and M2 that a box gives to an attack.

    For n features in a domain [l, u]:

    - The k = ceil(p n / 100) features with the least sides e1 + e2 may change (among equals those with lower index;
      features with l = u come last). This is the length whose logarithms Amoeba's objective adds up. For two classes
      and linear logits, f_c - f_j = w x + b, the box of largest volume has sides proportional to 1 / |w_i|, but at most
      as long as the domain and at least as long as the room on the side on which the class does not give way; where
      neither binds, the k features are those with the largest |w_i|.
    - The *share* of a side is how much of the domain it covers: e1 / (x - l) and e2 / (u - x), 1 where there is no
      room. A side that ends where the domain does is not the network's doing, however short it is; shares, not lengths,
      are therefore compared. A box that was scaled as a whole keeps their order.
    - M1: features of the k that may decrease, those with e1 / (x - l) <= e2 / (u - x). M2: features that may increase,
      those with >=. Equal shares, up to 1e-9, say nothing about the direction and allow both. Without signs M1 and M2
      are all of the k features.

    Args:
        box: one in which the class is certified; nothing here depends on its being so.
        percent: p, above 0 and at most 100.
        signs: whether each feature may only go in the direction in which the box ends first.
        domain: valid inputs, finite; the box's x must lie in it.

    Raises:
        InputError: a percentage out of range, or an x outside the domain.
    """
    if not 0 < percent <= 100:
        raise InputError(f"A guided attack changes above 0 and at most 100 percent of the features; got {percent:g}.")
    lower, upper = ends(box, domain)
    count = math.ceil(Fraction(repr(float(percent))) * box.size / 100)  # 16.1 % of 1000 are 161, not 162
    chosen = np.zeros(box.size, dtype=bool)
    chosen[narrowest(box, domain)[:count]] = True
    down, up = shares(box, domain)
    decreasing = chosen & (down <= up + EQUAL) if signs else chosen
    increasing = chosen & (up <= down + EQUAL) if signs else chosen
    left = Bounds(np.where(decreasing, lower, box.x), np.where(increasing, upper, box.x))
    return Guide(box.x, decreasing, increasing, left)


def narrowest(box: AsymmetricBox, domain: Domain = UNIT) -> NDArray[np.intp]:
    """All features, shape (n,), the one with the least side e1 + e2 first; those that cannot change come last."""
    lower, upper = ends(box, domain)
    return np.argsort(np.where(lower < upper, box.sides, np.inf), kind="stable")


def shares(box: AsymmetricBox, domain: Domain = UNIT) -> tuple[Array, Array]:
    """e1 / (x - l) and e2 / (u - x), each of shape (n,), 1 where there is no room.

    More than 1 where the box leaves the domain.
    """
    lower, upper = ends(box, domain)
    return _share(box.e1, box.x - lower), _share(box.e2, upper - box.x)


def ends(box: AsymmetricBox, domain: Domain) -> tuple[Array, Array]:
    """The domain's ends l and u as arrays of shape (n,); raises InputError if they do not fit the box."""
    try:
        lower, upper = (np.broadcast_to(np.asarray(end, dtype=np.float64), box.x.shape) for end in domain)
    except (TypeError, ValueError):
        raise InputError(f"The domain needs two numbers, or two arrays of {box.size} entries.") from None
    if not (np.all(np.isfinite(lower)) and np.all(np.isfinite(upper))):
        raise InputError("The domain has to have finite ends.")
    if not (np.all(lower <= box.x) and np.all(box.x <= upper)):
        raise InputError("The input of a box lies outside the domain; scale it or give its domain.")
    return lower, upper


def _share(side: Array, room: Array) -> Array:
    return np.divide(side, room, out=np.ones_like(side), where=room > 0)
