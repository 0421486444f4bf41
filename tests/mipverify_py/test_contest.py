"""Targets that have to win against every other class, against linear programs over all activation patterns."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from mipverify_py import LinfBall, Objective, Options, Query, Targets, Verdict, replay, verify
from mipverify_py._contest import with_largest
from mipverify_py._witness import NotAdversarialError, Witness
from onnx_models import DenseMap, NetworkBuilder, ReluNetwork, exact_logits
from tests.helpers.networks import networks, random_inputs
from tests.helpers.oracles import pieces
from tests.helpers.queries import assert_matches

seeds = st.integers(0, 2**32 - 1)


def nearest_winner(query: Query) -> float | None:
    """min |x - x0|_inf over the query's box where a target's logit is at least those of all classes outside them."""
    n, best = query.network.input_size, None
    others = [i for i in range(query.network.output_size) if i not in query.target_classes]
    for g, h, f, k in pieces(query.network):
        for j in query.target_classes:
            rows = [np.hstack([g, np.zeros((len(g), 1))])]
            rows.append(np.hstack([f[others] - f[j], np.zeros((len(others), 1))]))
            rows.append(np.hstack([np.eye(n), -np.ones((n, 1))]))
            rows.append(np.hstack([-np.eye(n), -np.ones((n, 1))]))
            ends = np.concatenate([h, k[j] - k[others] - query.margin, query.x0, -query.x0])
            box = [*zip(query.box.lower, query.box.upper, strict=True), (0.0, None)]
            found = linprog([*np.zeros(n), 1.0], np.vstack(rows), ends, bounds=box)
            if found.status == 0 and (best is None or found.fun < best):
                best = float(found.fun)
    return best


def contest(network: ReluNetwork, seed: int) -> Query:
    """A query with one or two of four classes as targets that have to win."""
    rng = np.random.default_rng(seed)
    x0 = rng.random(network.input_size)
    predicted = int(np.argmax(network.forward(x0)))
    others = [j for j in range(network.output_size) if j != predicted]
    chosen = rng.choice(others, size=int(rng.integers(1, 3)), replace=False).tolist()
    margin = float(rng.choice([0.0, 0.0, 0.2]))
    return Query(network, x0, label=predicted, targets=Targets.only(chosen, winning=True), margin=margin)


@settings(max_examples=20, deadline=None)
@given(networks(max_relus=6, outputs=4), seeds, st.sampled_from(["auto", "cuts", "duals", "mip"]))
def test_the_distance_is_that_to_the_nearest_winner(network: ReluNetwork, seed: int, engine: str) -> None:
    query = contest(network, seed)
    result = verify(query, Options(engine=engine))
    assert_matches(result, nearest_winner(query))
    assert result.predicted == query.predicted
    if result.proof is not None:
        assert replay(result.proof).holds
    if result.witness is not None:
        logits = exact_logits(network, result.witness.point)
        assert max(logits[j] for j in query.target_classes) >= max(logits[i] for i in query.rivals)


@settings(max_examples=15, deadline=None)
@given(networks(max_relus=6, outputs=4), seeds)
def test_just_under_the_distance_verifies_and_just_over_has_a_witness(network: ReluNetwork, seed: int) -> None:
    query = contest(network, seed)
    truth = nearest_winner(query)
    if truth is None or truth < 1e-3:
        return
    asked = replace(query, objective=Objective.FEASIBILITY)
    under = verify(replace(asked, perturbation=LinfBall(truth * (1 - 1e-4))))
    over = verify(replace(asked, perturbation=LinfBall(truth * (1 + 1e-4))))
    assert (under.verdict, over.verdict) == (Verdict.ROBUST, Verdict.ADVERSARIAL)


@settings(max_examples=40, deadline=None)
@given(networks(max_relus=8, outputs=4), seeds)
def test_one_output_becomes_the_largest_of_several(network: ReluNetwork, seed: int) -> None:
    inputs = random_inputs(np.random.default_rng(seed), network, 5)
    for classes in ((0, 1, 2, 3), (0, 2, 3), (1, 2), (2,)):
        found, logits = with_largest(network, classes, 2).forward_batch(inputs), network.forward_batch(inputs)
        assert np.array_equal(np.delete(found, 2, axis=1), np.delete(logits, 2, axis=1))
        assert np.allclose(found[:, 2], logits[:, list(classes)].max(axis=1), rtol=1e-12, atol=1e-12)


def three_lines(offset: float) -> ReluNetwork:
    """f = (1 - x, x, 2 x - offset) on [0, 1]: class 1 passes class 0 at 0.5, and class 2 passes class 1 at `offset`."""
    builder = NetworkBuilder((1,))
    weight = DenseMap(np.array([[-1.0], [1.0], [2.0]]))
    return builder.build(builder.affine((0,), (weight,), np.array([1.0, 0.0, -offset])))


def test_a_target_that_only_reaches_the_first_class_does_not_win() -> None:
    query = Query(three_lines(0.4), np.zeros(1), targets=Targets.only(1))
    winning = replace(query, targets=Targets.only(1, winning=True))
    assert winning.rivals == (0, 2)
    assert verify(query).upper == pytest.approx(0.5, abs=1e-6)
    assert verify(winning).verdict is Verdict.ROBUST
    assert Witness(query, np.array([0.75])).target == 1
    with pytest.raises(NotAdversarialError):
        Witness(winning, np.array([0.75]))


def test_a_target_wins_where_it_is_largest() -> None:
    winning = Query(three_lines(0.6), np.zeros(1), targets=Targets.only(1, winning=True))
    assert verify(winning).upper == pytest.approx(0.5, abs=1e-6)
    worst = verify(replace(winning, objective=Objective.WORST))
    assert worst.lower == pytest.approx(1 / 15, abs=1e-5) == worst.upper  # 2 x - 1 = 0.6 - x at x = 8/15


def test_all_wrong_classes_as_targets_are_the_usual_question() -> None:
    query = Query(three_lines(0.6), np.zeros(1), targets=Targets(winning=True))
    assert query.rivals == (0,)
