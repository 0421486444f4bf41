"""Float32 inputs whose class changes in onnxruntime itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from mipverify_py._query import Query
from mipverify_py._witness import NotAdversarialError
from onnx_models import Array
from onnx_models.errors import InputError


@dataclass(frozen=True, slots=True, eq=False)
class Float32Witness:
    """An adversarial example of one float32 evaluation: onnxruntime's, on this machine. Building one runs it.

    Args:
        query: the question it answers.
        point: the input, flat or of the model's shape; kept as a copy of shape (n,), float64.

    Raises:
        NotAdversarialError: an entry is no float32 number, the point is outside the perturbation set or the domain, or
            onnxruntime's outputs miss the margin or leave the class as it is.
        InputError: the network came from no ONNX model; or the point has another shape.
    """

    query: Query
    point: Array
    distance: float = field(init=False)
    """Norm of point - x0, rounded up."""
    logits: Array = field(init=False)
    """onnxruntime's outputs, shape (classes,); float32 numbers."""
    predicted: int = field(init=False)
    """Their argmax, the lowest index among ties."""
    target: int = field(init=False)
    """The target class with the largest logit."""

    def __post_init__(self) -> None:
        query, source = self.query, self.query.network.source
        if source is None:
            raise InputError("The network came from no ONNX model, so there is no float32 evaluation of it.")
        point = query.network.flatten_input(self.point)
        if not np.array_equal(point.astype(np.float32).astype(np.float64), point):
            raise NotAdversarialError("The candidate has entries that are no float32 numbers.")
        if not (query.input_domain.contains(point) and query.perturbation.contains(point, query.x0)):
            raise NotAdversarialError("The candidate lies outside the perturbation set.")
        logits = source.logits(point.reshape(1, *query.network.input_shape))[0].astype(np.float64)
        if not flips(query, logits):
            raise NotAdversarialError("The class does not change in onnxruntime.")
        targets = list(query.target_classes)
        derived = {
            "point": point,
            "distance": query.distance_of(point),
            "logits": logits,
            "predicted": int(np.argmax(logits)),
            "target": targets[int(np.argmax(logits[targets]))],
        }
        point.setflags(write=False)
        for name, value in derived.items():
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        return f"Float32Witness(distance {self.distance:.9g}, class {self.target} instead of {self.query.reference})"


def flips(query: Query, logits: Array) -> bool:
    """Whether float32 outputs, shape (classes,), are those of an adversarial example.

    A target has to reach the margin, decided exactly. Unless the margin is negative, the class must be another one,
    too: a tie that argmax settles in favour of the reference class changes nothing.
    """
    if not np.all(np.isfinite(logits)):
        return False
    best = max(Fraction(float(logits[j])) for j in query.target_classes)
    rival = max(Fraction(float(logits[i])) for i in query.rivals)
    changed = query.margin < 0 or int(np.argmax(logits)) != query.reference
    return changed and best - rival >= Fraction(query.margin)
