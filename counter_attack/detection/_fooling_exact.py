"""How far an exact detector can be fooled, with proof: the largest exact distance near x."""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import Enum

import numpy as np
from numpy.typing import ArrayLike

from bounds import Bounds
from mipverify_py import LinfBall, Options, StopReason, Verdict, distance
from mipverify_py._arguments import real_number, whole_number
from onnx_models import Array, ReluNetwork
from onnx_models.errors import InputError

LEAST_GAP = 1e-6
"""The exact searches at centres have a gap of their own, which has to be smaller."""


class FoolingStop(Enum):
    """Why the search ended."""

    CLOSED = "the bracket is as narrow as asked for"
    DECIDED = "the bracket lies on one side of the eps asked about"
    BOXES = "the limit on boxes was reached"
    TIME = "the time limit was reached"
    INTERRUPTED = "stopped from outside (Ctrl-C)"


@dataclass(frozen=True, slots=True, eq=False)
class FoolingBound:
    """A bracket of  max { d*(x') : |x' - x| <= radius, x' in the domain, f(x') in C },  in L-infinity.

    Attributes:
        radius: how far x may be moved.
        lower, upper: the bracket. 0 at both ends: no x' is given a class of C other than on a tie. Infinite at both
            ends: some x' has a class of C that the model gives to all of the domain.
        point: an x' of which d*(x') >= lower is proved, shape (n,); None while lower is 0.
        label: its class; None with the point.
        boxes: boxes looked at.
        searches: exact distances computed.
        stop_reason: why the search ended.
        seconds: wall-clock time.
    """

    radius: float
    lower: float
    upper: float
    point: Array | None
    label: int | None
    boxes: int
    searches: int
    stop_reason: FoolingStop
    seconds: float

    def can_be_fooled(self, eps: float) -> bool | None:
        """Whether some x' with a class of C has d*(x') > eps, so that an exact detector lets it pass; None if open."""
        if self.lower > eps:
            return True
        return False if self.upper <= eps else None


@dataclass(order=True, slots=True)
class _Box:
    """A class k and a box, ordered by their bound, the largest first."""

    order: tuple[float, int]
    label: int = field(compare=False)
    low: Array = field(compare=False)
    high: Array = field(compare=False)

    @property
    def bound(self) -> float:
        return -self.order[0]


def largest_distance(
    network: ReluNetwork,
    x: ArrayLike,
    radius: float,
    *,
    targets: Sequence[int] | None = None,
    gap: float = 1e-3,
    eps: float | None = None,
    limits: FoolingLimits | None = None,
) -> FoolingBound:
    """The largest exact distance near x, bracketed to within `gap`.

    For a class k let A_k be the set of inputs of the domain at which another class reaches f_k, ties included, and
    D_k(x') the L-infinity distance from x' to A_k. At an x' of class k, d*(x') = D_k(x'); at any other, D_k(x') = 0. So
    the maximum wanted is that of D_k over the ball and k in C, and the condition f(x') in C needs no care.

    Branch and bound over boxes, the largest bound first. Every point z of A_k that an exact search has met bounds D_k
    on a box by max over the box of |x' - z|; that of the box's own centre m gives D_k(m) + half the box's width, by
    which a distance can change in it at most (it is 1-Lipschitz). From below, exact searches prove D_k at centres. The
    effort grows with (radius / gap)^n: this is for tiny networks of a few inputs.

    Args:
        network: the model.
        x: the input, in the domain, of the model's shape or flat.
        radius: of the ball, finite and > 0.
        targets: the classes C; None: all but the model's class of x.
        gap: how narrow the bracket has to become, >= 1e-6.
        eps: stop also once the bracket is on one side of eps, that is once `can_be_fooled(eps)` is known.
        limits: when to stop early, the valid inputs, and how the distances are searched.

    Raises:
        InputError: an argument that does not fit.
    """
    limited = limits or FoolingLimits()
    reach, narrow = real_number(radius, "The radius"), real_number(gap, "The gap")
    if not (np.isfinite(reach) and reach > 0):
        raise InputError(f"The radius is {reach}; it must be finite and above 0.")
    if not (np.isfinite(narrow) and narrow >= LEAST_GAP):
        raise InputError(f"The gap is {narrow}; it must be finite and at least {LEAST_GAP:g}.")
    x0 = network.flatten_input(x)
    domain = limited.box(network.input_size)
    if np.any(x0 < domain.lower) or np.any(x0 > domain.upper):
        raise InputError("The input lies outside the domain.")
    classes = _classes(network, x0, targets)
    search = _Search(network, domain, limited, narrow, eps)
    return search.run(LinfBall(reach).bounding_box(x0, domain), classes, reach)


@dataclass(frozen=True, slots=True)
class FoolingLimits:
    """What a search for the largest distance may use.

    Attributes:
        boxes: boxes looked at, >= 1.
        seconds: wall-clock time, > 0, or None.
        domain: valid inputs; None: [0, 1].
        options: how each exact distance is searched; its gap is made smaller where the bracket needs it.

    Raises:
        InputError: a value out of range.
    """

    boxes: int = 100_000
    seconds: float | None = None
    domain: Bounds | None = None
    options: Options = field(default_factory=Options)

    def __post_init__(self) -> None:
        if whole_number(self.boxes, "The limit on boxes") < 1:
            raise InputError(f"The limit on boxes is {self.boxes}; it must be at least 1.")
        if self.seconds is not None and not real_number(self.seconds, "The time limit") > 0:
            raise InputError(f"The time limit is {self.seconds}; it must be above 0, or None.")

    def box(self, size: int) -> Bounds:
        """The domain for a model of this many inputs."""
        found = self.domain or Bounds(np.zeros(size), np.ones(size))
        if found.size != size:
            raise InputError(f"The domain has {found.size} entries, the model's input has {size}.")
        return found


def _classes(network: ReluNetwork, x0: Array, targets: Sequence[int] | None) -> list[int]:
    own = int(np.argmax(network.forward(x0)))
    if targets is None:
        return [k for k in range(network.output_size) if k != own]
    chosen = sorted({whole_number(k, "A target class") for k in targets})
    if not chosen or chosen[0] < 0 or chosen[-1] >= network.output_size:
        raise InputError(f"Target classes are one or more of 0 to {network.output_size - 1}; got {chosen}.")
    return chosen


class _Search:
    def __init__(
        self, network: ReluNetwork, domain: Bounds, limits: FoolingLimits, gap: float, eps: float | None
    ) -> None:
        self.network, self.domain, self.limits, self.gap, self.eps = network, domain, limits, gap, eps
        given, width = limits.options, float((domain.upper - domain.lower).max())
        self._options = replace(
            given,
            gap_absolute=min(given.gap_absolute, gap / 4),
            gap_relative=min(given.gap_relative, gap / (4 * max(width, 1.0))),
        )
        self.lower, self.searches, self.interrupted = 0.0, 0, False
        self.point: Array | None = None
        self.label: int | None = None
        self._known: dict[int, Array] = {}
        self._number = itertools.count()

    def run(self, ball: Bounds, classes: list[int], radius: float) -> FoolingBound:
        started, boxes = time.monotonic(), 0
        heap: list[_Box] = []
        for label in classes:
            self._known[label] = np.empty((0, ball.size))
            self._push(heap, label, ball.lower, ball.upper)
        while True:
            upper = max(self.lower, heap[0].bound) if heap else self.lower
            stop = self._stop(upper, boxes, started)
            if stop is not None:
                return FoolingBound(
                    radius,
                    self.lower,
                    upper,
                    self.point,
                    self.label,
                    boxes,
                    self.searches,
                    stop,
                    time.monotonic() - started,
                )
            boxes += 1
            self._look(heap, heapq.heappop(heap))

    def _stop(self, upper: float, boxes: int, started: float) -> FoolingStop | None:
        if upper <= self.lower or upper - self.lower <= self.gap:
            return FoolingStop.CLOSED
        if self.eps is not None and (self.lower > self.eps or upper <= self.eps):
            return FoolingStop.DECIDED
        if self.interrupted:
            return FoolingStop.INTERRUPTED
        if boxes >= self.limits.boxes:
            return FoolingStop.BOXES
        if self.limits.seconds is not None and time.monotonic() - started >= self.limits.seconds:
            return FoolingStop.TIME
        return None

    def _look(self, heap: list[_Box], box: _Box) -> None:
        """Searches at the centre, if points met since the box was made do not bound it lower, and halves the box."""
        bound = self._bound(box.label, box.low, box.high)
        if bound < box.bound:
            self._push(heap, box.label, box.low, box.high)
            return
        self._search_at(box.label, 0.5 * (box.low + box.high))
        widest = int(np.argmax(box.high - box.low))
        middle = 0.5 * (box.low[widest] + box.high[widest])
        for end in ("low", "high"):
            low, high = box.low.copy(), box.high.copy()
            (high if end == "low" else low)[widest] = middle
            self._push(heap, box.label, low, high)

    def _push(self, heap: list[_Box], label: int, low: Array, high: Array) -> None:
        bound = self._bound(label, low, high)
        if bound > self.lower:
            heapq.heappush(heap, _Box((-bound, next(self._number)), label, low, high))

    def _bound(self, label: int, low: Array, high: Array) -> float:
        """At least D_k of every x' of the box: the least distance of a known z to its furthest corner, rounded up."""
        points = self._known[label]
        if not len(points):
            return np.inf
        far = np.maximum(np.abs(high - points), np.abs(points - low)).max(axis=1)
        return float(np.nextafter(far.min(), np.inf))

    def _search_at(self, label: int, centre: Array) -> None:
        self.searches += 1
        result = distance(self.network, centre, options=self._options, label=label, domain=self.domain)
        self.interrupted = result.stop_reason is StopReason.INTERRUPTED
        if result.witness is not None:
            self._known[label] = np.vstack([self._known[label], result.witness.point])
        proved = np.inf if result.verdict is Verdict.ROBUST else (result.lower or 0.0)
        if proved > self.lower:
            self.lower, self.point, self.label = proved, centre, label
