"""Fooling curves against the network and exact distances, and Wilson's interval against its closed form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.stats import norm as normal

from counter_attack.attacks import BIM, FGSM, DeepFool
from counter_attack.detection import ExactAttack
from counter_attack.diagnostics import (
    Share,
    Subject,
    at_radius,
    draw_curves,
    exact_curve,
    fooling_curve,
    fooling_curves,
)
from mipverify_py import Norm, Options
from onnx_models.errors import InputError
from onnx_models.zoo import digits_test, load_zoo

EPS = [0.03, 0.06, 0.12]


def subject(count: int = 12) -> Subject:
    data = digits_test()
    return Subject.of(load_zoo("digits_small_standard"), data.images[:count], data.labels[:count])


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_intervals_are_wilson_s(pair: tuple[int, int]) -> None:
    """(p + z^2 / 2n +- z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n)."""
    count, n = pair
    z, p = normal.ppf(0.975), count / n
    middle, reach = p + z**2 / (2 * n), z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    low, high = Share(count, n).interval
    assert low == pytest.approx(max((middle - reach) / (1 + z**2 / n), 0.0), abs=1e-9)
    assert high == pytest.approx(min((middle + reach) / (1 + z**2 / n), 1.0), abs=1e-9)


@pytest.mark.slow
def test_no_attack_fools_what_is_proved_to_be_safe() -> None:
    one = subject()
    exact = exact_curve(one.attacked(ExactAttack()), EPS)
    curves = fooling_curves(one, {"fgsm": FGSM(), "bim": BIM(steps=30), "deepfool": DeepFool()}, EPS)
    assert exact.fooled.any() and not exact.fooled.all()
    for curve in curves:
        assert not np.any(curve.fooled & ~exact.possible)
    for low, high in exact.shares:
        assert low.count <= high.count


def test_one_step_s_curve_is_that_of_the_network() -> None:
    """FGSM written out: the gradient of the log odds by central differences, its signs, one evaluation each."""
    one, network = subject(6), load_zoo("digits_small_standard")

    def odds(rows: np.ndarray, label: int) -> np.ndarray:
        logits = network.forward_batch(rows)
        others = np.delete(logits, label, axis=1)
        return (
            np.log(np.exp(others - others.max(axis=1, keepdims=True)).sum(axis=1))
            + others.max(axis=1)
            - logits[:, label]
        )

    curve = fooling_curve(one, "fgsm", FGSM(), EPS)
    step = 1e-7 * np.eye(64)
    for k, (x, label) in enumerate(zip(one.x, one.label, strict=True)):
        sign = np.sign(odds(x + step, label) - odds(x - step, label))
        for e, eps in enumerate(EPS):
            moved = np.clip(x + eps * sign, 0.0, 1.0)
            assert curve.fooled[e, k] == (network.forward(moved).argmax() != label)


def test_a_nearest_example_counts_from_its_distance_on() -> None:
    one = subject()
    found = one.attacked(DeepFool())
    curve = fooling_curve(one, "deepfool", DeepFool(), EPS)
    assert np.array_equal(curve.fooled, found.distance <= np.array(EPS)[:, None])
    assert [share.count for share in curve.shares] == [int(row.sum()) for row in curve.fooled]


def test_open_brackets_make_a_band() -> None:
    one = subject(3)
    open_ = one.attacked(ExactAttack(options=Options(node_limit=1, time_limit=1e-3)))
    curve = exact_curve(open_, [1e-9, 1.0])
    assert not curve.fooled[0].any()
    assert np.all(curve.possible | ~curve.fooled)


def test_steps_reach_further_than_the_ball() -> None:
    attack = at_radius(BIM(steps=50), 0.2)
    assert (attack.eps, attack.step_size, attack.steps) == (0.2, 2.5 * 0.2 / 50, 50)  # type: ignore[attr-defined]
    assert at_radius(FGSM(), 0.3) == FGSM(eps=0.3)


def test_picture(tmp_path: Path) -> None:
    one = subject(4)
    curves = fooling_curves(one, {"fgsm": FGSM()}, EPS)
    draw_curves(curves, exact_curve(one.attacked(ExactAttack()), EPS), tmp_path / "c.png")
    with Image.open(tmp_path / "c.png") as drawn:
        assert drawn.size[0] > 500
    draw_curves(curves, None, tmp_path / "d.png")
    with pytest.raises(InputError, match="cannot be written"):
        draw_curves(curves, None, tmp_path / "none" / "d.png")


@pytest.mark.parametrize("eps", [[], [0.0], [0.2, 0.1], [0.1, np.nan], [[0.1]]])
def test_bad_radii_are_refused(eps: list[float]) -> None:
    with pytest.raises(InputError, match="ascending"):
        fooling_curve(subject(1), "fgsm", FGSM(), eps)


def test_the_norm_has_to_be_that_of_the_inputs() -> None:
    with pytest.raises(InputError, match="make them agree"):
        fooling_curve(subject(1), "fgsm", FGSM(norm=Norm.L2), EPS)
