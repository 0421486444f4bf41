"""Certification: only what the engine proves counts, and its counterexamples are real."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from counter_attack.amoeba import AsymmetricBox, certify_box, shrink_to_certified
from mipverify_py import Evidence, Options, Verdict
from mipverify_py.certificate import CertificateError, check
from onnx_models import ReluNetwork
from onnx_models.errors import InputError
from tests.helpers.amoeba import grid, least_margins, linear_classifier, plane_network, robust_point


def around(network: ReluNetwork, seed: int, reach: float) -> AsymmetricBox:
    return AsymmetricBox.clipped(robust_point(network, seed), reach, reach)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("reach", [0.02, 0.4])
def test_verdicts_agree_with_a_grid(seed: int, reach: float) -> None:
    network = plane_network(seed)
    box = around(network, seed, reach)
    found = certify_box(network, box)
    kept = found.query.reference
    margins = least_margins(network, grid(box.lower, box.upper), kept)
    if found.certified:
        assert margins.min() > 0 and found.counterexample is None
    else:
        example = found.counterexample
        assert example is not None and box.contains(example)
        assert least_margins(network, example[None], kept)[0] <= 1e-9
    assert found.certified or margins.min() < 0.05  # the grid is fine enough to come near


def test_the_end_of_a_half_space_is_found_to_a_millionth() -> None:
    network, x = linear_classifier(np.array([1.0, -1.0]), 0.0), np.array([0.75, 0.25])  # margin 0.5
    inside = AsymmetricBox.clipped(x, [0.25 - 1e-6, 0.0], [0.0, 0.25 - 1e-6])
    touching = AsymmetricBox.clipped(x, [0.25, 0.0], [0.0, 0.25])
    assert certify_box(network, inside).certified
    assert not certify_box(network, touching).certified  # a tie counts as adversarial


def test_boxes_are_shrunk_until_they_are_certified() -> None:
    network = plane_network(1)
    box = around(network, 1, 0.5)
    assert not certify_box(network, box).certified
    found = shrink_to_certified(network, box, tau=0.8)
    assert found.certified and found.shrinks > 0
    assert found.box.sides == pytest.approx(0.8**found.shrinks * box.sides)
    before = shrink_to_certified(network, box.scaled(0.8 ** (found.shrinks - 1)), tau=0.8)
    assert before.shrinks == 1


def test_a_time_limit_is_for_all_boxes_together() -> None:
    network = plane_network(1)
    found = shrink_to_certified(network, around(network, 1, 0.5), tau=0.8, options=Options(time_limit=1e-9))
    assert not found.certified and found.shrinks == 0


def test_a_solvers_word_certifies_nothing() -> None:
    network = plane_network(1)
    found = certify_box(network, around(network, 1, 0.01))
    assert found.certified and found.result.verdict is Verdict.ROBUST
    assert not replace(found, result=replace(found.result, evidence=Evidence.SOLVER_CLAIM)).certified
    assert not replace(found, result=replace(found.result, verdict=Verdict.UNKNOWN)).certified


def test_an_input_of_another_class_has_no_certified_box() -> None:
    network = plane_network(1)
    box = around(network, 1, 0.01)
    wrong = (certify_box(network, box).query.reference + 1) % 3
    found = shrink_to_certified(network, box, wrong)
    assert not found.certified and found.shrinks == 0 and np.array_equal(found.counterexample, box.x)


def test_certificates_are_about_the_box() -> None:
    network = plane_network(2)
    box = around(network, 2, 0.02)
    statement = check(certify_box(network, box).certificate().data)
    assert [float(v) for v in statement.lower] == box.lower.tolist()
    assert [float(v) for v in statement.upper] == box.upper.tolist()
    with pytest.raises(CertificateError, match="not proved"):
        certify_box(network, around(network, 2, 1.0)).certificate()


def test_boxes_outside_the_domain_are_refused() -> None:
    with pytest.raises(InputError, match="out of the domain"):
        certify_box(plane_network(0), AsymmetricBox(np.full(2, 0.5), np.full(2, 0.6), np.zeros(2)))
