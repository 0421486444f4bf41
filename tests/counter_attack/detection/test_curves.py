"""ROC and F1: against counting by hand, and the pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from counter_attack.detection import f1_curve, plot_f1, plot_roc, roc_curve
from onnx_models import Array
from onnx_models.errors import InputError


def distances(count: int = 60) -> tuple[Array, Array]:
    """Estimates and exact distances, with ties, failures and inputs without any example."""
    rng = np.random.default_rng(0)
    exact = np.round(rng.gamma(4.0, 0.02, count), 2)
    estimate = np.round(exact * (1 + rng.gamma(0.5, 0.3, count)), 2)
    estimate[:3] = np.inf
    exact[2] = np.inf
    return estimate, exact


def test_roc_points_are_rates_at_their_thresholds() -> None:
    estimate, exact = distances()
    found = roc_curve(estimate, exact, 0.07)
    positive = exact <= 0.07
    assert found.threshold[0] == -np.inf
    for false, true, threshold in zip(
        found.false_positive_rate, found.true_positive_rate, found.threshold, strict=True
    ):
        marked = estimate <= threshold
        assert false == pytest.approx(marked[~positive].mean()) and true == pytest.approx(marked[positive].mean())
    marked = estimate <= 0.07
    assert found.at_eps == pytest.approx((marked[~positive].mean(), marked[positive].mean()))


def test_area_is_the_share_of_pairs_in_the_right_order() -> None:
    estimate, exact = distances()
    positive = exact <= 0.07
    low, high = estimate[positive][:, None], estimate[~positive]
    share = np.mean((low < high) + 0.5 * (low == high))
    assert roc_curve(estimate, exact, 0.07).area == pytest.approx(share)


def test_f1_is_counted_by_hand() -> None:
    estimate, exact = distances()
    found = f1_curve(estimate, exact, [0.0, 0.05, 0.1, 10.0])
    for eps, f1 in zip(found.eps, found.f1, strict=True):
        positive, marked = exact <= eps, estimate <= eps
        hits, misses, false = (
            np.sum(positive & marked),
            np.sum(positive & ~marked),
            np.sum(~positive & marked),
        )
        assert (
            np.isnan(f1) if hits + misses + false == 0 else f1 == pytest.approx(2 * hits / (2 * hits + misses + false))
        )


def test_exact_estimates_have_f1_and_area_of_one() -> None:
    _, exact = distances()
    found = f1_curve(exact, exact)
    assert len(found.eps) == 200 and found.eps[0] == 0 and found.eps[-1] > exact[np.isfinite(exact)].max()
    assert np.all(np.isnan(found.f1) | (found.f1 == 1.0)) and not np.isnan(found.f1[-1])
    assert roc_curve(exact, exact, 0.07).area == 1.0
    assert roc_curve(exact, exact, 0.07).at_eps == (0.0, 1.0)


def test_a_roc_curve_needs_both_kinds() -> None:
    estimate, exact = distances()
    with pytest.raises(InputError, match="all 60 inputs are robust"):
        roc_curve(estimate, exact, 0.0)
    with pytest.raises(InputError, match="all 3 inputs are non-robust"):
        roc_curve(estimate[3:6], exact[3:6], 1.0)


def test_bad_distances() -> None:
    with pytest.raises(InputError, match="NaN"):
        f1_curve([0.1, np.nan], [0.1, 0.2])
    with pytest.raises(InputError, match="expected"):
        roc_curve([0.1], [0.1, 0.2], 0.1)


def test_pictures_are_written(tmp_path: Path) -> None:
    estimate, exact = distances()
    plot_roc(roc_curve(estimate, exact, 0.07), tmp_path / "roc.png")
    plot_f1(f1_curve(estimate, exact), tmp_path / "f1.png", mark=0.07)
    for name in ("roc.png", "f1.png"):
        pixels = np.asarray(Image.open(tmp_path / name).convert("L"))
        assert pixels.shape[0] > 300 and len(np.unique(pixels)) > 10
    with pytest.raises(InputError, match="cannot be written"):
        plot_roc(roc_curve(estimate, exact, 0.07), tmp_path / "none" / "roc.png")
    with pytest.raises(InputError, match="cannot be written"):
        plot_roc(roc_curve(estimate, exact, 0.07), tmp_path / "roc.doc")
