"""What is known of a node's float value on the way to a bound of its error; `bounds._float32` names the quantities."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from onnx_models import Array

SLACK = 1.0 + 1e-9
"""Covers the roundings of our own sums of nonnegative terms, of fewer than a million terms each."""

TINY = 2.0**-1000
"""... and what underflow takes from them."""


def up(values: Array) -> Array:
    """Sums of nonnegative terms as floats gave them, enlarged so that they are at least the exact ones."""
    return values * SLACK + TINY


@dataclass(frozen=True, slots=True)
class Format:
    """How numbers are rounded.

    Attributes:
        roundoff: u, the largest relative error of one operation.
        flushed: t, the largest that underflow takes from an operand or a result.
    """

    roundoff: float
    flushed: float

    def gamma(self, operations: int) -> float:
        """R u / (1 - R u) for R = `operations`, rounded up."""
        share = operations * self.roundoff
        return share / (1.0 - share) * SLACK


FLOAT32 = Format(2.0**-24, 2.0**-126)


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """What is known of a node's float value: P, S (both of the node's shape), R and s."""

    propagated: Array
    size: Array
    operations: int
    spread: float

    def own(self, form: Format) -> Array:
        """The part of each entry's error that arises after the anchors of its paths: gamma(R) S + 6 R t s."""
        return up(form.gamma(self.operations) * self.size + 6.0 * self.operations * form.flushed * self.spread)

    def error(self, form: Format) -> Array:
        """Largest |float value - real value| of each entry."""
        return up(self.propagated + self.own(form))


def anchor(error: Array, magnitude: Array) -> State:
    """The state of a value from which paths begin: its error, and the largest magnitude of the real value."""
    size = np.where((magnitude == 0.0) & (error == 0.0), 0.0, up(magnitude + error))
    return State(error, size, 0, max(1.0, float(size.max(initial=0.0))))
