"""A classifier that gives no class to inputs that a detector marks as non-robust."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from counter_attack.detection._detector import CounterAttack, Detection
from counter_attack.detection._estimator import Estimator
from onnx_models.errors import InputError


@dataclass(frozen=True, slots=True, eq=False)
class Decision:
    """Classes for the inputs that are accepted; no class number stands for a rejection.

    Attributes:
        accepted: inputs that the detector did not mark, shape (N,).
        predicted: what the model says of every input, rejected ones too, shape (N,); to be used with `accepted`.
        detection: why.
    """

    accepted: NDArray[np.bool_]
    predicted: NDArray[np.int64]
    detection: Detection

    @property
    def classes(self) -> np.ma.MaskedArray[tuple[int], np.dtype[np.int64]]:
        """The classes, with those of rejected inputs masked."""
        return np.ma.masked_array(self.predicted, mask=~self.accepted)

    @property
    def coverage(self) -> float:
        """Share of the inputs that are accepted."""
        return float(self.accepted.mean())

    def accuracy(self, labels: ArrayLike) -> float | None:
        """Share of the accepted inputs whose class is right; None if none is accepted."""
        given = np.asarray(labels)
        if given.shape != self.predicted.shape:
            raise InputError(f"The labels have shape {given.shape}; expected {self.predicted.shape}.")
        return float(np.mean((given == self.predicted)[self.accepted])) if self.accepted.any() else None


class RejectingClassifier(Estimator):
    """The detector's model, which abstains on inputs that the detector marks.

    Against an attacker who may move an input by at most eps, an accepted input has the class of every input within eps
    as far as the detector is right: always with an exact attack that leaves nothing undecided, or with a buffer that is
    never too small (where the attack finds an example).

    Args:
        detector: a `CounterAttack` with a model.
    """

    def __init__(self, detector: CounterAttack) -> None:
        self.detector = detector

    def fit(self, X: ArrayLike, y: ArrayLike | None = None) -> Self:  # noqa: N803
        """Fits the detector; y are exact distances, as for `CounterAttack.fit`."""
        self.detector.fit(X, y)
        return self

    def predict(self, X: ArrayLike) -> Decision:  # noqa: N803
        """The classes of the inputs that are accepted; raises as `CounterAttack.detect`."""
        detection = self.detector.detect(X)
        return Decision(~detection.non_robust, detection.predicted, detection)
