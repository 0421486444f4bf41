"""From a point near a case of a property to a counterexample that has been checked exactly."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from bounds import Bounds, interval_bounds
from mipverify_py._attack import passed
from mipverify_py._gradients import Climb
from mipverify_py._query import Query
from onnx_models import Array, ReluNetwork
from onnx_models._exact import exact_logits_at
from onnx_models.vnnlib import Case, Constraint

STEPS = 20
"""Steps of the climb away from the boundary of what is asked for."""

SHARES = (1e-3, 1e-1)
"""Share of half the box's width of the first step, one climb each: near the point first, then further."""

_KINDS: dict[str, DTypeLike] = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
}


@dataclass(frozen=True, slots=True, eq=False)
class RuntimeReplay:
    """What onnxruntime makes of a counterexample rounded to the model's own type (float32 for most).

    Attributes:
        outputs: its outputs, shape (outputs,).
        inside: whether the rounded input lies in the box, decided exactly. It cannot where the file pins an input to a
            decimal that is no float32 number.
        reached: whether these outputs satisfy the constraints, decided exactly.
    """

    outputs: NDArray[Any]
    inside: bool
    reached: bool


@dataclass(frozen=True, slots=True, eq=False)
class Counterexample:
    """An input for which a case of a property holds: checked in exact arithmetic for the network of real numbers.

    Attributes:
        case: which case.
        point: the input, shape (n,), float64. Numbers of the model's own type where the box has such.
        exact: the same as exact numbers: an input that the file pins to a decimal has that very value, which
            `point` rounds.
        outputs: the network's outputs there, shape (outputs,), float64.
        replay: what onnxruntime says, None for a network that did not come from an ONNX model.
    """

    case: int
    point: Array
    exact: tuple[Fraction, ...]
    outputs: Array
    replay: RuntimeReplay | None

    @property
    def is_confirmed(self) -> bool:
        """Whether onnxruntime, where it was asked, agrees: input inside the box, and outputs as asked for."""
        return self.replay is None or (self.replay.inside and self.replay.reached)


class Settler:
    """Makes counterexamples to one case out of points that nearly are.

    Args:
        network: the network that the property is about.
        index: the case's position in the property.
        case: the case.
    """

    def __init__(self, network: ReluNetwork, index: int, case: Case) -> None:
        self._network, self._index, self._case = network, index, case
        source = network.source
        name = "tensor(double)" if source is None else source.session.get_inputs()[0].type
        self._kind = _KINDS[name]
        self._grids = [case.inner(self._kind), case.inner(np.float64)]

    def settle(self, point: Array, query: Query | None, deadline: float | None) -> Counterexample | None:
        """A counterexample near `point`, shape (n,), or None; one that onnxruntime confirms if that can be had.

        `query` asks for a point of the case in terms of its network (`case_network`); None where every point of the box
        will do. The deadline, a `time.monotonic()`, ends the search for a better one, not that for the first.
        """
        best: Counterexample | None = None
        for candidate in self._candidates(point, query):
            found = self._checked(*candidate)
            if found is not None and (best is None or _rank(found) > _rank(best)):
                best = found
            if best is not None and (best.is_confirmed or passed(deadline)):
                break
        return best

    def _candidates(self, point: Array, query: Query | None) -> Iterator[tuple[Array, tuple[Fraction, ...]]]:
        """The point, then points further from the boundary; each in the model's own type first, then in float64."""
        yield from self._placed(point)
        if query is None:
            return
        for share in SHARES:
            yield from self._placed(_climbed(query, point, share))

    def _placed(self, point: Array) -> Iterator[tuple[Array, tuple[Fraction, ...]]]:
        """`point` moved to numbers of a type inside the exact box; where there are none, to float64 or exact ones."""
        for skipped in range(len(self._grids)):
            placed, inside = point.copy(), np.zeros(len(point), bool)
            for low, high in self._grids[skipped:]:
                fits = ~inside & (low <= high)
                placed[fits] = np.clip(point.astype(low.dtype), low, np.maximum(low, high))[fits]
                inside |= fits
            exact = [Fraction(float(value)) for value in placed]
            for column in np.flatnonzero(~inside):
                exact[column] = self._case.intervals[column].middle
                placed[column] = float(exact[column])
            yield placed, tuple(exact)

    def _checked(self, point: Array, exact: tuple[Fraction, ...]) -> Counterexample | None:
        if not self._case.contains(exact) or not self._reached(point, exact):
            return None
        return Counterexample(self._index, point, exact, self._network.forward(point), self._replay(point))

    def _reached(self, point: Array, exact: tuple[Fraction, ...]) -> bool:
        """Whether the exact outputs satisfy a clause: from an enclosure of them, and exactly where that cannot tell."""
        if all(Fraction(float(value)) == x for value, x in zip(point, exact, strict=True)):
            outputs = interval_bounds(self._network, Bounds(point, point)).nodes[-1]
            if np.all(np.isfinite(outputs.magnitude)):
                if any(all(_least(c, outputs) for c in clause) for clause in self._case.clauses):
                    return True
                if not any(all(_most(c, outputs) for c in clause) for clause in self._case.clauses):
                    return False
        return self._case.reached(exact_logits_at(self._network, exact))

    def _replay(self, point: Array) -> RuntimeReplay | None:
        source = self._network.source
        if source is None:
            return None
        rounded = point.astype(self._kind)
        outputs = source.logits(rounded.reshape(1, *self._network.input_shape))[0]
        finite = bool(np.all(np.isfinite(outputs)))
        inside = self._case.contains([float(value) for value in rounded])
        return RuntimeReplay(outputs, inside, finite and self._case.reached([float(value) for value in outputs]))


def _rank(found: Counterexample) -> tuple[bool, bool]:
    return (True, True) if found.replay is None else (found.replay.reached, found.replay.inside)


def _least(constraint: Constraint, outputs: Bounds) -> bool:
    """Whether it holds wherever the outputs lie in these bounds."""
    return constraint.holds(_corner(constraint, outputs.lower, outputs.upper))


def _most(constraint: Constraint, outputs: Bounds) -> bool:
    """Whether it holds somewhere in these bounds."""
    return constraint.holds(_corner(constraint, outputs.upper, outputs.lower))


def _corner(constraint: Constraint, positive: Array, negative: Array) -> list[float]:
    """The outputs with the ends `positive` where the coefficient is positive and `negative` elsewhere."""
    corner: list[float] = negative.tolist()
    for index, coefficient in constraint.terms:  # as floats some would be 0
        if coefficient > 0:
            corner[index] = float(positive[index])
    return corner


def _climbed(query: Query, point: Array, share: float) -> Array:
    """The point of largest margin that a climb from `point` meets in the query's box."""
    targets = np.arange(len(query.target_classes))
    climb = Climb(query, np.repeat(point[:, None], len(targets), axis=1), targets)
    best = climb.best()
    for k in range(STEPS):
        climb.step(query.box, share * (1.0 - k / STEPS))
        best = max(best, climb.best(), key=lambda found: found[1])
    return best[0]
