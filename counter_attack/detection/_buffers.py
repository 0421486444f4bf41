"""Buffers: estimates of by how much an attack's distance exceeds the exact one.

With h = d(x, a(x)) and t = d*(x), the buffer b estimates h - t, so h - b estimates t. The name and the rule that uses
it are those of Counter-Attack (Marro and Lombardi 2023, "Computational Asymmetries in Robust Classification", arXiv
2306.14326). All kinds below fit a line e(h) = slope h + intercept to pairs (h, t) and give b = h - e(h).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import Enum
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from counter_attack.detection._level import Lines, nearest_under_level
from counter_attack.detection._pairs import Pairs
from mipverify_py._arguments import real_number
from onnx_models import Array
from onnx_models.errors import InputError


class Buffer(ABC):
    """b(x, a(x)), for batches.

    A buffer that is never above the excess d - d* gives no false positives, one that is never below it no false
    negatives; a positive is an input marked non-robust.
    """

    @abstractmethod
    def __call__(self, x: Array, adversarial: Array, distance: Array) -> Array:
        """The buffer b, shape (N,), finite.

        Args:
            x: inputs, shape (N, n).
            adversarial: what the attack found for them, shape (N, n).
            distance: d(x, a(x)), shape (N,), finite.
        """

    def estimate(self, x: Array, adversarial: Array, distance: Array) -> Array:
        """The exact distance as estimated, d - b, shape (N,)."""
        return distance - self(x, adversarial, distance)


@dataclass(frozen=True, slots=True)
class BufferKind(ABC):
    """A way to fit a buffer, with its parameters."""

    name: ClassVar[str]
    """As on the command line and in files."""

    @abstractmethod
    def fit(self, pairs: Pairs) -> LineBuffer:
        """The buffer for these pairs; raises InputError if they are too few or all alike."""

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters as plain values, as in files."""
        return {name: value.value if isinstance(value, Enum) else value for name, value in asdict(self).items()}


@dataclass(frozen=True, slots=True)
class LineBuffer(Buffer):
    """b(h) = h - (slope h + intercept).

    Attributes:
        kind: what it was fitted as.
        slope, intercept: of the line e that estimates the exact distance; finite.
        pairs: pairs it was fitted on.

    Raises:
        InputError: a slope or intercept that is no finite number.
    """

    kind: BufferKind
    slope: float = 1.0
    intercept: float = 0.0
    pairs: int = 0

    def __post_init__(self) -> None:
        for name in ("slope", "intercept"):
            value = real_number(getattr(self, name), f"The buffer's {name}")
            if not np.isfinite(value):
                raise InputError(f"The buffer's {name} is {value}; it has to be a finite number.")
            object.__setattr__(self, name, value)

    def __call__(self, x: Array, adversarial: Array, distance: Array) -> Array:
        return distance - self.line(distance)

    def estimate(self, x: Array, adversarial: Array, distance: Array) -> Array:
        return self.line(distance)

    def line(self, distance: Array) -> Array:
        """e(h), elementwise."""
        return np.asarray(self.slope * distance + self.intercept)


@dataclass(frozen=True, slots=True)
class Zero(BufferKind):
    """b = 0: the attack's distance is taken as it is.

    An attack never goes below d*, so this gives no false positives, and with an exact attack no false negatives either.
    """

    name: ClassVar[str] = "zero"

    def fit(self, pairs: Pairs) -> LineBuffer:
        return LineBuffer(self, pairs=len(pairs))


@dataclass(frozen=True, slots=True)
class LeastSquares(BufferKind):
    """The line that minimises sum (t_i - e(h_i))^2 (scikit-learn's LinearRegression)."""

    name: ClassVar[str] = "least-squares"

    def fit(self, pairs: Pairs) -> LineBuffer:
        from sklearn.linear_model import LinearRegression

        pairs.require_spread("A least-squares buffer")
        found = LinearRegression().fit(pairs.heuristic[:, None], pairs.exact)
        return LineBuffer(self, float(found.coef_[0]), float(found.intercept_), len(pairs))


@dataclass(frozen=True, slots=True)
class Multiplicative(BufferKind):
    """e(h) = k h with the k that minimises sum (t_i - k h_i)^2."""

    name: ClassVar[str] = "multiplicative"

    def fit(self, pairs: Pairs) -> LineBuffer:
        from sklearn.linear_model import LinearRegression

        if not pairs.heuristic.any():
            raise InputError("All heuristic distances are 0, so no multiple of them can be fitted.")
        found = LinearRegression(fit_intercept=False).fit(pairs.heuristic[:, None], pairs.exact)
        return LineBuffer(self, float(found.coef_[0]), 0.0, len(pairs))


@dataclass(frozen=True, slots=True)
class Quantile(BufferKind):
    """Linear quantile regression (Koenker and Bassett 1978; scikit-learn's QuantileRegressor without penalty).

    About the share tau of the pairs has t <= e(h). A small tau estimates the exact distance low, so that few non-robust
    inputs are missed; a large one marks few robust inputs.

    Attributes:
        tau: in (0, 1).
    """

    name: ClassVar[str] = "quantile"

    tau: float = 0.01

    def __post_init__(self) -> None:
        _share(self, "tau", above_zero=True)

    def fit(self, pairs: Pairs) -> LineBuffer:
        from sklearn.linear_model import QuantileRegressor

        pairs.require_spread("A quantile buffer")
        # A linear program with absolute tolerances: distances of 1e-3 would be of the order of its errors.
        scale = max(float(pairs.heuristic.max()), float(pairs.exact.max()))
        regressor = QuantileRegressor(quantile=self.tau, alpha=0.0, solver="highs")
        found = regressor.fit(pairs.heuristic[:, None] / scale, pairs.exact / scale)
        return LineBuffer(self, float(found.coef_[0]), float(found.intercept_) * scale, len(pairs))


class Avoid(Enum):
    """Which mistake a chance constraint limits."""

    FALSE_NEGATIVES = "false-negatives"
    """Non-robust inputs that are not marked: e(h) <= t, the buffer is at least the excess h - t."""
    FALSE_POSITIVES = "false-positives"
    """Robust inputs that are marked: e(h) >= t, the buffer is at most the excess h - t."""


@dataclass(frozen=True, slots=True)
class ChanceConstrained(BufferKind):
    """Least squares under an empirical chance constraint, solved to optimality:

        minimise sum (t_i - e(h_i))^2  over the lines e with  e(h_i) <= t_i  for at least (1 - delta) N of the N pairs

    (>= instead of <= to avoid false positives). That is the sample average form (Luedtke and Ahmed 2008) of the chance
    constraint P(e(h) <= t) >= 1 - delta (Charnes and Cooper 1959). It holds for the pairs given, as computed in
    float64; what it means for others is for `validate` to tell.

    Which pairs may violate it is a combinatorial choice, but a line has two parameters only. Measured from the
    unconstrained optimum e_0, with v the change of slope and s the change at the mean h' of the h_i, the objective
    grows by N s^2 + v^2 sum (h_i - h')^2, and pair i is satisfied iff s <= (t_i - e_0(h_i)) - v (h_i - h'). So the
    optimum is the point nearest to the origin under a level of an arrangement of lines; see `_level`.

    Attributes:
        delta: share of the pairs that may violate the constraint, in [0, 1): floor(delta N) of them.
        avoid: which side is constrained.
    """

    name: ClassVar[str] = "chance-constrained"

    delta: float = 0.01
    avoid: Avoid = Avoid.FALSE_NEGATIVES

    def __post_init__(self) -> None:
        _share(self, "delta", above_zero=False)
        try:
            object.__setattr__(self, "avoid", Avoid(self.avoid))
        except ValueError:
            known = " or ".join(side.value for side in Avoid)
            raise InputError(f"A chance-constrained buffer avoids {known}; got {self.avoid!r}.") from None

    def fit(self, pairs: Pairs) -> LineBuffer:
        pairs.require_spread("A chance-constrained buffer")
        free = LeastSquares().fit(pairs)
        sign = 1.0 if self.avoid is Avoid.FALSE_NEGATIVES else -1.0
        exempt = self.exempt(len(pairs))
        middle = float(pairs.heuristic.mean())
        away = pairs.heuristic - middle
        lines = Lines.of(sign * (pairs.exact - free.line(pairs.heuristic)), away)
        v, s = nearest_under_level(lines, exempt, float(np.sum(away**2)), float(len(pairs)))
        slope = free.slope + sign * v
        intercept = free.intercept + sign * (s - v * middle)
        return LineBuffer(self, slope, _shifted(pairs, slope, intercept, exempt, sign), len(pairs))

    def exempt(self, count: int) -> int:
        """How many of `count` pairs may violate the constraint; a product within rounding of a whole number is that."""
        return int(np.floor(self.delta * count + 1e-9))


def _shifted(pairs: Pairs, slope: float, intercept: float, exempt: int, sign: float) -> float:
    """The intercept, moved by rounding errors until the constraint holds in float64, too."""
    direction = -sign * np.inf
    while True:
        short = sign * (pairs.exact - (slope * pairs.heuristic + intercept))
        if np.sum(short < 0) <= exempt:
            return intercept
        gap = float(np.partition(short, exempt)[exempt])
        intercept = float(np.nextafter(intercept + sign * gap, direction))


def _share(kind: BufferKind, name: str, *, above_zero: bool) -> None:
    value = real_number(getattr(kind, name), f"The {name} of a {kind.name} buffer")
    if not (0 <= value < 1 and (value > 0 or not above_zero)):
        least = "above 0" if above_zero else "at least 0"
        raise InputError(f"The {name} of a {kind.name} buffer is {value}; it has to be {least} and below 1.")
    object.__setattr__(kind, name, value)


@dataclass(frozen=True, slots=True)
class FunctionBuffer(Buffer):
    """A buffer of your own, from a function (x, adversarial, distance) -> b; such a buffer cannot be saved.

    Attributes:
        function: arguments and result as in `Buffer`.
    """

    function: Any = field(repr=False)

    def __call__(self, x: Array, adversarial: Array, distance: Array) -> Array:
        return np.asarray(self.function(x, adversarial, distance), dtype=np.float64)


KINDS: Mapping[str, type[BufferKind]] = {
    kind.name: kind for kind in (Zero, LeastSquares, Quantile, ChanceConstrained, Multiplicative)
}
"""The kinds of buffers by name."""


def buffer_kind(name: str, /, **parameters: Any) -> BufferKind:
    """The kind of that name with these parameters; raises InputError, listing the known ones, for others."""
    if name not in KINDS:
        raise InputError(f"There is no buffer of kind {name!r}; there are {', '.join(KINDS)}.")
    known = [entry.name for entry in fields(KINDS[name])]
    for parameter in parameters:
        if parameter not in known:
            has = f"it has {', '.join(known)}" if known else "it has none"
            raise InputError(f"A {name} buffer has no parameter {parameter!r}; {has}.")
    return KINDS[name](**parameters)


def fit_buffer(kind: BufferKind, heuristic: ArrayLike, exact: ArrayLike) -> LineBuffer:
    """The buffer of this kind for pairs of heuristic and exact distances, each of shape (N,).

    Raises:
        InputError: distances that are NaN, infinite, negative, too few, or all alike.
    """
    return kind.fit(Pairs(np.asarray(heuristic), np.asarray(exact)))
