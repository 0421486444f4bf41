"""Answerers of campaign tasks that need no solver: instant, slow, and in every way unfit.

The query's index tells them apart, and the answer says who answered: `statistics` holds the worker's pid.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from mipverify_py.campaigns import Answer, Finding, InputRecord, ModelRecord, QueryKind, QueryRecord, Store, Task
from mipverify_py.campaigns.executors._answering import Tell
from onnx_models import ReluNetwork
from onnx_models.zoo import load_zoo, zoo_path

HERE = "tests.helpers.campaign_answerers"


def answer_of(
    task: Task, *, decided: bool = True, stop_reason: str = "solved", lower: float | None = None, **statistics: object
) -> Answer:
    """The distance index / 1000 as a whole, or only its lower end."""
    value = task.record.input.index / 1000
    return Answer(
        decided=decided,
        verdict="adversarial" if decided else "unknown",
        lower=value if decided else lower,
        upper=value if decided else None,
        evidence="reproved",
        evidence_detail="",
        stop_reason=stop_reason,
        stop_detail="",
        predicted=0,
        reference=0,
        engine="test",
        backend=None,
        seconds=0.0,
        findings=(Finding("exact", value, 1, task.record.input.values + value),) if decided else (),
        statistics={"pid": os.getpid(), **statistics},
    )


def instant(task: Task, network: ReluNetwork, tell: Tell) -> Answer:
    return answer_of(task, seed=task.record.seed)


def nap(task: Task, network: ReluNetwork, tell: Tell) -> Answer:
    time.sleep(0.004)
    return answer_of(task)


def patient(task: Task, network: ReluNetwork, tell: Tell) -> Answer:
    """Sleeps until its time is up or it is interrupted, and then has half of a bracket, 0; odd indices are quick.

    As soon as it has told its bracket it makes the file that CAMPAIGN_LOG names, if that is set.
    """
    if task.record.input.index % 2:
        return answer_of(task)
    try:
        tell(0.0, None)
        if log := os.environ.get("CAMPAIGN_LOG"):
            Path(log).touch()
        time.sleep(task.limits.time_limit or 600)
    except KeyboardInterrupt:
        return answer_of(task, decided=False, stop_reason="interrupted", lower=0.0)
    return answer_of(task, decided=False, stop_reason="time_limit", lower=0.0)


def hard(task: Task, network: ReluNetwork, tell: Tell) -> Answer:
    """Takes longer than a limit of 2 s for every third query, without waiting for it."""
    if task.record.input.index % 3 == 0 and (task.limits.time_limit or 10.0) < 2.0:
        return answer_of(task, decided=False, stop_reason="time_limit", lower=0.0)
    return answer_of(task)


def deaf(task: Task, network: ReluNetwork, tell: Tell) -> Answer:
    """Hears neither its time limit nor Ctrl-C."""
    while True:
        try:
            time.sleep(600)
        except KeyboardInterrupt:
            continue


def stuck_once(task: Task, network: ReluNetwork, tell: Tell) -> Answer:
    """The first attempt at a query sleeps for ever, so that there is something to kill; the others answer."""
    if task.number == 1:
        tell(0.125, None)
        time.sleep(600)
    return answer_of(task)


def gone(task: Task, network: ReluNetwork, tell: Tell) -> Answer:
    """Index 0 crashes on every attempt, index 1 on the first, 2 leaves, 3 raises, 4 returns nonsense, others answer."""
    index = task.record.input.index
    if index == 0 or (index == 1 and task.number == 1):
        os.write(2, b"about to touch bad memory\n")
        os.kill(os.getpid(), signal.SIGSEGV)
    if index == 2:
        os._exit(7)
    if index == 3:
        raise ValueError("the vendor says no")
    if index == 4:
        return 4  # type: ignore[return-value]
    return answer_of(task)


def hungry(task: Task, network: ReluNetwork, tell: Tell) -> Answer:
    """Index 0 takes memory until it is stopped, 1 asks for more than there is."""
    if task.record.input.index == 0:
        kept = []
        while True:
            kept.append(np.ones(1 << 21))  # 16 MiB
            time.sleep(0.002)
    if task.record.input.index == 1:
        np.ones(1 << 50)
    return answer_of(task)


def babble(task: Task, network: ReluNetwork, tell: Tell) -> Answer:
    """Index 0 writes nonsense on the socket to its executor, index 1 a frame that never ends."""
    if task.record.input.index < 2:
        data = b"nonsense" * 9 if task.record.input.index == 0 else b"MVC1" + (1 << 30).to_bytes(8, "big")
        os.write(int(sys.argv[1]), data)
        time.sleep(600)
    return answer_of(task)


def not_a_number(task: Task, network: ReluNetwork, tell: Tell) -> Answer:
    """Index 0 has a distance that is no number, which no store takes."""
    answer = answer_of(task)
    if task.record.input.index == 0:
        object.__setattr__(answer, "lower", float("nan"))
    return answer


def surroundings(task: Task, network: ReluNetwork, tell: Tell) -> Answer:
    """What the worker was started with."""
    links = {str(number): str(Path(f"/proc/self/fd/{number}").readlink()) for number in (0, 1)}
    return answer_of(task, session=os.getsid(0), threads=os.environ["OMP_NUM_THREADS"], links=links)


def real(task: Task, network: ReluNetwork, tell: Tell) -> Answer:
    """Uses the network: the class that it predicts for the input."""
    answer = answer_of(task, digest=network.digest)
    object.__setattr__(answer, "predicted", int(np.argmax(network.forward(task.record.input.values.ravel()))))
    return answer


def logged(task: Task, network: ReluNetwork, tell: Tell) -> Answer:
    """Adds a line to the file that CAMPAIGN_LOG names, sleeps a little, and answers."""
    with Path(os.environ["CAMPAIGN_LOG"]).open("a", encoding="utf-8") as file:
        file.write(json.dumps([task.query, task.number, os.getpid()]) + "\n")
    time.sleep(0.01)
    return answer_of(task)


def in_one_go(task: Task, network: ReluNetwork, tell: Tell) -> Answer:
    """Answers companions, too, and says of each how many went together."""
    size = len(task.members)
    first, *others = (answer_of(member, batch=size, limit=task.limits.time_limit) for member in task.members)
    return replace(first, companions=tuple(others))


def poisoned(task: Task, network: ReluNetwork, tell: Tell) -> Answer:
    """Index 3 kills its process, whoever goes with it."""
    if any(member.record.input.index == 3 for member in task.members):
        os.kill(os.getpid(), signal.SIGSEGV)
    return in_one_go(task, network, tell)


def stuck_together(task: Task, network: ReluNetwork, tell: Tell) -> Answer:
    """Several in one go sleep for ever, so that there is something to kill; or half of them are open on Ctrl-C."""
    if task.companions:
        try:
            tell(0.125, None)
            time.sleep(600)
        except KeyboardInterrupt:
            first, *others = (
                answer_of(member, decided=member.record.input.index % 2 == 0, stop_reason="interrupted", lower=0.0)
                for member in task.members
            )
            return replace(first, companions=tuple(others))
    return in_one_go(task, network, tell)


def forgetful(task: Task, network: ReluNetwork, tell: Tell) -> Answer:
    """Answers for itself alone."""
    return answer_of(task)


def zoo_model(name: str = "digits_small_standard") -> ModelRecord:
    """A model of the zoo as a store keeps it."""
    return ModelRecord(load_zoo(name).digest, name, zoo_path(name).read_bytes(), {})


def queries_about(model: ModelRecord, count: int) -> list[QueryRecord]:
    """Queries with indices 0, 1, ... about inputs of zeros."""
    question = {"norm": "linf", "margin": 0.0, "targets": None, "domain": [0.0, 1.0], "label": None}
    options = {"engine": "auto", "backend": "highs", "tightening": "lp", "restarts": 4, "device": "cpu"}
    values = np.zeros((1, 8, 8))
    return [
        QueryRecord(
            model.name, model.digest, InputRecord(values, "zeros", i, None), QueryKind.DISTANCE, question, options, 0
        )
        for i in range(count)
    ]


def attacks_about(model: ModelRecord, count: int, attack_set: str = "fast") -> list[QueryRecord]:
    """The same with sets of attacks; labels differ."""
    common = {"norm": "linf", "targets": None, "domain": [0.0, 1.0], "set": attack_set, "attacks": {}, "finish": False}
    return [
        replace(query, kind=QueryKind.ATTACK, question={**common, "label": i % 10}, options={"device": "cpu"})
        for i, query in enumerate(queries_about(model, count))
    ]


def new_store(path: Path, count: int, *, attacks: int = 0) -> Store:
    """A store with that many queries about distances, and that many of attacks."""
    store, model = Store.create(path), zoo_model()
    store.add_model(model)
    store.add_queries([*queries_about(model, count), *attacks_about(model, attacks)])
    return store
