"""Answers of exact queries against `distance` and `verify` themselves."""

from __future__ import annotations

import json
import signal
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mipverify_py import Norm, distance
from mipverify_py._distance import distance as measured
from mipverify_py.campaigns._answer import answer
from mipverify_py.campaigns._records import Answer, InputRecord, Limits, QueryKind, QueryRecord, Task, canonical_json
from onnx_models import ReluNetwork
from onnx_models.errors import InputError
from onnx_models.zoo import digits_test, load_zoo

OPTIONS = {"engine": "auto", "backend": "highs", "tightening": "lp", "restarts": 4, "device": "cpu"}


@pytest.fixture(scope="module")
def network() -> ReluNetwork:
    return load_zoo("digits_small_standard")


def query(network: ReluNetwork, kind: QueryKind = QueryKind.DISTANCE, index: int = 0, **question: Any) -> QueryRecord:
    images, labels = digits_test()
    asked = {"norm": "linf", "margin": 0.0, "targets": None, "domain": [0.0, 1.0], "label": None, **question}
    return QueryRecord(
        "small",
        network.digest,
        InputRecord(images[index], "digits", index, int(labels[index])),
        kind,
        asked,
        OPTIONS,
        0,
    )


MINUTE = Limits(60.0)


def untold(*_: float | None) -> None:
    """Nobody listens to the brackets."""


def answered(network: ReluNetwork, record: QueryRecord, limits: Limits = MINUTE, **rest: Any) -> Answer:
    return answer(Task(1, 1, record, limits, **rest), network, untold)


def test_a_distance_is_that_of_distance_with_its_witness(network: ReluNetwork) -> None:
    told: list[tuple[float | None, float | None]] = []
    found = answer(Task(1, 1, query(network), Limits(60.0)), network, lambda *ends: told.append(ends))
    images, _ = digits_test()
    true = distance(network, images[0])
    assert (found.decided, found.verdict, found.stop_reason, found.evidence) == (
        True,
        "adversarial",
        "solved",
        "reproved",
    )
    assert true.lower is not None and true.upper is not None
    assert found.lower is not None and found.upper is not None
    assert max(found.lower, true.lower) <= min(found.upper, true.upper)
    assert told[-1] == (found.lower, found.upper)
    (example,) = found.findings
    assert example.point is not None
    assert (example.name, example.point.shape) == ("exact", network.input_shape)
    assert example.distance == found.upper == measured(example.point.ravel(), images[0].ravel(), Norm.LINF)
    logits = network.forward(example.point.ravel())
    assert logits[example.target] >= logits[found.reference] - 1e-9
    statistics = json.loads(canonical_json(found.statistics))
    assert statistics["unstable"] and "attack" in statistics["phase_seconds"]


def test_a_radius_on_either_side_of_the_distance_has_either_verdict(network: ReluNetwork) -> None:
    images, _ = digits_test()
    true = distance(network, images[3])
    assert true.lower is not None and true.upper is not None
    below = answered(network, query(network, QueryKind.VERIFY, 3, eps=true.lower * 0.999))
    above = answered(network, query(network, QueryKind.VERIFY, 3, eps=true.upper * 1.001))
    assert (below.decided, below.verdict, below.findings) == (True, "robust", ())
    assert (above.decided, above.verdict) == (True, "adversarial")
    assert above.findings[0].distance is not None
    assert true.lower <= above.findings[0].distance <= true.upper * 1.001
    assert above.lower is above.upper is None


def test_a_wrong_label_has_distance_zero(network: ReluNetwork) -> None:
    _, labels = digits_test()
    found = answered(network, query(network, label=(int(labels[0]) + 1) % 10))
    assert (found.decided, found.lower, found.upper) == (True, 0.0, 0.0)


def test_without_any_example_in_the_domain_the_distance_is_decided_without_ends(network: ReluNetwork) -> None:
    found = answered(network, query(network, margin=1e4))
    assert (found.decided, found.verdict, found.upper) == (True, "robust", None)


def test_a_time_limit_leaves_a_query_open_with_its_bracket() -> None:
    network = load_zoo("digits_conv_adversarial")
    found = answered(network, query(network), Limits(1e-3))
    assert (found.decided, found.stop_reason) == (False, "time_limit")


def test_a_wide_gap_is_decided_by_it_and_a_narrow_one_is_not(network: ReluNetwork) -> None:
    wide = answered(network, query(network), Limits(60.0, gap_absolute=1.0))
    assert wide.decided
    assert wide.upper is not None


def test_an_interruption_gives_the_bracket_so_far(network: ReluNetwork) -> None:
    def interrupt(lower: float | None, upper: float | None) -> None:
        if upper is not None:
            signal.raise_signal(signal.SIGINT)

    found = answer(Task(1, 1, query(network), Limits(60.0)), network, interrupt)
    assert (found.stop_reason, found.decided) == ("interrupted", False)
    assert found.upper is not None and found.findings


def test_overrides_go_before_the_query_s_options(network: ReluNetwork) -> None:
    found = answered(network, query(network), overrides={"engine": "mip", "backend": "highs"})
    assert (found.engine, found.backend, found.decided) == ("mip", "highs", True)


def test_what_makes_no_sense_is_said(network: ReluNetwork) -> None:
    with pytest.raises(InputError, match="run it with counter_attack"):
        answered(network, query(network, QueryKind.ATTACK))
    outside = query(network)
    with pytest.raises(InputError, match="outside the model's domain"):
        answered(network, replace(outside, input=replace(outside.input, values=np.full(network.input_shape, 2.0))))
