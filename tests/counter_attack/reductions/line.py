"""Networks with one input, in fractions: every ball of the line is enumerated, so all risks are known exactly.

Between two neighbouring critical points, where a ReLU switches or two outputs cross, the order of the outputs does not
change. So a property of that order holds somewhere in an interval iff it holds at one of its ends, at a critical point
in it, or halfway between two neighbours of these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fractions import Fraction
from itertools import combinations, pairwise

import numpy as np

from onnx_models import DenseMap, NetworkBuilder, ReluNetwork
from onnx_models._exact import exact_logits_at
from tests.helpers.rationals import pattern_pieces

ZERO, ONE = Fraction(0), Fraction(1)


def random_line(seed: int, outputs: int, units: int = 3) -> ReluNetwork:
    """A network on [0, 1] whose weights are quarters, so that boundaries often fall on round numbers."""
    rng = np.random.default_rng(seed)

    def quarters(*shape: int) -> np.ndarray:
        return rng.integers(-8, 9, size=shape) / 4

    builder = NetworkBuilder((1,))
    hidden = builder.relu(builder.affine((0,), (DenseMap(quarters(units, 1)),), quarters(units) / 2))
    return builder.build(builder.affine((hidden,), (DenseMap(quarters(outputs, units)),), quarters(outputs) / 2))


class Line:
    """A network with one input on [0, 1]."""

    def __init__(self, network: ReluNetwork) -> None:
        self.network = network
        self._outputs: dict[Fraction, tuple[Fraction, ...]] = {}
        self.critical = sorted(self._critical())

    def outputs(self, x: Fraction) -> tuple[Fraction, ...]:
        if x not in self._outputs:
            self._outputs[x] = exact_logits_at(self.network, [x])
        return self._outputs[x]

    def exists(self, low: Fraction, high: Fraction, holds: Callable[[Fraction], bool], more: Iterable = ()) -> bool:
        """Whether `holds` is true somewhere on [low, high]; it may change at critical points and at those of `more`."""
        return any(holds(x) for x in _refined(max(low, ZERO), min(high, ONE), {*self.critical, *more}))

    def nearest(self, x: Fraction, holds: Callable[[tuple[Fraction, ...]], bool]) -> Fraction | None:
        """The distance to the nearest point of the closed set where `holds` is true of the outputs; None if empty."""
        return min((abs(p - x) for p in {*self.critical, x} if holds(self.outputs(p))), default=None)

    def _critical(self) -> set[Fraction]:
        found = {ZERO, ONE}
        for rows, logits in pattern_pieces(self.network):
            low, high = ZERO, ONE
            for slope, constant in rows:
                if slope > 0:
                    low = max(low, -constant / slope)
                elif slope < 0:
                    high = min(high, -constant / slope)
                elif constant < 0:
                    low, high = ONE, ZERO
            if low > high:
                continue
            found |= {low, high}
            for (a, b), (c, d) in combinations(logits, 2):
                if a != c and low <= (d - b) / (a - c) <= high:
                    found.add((d - b) / (a - c))
        return found


class LineClassifier(Line):
    """A classifier f on the line; on a tie it says None."""

    def classify(self, x: Fraction) -> int | None:
        outputs = self.outputs(x)
        best = [j for j, value in enumerate(outputs) if value == max(outputs)]
        return best[0] if len(best) == 1 else None

    def is_fooled(self, x: Fraction, label: int, eps: Fraction) -> bool:
        return self.exists(x - eps, x + eps, lambda z: self.classify(z) != label)

    def detects(self, x: Fraction, eps: Fraction) -> int | None:
        """The detector of the paper at x: the class, or None for a rejection."""
        label = self.classify(x)
        return None if label is None or self.is_fooled(x, label, eps / 2) else label

    def detector_fails(self, x: Fraction, label: int, eps: Fraction) -> bool:
        moved = {p + side * eps / 2 for p in self.critical for side in (-1, 1)}
        accepted = lambda z: self.detects(z, eps) not in {label, None}  # noqa: E731
        return self.detects(x, eps) is None or self.exists(x - eps, x + eps, accepted, moved)


class LineDetector(Line):
    """A detector g on the line whose last output is for rejection."""

    def rejects(self, x: Fraction) -> bool:
        *classes, reject = self.outputs(x)
        return reject > max(classes)

    def fails(self, x: Fraction, label: int, eps: Fraction) -> bool:
        return self.rejects(x) or self.is_fooled(x, label, eps)

    def is_fooled(self, x: Fraction, label: int, eps: Fraction) -> bool:
        found = self.nearest(x, lambda outputs: _is_wrong(outputs, label))
        return found is not None and found <= eps

    def distances(self, z: Fraction) -> dict[int, Fraction]:
        """For each class, how far the nearest accepted input is on which no output is larger than its own."""
        classes = range(self.network.output_size - 1)
        found = {j: self.nearest(z, lambda outputs, j=j: outputs[j] == max(outputs)) for j in classes}
        return {j: distance for j, distance in found.items() if distance is not None}

    def decode(self, z: Fraction, eps: Fraction) -> set[int]:
        """The classes of the nearest accepted inputs within eps / 2."""
        found = {j: distance for j, distance in self.distances(z).items() if distance <= eps / 2}
        return {j for j, distance in found.items() if distance == min(found.values())}

    def decoder_fails(self, x: Fraction, label: int, eps: Fraction) -> bool:
        """Whether h may be wrong, or has no answer, somewhere within eps / 2 of x: exact minimum-distance decoding."""
        halfway = {(p + q) / 2 for p, q in combinations(self.critical, 2)}
        moved = {p + side * eps / 2 for p in self.critical for side in (-1, 1)}
        wrong = lambda z: self.decode(z, eps) != {label}  # noqa: E731
        return self.exists(x - eps / 2, x + eps / 2, wrong, halfway | moved)


def _is_wrong(outputs: tuple[Fraction, ...], label: int) -> bool:
    *classes, reject = outputs
    return any(value >= max(classes[label], reject) for j, value in enumerate(classes) if j != label)


def _refined(low: Fraction, high: Fraction, cuts: set[Fraction]) -> list[Fraction]:
    ends = sorted({low, high, *(cut for cut in cuts if low < cut < high)})
    return ends + [(a + b) / 2 for a, b in pairwise(ends)]
