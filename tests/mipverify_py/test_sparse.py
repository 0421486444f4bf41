"""At most k changed pixels: membership, and distances against the enumeration of all supports."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bounds import Bounds
from mipverify_py import Layout, Norm, Objective, Options, Query, Sparse, Verdict, verify
from onnx_models import Array, DenseMap, NetworkBuilder, ReluNetwork
from onnx_models.errors import InputError
from tests.helpers.oracles import largest_margin, nearest_adversarial
from tests.helpers.queries import OWN, ROUNDING, assert_matches

seeds = st.integers(0, 2**32 - 1)


def _dense(shape: tuple[int, ...], seed: int, *, units: int = 4) -> tuple[ReluNetwork, Array]:
    rng = np.random.default_rng(seed)
    builder, size = NetworkBuilder(shape), int(np.prod(shape))
    hidden = builder.affine([0], [DenseMap(rng.normal(size=(units, size)))], rng.normal(size=units) * 0.3)
    weight = DenseMap(rng.normal(size=(3, units)))
    return builder.build(builder.affine([builder.relu(hidden)], [weight], rng.normal(size=3))), rng.random(size)


def _boxes(query: Query) -> list[Bounds]:
    """The box of every support of `max_pixels` pixels."""
    known = query.perturbation
    assert isinstance(known, Sparse)
    count = len(known.pixels)
    found = []
    for support in combinations(range(count), min(known.max_pixels, count)):
        chosen = np.array(support, np.intp)
        low, high = (known.only(chosen, end, query.x0) for end in (query.box.lower, query.box.upper))
        found.append(Bounds(low, high))
    return found


def _nearest(query: Query) -> float | None:
    found = [
        nearest_adversarial(
            query.network,
            query.x0,
            query.target_classes,
            query.reference,
            lower=box.lower,
            upper=box.upper,
            margin=query.margin,
        )
        for box in _boxes(query)
    ]
    return min((d for d in found if d is not None), default=None)


CASES = [((5,), Layout()), ((2, 2, 2), Layout(channels="first")), ((2, 2, 2), Layout(channels="last"))]


@given(seeds, st.sampled_from(CASES), st.integers(0, 3), st.sampled_from([None, 0.3]), st.sampled_from([0.0, -0.2]))
@settings(max_examples=12, deadline=None)
def test_distances_match_the_enumeration_of_supports(
    seed: int, case: tuple[tuple[int, ...], Layout], count: int, radius: float | None, margin: float
) -> None:
    network, x0 = _dense(case[0], seed)
    query = Query(network, x0, Sparse(count, radius, case[1]), margin=margin)
    truth = _nearest(query)
    result = verify(query)
    assert_matches(result, truth)
    asked = Query(network, x0, Sparse(count, radius, case[1]), Objective.FEASIBILITY, margin=margin)
    assert verify(asked).verdict is (Verdict.ROBUST if truth is None else Verdict.ADVERSARIAL)


@given(seeds, st.integers(1, 2))
@settings(max_examples=5, deadline=None)
def test_largest_margins_match_the_enumeration_of_supports(seed: int, count: int) -> None:
    network, x0 = _dense((5,), seed)
    query = Query(network, x0, Sparse(count), Objective.WORST)
    top = max(
        largest_margin(network, query.target_classes, query.reference, lower=box.lower, upper=box.upper)
        for box in _boxes(query)
    )
    result = verify(query)
    assert result.lower is not None and result.upper is not None and result.point is not None
    assert result.lower <= top + ROUNDING and top <= result.upper + ROUNDING
    assert result.upper - result.lower <= 1e-5 * (1 + abs(top))
    assert query.perturbation.contains(result.point, query.x0)


@pytest.mark.slow
@given(seeds)
@settings(max_examples=5, deadline=None)
def test_two_backends_agree(seed: int) -> None:
    network, x0 = _dense((5,), seed)
    query = Query(network, x0, Sparse(2))
    truth = _nearest(query)
    for backend in ("highs", "scip"):
        assert_matches(verify(query, Options(engine="mip", backend=backend)), truth)


@given(seeds, st.sampled_from(list(Norm)))
@settings(max_examples=10, deadline=None)
def test_all_pixels_are_the_whole_domain(seed: int, norm: Norm) -> None:
    """With k = n the set is the box that the native engine searches in the L-infinity norm."""
    network, x0 = _dense((4,), seed)
    whole, few = verify(Query(network, x0, norm=norm)), verify(Query(network, x0, Sparse(4), norm=norm))
    assert whole.verdict is few.verdict
    if whole.upper is not None:
        assert few.upper == pytest.approx(whole.upper, abs=2e-6, rel=2e-5)


class TestMembership:
    def test_a_pixel_is_all_channels_of_a_position(self) -> None:
        network, x0 = _dense((2, 2, 2), 0)
        first = Query(network, x0, Sparse(1, layout=Layout(channels="first"))).perturbation
        last = Query(network, x0, Sparse(1, layout=Layout(channels="last"))).perturbation
        moved = x0.copy()
        moved[[0, 4]] = 0.5  # both channels of the upper left pixel, if the channels stand first
        assert first.contains(moved, x0) and not last.contains(moved, x0)

    def test_one_pixel_too_many_by_the_smallest_change_is_outside(self) -> None:
        network, x0 = _dense((5,), 0)
        known = Query(network, x0, Sparse(2)).perturbation
        moved = x0.copy()
        moved[:2] = 0.5
        assert known.contains(moved, x0)
        moved[2] = np.nextafter(x0[2], 1.0)
        assert not known.contains(moved, x0)

    def test_the_radius_counts(self) -> None:
        network, _ = _dense((5,), 0)
        x0 = np.zeros(5)
        known = Query(network, x0, Sparse(2, 0.25)).perturbation
        assert known.contains(x0 + np.array([0.25, 0, 0, -0.25, 0]), x0)
        assert not known.contains(x0 + np.nextafter(0.25, 1) * np.eye(5)[0], x0)

    @given(seeds, st.sampled_from(CASES), st.integers(0, 3), st.sampled_from([None, 0.1]))
    @settings(max_examples=30, deadline=None)
    def test_a_projection_is_a_member_of_the_largest_changes(
        self, seed: int, case: tuple[tuple[int, ...], Layout], count: int, radius: float | None
    ) -> None:
        network, x0 = _dense(case[0], seed)
        query = Query(network, x0, Sparse(count, radius, case[1]))
        wild = np.random.default_rng(seed).normal(size=x0.size)
        member = query.perturbation.project(wild, x0, query.input_domain)
        assert query.perturbation.contains(member, x0) and query.input_domain.contains(member)
        assert np.array_equal(query.perturbation.project(member, x0, query.input_domain), member)


def test_a_robust_box_is_proved_natively() -> None:
    network, x0 = _dense((5,), 0)
    result = verify(Query(network, x0, Sparse(2), Objective.FEASIBILITY, margin=1000.0))
    assert result.verdict is Verdict.ROBUST and result.evidence in OWN and result.engine == "auto"


def test_engines_for_boxes_are_refused() -> None:
    network, x0 = _dense((5,), 0)
    with pytest.raises(InputError, match="cannot search this perturbation set"):
        verify(Query(network, x0, Sparse(2)), Options(engine="cuts"))


@pytest.mark.parametrize("arguments", [(-1,), (1.5,), (2, -0.1), (2, float("nan")), (2, None, "first")])
def test_wrong_arguments_are_errors(arguments: tuple[object, ...]) -> None:
    with pytest.raises(InputError):
        Sparse(*arguments)  # type: ignore[arg-type]


def test_a_set_without_a_shape_fails_closed() -> None:
    with pytest.raises(InputError, match="does not know the image's shape"):
        Sparse(1).contains(np.zeros(3), np.zeros(3))
