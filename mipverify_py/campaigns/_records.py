"""What a campaign asks and gets, as values: models, inputs, queries, tasks, and what became of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

import numpy as np

from mipverify_py._tolerances import GAP_ABSOLUTE, GAP_RELATIVE
from onnx_models import Array


class QueryKind(Enum):
    """What a query asks."""

    DISTANCE = "distance"
    """How far the nearest adversarial example is."""
    VERIFY = "verify"
    """Whether there is one within a radius."""
    ATTACK = "attack"
    """How near a set of heuristic attacks gets."""


class QueryState(Enum):
    """How far a query is, measured by the limits that a run asks for."""

    NEW = "new"
    """Nobody has answered it."""
    OPEN = "open"
    """There is an answer that says less than was asked: a wide bracket, or an unknown verdict."""
    DECIDED = "decided"
    """It is answered."""
    FAILED = "failed"
    """It was tried as often as allowed, and no attempt came back with an answer."""


class Certificates(Enum):
    """Which answers of a run are certified, and what is kept of the certificates."""

    NONE = "none"
    """None is."""
    HASH = "hash"
    """Those of which it is cheap; size and SHA-256 are kept."""
    STORE = "store"
    """All that certificates cover; the files are kept."""

    @property
    def certify(self) -> str:
        """The option `certify` of the searches."""
        return {"none": "never", "hash": "cheap", "store": "always"}[self.value]


class FailureReason(Enum):
    """Why an attempt came back without an answer."""

    KILLED = "killed"
    """Its process was ended from outside, or crashed."""
    HUNG = "hung"
    """There was no answer long after its time limit."""
    MEMORY = "memory"
    """It ran out of memory."""
    LOST = "lost"
    """The connection to its worker broke."""
    ERROR = "error"
    """An exception; the detail says which."""


@dataclass(frozen=True, slots=True, eq=False)
class ModelRecord:
    """A model, with the bytes that it can be loaded from again.

    Attributes:
        digest: `ReluNetwork.digest` of the loaded network.
        name: short name, for people.
        onnx: the bytes of the ONNX file.
        card: what is known about its making (training, seed, accuracy), JSON; may be empty.
    """

    digest: str
    name: str
    onnx: bytes
    card: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class InputRecord:
    """An input of a data set.

    Attributes:
        values: the input, float64, of the model's shape, for example (1, 28, 28).
        dataset: name of the data set.
        index: its row there.
        label: true class, None if unknown.
    """

    values: Array
    dataset: str
    index: int
    label: int | None = None

    @property
    def digest(self) -> str:
        """SHA-256 of shape and values."""
        plain = np.ascontiguousarray(self.values, dtype="<f8")
        return hashlib.sha256(repr(plain.shape).encode() + plain.tobytes()).hexdigest()


@dataclass(frozen=True, slots=True, eq=False)
class QueryRecord:
    """A query: everything that its true answer, and the way to it, depends on, but for limits.

    Attributes:
        configuration: which model, in the user's words: "A_standard". Always the same model in one store.
        model: digest of the model.
        input: the input.
        kind: what is asked.
        question: JSON. For distance and verify: "norm", "margin", "targets" (list or null), "domain" ([low, high]),
            "label" (null: the predicted class is the reference), and for verify "eps". For attack: "norm", "domain",
            "label", "set" (its name), "attacks" (name -> parameters), "finish".
        options: JSON of the options that can change which answer of several true ones is found: "engine", "backend",
            "tightening", "restarts".
        seed: of attacks and solvers.
    """

    configuration: str
    model: str
    input: InputRecord
    kind: QueryKind
    question: Mapping[str, Any]
    options: Mapping[str, Any]
    seed: int

    @property
    def key(self) -> str:
        """SHA-256 of all but the configuration's name: equal keys are the same query."""
        content = [
            self.model,
            self.input.digest,
            self.input.dataset,
            self.input.index,
            self.kind.value,
            self.question,
            self.options,
            self.seed,
        ]
        return hashlib.sha256(canonical_json(content).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Limits:
    """How much an attempt may take, and how narrow a bracket has to be.

    Attributes:
        time_limit: wall-clock seconds, > 0, None for no limit.
        gap_absolute, gap_relative: as in `Options`.
    """

    time_limit: float | None = None
    gap_absolute: float = GAP_ABSOLUTE
    gap_relative: float = GAP_RELATIVE


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """One attempt at a query, as it is sent to a worker; it holds no model, only the digest of one.

    Attributes:
        query: row of the query in the store.
        number: which attempt at it this is, from 1.
        record: the query.
        limits: of this attempt; with companions the time limit is that of all together.
        overrides: options that stand in for `record.options` in this attempt (to verify anew with another backend).
        final: whether the run plans no longer attempt after this one. A query that a final attempt left open has had
            its time, and `Policy.SKIP` leaves it alone.
        companions: tasks that are answered in one go with this one. They differ from it in query, number, input, label,
            and in their limits, which are those of one query alone.
        certificates: what the run wants of them.
    """

    query: int
    number: int
    record: QueryRecord
    limits: Limits
    overrides: Mapping[str, Any] = field(default_factory=dict)
    final: bool = True
    companions: tuple[Task, ...] = ()
    certificates: Certificates = Certificates.HASH

    @property
    def members(self) -> tuple[Task, ...]:
        """This task and its companions, each as if it were alone."""
        if not self.companions:
            return (self,)
        return (replace(self, limits=self.companions[0].limits, companions=()), *self.companions)

    @property
    def options(self) -> dict[str, Any]:
        """The options of this attempt."""
        return {**self.record.options, **self.overrides}


@dataclass(frozen=True, slots=True, eq=False)
class Finding:
    """An adversarial example, or an attack's failure to find one.

    Attributes:
        name: what found it: an attack's name, "finish", or "exact" for the witness of an exact search.
        distance: in the query's norm, None for a failure.
        target: the class that wins there, None for a failure.
        point: the example, of the input's shape; None for a failure.
        seconds: wall-clock seconds, an equal share where several inputs were attacked in one go; None where not
            measured on its own.
        calls: model calls, None where not counted.
    """

    name: str
    distance: float | None
    target: int | None = None
    point: Array | None = None
    seconds: float | None = None
    calls: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What an attempt found out.

    Attributes:
        decided: whether that is what was asked for, to the gap of its limits; a set of attacks is when all of them have
            done all their steps.
        verdict, lower, upper, evidence, evidence_detail, stop_reason, stop_detail, predicted, reference, engine,
            backend, seconds: as in `Result`, enums by value. For an attack `upper` is the least distance, the verdict
            is None, and so is `lower`. `seconds` of one of several that were answered in one go are its equal share.
        findings: examples; for an attack one per member of the set.
        statistics: JSON.
        certificate: that of the answer, None without one; `Task.certificates` says what is kept of it.
        companions: the answers to the task's companions, in their order; they have none themselves.
    """

    decided: bool
    verdict: str | None
    lower: float | None
    upper: float | None
    evidence: str | None
    evidence_detail: str
    stop_reason: str
    stop_detail: str
    predicted: int
    reference: int
    engine: str
    backend: str | None
    seconds: float
    findings: tuple[Finding, ...] = ()
    statistics: Mapping[str, Any] = field(default_factory=dict)
    certificate: bytes | None = None
    companions: tuple[Answer, ...] = ()


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an attempt came back without an answer."""

    reason: FailureReason
    detail: str


@dataclass(frozen=True, slots=True, eq=False)
class Completion:
    """An attempt that is over.

    Attributes:
        task: what was asked.
        outcome: what came of it.
        worker: which worker it was, a name that is unique within the run.
        host: class of the machine: JSON with "cpu", "cores", "memory_gib", "system", "gpu"; no names of machines or
            users.
        versions: package -> version, of what took part.
        seconds: wall-clock seconds from sending the task to having the outcome; of one of several tasks that were
            answered in one go its equal share.
    """

    task: Task
    outcome: Answer | Failure
    worker: str
    host: Mapping[str, Any]
    versions: Mapping[str, str]
    seconds: float


def canonical_json(value: object) -> str:
    """JSON with sorted keys, no spaces and finite numbers only: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True)
