"""rho1 and rho2 against their definitions, closed forms and exact distances."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from counter_attack.attacks import BIM, FGSM, DeepFool
from counter_attack.attacks._problem import SpentError
from counter_attack.detection import ExactAttack, ExactResult
from counter_attack.diagnostics import Subject, measures, rho1, rho2
from mipverify_py import Norm
from onnx_models import DenseMap, NetworkBuilder
from onnx_models.errors import InputError
from onnx_models.zoo import digits_test, load_zoo


def test_on_a_linear_model_deepfool_s_measures_are_the_exact_ones() -> None:
    """|eta|_2 = |margin| / |w|_2 for every input; its mean over |x|_2, and its order statistics."""
    rng = np.random.default_rng(0)
    w, x = rng.normal(size=5), 0.5 + 0.05 * rng.normal(size=(9, 5))
    builder = NetworkBuilder((5,))
    network = builder.build(builder.affine([0], [DenseMap(np.stack([w, -w]))], np.array([-w.sum() / 2, w.sum() / 2])))
    subject = Subject.of(network, x, norm=Norm.L2)
    distance = np.abs((x - 0.5) @ w) / np.linalg.norm(w)
    (deepfool,) = measures(subject, {"deepfool": subject.attacked(DeepFool(norm=Norm.L2))})
    assert deepfool.rho1[0] == pytest.approx(float(np.mean(distance / np.linalg.norm(x, axis=1))), rel=1e-4)
    assert deepfool.mean[0] == pytest.approx(float(distance.mean()), rel=1e-4)
    assert deepfool.rho2[0][0] == pytest.approx(np.sort(distance)[4], rel=1e-4)  # 5 of 9 are at least half
    assert deepfool.rho2[1][0] == pytest.approx(distance.max(), rel=1e-4)
    assert deepfool.exact_rho1 == (None, None)


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=30), st.integers(1, 100))
def test_rho2_is_the_least_radius_that_fools_the_share(distance: list[float], percent: int) -> None:
    d = np.array(distance)
    eps = rho2(d, percent / 100)
    assert eps is not None
    assert 100 * int((d <= eps).sum()) >= percent * len(d)
    smaller = d[d < eps]
    assert 100 * len(smaller) < percent * len(d)


def test_rho2_without_enough_examples_is_none() -> None:
    d = np.array([0.1, np.inf, 0.2, np.inf])
    assert rho2(d, 0.5) == 0.2 and rho2(d, 0.51) is None


@pytest.mark.slow
def test_exact_measures_are_below_those_of_attacks() -> None:
    data = digits_test()
    subject = Subject.of(load_zoo("digits_small_standard"), data.images[:8], data.labels[:8])
    exact = subject.attacked(ExactAttack())
    results = {"fgsm": subject.attacked(FGSM()), "deepfool": subject.attacked(DeepFool())}
    *attacks, last = measures(subject, results, exact)
    assert last.name == "exact" and last.found == last.of == len(subject)
    for one in attacks:
        assert one.rho1[0] is not None and one.exact_rho1[0] is not None and one.mean[0] is not None
        assert one.rho1[0] >= one.exact_rho1[0] and one.mean[0] >= (one.exact_mean[0] or np.inf)
        for ours, truth in zip(one.rho2, last.rho2, strict=True):
            assert ours[0] is None or (truth[0] is not None and ours[0] >= truth[0])
    ratio = exact.upper / np.abs(subject.x).max(axis=1)
    assert last.rho1[1] == pytest.approx(float(ratio.mean()), rel=1e-12)
    assert last.rho1[0] is not None and last.rho1[0] <= float(ratio.mean())


def test_failures_are_counted_and_not_averaged() -> None:
    """An attack too weak to reach anything has no mean, and no eps fools half of the inputs."""
    data = digits_test()
    subject = Subject.of(load_zoo("digits_small_standard"), data.images[:5], data.labels[:5])
    (one,) = measures(subject, {"fgsm": subject.attacked(FGSM(eps=1e-6))})
    assert (one.found, one.of, one.mean, one.rho1) == (0, 5, (None, None), (None, None))
    assert one.rho2 == ((None, None), (None, None))


def test_an_input_of_zeros_has_a_distance_and_no_ratio() -> None:
    data = digits_test()
    network, images = load_zoo("digits_small_standard"), data.images[:3].reshape(3, -1).astype(float)
    both, plain = (Subject.of(network, x) for x in (np.concatenate([images, np.zeros((1, 64))]), images))
    exact, alone = (subject.attacked(ExactAttack()) for subject in (both, plain))
    assert isinstance(exact, ExactResult) and isinstance(alone, ExactResult)
    fooled, last = measures(both, {"deepfool": both.attacked(DeepFool())}, exact)
    (expected, _) = measures(plain, {"deepfool": plain.attacked(DeepFool())}, alone)
    assert fooled.found == last.found == 4 and fooled.rho1 == pytest.approx(expected.rho1)
    assert fooled.exact_rho1 == pytest.approx(expected.exact_rho1) and fooled.mean[0] != expected.mean[0]
    (nothing,) = measures(both.only(np.array([3])), {"deepfool": both.only(np.array([3])).attacked(DeepFool())})
    assert nothing.found == 1 and nothing.rho1 == (None, None)


def test_after_the_deadline_no_attack_counts() -> None:
    data = digits_test()
    subject = Subject.of(load_zoo("digits_small_standard"), data.images[:3], data.labels[:3])
    with pytest.raises(SpentError):
        replace(subject, deadline=time.monotonic()).attacked(FGSM())
    with pytest.raises(SpentError):  # far more steps than the time allows: what was found by then is no answer
        replace(subject, deadline=time.monotonic() + 0.2).attacked(BIM(steps=10**7, step_size=1e-12, eps=1e-6))


def test_what_cannot_be_is_refused() -> None:
    subject = Subject.of(load_zoo("digits_small_standard"), np.zeros((1, 64)))
    with pytest.raises(InputError, match="divides by"):
        rho1(np.array([0.1]), subject.x, subject)
    for share in (0.0, 1.5):
        with pytest.raises(InputError, match="share"):
            rho2(np.array([0.1]), share)
    with pytest.raises(InputError, match="at least one"):
        rho2(np.array([]), 0.5)
