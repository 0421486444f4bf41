"""The paper's table, comparisons and phase counts, against figures worked out by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from counter_attack.ground_truth import Point, comparison, phase_counts, picture, points_frame, summaries
from mipverify_py import Evidence, Norm, StopReason
from onnx_models.errors import InputError


def point(index: int, upper: float | None, attack: float | None = None, **given: Any) -> Point:
    values: dict[str, Any] = {
        "network": "plain",
        "index": index,
        "norm": Norm.LINF,
        "reference": 0,
        "target": 1,
        "attack": attack,
        "lower": None if upper is None else upper - 1e-6,
        "upper": upper,
        "terminated": True,
        "stop_reason": StopReason.SOLVED,
        "evidence": Evidence.REPROVED,
        "changed": () if upper is None else (1, 0),
        "seconds": 0.5,
    }
    return Point(**values | given)


OPEN: dict[str, Any] = {"terminated": False, "stop_reason": StopReason.TIME_LIMIT, "evidence": None, "lower": None}


def test_means_and_improvement_over_all_and_over_terminated_points() -> None:
    points = [
        point(0, 0.1, 0.2),
        point(1, 0.3, 0.4),
        point(2, 0.5, 0.6, **OPEN),
        point(3, None),
        point(4, 0.7),
        point(5, 1.0, 2.0, norm=Norm.L1),
    ]
    linf, l1 = summaries(points)
    assert (linf.points, linf.terminated, linf.without_example, linf.attack_failed) == (5, 4, 1, 1)
    assert (linf.over_all.points, linf.over_terminated.points) == (3, 2)
    assert linf.over_all.attack == pytest.approx(0.4) and linf.over_all.truth == pytest.approx(0.3)
    assert linf.over_all.improvement == pytest.approx(25.0)
    assert linf.over_terminated.improvement == pytest.approx(100 / 3)
    assert l1.norm is Norm.L1 and l1.over_all.improvement == pytest.approx(50.0)


def test_means_over_nothing_say_so() -> None:
    (row,) = summaries([point(0, None)])
    assert (row.over_all.points, row.over_all.attack, row.over_all.improvement) == (0, None, None)
    assert summaries([]) == []


def test_a_comparison_takes_what_both_networks_finished() -> None:
    points = [
        *(point(i, upper) for i, upper in enumerate((0.1, 0.2, 0.3, 0.4))),
        point(0, 0.3, network="hard"),
        point(1, 0.15, network="hard"),
        point(2, 0.3, network="hard"),
        point(3, 0.9, network="hard", **OPEN),
        point(9, 0.9, network="hard"),
    ]
    found = comparison(points, "plain", "hard", Norm.LINF)
    assert found.points == 3 and (found.better, found.worse) == (1, 1)  # equal to within the bracket is neither
    assert found.standard_mean == pytest.approx(0.2) and found.hardened_mean == pytest.approx(0.25)
    assert found.ratio == pytest.approx(1.25) and found.losses == pytest.approx((0.25,))
    nothing = comparison(points, "plain", "hard", Norm.L1)
    assert (nothing.points, nothing.standard_mean, nothing.ratio, nothing.losses) == (0, None, None, ())


def test_points_of_another_class_of_the_input_are_not_compared() -> None:
    found = comparison([point(0, 0.2), point(0, 0.1, reference=2, network="hard")], "plain", "hard", Norm.LINF)
    assert (found.points, found.worse) == (0, 0)


def test_brackets_that_overlap_prove_neither() -> None:
    wide = [point(0, 0.2, lower=0.1), point(0, 0.15, lower=0.05, network="hard")]
    found = comparison(wide, "plain", "hard", Norm.LINF)
    assert (found.points, found.better, found.worse) == (1, 0, 0)


def test_the_same_experiment_twice_is_refused() -> None:
    with pytest.raises(InputError, match="twice"):
        comparison([point(0, 0.1), point(0, 0.1)], "plain", "hard", Norm.LINF)


def test_phases_by_layer_and_in_all() -> None:
    points = [point(0, 0.1, changed=(1, 2)), point(1, 0.2, changed=(3, 0)), point(2, 0.2, changed=(9, 9), **OPEN)]
    first, second, both = phase_counts(points, "plain", Norm.LINF, [10, 5])
    assert [(r.layer, r.units, r.points, r.mean, r.largest) for r in (first, second, both)] == [
        (0, 10, 2, 2.0, 3),
        (1, 5, 2, 1.0, 2),
        (None, 15, 2, 3.0, 3),
    ]
    assert phase_counts([], "plain", Norm.LINF, [10])[0].mean is None
    with pytest.raises(InputError, match="1 ReLU nodes"):
        phase_counts(points, "plain", Norm.LINF, [10])


def test_the_frame_has_a_row_per_point_and_survives_parquet(tmp_path: Path) -> None:
    frame = points_frame([point(0, 0.1, 0.2), point(3, None)])
    assert frame["upper"].tolist()[0] == 0.1 and frame["upper"].isna().tolist() == [False, True]
    assert frame["changed"].tolist() == ["1 0", ""] and frame["norm"].tolist() == ["linf", "linf"]
    frame.to_parquet(tmp_path / "points.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "points.parquet"), frame, check_dtype=False)
    assert len(points_frame([])) == 0


def test_the_picture_has_a_panel_per_norm_and_one_for_networks() -> None:
    points = [point(0, 0.1, 0.2), point(1, 0.3, 0.4, **OPEN), point(0, 0.2, 0.25, network="ha$rd$")]
    figure = picture(points)
    assert len(figure.axes) == 2
    assert [text.get_text() for text in figure.legends[0].texts] == ["plain", "plain, open", "ha$rd$"]
    assert len(picture([point(0, 0.1, 0.2)]).axes) == 1
    with pytest.raises(InputError, match="nothing to draw"):
        picture([point(0, None)])
