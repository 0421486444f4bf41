"""Boxes that cannot be made larger: every face moved outwards until a checked adversarial example stops it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING

import numpy as np

from bounds import Bounds
from counter_attack.amoeba._box import UNIT, AsymmetricBox, BoxShape, Domain
from counter_attack.amoeba._certify import Certification, is_proved, question
from counter_attack.amoeba._faces import Face, faces_of
from onnx_models import Array, ReluNetwork
from onnx_models.errors import InputError

if TYPE_CHECKING:
    from mipverify_py import Options


SHORT_OF_STEP = 1.0 - 1e-6
"""Share of the step by which faces are moved in the end, so that rounding does not make a gap exceed the step."""


LEAST_STEP = 1e-9
"""Least step as a share of the largest absolute input: below, rounding decides where a face is."""


class FaceState(Enum):
    """Why a face of a box stays where it is."""

    BLOCKED = "blocked"
    """A checked adversarial example lies beyond it, at most the step away."""
    DOMAIN = "domain"
    """It is at the end of the domain, up to one rounding."""
    OPEN = "open"
    """A limit stopped the search; the box may or may not be robust a step further on."""


@dataclass(frozen=True, slots=True, eq=False)
class FaceEnd:
    """What is known of one face, or of faces that move together.

    Attributes:
        face: which.
        state: why it stays.
        witness: for BLOCKED, a checked adversarial example in the box that is the final one but for this face, which
            is moved outwards by the step; shape (n,). Otherwise None.
        gap: how far the face is from it: moved by that much, the box contains it. None without a witness.
        detail: for OPEN, why; otherwise empty.
    """

    face: Face
    state: FaceState
    witness: Array | None
    gap: float | None
    detail: str


@dataclass(frozen=True, slots=True)
class GrowSettings:
    """How far and how long to grow a box.

    Attributes:
        step: how near a face must be to the example that blocks it, > 0, in units of the input; at least a billionth of
            the domain's largest absolute value.
        time_limit: seconds for the whole box, > 0, or None.
        query_limit: seconds for each question to the engine, > 0; at most what is left of `time_limit`.
    """

    step: float = 1.0 / 256.0
    time_limit: float | None = None
    query_limit: float = 120.0

    def __post_init__(self) -> None:
        for name in ("step", "time_limit", "query_limit"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise InputError(f"{name} is {value!r}; it must be a finite number above 0.")


@dataclass(frozen=True, slots=True, eq=False)
class MaximalBox:
    """A robust box and what keeps each of its faces from moving.

    What is proved: the class is kept in the whole box, for the box that it was grown from, larger ones and slabs added
    to them were proved robust one by one, and they cover it. If no face is open, then moreover every robust box of this
    shape around x that contains this one reaches at most `step` beyond it on every face, since if it reached further it
    would contain the face's witness. (Ties count as adversarial.) It is not proved that no other box is larger: boxes
    that are not inside one another cannot be compared that way.

    Attributes:
        box: the box.
        shape: which boxes were considered.
        start: the certification of the box that was grown.
        ends: one entry per face, or per faces that move together.
        step: see `GrowSettings`.
        queries: questions to the engine; the other decisions were made by examples already known.
        stopped: "time limit" or "interrupted" where growing was cut short; None if it was not.
        seconds: wall-clock time.
    """

    box: AsymmetricBox
    shape: BoxShape
    start: Certification
    ends: tuple[FaceEnd, ...]
    step: float
    queries: int
    stopped: str | None
    seconds: float

    @property
    def is_maximal(self) -> bool:
        """Whether no face is open, so that no robust box that contains this one is larger by more than the step."""
        return all(end.state is not FaceState.OPEN for end in self.ends)

    def count(self, state: FaceState) -> int:
        """How many entries of `ends` are in this state."""
        return sum(end.state is state for end in self.ends)


def grow_box(
    network: ReluNetwork,
    start: Certification,
    *,
    shape: BoxShape = BoxShape.ASYMMETRIC,
    domain: Domain = UNIT,
    settings: GrowSettings | None = None,
    options: Options | None = None,
    progress: Callable[[str], None] | None = None,
) -> MaximalBox:
    """A certified box, grown until no face of it can move.

    Faces move by large steps first and by `step` in the end: all at once where the larger box is proved robust,
    otherwise half of them at a time, down to single ones, those of short sides before those of long ones. Of a single
    face only the slab that it adds has to be proved. Uniform boxes have one face in this sense, non-uniform ones one
    per feature. On Ctrl-C and at the time limit the box so far is returned, and faces not known to be blocked are open.

    Args:
        network: the classifier.
        start: a certified box, as from `shrink_to_certified`; its class is the one to keep.
        shape: which boxes are considered; `start.box` should be one of them.
        domain: the least and the largest valid input.
        settings: step and limits; None means `GrowSettings()`.
        options: choices of the engine; its time limit is replaced by `query_limit`, and there are no certificates.
        progress: told now and then what is being done.

    Raises:
        InputError: the box is not certified, or the step is too small for the domain.
    """
    if not start.certified:
        raise InputError("Only a certified box can be grown; this one is not. Shrink it first.")
    chosen = settings or GrowSettings()
    check_step(chosen.step, domain)
    growth = _Growth(network, start, (shape, domain), chosen, options)
    try:
        growth.run(progress or (lambda _: None))
    except KeyboardInterrupt:
        growth.stopped = "interrupted"
    return growth.finished()


def check_step(step: float, domain: Domain) -> None:
    """Raises InputError for a step that rounding would swallow."""
    least = LEAST_STEP * max(float(np.abs(end).max()) for end in domain)
    if step < least:
        raise InputError(f"The step is {step:g}; for inputs of this domain it must be at least {least:g}.")


class _Growth:
    """A robust box, the adversarial examples around it, and what could not be decided."""

    def __init__(
        self,
        network: ReluNetwork,
        start: Certification,
        kind: tuple[BoxShape, Domain],
        settings: GrowSettings,
        options: Options | None,
    ) -> None:
        from mipverify_py import Options

        self._began = time.monotonic()
        self._network, self._start, self._settings = network, start, settings
        self._shape, self._domain = kind
        self._options = replace(options or Options(), time_limit=settings.query_limit, certify="never")
        self._box = start.box
        self._faces = faces_of(self._shape, self._box.size)
        self._examples = np.zeros((0, self._box.size))
        self._undecided: dict[Face, str] = {}
        self._queries = 0
        self.stopped: str | None = None

    def run(self, progress: Callable[[str], None]) -> None:
        """Grows the box."""
        for amount in self._amounts():
            moving = list(self._faces)
            while moving and self.stopped is None:
                progress(f"growing by {amount:.3g}: {len(moving)} faces left, {self._queries} queries")
                moving = self._moved(sorted(moving, key=lambda face: face.length(self._box)), amount)

    def _amounts(self) -> list[float]:
        """From about an eighth of the domain down to the step, by factors of about 4, ending at the step itself."""
        low, high = self._domain
        widest = float(np.max(np.asarray(high) - np.asarray(low)))
        amounts = [self._settings.step * SHORT_OF_STEP]
        while amounts[-1] * 4 <= widest / 8:
            amounts.append(amounts[-1] * 4)
        return amounts[::-1]

    def _moved(self, faces: list[Face], amount: float) -> list[Face]:
        """Moves as many of the faces as can be, all at once or else each half by itself; those that did move."""
        larger = self._box
        able: list[Face] = []
        for face in faces:
            further = face.moved(larger, amount, self._domain)
            if further is not None:
                larger = further
                able.append(face)
        if not able or self.stopped is not None:
            return []
        if not np.any(larger.contains(self._examples)) and self._is_robust(able, larger):
            self._box = larger
            return able
        if len(able) == 1:
            return []
        half = len(able) // 2
        return self._moved(able[:half], amount) + self._moved(able[half:], amount)

    def _is_robust(self, faces: list[Face], larger: AsymmetricBox) -> bool:
        """Whether the engine proves the box with these faces moved robust; counterexamples and failures are kept."""
        single = faces[0] if len(faces) == 1 else None
        whole = [Bounds(larger.lower, larger.upper)]
        return all(self._is_proved(piece, single) for piece in (single.added(self._box, larger) if single else whole))

    def _is_proved(self, piece: Bounds, face: Face | None) -> bool:
        from mipverify_py import StopReason, verify

        limit, options = self._settings.time_limit, self._options
        if limit is not None:
            left = limit - (time.monotonic() - self._began)
            if left <= 0:
                self.stopped = "time limit"
                return False
            options = replace(options, time_limit=min(left, self._settings.query_limit))
        self._queries += 1
        asked = self._start.query
        query = question(self._network, self._box.x, piece, asked.reference, asked.input_domain)
        found = verify(query, options)
        if found.stop_reason is StopReason.INTERRUPTED:
            self.stopped = "interrupted"
        proved = is_proved(found)
        if found.witness is not None:
            self._examples = np.vstack([self._examples, found.witness.point])
        elif face is not None and not proved:
            self._undecided[face] = f"{found.stop_reason.value} after {found.seconds:.3g} s"
        return proved

    def finished(self) -> MaximalBox:
        """What is known now."""
        return MaximalBox(
            self._box,
            self._shape,
            self._start,
            tuple(self._end(face) for face in self._faces),
            self._settings.step,
            self._queries,
            self.stopped,
            time.monotonic() - self._began,
        )

    def _end(self, face: Face) -> FaceEnd:
        larger = face.moved(self._box, self._settings.step * SHORT_OF_STEP, self._domain)
        if larger is None:
            return FaceEnd(face, FaceState.DOMAIN, None, None, "")
        inside = self._examples[larger.contains(self._examples)]
        if len(inside):
            gaps = face.gaps(self._box, inside)
            nearest = int(np.argmin(gaps))
            return FaceEnd(face, FaceState.BLOCKED, inside[nearest], float(gaps[nearest]), "")
        detail = self.stopped or self._undecided.get(face, "not looked at")
        return FaceEnd(face, FaceState.OPEN, None, None, detail)
