"""Universal perturbations by projection: their size, their fooling ratio, limits and mistakes."""

from __future__ import annotations

import signal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from counter_attack.attacks import AttackStop, DeepFool
from counter_attack.diagnostics import Subject
from counter_attack.universal import by_projection, random_perturbation
from counter_attack.universal._projection import projected
from mipverify_py import Norm
from onnx_models import DenseMap, NetworkBuilder, ReluNetwork
from onnx_models.errors import InputError
from onnx_models.zoo import digits_split, load_zoo

ORDER = {Norm.LINF: np.inf, Norm.L1: 1, Norm.L2: 2}
EPS = {Norm.LINF: 0.3, Norm.L1: 12.0, Norm.L2: 2.0}


def subject(count: int, norm: Norm = Norm.LINF) -> Subject:
    data = digits_split().train
    return Subject.of(load_zoo("digits_small_standard"), data.images[:count], data.labels[:count], norm=norm)


def halves() -> ReluNetwork:
    """Two classes of one number: below 1/2, and from there on."""
    builder = NetworkBuilder((1,))
    return builder.build(builder.affine([0], [DenseMap(np.array([[0.0], [1.0]]))], np.array([0.5, 0.0])))


@pytest.mark.parametrize("norm", list(Norm))
def test_the_perturbation_is_never_larger_than_eps_and_its_ratio_is_that_of_the_network(norm: Norm) -> None:
    """Recomputed with numpy and the network's own forward pass; also on images that it was not made for."""
    network, data = load_zoo("digits_small_standard"), digits_split().test
    found = by_projection(subject(12, norm), EPS[norm], passes=1)
    assert np.linalg.norm(found.vector, ord=ORDER[norm]) <= EPS[norm] and found.vector.any()
    held_out = Subject.of(network, data.images[:60], data.labels[:60], norm=norm)
    flat = data.images[:60].reshape(60, -1).astype(np.float64)
    right = network.forward_batch(flat).argmax(axis=1) == data.labels[:60]
    moved = network.forward_batch(np.clip(flat[right] + found.vector, 0.0, 1.0)).argmax(axis=1)
    share = found.fooling(held_out)
    assert (share.count, share.of) == (int((moved != data.labels[:60][right]).sum()), int(right.sum()))


def test_more_is_fooled_than_by_noise_and_progress_is_the_ratio_on_the_inputs() -> None:
    fitted = subject(15)
    found = by_projection(fitted, 0.3, passes=2)
    assert found.fooling(fitted).ratio == max(found.progress)
    assert found.fooling(fitted).count > random_perturbation(fitted, 0.3).fooling(fitted).count
    assert (found.stop is AttackStop.FINISHED) == (max(found.progress) >= 0.8)


def test_in_one_dimension_the_answer_is_known() -> None:
    """All inputs lie at most 0.2 below the boundary: up to 0.25 upwards fools every one, 0.05 none."""
    one = Subject.of(halves(), np.array([[0.3], [0.35], [0.4]]))
    found = by_projection(one, 0.25, share=1.0)
    assert found.stop is AttackStop.FINISHED and found.progress == (1.0,)
    assert 0.2 <= found.vector[0] <= 0.25
    short = by_projection(one, 0.05, passes=3)
    assert short.stop is AttackStop.BUDGET and short.progress == (0.0,) * 3
    assert abs(short.vector[0]) <= 0.05


@given(st.integers(0, 2**32 - 1), st.sampled_from(list(Norm)))
def test_projections_are_inside_and_nearest(seed: int, norm: Norm) -> None:
    """No other point of the ball is nearer: the angle to all of them is obtuse (the variational inequality)."""
    rng = np.random.default_rng(seed)
    vector, eps = rng.normal(size=6), float(rng.uniform(0.1, 2.0))
    found = projected(vector, eps, norm)
    assert np.linalg.norm(found, ord=ORDER[norm]) <= eps
    others = rng.normal(size=(50, 6))
    others *= eps * rng.random((50, 1)) / np.linalg.norm(others, ord=ORDER[norm], axis=1, keepdims=True)
    assert np.all((others - found) @ (vector - found) <= 1e-9)


def test_ctrl_c_and_a_time_limit_keep_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    attack, calls = DeepFool.run, []

    def fourth_is_interrupted(self: DeepFool, problem: Any) -> None:
        calls.append(problem)
        if len(calls) == 4:
            signal.raise_signal(signal.SIGINT)
        attack(self, problem)

    with monkeypatch.context() as patch:
        patch.setattr(DeepFool, "run", fourth_is_interrupted)
        found = by_projection(subject(12), 0.3)
    assert found.stop is AttackStop.INTERRUPTED and len(calls) == 4
    assert found.vector.any() and found.progress == ()
    late = by_projection(subject(12), 0.3, seconds=1e-9)
    assert late.stop is AttackStop.TIME and not late.vector.any()


@pytest.mark.parametrize("wrong", [{"eps": 0.0}, {"share": 0.0}, {"share": 1.1}, {"passes": 0}])
def test_bad_arguments_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="eps > 0"):
        by_projection(Subject.of(halves(), [[0.3]]), **{"eps": 0.1, **wrong})
