"""Guided attacks: the masks, the plain attack as a special case, closed forms, and the exact search as the judge."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bounds import Bounds
from counter_attack.amoeba import AsymmetricBox, GuidedAttack, GuidedResult, compare_guided, guide, guided_table
from counter_attack.attacks import (
    BIM,
    FGSM,
    PGD,
    Attack,
    Budget,
    CarliniWagnerL2,
    CarliniWagnerLinf,
    EpsilonSearch,
    ExactFinish,
)
from counter_attack.detection import ExactAttack
from mipverify_py import Norm, distance
from onnx_models import Array
from onnx_models.errors import InputError
from onnx_models.zoo import load_zoo
from tests.helpers.attacked import linear_classifier
from tests.helpers.attacks import assert_sound, digits, size

QUICK = EpsilonSearch(decay_steps=8, bisections=4)
ATTACKS: dict[str, Attack] = {
    "fgsm": FGSM(),
    "fgsm-l2": FGSM(norm=Norm.L2),
    "fgsm-eps": FGSM(eps=0.2),
    "bim": BIM(steps=10, step_size=0.03, search=QUICK),
    "pgd": PGD(steps=10, step_size=0.02, search=QUICK),
    "pgd-l2": PGD(norm=Norm.L2, steps=10, step_size=0.1, search=QUICK),
    "pgd-l1": PGD(norm=Norm.L1, steps=10, step_size=0.5, search=QUICK),
    "cw": CarliniWagnerLinf(steps=20, lr=0.05, const=0.1, tau=0.5, max_const=2.0),
    "cw-l2": CarliniWagnerL2(steps=20, lr=0.05, initial_const=1.0, binary_search_steps=3),
}
NETWORK = load_zoo("digits_small_standard")
IMAGES = digits(4)


def some_boxes(seed: int = 0) -> list[AsymmetricBox]:
    rng = np.random.default_rng(seed)
    return [AsymmetricBox.clipped(x, *rng.uniform(0.01, 0.6, (2, x.size))) for x in IMAGES]


def assert_obeys(result: GuidedResult, x: Array) -> None:
    """Zero outside the masks, and of the right sign inside."""
    change = result.adversarial[result.success] - x[result.success]
    assert np.all(change[~result.decreasing[result.success]] >= 0)
    assert np.all(change[~result.increasing[result.success]] <= 0)


@given(
    st.integers(1, 12).flatmap(
        lambda n: st.tuples(*(st.lists(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9, 1.0]), min_size=n, max_size=n),) * 3)
    ),
    st.sampled_from([1.0, 10.0, 33.0, 50.0, 100.0]),
    st.booleans(),
)
def test_masks_are_those_of_the_definition(rows: tuple[list[float], ...], percent: float, signs: bool) -> None:
    box = AsymmetricBox.clipped(*rows)
    found = guide(box, percent, signs=signs)
    chosen = found.decreasing | found.increasing
    assert np.count_nonzero(chosen) == math.ceil(percent * box.size / 100)
    if not chosen.all():
        assert box.sides[chosen].max() <= box.sides[~chosen].min()
    for i in np.flatnonzero(chosen):
        down = box.e1[i] / box.x[i] if box.x[i] > 0 else 1.0
        up = box.e2[i] / (1 - box.x[i]) if box.x[i] < 1 else 1.0
        if not signs or abs(down - up) < 1e-10:
            assert found.decreasing[i] and found.increasing[i]
        elif abs(down - up) > 1e-8:
            assert (bool(found.decreasing[i]), bool(found.increasing[i])) == (down < up, up < down)
    assert np.array_equal(found.domain.lower, np.where(found.decreasing, 0.0, box.x))
    assert np.array_equal(found.domain.upper, np.where(found.increasing, 1.0, box.x))


def test_a_side_that_ends_with_the_domain_gives_no_direction() -> None:
    box = AsymmetricBox([0.9, 0.0, 0.5], [0.3, 0.0, 0.5], [0.1, 0.4, 0.5])  # short above, but because of the domain
    found = guide(box)
    assert found.decreasing.tolist() == [True, False, True]
    assert found.increasing.tolist() == [False, True, True]
    assert guide(box.scaled(0.9)).decreasing.tolist() == [True, False, True]


def test_the_number_of_features_is_not_rounded_up_from_a_whole_one() -> None:
    box = AsymmetricBox(np.full(1000, 0.5), np.full(1000, 0.1), np.full(1000, 0.1))
    assert 16.1 * 1000 / 100 > 161  # in floats
    assert len(guide(box, 16.1).free) == 161 and len(guide(box, 16.11).free) == 162


def test_features_without_room_come_last() -> None:
    box = AsymmetricBox([0.5, 0.5], [0.0, 0.2], [0.0, 0.2])
    assert guide(box, 50, domain=([0.5, 0.0], [0.5, 1.0])).free.tolist() == [1]


@pytest.mark.parametrize("name", ATTACKS)
def test_all_features_without_signs_is_the_plain_attack(name: str) -> None:
    attack = ATTACKS[name]
    plain = attack(NETWORK, IMAGES, seed=3)
    found = GuidedAttack(attack, 100, signs=False)(NETWORK, some_boxes(), seed=3)
    assert np.array_equal(found.success, plain.success) and plain.success.any()
    np.testing.assert_allclose(found.adversarial, plain.adversarial, rtol=1e-5, atol=0)  # HAIRS may make it longer
    np.testing.assert_allclose(found.distance, plain.distance, rtol=1e-5, atol=0)
    assert np.array_equal(found.calls, plain.calls)


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize(("percent", "signs"), [(30, False), (60, True)])
def test_examples_obey_the_masks_and_are_no_nearer_than_the_exact_distance(
    name: str, percent: float, signs: bool
) -> None:
    boxes, attack = some_boxes(1), ATTACKS[name]
    found = GuidedAttack(attack, percent, signs)(NETWORK, boxes)
    assert_sound(found, NETWORK, IMAGES)
    assert_obeys(found, IMAGES)
    assert not found.refuted.any()
    if attack.norm is not Norm.LINF:
        return  # exact distances in other norms take long; the slow test has them
    for row in np.flatnonzero(found.success):
        allowed = guide(boxes[row], percent, signs=signs).domain
        exact = distance(NETWORK, IMAGES[row], domain=allowed)
        assert exact.lower is not None and found.distance[row] >= exact.lower * (1 - 1e-9)


@pytest.mark.slow
def test_in_l2_the_exact_search_is_not_undercut_either() -> None:
    boxes = some_boxes(2)
    exact = GuidedAttack(ExactAttack(Norm.L2), 25)(NETWORK, boxes)
    found = GuidedAttack(ATTACKS["pgd-l2"], 25)(NETWORK, boxes)
    assert exact.lower is not None
    both = found.success
    assert np.all(found.distance[both] >= exact.lower[both] * (1 - 1e-9))


def test_the_exact_search_under_masks_is_the_exact_distance_of_the_smaller_domain() -> None:
    boxes = some_boxes(3)
    exact = GuidedAttack(ExactAttack(), 40)(NETWORK, boxes)
    assert exact.lower is not None
    assert_obeys(exact, IMAGES)
    for row, box in enumerate(boxes):
        truth = distance(NETWORK, box.x, domain=guide(box, 40).domain)
        if truth.upper is None:
            assert not exact.success[row] and exact.lower[row] == np.inf
        else:
            assert exact.distance[row] == pytest.approx(truth.upper, rel=1e-4)
            assert exact.lower[row] <= exact.distance[row]


@settings(max_examples=8)
@given(st.integers(0, 10**6), st.sampled_from([20.0, 50.0, 100.0]), st.booleans())
def test_on_a_linear_classifier_it_is_the_closed_form(seed: int, percent: float, signs: bool) -> None:
    """For the features S the nearest example is at margin / |w_S|_1 in L-infinity and margin / |w_S|_2 in L2."""
    rng = np.random.default_rng(seed)
    n = 10
    w = rng.uniform(0.5, 2, n) * rng.choice([-1, 1], n)
    x = np.full(n, 0.5)
    network = linear_classifier(np.stack([w, np.zeros(n)]), np.array([0.05 - w @ x, 0.0]))  # margin 0.05 at x
    stopped = np.minimum(0.05 / (n * np.abs(w)), 0.5)  # sides of the largest box have the same cost |w_i| e_i
    box = AsymmetricBox(x, np.where(w > 0, stopped, 0.5), np.where(w > 0, 0.5, stopped))
    top = np.sort(np.abs(w[guide(box, percent).free]))
    assert np.array_equal(top, np.sort(np.abs(w))[-len(top) :])
    for norm, length in ((Norm.LINF, top.sum()), (Norm.L2, np.linalg.norm(top))):
        attack = FGSM(norm=norm, search=EpsilonSearch(bisections=22))
        found = GuidedAttack(attack, percent, signs)(network, [box])
        assert found.distance[0] == pytest.approx(0.05 / length, rel=1e-6)
        down = found.adversarial[0] < x
        assert np.array_equal(down[guide(box, percent).free], w[guide(box, percent).free] > 0)


def test_signs_that_point_away_from_the_boundary_leave_nothing_to_find() -> None:
    w = np.array([1.0, -2.0])
    network = linear_classifier(np.stack([w, np.zeros(2)]), np.array([1.0, 0.0]))
    wrong = AsymmetricBox([0.5, 0.5], [0.5, 0.1], [0.1, 0.5])
    for attack in (FGSM(), ATTACKS["pgd"], ATTACKS["cw"], ExactAttack()):
        found = GuidedAttack(attack)(network, [wrong])
        assert not found.success[0] and np.isnan(found.distance[0])


def test_an_input_that_the_model_gets_wrong_has_distance_0() -> None:
    predicted = int(NETWORK.forward(IMAGES[0]).argmax())
    found = GuidedAttack(FGSM(), 10)(NETWORK, some_boxes()[:1], (predicted + 1) % 10)
    assert found.success[0] and found.distance[0] == 0


def test_a_claim_that_does_not_stand_the_check_is_no_success(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from counter_attack._classifier import Classifier

    true = Classifier.logits

    def lying(self: Classifier, rows: torch.Tensor) -> torch.Tensor:
        logits = true(self, rows)
        return logits - 100 * torch.nn.functional.one_hot(logits.argmax(dim=1), logits.shape[1])

    label = int(NETWORK.forward(IMAGES[0]).argmax())
    with monkeypatch.context() as patch:
        patch.setattr(Classifier, "logits", lying)
        found = GuidedAttack(FGSM(), 25)(NETWORK, some_boxes()[:1], label)
    assert found.refuted[0] and not found.success[0]
    assert np.isnan(found.adversarial[0]).all() and found.found[0] == -1


def test_the_table_is_that_of_its_definitions() -> None:
    boxes, attack = some_boxes()[:2], FGSM()
    runs = list(compare_guided(NETWORK, boxes, [attack, ExactAttack()], [(30, True), (30, False)], seed=1))
    assert [run.guidance for run in runs] == ["plain", "30 %, signs", "30 %"] * 2
    table = guided_table(runs)
    for run, row in zip(runs, table.rows, strict=True):
        alone = GuidedAttack(run.how.attack, run.how.percent, run.how.signs)(NETWORK, boxes, seed=1)
        change = (alone.adversarial - IMAGES[: len(boxes)])[alone.success]
        assert row["success"] == 100 * alone.success.mean()
        if alone.success.any():
            assert row["l0"] == np.mean([np.count_nonzero(one) for one in change])
            for key, norm in (("l1", Norm.L1), ("l2", Norm.L2), ("linf", Norm.LINF)):
                assert row[key] == pytest.approx(size(change, norm).mean())
    plain, guided = runs[0].result, runs[2].result
    both = plain.success & guided.success
    expected = 100 * (guided.distance[both].mean() / plain.distance[both].mean() - 1)
    assert table.rows[2]["longer"] == pytest.approx(expected) and table.rows[2]["common"] == both.sum()
    assert table.rows[0]["open"] is None and table.rows[3]["open"] == 0


@pytest.mark.parametrize("eps", [0.12, 0.3])
def test_within_a_radius_an_attack_succeeds_only_where_the_exact_search_does(eps: float) -> None:
    attacks = [replace(ATTACKS["pgd"], eps=None), ATTACKS["cw"], ExactAttack()]
    runs = list(compare_guided(NETWORK, some_boxes(), attacks, [(60, True)], eps=eps))
    assert getattr(runs[0].how.attack, "eps", None) == eps
    exact = {run.guidance: run for run in runs if run.how.attack.name == "exact"}
    for run in runs:
        assert not np.any(run.success & ~exact[run.guidance].success)
        assert np.all(run.result.distance[run.success] <= eps * (1 + 1e-5))


def test_an_exact_search_that_a_limit_cuts_off_is_open() -> None:
    (run,) = compare_guided(NETWORK, some_boxes()[:1], [ExactAttack()], [], budget=Budget(seconds=1e-9))
    assert run.open is not None and run.open[0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: GuidedAttack(FGSM(), 0), "above 0 and at most 100"),
        (lambda: guide(some_boxes()[0], 101), "above 0 and at most 100"),
        (lambda: guide(some_boxes()[0], domain=(0.6, 1.0)), "outside the domain"),
        (lambda: guide(some_boxes()[0], domain=(0.0, [1.0, 1.0])), "two arrays of 64"),
        (lambda: guide(some_boxes()[0], domain=(0.0, np.inf)), "finite ends"),
        (lambda: GuidedAttack(ExactFinish()), "cannot be guided"),
        (lambda: GuidedAttack(FGSM())(NETWORK, []), "at least one box"),
        (lambda: GuidedAttack(FGSM())(NETWORK, [AsymmetricBox([0.5], [0.1], [0.1])]), "1 features, the model 64"),
        (lambda: GuidedAttack(FGSM())("model", some_boxes()), "needs a ReluNetwork"),  # type: ignore[arg-type]
        (lambda: list(compare_guided(NETWORK, some_boxes(), [FGSM()], [], eps=0.0)), "above 0"),
    ],
)
def test_mistakes_are_named(call: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()  # type: ignore[operator]


def test_the_domain_of_a_guide_is_a_pair_of_bounds() -> None:
    assert isinstance(guide(some_boxes()[0], 10).domain, Bounds)
