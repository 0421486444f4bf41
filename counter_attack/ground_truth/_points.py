"""Ground truths: for an input and a target class, what an attack finds and what the nearest example is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from bounds import Bounds
from counter_attack.attacks._contract import Attack, AttackStop
from counter_attack.detection._exact import HAIRS
from counter_attack.ground_truth._contest import one_against_all
from counter_attack.ground_truth._phases import phase_changes
from mipverify_py import (
    Evidence,
    Norm,
    NotAdversarialError,
    Options,
    Query,
    Result,
    StopReason,
    Targets,
    Verdict,
    Witness,
    distance,
)
from onnx_models import Array, ReluNetwork
from onnx_models.errors import InputError

if TYPE_CHECKING:
    from counter_attack.attacks import AttackResult

BATCH = 450
"""Pairs of input and target that are attacked side by side: 50 inputs with 10 classes."""

METHODS = ("direct", "bisect")
"""How `mipverify_py.distance` may search."""


@dataclass(frozen=True, slots=True)
class Point:
    """One experiment: a network, an input, a target class and a norm.

    Attributes:
        network: the network's name.
        index: the input's number.
        norm: how distances are measured.
        reference: the input's class.
        target: the class wanted.
        attack: distance of the attack's example; None where it found none that the exact check confirms.
        lower: proven lower end of the least distance; None where nothing is proved.
        upper: distance of the nearest checked example, the attack's included; None without one.
        terminated: whether the exact search ended by itself: with a closed bracket, or with the proof that the domain
            has no example of the target, where `lower` and `upper` are None.
        stop_reason: why it ended.
        evidence: what `lower`, or that there is no example, rests on; None where nothing is proved.
        changed: units of each ReLU node whose phase at the nearest example is another than at the input, in topological
            order; empty without an example.
        seconds: wall-clock time of the exact search.
    """

    network: str
    index: int
    norm: Norm
    reference: int
    target: int
    attack: float | None
    lower: float | None
    upper: float | None
    terminated: bool
    stop_reason: StopReason
    evidence: Evidence | None
    changed: tuple[int, ...]
    seconds: float

    @property
    def is_exact(self) -> bool:
        """Whether the least distance is known: the search ended with an example."""
        return self.terminated and self.upper is not None

    @property
    def key(self) -> tuple[Norm, int, int, int]:
        """What comparable points of several networks have in common: norm, input, its class, and target."""
        return self.norm, self.index, self.reference, self.target


@dataclass(frozen=True)
class GroundTruth:
    """How points are found (Carlini, Katz, Barrett and Dill 2017); calling it attacks and searches, point by point.

    Attributes:
        attack: what is compared with the truth; its norm is that of the points.
        options: engine, gap and limits of each exact search; its seed is also the attack's.
        method: "direct", or "bisect" as in the paper.
        tolerance: of the bisection; None: 1e-3.
        wins: whether the target's logit has to reach all others, as in the paper, so that it is the class predicted,
            ties apart; or only that of the input's own class.

    Raises:
        InputError: another method, or a tolerance without bisection.
    """

    attack: Attack
    options: Options = field(default_factory=Options)
    method: str = "direct"
    tolerance: float | None = None
    wins: bool = True

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise InputError(f"The method is {self.method!r}; it must be one of {', '.join(METHODS)}.")
        if self.tolerance is not None and self.method != "bisect":
            raise InputError("A tolerance is for method 'bisect'; a direct search ends at the gap of the options.")

    def __call__(
        self,
        network: ReluNetwork,
        x: ArrayLike,
        label: ArrayLike | None = None,
        *,
        name: str = "network",
        indices: Sequence[int] | None = None,
        domain: tuple[ArrayLike, ArrayLike] = (0.0, 1.0),
    ) -> Iterator[Point]:
        """The points of every input that the network gets right, input by input, targets ascending.

        The attack runs on up to `BATCH` pairs of input and target at once, then the exact searches follow. After Ctrl-C
        during the attack KeyboardInterrupt goes on to the caller; during a search the point at hand is the last one,
        with the bracket so far and stop reason INTERRUPTED.

        Args:
            network: the classifier.
            x: inputs, shape (N, *shape) or (N, n), in the domain.
            label: their classes, shape (N,); None: those that the network predicts. Inputs that it gives another class
                have no points.
            name: of the network, for the points.
            indices: numbers of the inputs; None: 0 to N - 1.
            domain: valid inputs, two numbers or two arrays of n entries, finite.

        Raises:
            InputError: an argument that does not fit; see `mipverify_py.distance` for the options.
        """
        rows, classes = _inputs(network, x, label)
        numbers = list(range(len(rows))) if indices is None else list(indices)
        if len(numbers) != len(rows):
            raise InputError(f"There are {len(rows)} inputs and {len(numbers)} indices; give one for each.")
        low, high = (np.broadcast_to(np.asarray(end, np.float64), (network.input_size,)).copy() for end in domain)
        right = np.flatnonzero(network.forward_batch(rows).argmax(axis=1) == classes) if len(rows) else np.arange(0)
        setting = _Setting(self, network, name, Bounds(low, high))
        pairs = [(row, t) for row in right.tolist() for t in range(network.output_size) if t != classes[row]]
        for start in range(0, len(pairs), BATCH):
            batch = pairs[start : start + BATCH]
            examples = setting.attacked(rows, classes, batch)
            for (row, target), example in zip(batch, examples, strict=True):
                query = setting.query(rows[row], int(classes[row]), target)
                point = setting.point(query, numbers[row], example)
                yield point
                if point.stop_reason is StopReason.INTERRUPTED:
                    return


@dataclass(frozen=True)
class _Setting:
    """What all points of a network have in common."""

    how: GroundTruth
    network: ReluNetwork
    name: str
    domain: Bounds

    @cached_property
    def contest(self) -> ReluNetwork:
        """What the attack is run on where targets have to win."""
        return one_against_all(self.network)

    def attacked(self, x: Array, label: Array, pairs: list[tuple[int, int]]) -> list[Array | None]:
        """The attack's example for each pair of input and target; None where it found none."""
        how, wins = self.how, self.how.wins
        rows, targets = np.array(pairs, np.int64).T
        found: AttackResult = how.attack(
            self.contest if wins else self.network,
            x[rows],
            self.network.output_size + targets if wins else label[rows],
            targets[:, None],
            domain=(self.domain.lower, self.domain.upper),
            seed=how.options.seed,
        )
        if found.stop_reason is AttackStop.INTERRUPTED:
            raise KeyboardInterrupt
        return [found.adversarial[k] if found.success[k] else None for k in range(len(pairs))]

    def query(self, x0: Array, label: int, target: int) -> Query:
        """The question for the nearest example of the target."""
        targets = Targets.only(target, winning=self.how.wins)
        return Query(self.network, x0, label=label, targets=targets, norm=self.how.attack.norm, domain=self.domain)

    def point(self, query: Query, index: int, example: Array | None) -> Point:
        """The exact search, and what came out of it and of the attack."""
        ours = None if example is None else confirmed(query, example)
        result = self._searched(query)
        found = [witness for witness in (ours, result.witness) if witness is not None]
        nearest = min(found, key=lambda witness: witness.distance, default=None)
        if nearest is not None:
            result = confronted(result, nearest, self.how.options)
        return Point(
            network=self.name,
            index=index,
            norm=query.norm,
            reference=query.reference,
            target=query.target_classes[0],
            attack=None if ours is None else ours.distance,
            lower=result.lower,
            upper=None if nearest is None else nearest.distance,
            terminated=result.stop_reason is StopReason.SOLVED,
            stop_reason=result.stop_reason,
            evidence=result.evidence,
            changed=() if nearest is None else phase_changes(self.network, query.x0, nearest.point),
            seconds=result.seconds,
        )

    def _searched(self, query: Query) -> Result:
        return distance(
            self.network,
            query.x0,
            options=self.how.options,
            method=self.how.method,
            tolerance=self.how.tolerance,
            label=query.reference,
            targets=query.targets,
            domain=self.domain,
            norm=query.norm,
        )


def confirmed(query: Query, example: Array) -> Witness | None:
    """The attack's example as a checked witness, longer by a hair where torch and exact arithmetic differ; or None."""
    for hair in HAIRS:
        longer = example + hair * (example - query.x0)
        try:
            return Witness(query, np.clip(longer, query.input_domain.lower, query.input_domain.upper))
        except NotAdversarialError:
            continue
    return None


def confronted(result: Result, nearest: Witness, options: Options) -> Result:
    """The result in the light of a checked example, which may be nearer than what a solver claims to have excluded.

    Within the gap the lower end then becomes the example's distance; beyond it nothing of the claim is left.
    """
    lower = result.lower
    if result.verdict is Verdict.ROBUST or (lower is not None and not options.closes(nearest.distance, lower)):
        return replace(result, lower=None, evidence=None, stop_reason=StopReason.NUMERICAL)
    return result if lower is None else replace(result, lower=min(lower, nearest.distance))


def _inputs(network: ReluNetwork, x: ArrayLike, label: ArrayLike | None) -> tuple[Array, Array]:
    """The inputs as rows, and their classes."""
    given = np.asarray(x, np.float64)
    if given.ndim < 2:
        raise InputError(f"The inputs have shape {given.shape}; expected (N, {network.input_size}) or images.")
    rows = np.stack([network.flatten_input(one) for one in given]) if len(given) else np.zeros((0, network.input_size))
    if label is None:
        return rows, network.forward_batch(rows).argmax(axis=1)
    classes = np.asarray(label)
    if classes.shape != (len(rows),) or not np.issubdtype(classes.dtype, np.integer):
        raise InputError(f"The labels have shape {classes.shape}; expected {len(rows)} whole numbers, one per input.")
    strange = sorted({int(label) for label in classes if not 0 <= label < network.output_size})
    if strange:
        raise InputError(f"The labels have {strange[0]}; the model's classes are 0 to {network.output_size - 1}.")
    return rows, classes
