"""How often a network is right, and how often it stays right within a radius."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from mipverify_py._arguments import instance, whole_number
from mipverify_py._enums import Objective, StopReason, Verdict
from mipverify_py._options import Options
from mipverify_py._perturbation import LinfBall
from mipverify_py._query import Query
from mipverify_py._result import Result
from mipverify_py._verify import verify
from onnx_models import Array, ReluNetwork
from onnx_models.errors import InputError

BATCH = 256
"""Inputs evaluated at the same time."""


@dataclass(frozen=True, slots=True)
class AccuracyBounds:
    """What is known about the share of inputs that are classified correctly whatever the perturbation.

    Attributes:
        robust: correctly classified inputs without an adversarial example in their perturbation set.
        adversarial: correctly classified inputs with one.
        misclassified: inputs that the network gets wrong to begin with.
        unknown: the others: a limit was reached, or the run was interrupted before their turn.
    """

    robust: int
    adversarial: int
    misclassified: int
    unknown: int

    @property
    def count(self) -> int:
        """Number of inputs."""
        return self.robust + self.adversarial + self.misclassified + self.unknown

    @property
    def lower(self) -> float:
        """The share if every unknown input has an adversarial example."""
        return self.robust / self.count

    @property
    def upper(self) -> float:
        """The share if none has."""
        return (self.robust + self.unknown) / self.count

    @classmethod
    def of(cls, results: Sequence[Result], *, missing: int = 0) -> AccuracyBounds:
        """The bounds that answers to labelled queries over a fixed set give; `missing` inputs have no answer."""
        wrong = [r.predicted != r.reference for r in results]
        right = [r.verdict for r, w in zip(results, wrong, strict=True) if not w]
        return cls(
            robust=right.count(Verdict.ROBUST),
            adversarial=right.count(Verdict.ADVERSARIAL),
            misclassified=sum(wrong),
            unknown=right.count(Verdict.UNKNOWN) + missing,
        )


def fraction_correct(network: ReluNetwork, inputs: ArrayLike, labels: ArrayLike) -> tuple[int, int]:
    """How many of the inputs the network classifies as labelled, and how many there are.

    Args:
        network: the classifier; among equal logits the lowest class counts as its answer.
        inputs: shape (N, *input_shape) or (N, n), in the model's own range.
        labels: zero-based classes, shape (N,).

    Raises:
        InputError: there are no inputs, or inputs and labels do not fit the network or each other.
    """
    rows, classes = _labelled(network, inputs, labels)
    starts = range(0, len(rows), BATCH)
    predicted = np.concatenate([network.forward_batch(rows[k : k + BATCH]).argmax(axis=1) for k in starts])
    return int(np.count_nonzero(predicted == classes)), len(rows)


def adversarial_accuracy(
    network: ReluNetwork,
    inputs: ArrayLike,
    labels: ArrayLike,
    eps: float,
    options: Options | None = None,
    *,
    on_result: Callable[[int, Result], None] | None = None,
) -> AccuracyBounds:
    """Bounds on the share of inputs that keep their label within L-infinity radius `eps`, inside [0, 1].

    An input that the network gets wrong, or at which another class ties, does not keep it. After Ctrl-C what is left
    counts as unknown.

    Args:
        network: as for `fraction_correct`.
        inputs: likewise.
        labels: likewise.
        eps: the radius, at least 0.
        options: as for `verify`; limits hold for each input.
        on_result: called with each input's position and answer.

    Raises:
        As `verify`, and InputError as in `fraction_correct`.
    """
    rows, classes = _labelled(network, inputs, labels)
    results: list[Result] = []
    for row, label in zip(rows, classes, strict=True):
        query = Query(network, row, LinfBall(eps), Objective.FEASIBILITY, label=int(label))
        results.append(verify(query, options))
        if on_result is not None:
            on_result(len(results) - 1, results[-1])
        if results[-1].stop_reason is StopReason.INTERRUPTED:
            break
    return AccuracyBounds.of(results, missing=len(rows) - len(results))


def _labelled(network: ReluNetwork, inputs: ArrayLike, labels: ArrayLike) -> tuple[Array, Array]:
    """The inputs, shape (N, n), and their classes, shape (N,)."""
    instance(ReluNetwork, network, "The network")
    rows = [network.flatten_input(x) for x in np.asarray(inputs)]
    classes = [whole_number(label, "A label") for label in np.asarray(labels).reshape(-1)]
    if not rows or len(rows) != len(classes):
        raise InputError(f"There are {len(rows)} inputs and {len(classes)} labels; give one label per input.")
    wrong = [label for label in classes if not 0 <= label < network.output_size]
    if wrong:
        raise InputError(f"Label {wrong[0]} is out of range: the model has classes 0 to {network.output_size - 1}.")
    return np.stack(rows), np.array(classes)
