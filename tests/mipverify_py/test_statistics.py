"""What a result says about the work behind it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bounds import Bounds, NetworkBounds, interval_bounds
from mipverify_py import LinfBall, Objective, Options, Query, Tightening, distance, verify
from mipverify_py._clock import Clock
from mipverify_py._result import layer_statistics
from tests.helpers.networks import random_network
from tests.helpers.queries import hard_question, line_classifier

ENGINES = ("mip", "cuts", "duals")


def test_units_of_a_layer_are_counted_by_the_sign_of_their_bounds() -> None:
    network = line_classifier()
    for low, high, expected in [(0.25, 1.0, (1, 0, 0)), (0.0, 1.0, (1, 0, 0))]:
        [layer] = layer_statistics(network, interval_bounds(network, Bounds(np.array([low]), np.array([high]))))
        assert (layer.active, layer.inactive, layer.unstable) == expected
    signs = {(-1.0, 0.0): (0, 1, 0), (-1.0, 1.0): (0, 0, 1), (0.0, 0.0): (1, 0, 0)}
    known = interval_bounds(network, Bounds(np.zeros(1), np.ones(1)))
    relu = network.relu_indices[0]
    source = network.nodes[relu].input  # type: ignore[union-attr]
    for (low, high), expected in signs.items():
        nodes = list(known.nodes)
        nodes[source] = Bounds(np.array([low]), np.array([high]))
        [layer] = layer_statistics(network, NetworkBounds(tuple(nodes)))
        assert (layer.active, layer.inactive, layer.unstable) == expected
        assert (layer.node, layer.size) == (relu, 1)


@pytest.mark.parametrize("engine", ENGINES)
def test_layers_add_up_to_the_network_and_agree_with_the_bounds(engine: str) -> None:
    network, x = hard_question()
    result = verify(Query(network, x, LinfBall(0.05), Objective.WORST), Options(engine=engine, node_limit=20))
    layers = result.statistics.layers
    assert [layer.size for layer in layers] == [network.nodes[i].size for i in network.relu_indices]
    assert result.bounds is not None and layers == layer_statistics(network, result.bounds)
    assert result.statistics.unstable == result.bounds.unstable_counts(network)
    assert tuple(map(sum, zip(result.statistics.stable, result.statistics.unstable, strict=True))) == (30, 30, 30)


@pytest.mark.parametrize("engine", ENGINES)
def test_phases_are_parts_of_the_whole(engine: str) -> None:
    network, x = hard_question()
    result = distance(network, x, options=Options(engine=engine, node_limit=20))
    phases = dict(result.statistics.phase_seconds)
    assert list(phases)[:4] == ["attack", "bounds", "search", "replay"]
    assert phases["attack"] == result.attack_seconds > 0
    assert 0 < phases["attack"] + phases["bounds"] + phases["search"] + phases.get("certificate", 0.0) <= result.seconds
    assert phases["bounds"] > 0 and phases["search"] > 0


def test_a_proof_that_was_replayed_took_time_for_it() -> None:
    network = random_network(np.random.default_rng(3), max_relus=6)
    x = np.random.default_rng(3).random(network.input_size)
    assert dict(distance(network, x).statistics.phase_seconds)["replay"] > 0


@pytest.mark.parametrize("engine", ["mip", "cuts"])
def test_linear_programs_are_counted(engine: str) -> None:
    network, x = hard_question()
    statistics = distance(network, x, options=Options(engine=engine, node_limit=20)).statistics
    assert statistics.iterations >= statistics.nodes > 0


def test_a_stage_skips_what_the_stages_before_it_settled() -> None:
    network, x = hard_question()
    query = Query(network, x, LinfBall(0.02), Objective.WORST)
    last: dict[str, int] = {}
    for tightening in (Tightening.INTERVAL, Tightening.LINEAR, Tightening.LP):
        result = verify(query, Options(engine="mip", tightening=tightening, node_limit=1))
        skips, solves = dict(result.statistics.bound_skips), dict(result.statistics.bound_solves)
        assert list(skips) == list(solves) == [stage.value for stage in tightening.stages]
        assert {stage: skips[stage] for stage in last} == last
        last = skips
    interval = interval_bounds(network, query.box)
    assert last["interval"] == 0
    assert last["linear"] == network.relu_count - sum(interval.unstable_counts(network))
    assert last["linear"] <= last["lp"]
    assert 0 < solves["lp"] <= 2 * (network.relu_count - last["lp"])


def test_the_relative_gap_is_a_share_of_the_upper_end() -> None:
    network, x = hard_question()
    result = distance(network, x, options=Options(engine="mip", node_limit=1))
    assert result.gap is not None and result.upper is not None and result.lower is not None
    assert result.relative_gap == (result.upper - result.lower) / result.upper > 0
    assert replace(result, lower=None).relative_gap is None is replace(result, lower=None).gap
    assert replace(result, lower=0.0, upper=0.0).relative_gap == 0.0
    assert replace(result, lower=-1.0, upper=0.0).relative_gap is None


def test_an_exception_does_not_stop_the_clock() -> None:
    clock = Clock()
    with pytest.raises(KeyboardInterrupt), clock.during("attack"):
        raise KeyboardInterrupt
    assert clock.seconds("attack") > 0
    assert clock.seconds("bounds") == 0
