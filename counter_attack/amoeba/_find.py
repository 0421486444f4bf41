"""Certified boxes from inputs: optimise, certify, and grow where exact boxes are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from numpy.typing import ArrayLike

from counter_attack.amoeba._box import UNIT, AsymmetricBox, BoxShape, Domain
from counter_attack.amoeba._certify import Certification, shrink_to_certified
from counter_attack.amoeba._exact import GrowSettings, MaximalBox, check_step, grow_box
from counter_attack.amoeba._kinds import BoundKind
from counter_attack.amoeba._optimise import BoxSettings, optimise_boxes
from onnx_models import ReluNetwork

if TYPE_CHECKING:
    from mipverify_py import Options


@dataclass(frozen=True, slots=True, eq=False)
class FoundBox:
    """A box around one input, and how it came about.

    Attributes:
        certification: of the box that the optimiser found, shrunk where need be.
        maximal: what it was grown to; None unless exact boxes were asked for and it was certified.
        optimise_seconds: this input's share of the time of the optimiser, which works on many inputs at once.
        stopped: why something was cut short, "time limit" or "interrupted"; None if nothing was.
    """

    certification: Certification
    maximal: MaximalBox | None
    optimise_seconds: float
    stopped: str | None

    @property
    def box(self) -> AsymmetricBox:
        """The box."""
        return self.certification.box if self.maximal is None else self.maximal.box

    @property
    def certified(self) -> bool:
        """Whether the class is proved to be kept in the whole box."""
        return self.certification.certified

    @property
    def seconds(self) -> float:
        """Time for optimising, certifying and growing."""
        grown = 0.0 if self.maximal is None else self.maximal.seconds
        return self.optimise_seconds + self.certification.seconds + grown


@dataclass(frozen=True, slots=True)
class FindSettings:
    """Which boxes are found, and how.

    Attributes:
        shape: which boxes are considered.
        kind: INTERVAL, CROWN, or EXACT: the box that CROWN leads to, grown until no face can move.
        optimise: settings of the optimiser; tau is also what an uncertified box is shrunk by.
        grow: settings of exact boxes.
        options: choices of the engine for both; None means `Options()`. Its time limit is for certifying the box of one
            input, all shrinking included.
    """

    shape: BoxShape = BoxShape.ASYMMETRIC
    kind: BoundKind = BoundKind.CROWN
    optimise: BoxSettings = field(default_factory=BoxSettings)
    grow: GrowSettings = field(default_factory=GrowSettings)
    options: Options | None = None


def find_boxes(
    network: ReluNetwork,
    x: ArrayLike,
    classes: ArrayLike | None = None,
    *,
    domain: Domain = UNIT,
    settings: FindSettings | None = None,
    progress: Callable[[str], None] | None = None,
) -> Iterator[FoundBox]:
    """For each input in turn a certified box.

    Args:
        network: the classifier.
        x: inputs, shape (N, n), in the domain.
        classes: the classes to keep, shape (N,); None: those that the model predicts.
        domain: least and largest valid input; each feature must have room.
        settings: how to search; None means `FindSettings()`.
        progress: told now and then what is being done.

    Returns:
        the boxes, in the order of the inputs; each is certified and grown when it is asked for. After Ctrl-C the one at
        hand comes as it is, with `stopped` set, and then no more.

    Raises:
        InputError: as `optimise_boxes` and `grow_box`.
    """
    chosen, tell = settings or FindSettings(), progress or (lambda _: None)
    shape, kind = chosen.shape, chosen.kind
    if kind is BoundKind.EXACT:
        check_step(chosen.grow.step, domain)
    tell(f"optimising {shape.value} boxes with {kind.value} bounds")
    first = BoundKind.CROWN if kind is BoundKind.EXACT else kind
    optimised = optimise_boxes(network, x, classes, shape=shape, kind=first, domain=domain, settings=chosen.optimise)
    share = optimised.seconds / len(optimised.boxes)
    for number, (box, label) in enumerate(zip(optimised.boxes, optimised.classes, strict=True), 1):
        tell(f"certifying box {number} of {len(optimised.boxes)}")
        certification = shrink_to_certified(
            network, box, int(label), tau=chosen.optimise.tau, domain=domain, options=chosen.options
        )
        maximal, stopped = None, optimised.stopped or _interrupted(certification)
        if kind is BoundKind.EXACT and certification.certified and stopped != "interrupted":
            maximal = grow_box(
                network,
                certification,
                shape=shape,
                domain=domain,
                settings=chosen.grow,
                options=chosen.options,
                progress=tell,
            )
            stopped = stopped or maximal.stopped
        yield FoundBox(certification, maximal, share, stopped)
        if stopped == "interrupted":
            return


def _interrupted(certification: Certification) -> str | None:
    from mipverify_py import StopReason

    return "interrupted" if certification.result.stop_reason is StopReason.INTERRUPTED else None
