"""Answering the queries of a campaign: sets of attacks here, exact ones by `mipverify_py`.

Only workers import this module, and before an attempt's time begins. So it loads torch, which may take longer than a
short attempt.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
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
    done all their steps is the query decided: what an attack finds in less time is not that attack's distance.

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
    """A set of attacks on one input."""

    task: Task
    network: ReluNetwork
    tell: Tell
    started: float = field(default_factory=time.monotonic)
    results: dict[str, AttackResult] = field(default_factory=dict)
    stop: AttackStop = AttackStop.FINISHED

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
        return self._answer(len(attacks))

    def _run(self, name: str, attack: Attack, classifier: Classifier) -> None:
        limit = self.task.limits.time_limit
        left = None if limit is None else self.started + limit - time.monotonic()
        if left is not None and left <= 0:
            self.stop = AttackStop.TIME
            return
        record = self.task.record
        label, targets = record.question["label"], record.question["targets"]
        result = attack(
            classifier,
            record.input.values.reshape(1, -1),
            None if label is None else np.array([label]),
            targets,
            domain=tuple(record.question["domain"]),
            seed=record.seed,
            budget=Budget(seconds=left),
        )
        self.results[name], self.stop = result, result.stop_reason
        if (least := self._least()) is not None:
            self.tell(None, least)

    def _closest(self) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
        return PoolResult.of(self.results).adversarial

    def _least(self) -> float | None:
        found = [float(result.distance[0]) for result in self.results.values() if result.success[0]]
        return min(found, default=None)

    def _answer(self, asked: int) -> Answer:
        record, network = self.task.record, self.network
        label = record.question["label"]
        predicted = int(np.argmax(network.forward(record.input.values.reshape(-1))))
        reference = predicted if label is None else label
        targets = record.question["targets"]
        wrong = (Targets() if targets is None else Targets.only(targets)).resolve(reference, network.output_size)
        reason = _REASONS[self.stop]
        return Answer(
            decided=reason is StopReason.SOLVED,
            verdict=None,
            lower=None,
            upper=self._least(),
            evidence=None,
            evidence_detail="",
            stop_reason=reason.value,
            stop_detail="" if len(self.results) == asked else f"{len(self.results)} of {asked} attacks were run",
            predicted=predicted,
            reference=reference,
            engine=ENGINE,
            backend=None,
            seconds=time.monotonic() - self.started,
            findings=tuple(self._finding(name, result, wrong) for name, result in self.results.items()),
            statistics={
                "attacks": {
                    name: {"stop_reason": result.stop_reason.value, "tie": bool(result.tie[0])}
                    for name, result in self.results.items()
                }
            },
        )

    def _finding(self, name: str, result: AttackResult, wrong: tuple[int, ...]) -> Finding:
        seconds, calls = result.seconds, int(result.calls[0])
        if not result.success[0]:
            return Finding(name, None, seconds=seconds, calls=calls)
        point = result.adversarial[0]
        logits = self.network.forward(point)
        return Finding(
            name,
            float(result.distance[0]),
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
