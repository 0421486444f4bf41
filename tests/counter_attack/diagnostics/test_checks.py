"""Every check fires on a network made to mislead it, and none on ordinary networks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.special import comb

from counter_attack.attacks import BIM, PGD
from counter_attack.detection import ExactAttack, ExactResult
from counter_attack.diagnostics import Finding, Plan, Subject, diagnose
from counter_attack.diagnostics._checks import sign_test
from mipverify_py import Norm
from onnx_models.errors import InputError
from onnx_models.zoo import digits_test, load_zoo
from tests.helpers.masked_gradients import ridge, ridge_inputs, staircase, staircase_inputs


def findings(subject: Subject, plan: Plan, exact: ExactResult | None = None) -> dict[str, Finding]:
    found = list(diagnose(subject, plan, exact))
    assert len({one.name for one in found}) == len(found) == 5 + (exact is not None)
    return {one.name: one for one in found}


def test_no_gradient_at_all() -> None:
    """Behind a staircase only attacks without gradients find the examples that the exact search proves to be there."""
    subject = Subject.of(staircase(4), staircase_inputs(4, 12))
    exact = subject.attacked(ExactAttack())
    assert exact.exact.all() and np.all(exact.upper <= 0.05)
    found = findings(subject, Plan(0.1, BIM(steps=20), samples=200, queries=200), exact)
    warned = {name for name, one in found.items() if one.warns}
    assert warned == {"black-box", "unbounded", "sampling", "growth", "exact"}  # one step is as blind as many
    assert found["exact"].numbers["with_example"] == found["exact"].numbers["clearly"] == 12
    assert found["exact"].rows == tuple(range(12)) and found["unbounded"].numbers["fooled"] == 0
    assert found["exact"].numbers["nearest"] == exact.upper.min()


@pytest.mark.slow
def test_small_steps_end_on_a_ridge_that_one_large_step_leaps_over() -> None:
    subject = Subject.of(ridge(4), ridge_inputs(4, 12))
    exact = subject.attacked(ExactAttack())
    np.testing.assert_allclose(exact.upper, 0.5 - subject.x.mean(axis=1), rtol=1e-5)  # what it was built to be
    found = findings(subject, Plan(0.13, BIM(steps=20), samples=50, queries=100), exact)
    assert found["one-step"].warns and found["exact"].warns
    assert found["one-step"].numbers["only_fgsm"] == 12 and found["one-step"].numbers["attack_fools"] == 0


@pytest.mark.parametrize("model", ["digits_small_standard", "digits_conv_standard", "digits_dense_adversarial"])
def test_ordinary_networks_raise_no_warning(model: str) -> None:
    data = digits_test()
    subject = Subject.of(load_zoo(model), data.images[:12], data.labels[:12])
    plan = Plan(0.1, BIM(steps=40), samples=100, queries=100)
    warned = [one.text for one in findings(subject, plan).values() if one.warns]
    assert not warned


@pytest.mark.slow
@pytest.mark.parametrize("model", ["digits_small_standard", "digits_conv_standard", "digits_dense_adversarial"])
@pytest.mark.parametrize("attack", [BIM(steps=100), PGD(steps=100)])
def test_nor_do_they_with_exact_distances(model: str, attack: Any) -> None:
    data = digits_test()
    subject = Subject.of(load_zoo(model), data.images[:30], data.labels[:30])
    exact = subject.attacked(ExactAttack())
    found = findings(subject, Plan(0.1, attack), exact)
    assert not [one.text for one in found.values() if one.warns]
    assert found["exact"].numbers["with_example"] == int((exact.upper <= 0.1).sum())


def test_inputs_proved_to_have_no_example_do_not_count_as_failures() -> None:
    """A class that no input of the domain leaves: the network is constant."""
    from onnx_models import DenseMap, NetworkBuilder

    builder = NetworkBuilder((2,))
    flat = builder.build(builder.affine([0], [DenseMap(np.zeros((2, 2)))], np.array([1.0, 0.0])))
    subject = Subject.of(flat, np.full((3, 2), 0.5))
    plan = Plan(0.1, BIM(steps=5), samples=5, queries=5)
    unproved = findings(subject, plan)
    assert unproved["unbounded"].warns and unproved["growth"].warns
    proved = findings(subject, plan, subject.attacked(ExactAttack()))
    assert not any(one.warns for one in proved.values())
    assert proved["unbounded"].numbers["without_example"] == 3


def test_the_sign_test_is_the_binomial_tail() -> None:
    for a, b in ((0, 0), (4, 0), (5, 0), (3, 7), (8, 2)):
        tail = sum(comb(a + b, k, exact=True) for k in range(a, a + b + 1)) / 2 ** (a + b)
        assert sign_test(a, b) == pytest.approx(tail, rel=1e-12)


def test_in_l1_and_l2_too() -> None:
    data = digits_test()
    for norm, eps in ((Norm.L1, 2.0), (Norm.L2, 0.5)):
        subject = Subject.of(load_zoo("digits_small_standard"), data.images[:6], data.labels[:6], norm=norm)
        found = findings(subject, Plan(eps, BIM(norm=norm, steps=30), samples=30, queries=30))
        assert not found["sampling"].warns and not found["unbounded"].warns
        assert ("square_chance" in found["black-box"].numbers) == (norm is Norm.L2)


@pytest.mark.parametrize("wrong", [{"eps": 0.0}, {"eps": 0.1, "samples": 0}, {"eps": 0.1, "queries": 0}])
def test_bad_plans_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="eps > 0"):
        Plan(**wrong)


def test_norms_have_to_agree() -> None:
    subject = Subject.of(staircase(3), staircase_inputs(3, 2), norm=Norm.L2)
    with pytest.raises(InputError, match="make them agree"):
        list(diagnose(subject, Plan(0.1)))
