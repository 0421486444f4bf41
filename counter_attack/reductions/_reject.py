"""Detectors that are ReLU networks: one output for each class, and one that stands for rejection."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from mipverify_py._arguments import instance, real_number, whole_number
from onnx_models import Affine, Array, ReluNetwork, SparseMap, exact_logits
from onnx_models.errors import InputError


@dataclass(frozen=True, slots=True)
class RejectNetwork:
    """A detector g with K classes, given by a network with K + 1 outputs f_0, ..., f_K of which f_r is for rejection.

    x is rejected iff f_r(x) > max over classes f_j(x). So the accepted inputs are a closed set, and the nearest one to
    any point exists where there is one at all. An accepted x has the classes whose output is the largest; where these
    are several, or not y alone, g is wrong about an x of class y: ties count against the detector.

    Attributes:
        network: the network, at least three outputs.
        reject: r; -1 for the last output.

    Raises:
        InputError: fewer than two classes, or no such output.
    """

    network: ReluNetwork
    reject: int = -1

    def __post_init__(self) -> None:
        instance(ReluNetwork, self.network, "The detector's network")
        count, index = self.network.output_size, whole_number(self.reject, "The reject output")
        if count < 3:
            raise InputError(f"The detector has {count} outputs; it needs two classes and one output for rejection.")
        if not -1 <= index < count:
            raise InputError(
                f"The reject output is {index}; the model has outputs 0 to {count - 1}, or -1 for the last."
            )
        object.__setattr__(self, "reject", count - 1 if index == -1 else index)

    @property
    def classes(self) -> tuple[int, ...]:
        """The outputs that stand for classes, ascending; a class is the index of its output."""
        return tuple(j for j in range(self.network.output_size) if j != self.reject)

    def rejects(self, x: ArrayLike) -> bool:
        """Whether one input is rejected, in exact arithmetic."""
        logits = exact_logits(self.network, x)
        return logits[self.reject] > max(logits[j] for j in self.classes)

    def is_right(self, x: ArrayLike, label: int) -> bool:
        """Whether f_y is larger than the outputs of all other classes at x, accepted or not, in exact arithmetic."""
        logits = exact_logits(self.network, x)
        return all(logits[label] > logits[j] for j in self.classes if j != label)

    def __call__(self, inputs: ArrayLike) -> np.ma.MaskedArray[tuple[int], np.dtype[np.int64]]:
        """The classes of N inputs (lowest index among ties), masked where they are rejected; in float64 arithmetic."""
        logits: Array = self.network.forward_batch(inputs)
        kept = list(self.classes)
        best = np.array(kept)[logits[:, kept].argmax(axis=1)]
        return np.ma.masked_array(best, mask=logits[:, self.reject] > logits[:, kept].max(axis=1))


def threshold_detector(f: ReluNetwork, threshold: float) -> RejectNetwork:
    """The detector that rejects where every logit of the classifier f is below the threshold.

    Its network is f with one more output, the last, which is the threshold everywhere.

    Raises:
        InputError: a threshold that is no finite number, or f with fewer than two outputs.
    """
    instance(ReluNetwork, f, "The classifier")
    level = real_number(threshold, "The threshold")
    if not np.isfinite(level):
        raise InputError(f"The threshold is {level}; it must be a finite number.")
    count = f.output_size
    rows = SparseMap.selection(np.append(np.arange(count), -1), count)
    bias = np.append(np.zeros(count), level)
    return RejectNetwork(ReluNetwork((*f.nodes, Affine((len(f.nodes) - 1,), (rows,), bias, "reject")), f.notes))
