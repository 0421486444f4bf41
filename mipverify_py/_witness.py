"""Adversarial examples that have been checked: the only ones this project calls so."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from bounds import Bounds, interval_bounds
from mipverify_py._parameter_query import searched
from mipverify_py._parametric import Parameters
from mipverify_py._query import Query
from onnx_models import Array, exact_logits
from onnx_models.errors import MipverifyError


class NotAdversarialError(MipverifyError, ValueError):
    """The candidate is outside the perturbation set, or does not reach the margin."""


@dataclass(frozen=True, slots=True)
class Replay:
    """What onnxruntime says about a witness rounded to float32.

    Attributes:
        predicted: its class in float32 (lowest index among ties).
        adversarial: whether max over targets of f_j - f_c >= margin holds for the float32 outputs.
    """

    predicted: int
    adversarial: bool


@dataclass(frozen=True, slots=True, eq=False)
class Witness:
    """An adversarial example. Building one re-runs the network on `point` and tests membership; it fails otherwise.

    Whether max over targets j of f_j - f_c >= margin is decided rigorously: from an enclosure of the float64 evaluation
    (interval arithmetic, outward rounded) and, where that cannot tell because the point lies on the boundary to within
    rounding, from exact rational arithmetic.

    Args:
        query: the question it answers.
        point: the input, flat or of the model's shape; kept as a copy of shape (n,), float64.
        parameters: for a parametric set, and only there: the parameters, shape (K,), whose image is the example.
            Membership, margin, target and distance are those of the exact image, of which `point` must be the rounding;
            logits, prediction and replay are those at `point`.

    Raises:
        NotAdversarialError: the point is outside the perturbation set or the domain, or misses the margin; for a
            parametric set also without parameters, since the point alone does not show that it is a member.
        InputError: the point has another shape, or entries that are not finite numbers.
    """

    query: Query
    point: Array
    parameters: Array | None = None
    distance: float = field(init=False)
    """Norm of point - x0, rounded up."""
    logits: Array = field(init=False)
    """float64 outputs, shape (classes,)."""
    predicted: int = field(init=False)
    """argmax of `logits`; the reference class itself on an exact tie with a lower index."""
    target: int = field(init=False)
    """The target class with the largest logit."""
    replay: Replay | None = field(init=False)
    """The float32 replay in onnxruntime, None for a network that did not come from an ONNX model."""

    def __post_init__(self) -> None:
        query, point = self.query, self.query.network.flatten_input(self.point)
        image = None if self.parameters is None else _Image.of(query, point, self.parameters)
        if image is None:
            inside = query.input_domain.contains(point) and query.perturbation.contains(point, query.x0)
            if not inside:
                raise NotAdversarialError("The candidate lies outside the perturbation set.")
            if not reaches_margin(query, point):
                raise NotAdversarialError("The candidate does not reach the margin.")
        logits = query.network.forward(point)
        targets = list(query.target_classes)
        derived = {
            "point": point,
            "parameters": None if image is None else image.parameters,
            "distance": query.distance_of(point) if image is None else image.distance,
            "logits": logits,
            "predicted": int(np.argmax(logits)),
            "target": targets[int(np.argmax(logits[targets]))] if image is None else image.target,
            "replay": _replay(query, point),
        }
        point.setflags(write=False)
        for name, value in derived.items():
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        return f"Witness(distance {self.distance:.9g}, class {self.target} instead of {self.query.reference})"


@dataclass(frozen=True, slots=True, eq=False)
class _Image:
    """What is known of an exact image: checked parameters, its distance rounded up, and the target class."""

    parameters: Array
    distance: float
    target: int

    @classmethod
    def of(cls, query: Query, point: Array, parameters: Array) -> _Image:
        """That of a witness over the parameters, of which `point` must be the rounded image."""
        over = searched(query)
        if not isinstance(over.perturbation, Parameters):
            raise NotAdversarialError("Parameters are given for a perturbation set that has none.")
        found, image = Witness(over, parameters), over.perturbation.image
        if not np.array_equal(image.rounded(found.point), point):
            raise NotAdversarialError("The candidate is not the rounded image of its parameters.")
        return cls(found.point, image.distance(found.point, query.x0, query.norm), found.target)


def reaches_margin(query: Query, point: Array) -> bool:
    """Whether max over targets j of f_j(point) - f_c(point) >= margin, for real numbers; `point` of shape (n,)."""
    low, high = _margin_enclosure(query, point)
    if low >= query.margin:
        return True
    if high < query.margin:
        return False
    logits = exact_logits(query.network, point)
    return bool(max(logits[j] for j in query.target_classes) - max(logits[i] for i in query.rivals) >= query.margin)


def margin_below(query: Query, point: Array) -> float:
    """max over targets j of f_j(point) - f_c(point), rounded down."""
    return _margin_enclosure(query, point)[0]


def _margin_enclosure(query: Query, point: Array) -> tuple[float, float]:
    """Floats between which the exact margin at `point` lies."""
    logits = interval_bounds(query.network, Bounds(point, point)).nodes[-1]
    targets, rivals = list(query.target_classes), list(query.rivals)
    low = np.nextafter(logits.lower[targets] - logits.upper[rivals].max(), -np.inf)
    high = np.nextafter(logits.upper[targets] - logits.lower[rivals].max(), np.inf)
    return float(low.max()), float(high.max())


def _replay(query: Query, point: Array) -> Replay | None:
    source = query.network.source
    if source is None:
        return None
    batch = point.astype(np.float32).reshape(1, *query.network.input_shape)
    logits = source.logits(batch).astype(np.float64)
    return Replay(int(np.argmax(logits[0])), bool(query.margin_at(logits)[0] >= query.margin))
