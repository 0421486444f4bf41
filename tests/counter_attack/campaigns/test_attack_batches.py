"""Several inputs attacked in one go, as campaigns do, against each of them alone."""

from __future__ import annotations

import dataclasses
import signal
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from counter_attack import parameter_set
from counter_attack.attacks import ATTACKS
from counter_attack.attacks._registry import attack_parameters
from counter_attack.campaigns import AttackQuestion
from counter_attack.campaigns._answer import answer
from counter_attack.cli._campaign_progress import running_line
from mipverify_py import distance
from mipverify_py.campaigns import Answer, Limits, QueryRecord, Task
from mipverify_py.campaigns._batches import together
from mipverify_py.campaigns._spec import CampaignSpec, Group
from mipverify_py.campaigns._spec_data import DataSource
from mipverify_py.campaigns.executors import Running
from onnx_models.zoo import digits_test, load_zoo

MODEL = "digits_small_standard"
NETWORK = load_zoo(MODEL)
COUNT = 4

FEW = {"steps": 4, "iterations": 4, "queries": 8, "restarts": 1, "runs": 2}


def asked(**question: Any) -> list[QueryRecord]:
    kind = AttackQuestion(**question)
    data = DataSource("digits", indices=f"0:{COUNT}")
    return list(CampaignSpec((Group({"a": f"zoo:{MODEL}"}, data, (kind,)),)).queries())


def untold(*_: float | None) -> None:
    """Nobody listens to the brackets."""


def answers(records: Sequence[QueryRecord], seconds: float = 60.0, tell: Any = untold) -> list[Answer]:
    """The answers to these queries in one go."""
    tasks = [Task(record.input.index, 1, record, Limits(seconds)) for record in records]
    first = answer(together(tasks), NETWORK, tell)
    assert all(not other.companions for other in first.companions)
    return [first, *first.companions]


def few_steps(name: str) -> dict[str, Any]:
    """The attack's parameters where it does only a few steps."""
    return {field.name: FEW[field.name] for field in dataclasses.fields(ATTACKS[name]) if field.name in FEW}


def cut(source: str) -> dict[str, dict[str, Any]]:
    """A published set of attacks with a few steps each."""
    return {
        name: {**attack_parameters(name, attack), **few_steps(name)} for name, attack in parameter_set(source).items()
    }


def found(result: Answer) -> dict[str, tuple[float | None, int | None]]:
    return {each.name: (each.distance, each.target) for each in result.findings}


def assert_the_same(one: Answer, other: Answer) -> None:
    assert (one.decided, one.predicted, one.reference) == (other.decided, other.predicted, other.reference)
    mine, yours = found(one), found(other)
    assert mine.keys() == yours.keys()
    for name, (far, target) in mine.items():
        assert target == yours[name][1], name
        other_far = yours[name][0]
        assert (far is None) == (other_far is None), name
        assert far is None or far == pytest.approx(other_far, rel=1e-12, abs=0.0), name
    calls = [{each.name: each.calls for each in result.findings} for result in (one, other)]
    assert calls[0] == calls[1]


@pytest.mark.parametrize("norm", ["linf", *(pytest.param(norm, marks=pytest.mark.slow) for norm in ("l2", "l1"))])
@pytest.mark.slow
def test_an_input_fares_the_same_alone_and_in_any_company(norm: str) -> None:
    attacks = {name: few_steps(name) for name in ATTACKS if norm in [each.value for each in ATTACKS[name].norms]}
    records = asked(attacks=attacks, norms=(norm,), finish=norm == "linf")
    all_together = answers(records)
    order = [3, 0, 2, 1]
    for place, result in zip(order, answers([records[k] for k in order]), strict=True):
        assert_the_same(result, all_together[place])
    for record, result in zip(records, all_together, strict=True):
        assert_the_same(*answers([record]), result)


@pytest.mark.parametrize("source", ["strong-mnist", "balanced-mnist", "mip-start-mnist"])
def test_so_it_does_with_published_sets(source: str) -> None:
    records = asked(attacks=cut(source))
    for record, result in zip(records, answers(records), strict=True):
        assert_the_same(*answers([record]), result)


@pytest.mark.parametrize("source", ["strong-mnist", "balanced-mnist", "mip-start-mnist"])
def test_examples_are_each_input_s_own_and_never_nearer_than_the_truth(source: str) -> None:
    images, labels = digits_test()
    results = answers(asked(attacks=cut(source), finish=True))
    assert len(results) == COUNT
    for k, result in enumerate(results):
        truth = distance(NETWORK, images[k], label=int(labels[k]))
        assert truth.lower is not None and result.upper is not None
        assert result.decided and result.reference == labels[k] and result.upper >= truth.lower
        assert result.upper == min(each.distance for each in result.findings if each.distance is not None)
        assert result.statistics["batch"] == COUNT
        for each in result.findings:
            if each.point is not None:
                assert each.distance == np.abs(each.point - images[k]).max()
                logits = NETWORK.forward(each.point.ravel())
                assert each.target not in (None, labels[k])
                assert logits[each.target] >= logits[labels[k]] - 1e-9 * np.abs(logits).max()


def test_a_group_is_shown_by_its_first_input() -> None:
    tasks = [Task(record.input.index, 1, record, Limits(60.0)) for record in asked(attacks={"fgsm": {}})]
    lines = [running_line(Running(task, "a worker", 2.0, None, 0.25)) for task in (tasks[0], together(tasks))]
    assert "a, digits 0, attack" in lines[0]
    assert "a, digits 0 and 3 more, attack" in lines[1]


def test_a_misclassified_input_has_distance_0_beside_others() -> None:
    records = asked(attacks={"fgsm": {}, "deepfool": {}})
    wrong = dataclasses.replace(
        records[1], question={**records[1].question, "label": (records[1].question["label"] + 1) % 10}
    )
    results = answers([records[0], wrong, records[2]])
    assert results[1].upper == 0.0 and results[1].predicted != results[1].reference
    for place, record in ((0, records[0]), (2, records[2])):
        assert_the_same(*answers([record]), results[place])


def test_seconds_are_shared_and_the_limit_is_for_all() -> None:
    results = answers(asked(attacks={"bim": {"steps": 10**6}, "fgsm": {}}), seconds=0.06)
    assert len({result.seconds for result in results}) == 1
    assert 4 * results[0].seconds >= 0.06
    for result in results:
        assert (result.decided, result.stop_reason, result.stop_detail) == (
            False,
            "time_limit",
            "1 of 2 attacks were run",
        )
        (finding,) = result.findings
        assert finding.seconds is not None and finding.seconds <= result.seconds


def test_an_interruption_leaves_every_input_what_was_found_for_it() -> None:
    def interrupt(_: float | None, upper: float | None) -> None:
        if upper is not None:
            signal.raise_signal(signal.SIGINT)

    records = asked(attacks={"fgsm": {}, "deepfool": {}})
    results = answers(records, tell=interrupt)
    whole = answers(records)
    assert [(result.decided, result.stop_reason) for result in results] == [(False, "interrupted")] * COUNT
    for result, complete in zip(results, whole, strict=True):
        assert [each.name for each in result.findings] == ["fgsm"]
        assert found(result)["fgsm"] == found(complete)["fgsm"]
