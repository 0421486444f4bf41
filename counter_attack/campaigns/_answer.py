"""Answering the queries of a campaign: sets of attacks here, exact ones by `mipverify_py`.

Only workers import this module, and before an attempt's time begins. So it loads torch, which may take longer than a
short attempt.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial

import numpy as np
import torch  # noqa: F401

from counter_attack._classifier import Classifier
from counter_attack.attacks import Attack, AttackResult, AttackStop, Budget, ExactFinish, make_attack
from counter_attack.pool import PoolResult
from counter_attack.pool._finish import FINISH, Found
from mipverify_py import Norm, StopReason, Targets
from mipverify_py.campaigns._answer import Tell
from mipverify_py.campaigns._answer import answer as exact_answer
from mipverify_py.campaigns._records import Answer, Finding, QueryKind, Task
from mipverify_py.engines._torch_threads import one_torch_thread
from onnx_models import ReluNetwork
from onnx_models.errors import InputError

ENGINE = "attacks"
"""What stands as the engine of an answer by attacks."""

_REASONS = {
    AttackStop.FINISHED: StopReason.SOLVED,
    AttackStop.TIME: StopReason.TIME_LIMIT,
    AttackStop.INTERRUPTED: StopReason.INTERRUPTED,
}


def answer(task: Task, network: ReluNetwork, tell: Tell) -> Answer:
    """The answer to a task of any kind, within its limits.

    A set of attacks shares the time limit, one after the other in the order of the set. Only where all of them have
    done all their steps is the query decided: what an attack finds in less time is not that attack's distance. The
    task's companions are attacked in the same calls; seconds are shared equally among them.

    Args:
        task: the attempt.
        network: its model.
        tell: told the bracket whenever it improves.

    Raises:
        InputError: a query that makes no sense for the network, or a device that is not there.
        BackendMissingError, BackendLimitError, BackendAbilityError: the backend cannot be used.
    """
    if task.record.kind is not QueryKind.ATTACK:
        return exact_answer(task, network, tell)
    with one_torch_thread():
        return _Run(task, network, tell).answer()


@dataclass
class _Run:
    """A set of attacks on the input of a task and those of its companions."""

    task: Task
    network: ReluNetwork
    tell: Tell
    started: float = field(default_factory=time.monotonic)
    results: dict[str, AttackResult] = field(default_factory=dict)
    stop: AttackStop = AttackStop.FINISHED

    def __post_init__(self) -> None:
        records = [member.record for member in self.task.members]
        self.inputs = np.stack([record.input.values.reshape(-1) for record in records])
        self.labels: list[int | None] = [record.question["label"] for record in records]

    def answer(self) -> Answer:
        """Runs the attacks until they are done, time is up, or Ctrl-C."""
        question = self.task.record.question
        norm = Norm(question["norm"])
        classifier = _classifier(self.network, self.task.options["device"])
        attacks: dict[str, Callable[[], Attack]] = {
            name: partial(make_attack, name, **{**own, "norm": norm}) for name, own in question["attacks"].items()
        }
        if question["finish"]:
            attacks[FINISH] = lambda: ExactFinish(norm=norm, inner=Found(norm=norm, points=self._closest()))
        try:
            for name, make in attacks.items():
                self._run(name, make(), classifier)
                if self.stop is not AttackStop.FINISHED:
                    break
        except KeyboardInterrupt:
            self.stop = AttackStop.INTERRUPTED
        first, *others = self._answers(len(attacks))
        return replace(first, companions=tuple(others))

    def _run(self, name: str, attack: Attack, classifier: Classifier) -> None:
        limit = self.task.limits.time_limit
        left = None if limit is None else self.started + limit - time.monotonic()
        if left is not None and left <= 0:
            self.stop = AttackStop.TIME
            return
        record, labels = self.task.record, self.labels
        result = attack(
            classifier,
            self.inputs,
            None if None in labels else np.array(labels),
            record.question["targets"],
            domain=tuple(record.question["domain"]),
            seed=record.seed,
            budget=Budget(seconds=left),
        )
        self.results[name], self.stop = result, result.stop_reason
        if (least := self._least(0)) is not None:
            self.tell(None, least)

    def _closest(self) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
        return PoolResult.of(self.results).adversarial

    def _least(self, row: int) -> float | None:
        found = [float(result.distance[row]) for result in self.results.values() if result.success[row]]
        return min(found, default=None)

    def _answers(self, asked: int) -> list[Answer]:
        """One for each row of the inputs."""
        reason = _REASONS[self.stop]
        cut = "" if len(self.results) == asked else f"{len(self.results)} of {asked} attacks were run"
        seconds = (time.monotonic() - self.started) / len(self.inputs)
        return [self._answer(row, reason, cut, seconds) for row in range(len(self.inputs))]

    def _answer(self, row: int, reason: StopReason, cut: str, seconds: float) -> Answer:
        label, targets = self.labels[row], self.task.record.question["targets"]
        predicted = int(np.argmax(self.network.forward(self.inputs[row])))
        reference = predicted if label is None else label
        wrong = (Targets() if targets is None else Targets.only(targets)).resolve(reference, self.network.output_size)
        return Answer(
            decided=reason is StopReason.SOLVED,
            verdict=None,
            lower=None,
            upper=self._least(row),
            evidence=None,
            evidence_detail="",
            stop_reason=reason.value,
            stop_detail=cut,
            predicted=predicted,
            reference=reference,
            engine=ENGINE,
            backend=None,
            seconds=seconds,
            findings=tuple(self._finding(name, result, row, wrong) for name, result in self.results.items()),
            statistics={
                "attacks": {
                    name: {"stop_reason": result.stop_reason.value, "tie": bool(result.tie[row])}
                    for name, result in self.results.items()
                },
                "batch": len(self.inputs),
            },
        )

    def _finding(self, name: str, result: AttackResult, row: int, wrong: tuple[int, ...]) -> Finding:
        seconds, calls = result.seconds / len(self.inputs), int(result.calls[row])
        if not result.success[row]:
            return Finding(name, None, seconds=seconds, calls=calls)
        point = result.adversarial[row]
        logits = self.network.forward(point)
        return Finding(
            name,
            float(result.distance[row]),
            max(wrong, key=lambda j: (logits[j], -j)),
            point.reshape(self.network.input_shape),
            seconds,
            calls,
        )


@lru_cache(maxsize=8)
def _classifier(network: ReluNetwork, device: str) -> Classifier:
    """The model for attacks; a worker sees the same few networks again and again."""
    try:
        return Classifier.of(network, device=device)
    except (RuntimeError, AssertionError) as error:  # what torch raises where CUDA is missing
        raise InputError(f"The device {device!r} cannot be used: {str(error).partition(chr(10))[0]}") from error
