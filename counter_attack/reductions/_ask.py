"""How the questions of this package are put to the exact engine: one norm, one domain, one set of limits."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum

import numpy as np
from numpy.typing import ArrayLike

from bounds import Bounds
from mipverify_py import (
    L1Ball,
    L2Ball,
    LinfBall,
    Norm,
    Objective,
    Options,
    PerturbationSet,
    Query,
    Result,
    StopReason,
    Targets,
    Unrestricted,
    Verdict,
    verify,
)
from mipverify_py._arguments import instance, real_number, whole_number
from onnx_models import Array, ReluNetwork
from onnx_models.errors import InputError

_BALLS: dict[Norm, type[LinfBall | L1Ball | L2Ball]] = {Norm.LINF: LinfBall, Norm.L1: L1Ball, Norm.L2: L2Ball}


class Basis(Enum):
    """What an answer rests on."""

    EXACT = "exact"
    """The exact engine: answers hold for all real inputs of the ball, those it could not decide are left open."""
    ATTACK = "attack"
    """An attack: an example in hand is one, but that none was found proves nothing."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What all questions share.

    Attributes:
        norm: how distance is measured.
        domain: valid inputs, two numbers or two arrays of n entries, finite.
        options: engine and limits; they hold for each question. A seed for attacks is taken from here, too.

    Raises:
        InputError: something else.
    """

    norm: Norm = Norm.LINF
    domain: tuple[ArrayLike, ArrayLike] = (0.0, 1.0)
    options: Options = field(default_factory=Options)

    def __post_init__(self) -> None:
        instance(Norm, self.norm, "The norm")
        instance(Options, self.options, "The options argument")

    def box(self, size: int) -> Bounds:
        """The domain of a model with this many inputs."""
        low, high = (np.asarray(end, dtype=np.float64).reshape(-1) for end in self.domain)
        if {low.size, high.size} - {1, size}:
            raise InputError(
                f"The domain has ends of {low.size} and {high.size} entries; the model's input has {size}."
            )
        return Bounds.of(np.broadcast_to(low, (size,)).copy(), np.broadcast_to(high, (size,)).copy())

    def ball(self, radius: float) -> PerturbationSet:
        """The closed ball of this radius in the norm."""
        return _BALLS[self.norm](radius)


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """What is known about  d* = min |x' - x|  over the x' of the domain that count, against a radius r.

    Attributes:
        within: whether d* <= r; None where that is open.
        lower, upper: d* lies in [lower, upper]; infinite at an end without a number. `lower` is r itself where all that
            is known is d* > r.
        found: the nearest x' in hand, shape (n,), checked; None without one.
        target: its class; None without one.
        stop_reason: why the search ended.
        stop_detail: more about it; may be empty.
    """

    within: bool | None
    lower: float
    upper: float
    found: Array | None
    target: int | None
    stop_reason: StopReason
    stop_detail: str


def within(query: Query, radius: float, setting: Setting) -> Asked:
    """Whether anything that counts lies within the closed ball of `radius`; `query` may ask about anything.

    The plain yes or no is by far the cheapest question, so it comes first. Where it stays open, a search for the
    distance over the whole domain gives the bracket, with half of the time if that is limited.
    """
    limit = setting.options.time_limit
    options = setting.options if limit is None else replace(setting.options, time_limit=limit / 2)
    asked = replace(query, perturbation=setting.ball(radius), objective=Objective.FEASIBILITY)
    first = verify(asked, options)
    if first.verdict is Verdict.ROBUST:
        return Asked(False, radius, np.inf, None, None, first.stop_reason, first.stop_detail)
    if first.verdict is Verdict.ADVERSARIAL:
        return _held(True, 0.0, first)
    if first.stop_reason is StopReason.INTERRUPTED:
        return Asked(None, 0.0, np.inf, None, None, first.stop_reason, first.stop_detail)
    second = nearest(query, None, replace(setting, options=options))
    if second.lower > radius:
        return replace(second, within=False)
    return replace(second, within=True if second.upper <= radius else None)


def nearest(query: Query, radius: float | None, setting: Setting) -> Asked:
    """The bracket of the distance to the nearest x' that counts, within `radius` or anywhere in the domain (None)."""
    region = Unrestricted() if radius is None else setting.ball(radius)
    found = verify(replace(query, perturbation=region, objective=Objective.CLOSEST), setting.options)
    if found.verdict is Verdict.ROBUST:
        far = np.inf if radius is None else radius
        return Asked(False, far, np.inf, None, None, found.stop_reason, found.stop_detail)
    if found.witness is None:
        return Asked(None, found.lower or 0.0, np.inf, None, None, found.stop_reason, found.stop_detail)
    return _held(True, found.lower or 0.0, found)


def question(
    network: ReluNetwork, x: ArrayLike, setting: Setting, *, label: int | None, targets: Targets | None = None
) -> Query:
    """The query of `Query` with the setting's norm and domain; its perturbation and objective are still to be set."""
    return Query(
        network,
        network.flatten_input(x),
        objective=Objective.CLOSEST,
        label=label,
        targets=targets or Targets(),
        norm=setting.norm,
        domain=setting.box(network.input_size),
    )


def checked_eps(eps: float) -> float:
    """A radius that is finite and at least 0; raises InputError otherwise."""
    plain = real_number(eps, "The radius (eps)")
    if not (np.isfinite(plain) and plain >= 0):
        raise InputError(f"The radius (eps) is {plain}; it must be a finite number that is at least 0.")
    return plain


def rows_of(network: ReluNetwork, inputs: ArrayLike) -> Array:
    """The inputs as float64 rows, shape (N, n); raises InputError for none, or for such as do not fit."""
    rows = [network.flatten_input(x) for x in np.asarray(inputs)]
    if not rows:
        raise InputError("There are no inputs; give at least one.")
    return np.stack(rows)


def labels_of(labels: ArrayLike, count: int, classes: int) -> list[int]:
    """Zero-based labels below `classes`, one for each of `count` inputs; raises InputError otherwise."""
    found = [whole_number(label, "A label") for label in np.asarray(labels).reshape(-1)]
    if len(found) != count:
        raise InputError(f"There are {count} inputs and {len(found)} labels; give one label per input.")
    for label in found:
        if not 0 <= label < classes:
            raise InputError(f"Label {label} is out of range: the model has classes 0 to {classes - 1}.")
    return found


def _held(inside: bool, lower: float, result: Result) -> Asked:
    assert result.witness is not None
    held = result.witness
    return Asked(inside, lower, held.distance, held.point, held.target, result.stop_reason, result.stop_detail)
