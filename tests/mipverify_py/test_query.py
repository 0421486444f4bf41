"""Queries, perturbation sets, exact distances and witnesses."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bounds import Bounds
from mipverify_py import (
    Box,
    LinfBall,
    Norm,
    NotAdversarialError,
    Options,
    Query,
    Targets,
    Unrestricted,
    Witness,
)
from mipverify_py._distance import difference_up, distance
from onnx_models import Array, DenseMap, NetworkBuilder, ReluNetwork
from onnx_models.errors import InputError, MipverifyError

floats = st.floats(-4, 4, allow_nan=False, allow_subnormal=False)


def identity_classifier(classes: int = 3) -> ReluNetwork:
    """f(x) = x: the class is the largest entry, and d* is half the distance of the two largest entries."""
    builder = NetworkBuilder((classes,))
    return builder.build(builder.affine([0], [DenseMap(np.eye(classes))], name="logits"))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(floats, floats), min_size=1, max_size=5))
def test_distance_is_the_smallest_float_not_below_the_exact_one(pairs: list[tuple[float, float]]) -> None:
    x, x0 = (np.array(v) for v in zip(*pairs, strict=True))
    exact = [abs(Fraction(a) - Fraction(b)) for a, b in pairs]
    for value, truth in zip(difference_up(x, x0), exact, strict=True):
        assert Fraction(float(value)) >= truth
        below = float(np.nextafter(value, -np.inf))
        assert value == 0.0 or Fraction(below) < truth
    assert Fraction(distance(x, x0, Norm.LINF)) >= max(exact)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(floats, floats), min_size=1, max_size=5), st.floats(0, 2))
def test_projection_lands_inside_the_ball_exactly(pairs: list[tuple[float, float]], radius: float) -> None:
    x, x0 = (np.array(v) for v in zip(*pairs, strict=True))
    domain = Bounds(np.full(len(x), -4.0), np.full(len(x), 4.0))
    ball = LinfBall(radius)
    inside = ball.project(x, x0, domain)
    assert ball.contains(inside, x0) and domain.contains(inside)
    assert all(
        abs(Fraction(float(a)) - Fraction(float(b))) <= Fraction(radius) for a, b in zip(inside, x0, strict=True)
    )
    assert ball.bounding_box(x0, domain).contains(inside)


@settings(max_examples=200, deadline=None)
@given(st.lists(floats, min_size=1, max_size=5), st.floats(0, 2))
def test_bounding_box_contains_the_real_ball(centre: list[float], radius: float) -> None:
    x0 = np.array(centre)
    box = LinfBall(radius).bounding_box(x0, Bounds(np.full(len(x0), -10.0), np.full(len(x0), 10.0)))
    for low, high, c in zip(box.lower, box.upper, centre, strict=True):
        assert Fraction(float(low)) <= Fraction(c) - Fraction(radius)
        assert Fraction(float(high)) >= Fraction(c) + Fraction(radius)


class TestTargets:
    def test_untargeted_is_every_other_class(self) -> None:
        assert Targets().resolve(1, 4) == (0, 2, 3)

    def test_set_and_inverted_set(self) -> None:
        assert Targets.only([3, 0]).resolve(1, 4) == (0, 3)
        assert Targets.excluding(3).resolve(1, 4) == (0, 2)

    @pytest.mark.parametrize(
        ("targets", "message"),
        [
            (Targets.only(4), "Target class 4 is out of range: the model has classes 0 to 3"),
            (Targets.only(-1), "Target class -1 is out of range"),
            (Targets.only(1), "Target class 1 is the class that the input already has"),
            (Targets.only([]), "No target class is left"),
            (Targets.excluding([0, 2, 3]), "No target class is left"),
        ],
    )
    def test_senseless_targets(self, targets: Targets, message: str) -> None:
        with pytest.raises(InputError, match=message):
            targets.resolve(1, 4)


class TestQuery:
    def test_reference_is_the_label_or_the_prediction(self) -> None:
        x0 = np.array([0.1, 0.9, 0.2])
        assert Query(identity_classifier(), x0).reference == 1
        query = Query(identity_classifier(), x0, label=2)
        assert (query.predicted, query.reference, query.target_classes) == (1, 2, (0, 1))

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"x0": np.zeros(4)}, r"shape \(4,\) \(4 entries\), the model expects \(3,\)"),
            ({"x0": np.array([0.0, np.nan, 0.0])}, "NaN or infinite"),
            ({"x0": np.array([0.0, 255.0, 30.0])}, "values from 0 to 255.*Divide pixels in 0..255 by 255"),
            ({"x0": np.array([0.0, -0.5, 0.0])}, r"entry 1 is -0.5, outside the model's domain \[0, 1\]"),
            ({"label": 3}, "Label 3 is out of range: the model has classes 0 to 2"),
            ({"label": -1}, "Label -1 is out of range"),
            ({"margin": float("nan")}, "margin is nan"),
            ({"domain": Bounds(np.zeros(2), np.ones(2))}, "domain has 2 entries"),
            ({"domain": Bounds(np.zeros((3, 1)), np.ones((3, 1)))}, r"ends of shape \(3, 1\); Bounds.of"),
            ({"domain": Bounds(np.zeros(3), np.array([1.0, np.inf, 1.0]))}, "no finite bounds for entry 1"),
            ({"perturbation": Box.of(np.zeros(2), np.ones(2))}, "box has 2 entries"),
            ({"perturbation": Box.of(np.full(3, 2.0), np.full(3, 3.0))}, "outside the model's domain"),
        ],
    )
    def test_bad_queries(self, change: dict[str, object], message: str) -> None:
        arguments: dict[str, object] = {"network": identity_classifier(), "x0": np.array([0.1, 0.9, 0.2])} | change
        with pytest.raises(InputError, match=message):
            Query(**arguments)  # type: ignore[arg-type]

    def test_one_output_is_no_classifier(self) -> None:
        with pytest.raises(InputError, match="1 output; a classifier needs at least two"):
            Query(identity_classifier(1), np.zeros(1))

    @pytest.mark.parametrize("radius", [-0.1, float("nan"), float("inf")])
    def test_bad_radius(self, radius: float) -> None:
        with pytest.raises(InputError, match="radius"):
            LinfBall(radius)

    @pytest.mark.parametrize(
        "change",
        [
            {"engine": "magic"},
            {"time_limit": 0.0},
            {"node_limit": 0},
            {"gap_absolute": -1.0},
            {"gap_relative": 1.0},
            {"threads": 0},
            {"seed": -1},
            {"restarts": 0},
        ],
    )
    def test_bad_options(self, change: dict[str, object]) -> None:
        with pytest.raises(InputError, match=f"Option {next(iter(change))} is"):
            Options(**change)  # type: ignore[arg-type]


class TestWitness:
    def query(self, **change: object) -> Query:
        return Query(identity_classifier(), np.array([0.5, 0.25, 0.0]), **change)  # type: ignore[arg-type]

    def test_a_tie_counts(self) -> None:
        witness = Witness(self.query(), np.array([0.375, 0.375, 0.0]))
        assert (witness.distance, witness.target, witness.predicted) == (0.125, 1, 0)
        assert witness.replay is None

    def test_one_ulp_short_of_a_tie_does_not(self) -> None:
        with pytest.raises(NotAdversarialError, match="margin"):
            Witness(self.query(), np.array([np.nextafter(0.375, 1.0), 0.375, 0.0]))

    def test_membership_is_exact(self) -> None:
        inside = np.array([0.375, 0.375, 0.0])
        Witness(self.query(perturbation=LinfBall(0.125)), inside)
        with pytest.raises(NotAdversarialError, match="outside"):
            Witness(self.query(perturbation=LinfBall(float(np.nextafter(0.125, 0.0)))), inside)

    def test_the_domain_counts_too(self) -> None:
        with pytest.raises(NotAdversarialError, match="outside"):
            Witness(self.query(), np.array([0.5, 1.5, 0.0]))

    def test_the_margin_counts(self) -> None:
        with pytest.raises(NotAdversarialError, match="margin"):
            Witness(self.query(margin=0.1), np.array([0.375, 0.375, 0.0]))

    def test_it_cannot_be_edited(self) -> None:
        witness = Witness(self.query(perturbation=Unrestricted()), np.array([0.0, 1.0, 0.0]))
        with pytest.raises(ValueError, match="read-only"):
            witness.point[0] = 0.3
        assert isinstance(NotAdversarialError("x"), MipverifyError)


def test_margin_at_takes_the_best_target() -> None:
    query = Query(identity_classifier(), np.array([0.5, 0.25, 0.0]), targets=Targets.only(2))
    logits: Array = np.array([[0.5, 0.9, 0.1], [0.0, 0.0, 0.0]])
    assert query.margin_at(logits).tolist() == [-0.4, 0.0]
