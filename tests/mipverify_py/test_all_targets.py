"""One answer per class: each against brute force, all together against the answer over all classes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mipverify_py._all_targets as all_targets
from mipverify_py import (
    Norm,
    Options,
    Query,
    Result,
    StopReason,
    Targets,
    Verdict,
    distance,
    distance_per_target,
    verify_per_target,
)
from onnx_models import ReluNetwork
from onnx_models.errors import InputError
from tests.helpers.networks import networks, random_network
from tests.helpers.queries import assert_matches, exact_distance, hard_question, random_query


@settings(max_examples=10, deadline=None)
@given(networks(max_relus=5), st.integers(0, 2**32 - 1))
def test_every_class_gets_its_own_distance(network: ReluNetwork, seed: int) -> None:
    query = random_query(network, seed)
    results = verify_per_target(query)
    assert tuple(results) == query.target_classes
    for target, result in results.items():
        assert_matches(result, exact_distance(replace(query, targets=Targets.only(target))))
        assert result.target in (target, None)


def test_the_nearest_class_gives_the_distance() -> None:
    network = random_network(np.random.default_rng(4), outputs=5)
    x = np.random.default_rng(4).random(network.input_size)
    seen: list[int] = []
    results = distance_per_target(network, x, on_result=lambda target, _: seen.append(target))
    uppers = [result.upper for result in results.values() if result.upper is not None]
    assert min(uppers) == pytest.approx(distance(network, x).upper, abs=2e-6)
    assert seen == list(results) == [j for j in range(5) if j != int(np.argmax(network.forward(x)))]


def test_label_and_targets_choose_the_classes() -> None:
    network = random_network(np.random.default_rng(4), outputs=5)
    x = np.random.default_rng(4).random(network.input_size)
    predicted = int(np.argmax(network.forward(x)))
    label = (predicted + 1) % 5
    assert list(distance_per_target(network, x, label=label, targets=Targets.only(predicted))) == [predicted]
    [wrong] = distance_per_target(network, x, label=label, targets=Targets.only(predicted)).values()
    assert (wrong.lower, wrong.upper) == (0.0, 0.0)


def test_the_norm_is_passed_on() -> None:
    network = random_network(np.random.default_rng(4), outputs=3)
    x = np.random.default_rng(4).random(network.input_size)
    results = distance_per_target(network, x, norm=Norm.L1)
    uppers = [result.upper for result in results.values() if result.upper is not None]
    assert min(uppers) == pytest.approx(distance(network, x, norm=Norm.L1).upper, abs=1e-5)
    with pytest.raises(TypeError, match="unexpected keyword argument 'eps'"):
        distance_per_target(network, x, eps=0.1)  # type: ignore[call-arg]


def test_the_time_limit_is_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    network, x = hard_question()
    limits: list[float] = []

    real = all_targets.verify

    def spy(query: Query, options: Options) -> Result:
        assert options.time_limit is not None
        limits.append(options.time_limit)
        return real(query, options)

    monkeypatch.setattr(all_targets, "verify", spy)
    results = distance_per_target(network, x, options=Options(time_limit=1e-6))
    assert len(results) == len(limits) == 3 and max(limits) <= 1e-6
    assert all(result.stop_reason is not StopReason.SOLVED for result in results.values())
    limits.clear()
    distance_per_target(network, x, options=Options(time_limit=300, node_limit=1))
    assert limits[0] <= 100 and limits[1] <= 150 and limits[2] <= 300  # what the first leave unused goes on


def test_ctrl_c_keeps_what_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    network, x = hard_question()
    real, calls = all_targets.verify, []

    def second_is_interrupted(query: Query, options: Options) -> Result:
        calls.append(query.target_classes)
        result = real(query, replace(options, node_limit=1))
        return result if len(calls) == 1 else replace(result, stop_reason=StopReason.INTERRUPTED)

    monkeypatch.setattr(all_targets, "verify", second_is_interrupted)
    results = distance_per_target(network, x)
    assert [result.stop_reason is StopReason.INTERRUPTED for result in results.values()] == [False, True]
    assert all(result.verdict is not Verdict.ROBUST for result in results.values())


def test_wrong_arguments_are_refused() -> None:
    network, x = hard_question()
    with pytest.raises(InputError, match="The query is of type"):
        verify_per_target(network)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="options"):
        distance_per_target(network, x, options=3)  # type: ignore[arg-type]
