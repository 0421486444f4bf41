"""Brightness and contrast: membership exactly, distances against grids of the parameters and brute force."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bounds import Bounds
from mipverify_py import (
    Brightness,
    BrightnessContrast,
    Contrast,
    Norm,
    NotAdversarialError,
    Objective,
    Options,
    ParametricSet,
    Query,
    Verdict,
    Witness,
    replay,
    verify,
)
from mipverify_py._parameter_query import searched
from mipverify_py._parametric import Parameters
from onnx_models import Array, DenseMap, NetworkBuilder
from onnx_models.errors import InputError
from tests.helpers.networks import random_network
from tests.helpers.norms import half_space
from tests.helpers.parametric import Images, largest_image_margin, nearest_image
from tests.helpers.queries import OWN, ROUNDING, assert_matches, line_classifier

seeds = st.integers(0, 2**32 - 1)
ORDERS = {Norm.LINF: np.inf, Norm.L1: 1, Norm.L2: 2}
SETS = {
    "brightness": lambda: Brightness(-0.4, 0.5),
    "darker": lambda: Brightness(-0.6, -0.01),
    "contrast": lambda: Contrast(0.2, 1.7),
    "inverted": lambda: Contrast(-0.5, 0.9),
    "both": lambda: BrightnessContrast((-0.3, 0.4), (0.3, 1.5)),
    "flatter": lambda: BrightnessContrast((-0.1, 0.1), (0.3, 0.9)),
}


def _question(
    seed: int, name: str, objective: Objective = Objective.CLOSEST, *, margin: float = 0.0, wide: bool = False
) -> Query:
    rng = np.random.default_rng(seed)
    network = random_network(rng, max_relus=6)
    n = network.input_size
    domain = Bounds(np.full(n, -2.0), np.full(n, 3.0)) if wide else None
    x0 = 0.1 + 0.8 * rng.random(n)
    return Query(network, x0, SETS[name](), objective, margin=margin, domain=domain)


def _images(query: Query) -> Images:
    """The set from its definition, not from its code."""
    x0, one, known = query.x0, np.ones(query.x0.size), query.perturbation
    if isinstance(known, Brightness):
        return Images(one[:, None], x0, np.array([known.low]), np.array([known.high]))
    if isinstance(known, Contrast):
        return Images(x0[:, None], 0 * x0, np.array([known.low]), np.array([known.high]))
    assert isinstance(known, BrightnessContrast)
    low, high = np.array([known.contrast, known.brightness]).T
    return Images(np.column_stack([x0, one]), 0 * x0, low, high)


def _parameters(query: Query) -> Parameters:
    assert isinstance(query.perturbation, ParametricSet)
    return query.perturbation.parameters(query.x0, query.input_domain)


@given(seeds, st.sampled_from(list(SETS)), st.booleans())
@settings(max_examples=20, deadline=None)
@pytest.mark.slow
def test_distances_match_brute_force(seed: int, name: str, wide: bool) -> None:
    query = _question(seed, name, wide=wide)
    assert_matches(verify(query), nearest_image(query, _images(query)))


@pytest.mark.slow
@given(seeds, st.sampled_from(list(SETS)))
@settings(max_examples=20, deadline=None)
def test_the_mip_and_the_native_engine_agree(seed: int, name: str) -> None:
    """Where the domain is wide the sets are boxes of parameters, so engine auto answers with a native proof."""
    query = _question(seed, name, Objective.WORST, wide=True)
    top = largest_image_margin(query, _images(query))
    native, mip = verify(query), verify(query, Options(engine="mip"))
    assert native.engine == "auto" and native.evidence in OWN and native.proof is not None
    assert replay(native.proof).holds
    for result in (native, mip):
        assert result.lower is not None and result.upper is not None
        assert result.lower <= top + ROUNDING and top <= result.upper + ROUNDING
        assert result.upper - result.lower <= 1e-6 + 2e-5 * abs(top)
    for margin in (top - 0.01, top + 0.01):
        asked = _question(seed, name, Objective.FEASIBILITY, wide=True, margin=margin)
        expected = Verdict.ADVERSARIAL if margin < top else Verdict.ROBUST
        assert verify(asked).verdict is verify(asked, Options(engine="mip")).verdict is expected


@given(seeds, st.sampled_from(list(SETS)))
@settings(max_examples=6, deadline=None)
def test_two_backends_agree(seed: int, name: str) -> None:
    query = _question(seed, name, wide=True)
    truth = nearest_image(query, _images(query))
    for backend in ("highs", "scip"):
        assert_matches(verify(query, Options(engine="mip", backend=backend)), truth)


@given(seeds, st.sampled_from(["brightness", "contrast", "darker"]), st.sampled_from(list(Norm)))
@settings(max_examples=30, deadline=None)
def test_a_dense_grid_of_one_parameter_agrees(seed: int, name: str, norm: Norm) -> None:
    """Distances in one parameter are proved natively, in every norm, and the MIP gives the same."""
    query = replace(_question(seed, name), norm=norm)
    images = _images(query)
    t = np.linspace(images.low[0], images.high[0], 20_001)
    grid = t[:, None] * images.matrix[:, 0] + images.constant
    grid = grid[np.all((grid >= query.input_domain.lower) & (grid <= query.input_domain.upper), axis=1)]
    distances = np.linalg.norm(grid - query.x0, axis=1, ord=ORDERS[norm])
    reached = query.margin_at(query.network.forward_batch(grid)) >= 0
    result, mip = verify(query), verify(query, Options(engine="mip"))
    assert result.engine == "auto" and result.verdict is mip.verdict
    assert result.upper is None or result.upper == pytest.approx(mip.upper, abs=1e-5, rel=1e-4)
    if np.any(reached):
        assert result.lower is not None and result.upper is not None and result.evidence in OWN
        assert result.upper - result.lower <= max(1e-6, 1e-5 * result.upper) + 1e-12
        step = np.linalg.norm(images.matrix[:, 0], ord=ORDERS[norm]) * (images.high[0] - images.low[0]) / 20_000
        assert result.lower <= distances[reached].min() + ROUNDING
        assert result.upper >= distances[reached].min() - 2 * step
    else:  # an example between two points of the grid is all that may be left
        assert result.witness is None or query.margin_at(result.witness.logits[None])[0] < 1e-3


@given(seeds, st.floats(-2, 2), st.floats(-2, 2))
@settings(max_examples=60, deadline=None)
def test_a_projection_is_a_member(seed: int, a: float, b: float) -> None:
    rng = np.random.default_rng(seed)
    network = random_network(rng, max_relus=4)
    x0 = np.where(rng.random(network.input_size) < 0.4, np.round(rng.random(network.input_size)), 0.3)
    for known, wild in (
        (Contrast(0.25, 1.5), np.array([a])),
        (BrightnessContrast((-0.5, 0.5), (0.25, 1.5)), np.array([a, b])),
    ):
        members = _parameters(Query(network, x0, known))
        assert members.contains(members.project(wild, members.identity, members.ranges), members.identity)


def test_black_and_white_pixels_leave_no_brightness_but_zero() -> None:
    network, x0 = line_classifier(), np.array([0.25])
    known = Brightness(-1.0, 1.0).parameters(np.array([0.0, 1.0, 0.5]), Bounds(np.zeros(3), np.ones(3)))
    assert known.ranges.lower[0] == known.ranges.upper[0] == 0.0
    assert _parameters(Query(network, x0, Brightness(-1.0, 1.0))).ranges.upper[0] == 0.75


def test_images_beyond_the_domain_are_no_members() -> None:
    """f_1 - f_0 = x - 0.5 reaches 0 at b = 0.25 only, which a range up to 0.2 does not."""
    network, x0 = line_classifier(), np.array([0.25])
    assert verify(Query(network, x0, Brightness(0.0, 0.2))).verdict is Verdict.ROBUST
    found = verify(Query(network, x0, Brightness(0.0, 2.0)))
    assert found.upper == pytest.approx(0.25, abs=1e-6)
    low = Bounds(np.zeros(1), np.array([0.4]))
    assert verify(Query(network, x0, Brightness(0.0, 2.0), domain=low)).verdict is Verdict.ROBUST
    with pytest.raises(InputError, match="No image"):
        Query(network, x0, Brightness(0.8, 2.0))


@pytest.mark.parametrize("name", SETS)
def test_a_domain_may_be_open_on_a_side(name: str) -> None:
    """As if the missing bound were one that no image reaches."""
    wide = _question(3, name, wide=True)
    far = Bounds(wide.input_domain.lower, np.full(wide.x0.size, np.inf))
    result, expected = verify(replace(wide, domain=far)), verify(wide)
    assert result.verdict is expected.verdict
    assert_matches(result, nearest_image(wide, _images(wide)))


def test_a_witness_is_the_exact_image_of_its_parameters() -> None:
    query = Query(line_classifier(bias=-0.7), np.array([0.1]), Brightness(0.0, 1.0))
    witness = verify(query).witness
    assert witness is not None and witness.parameters is not None
    b = Fraction(float(witness.parameters[0]))
    assert b <= Fraction(witness.distance) and float(b) == pytest.approx(0.6, abs=1e-6)
    assert witness.point[0] == float(Fraction(0.1) + b)
    with pytest.raises(NotAdversarialError):
        Witness(query, witness.point)


def test_rounding_decides_membership_exactly() -> None:
    """0.1 + b is at most 1 for the real number b = 1 - 0.1, which is no float64: its neighbour above is no member."""
    known = _parameters(Query(line_classifier(), np.array([0.1]), Brightness(0.0, 2.0)))
    below = np.array([float(known.ranges.lower[0])])
    edge = known.project(np.array([2.0]), known.identity, known.ranges)
    assert known.contains(edge, known.identity) and not known.contains(np.nextafter(edge, 2.0), known.identity)
    assert known.contains(below, known.identity)


def test_the_nearest_image_need_not_lie_on_the_way_to_the_original() -> None:
    """Every image counts; none has the original's contrast 1. 0.9 x0 + 0.05 is nearest, 0.9 x0 twice as far."""
    query = Query(half_space(np.zeros(2), 1.0), np.array([0.0, 1.0]), SETS["flatter"](), label=0)
    result = verify(query)
    assert_matches(result, 0.05)


def test_a_contrast_that_the_brightness_at_hand_cannot_make_up_for_is_reduced() -> None:
    """A solver's contrast may be too large by its tolerance; as brightness is 0 here, the brightest pixel decides."""
    query = Query(half_space(np.ones(2), -1.0), np.array([0.25, 0.75]), BrightnessContrast((0.0, 0.0), (0.5, 2.0)))
    known = _parameters(query)
    edge = known.project(np.array([4 / 3 + 1e-7, 0.0]), known.identity, known.ranges)
    assert known.contains(edge, known.identity) and edge[0] == pytest.approx(4 / 3, abs=1e-15) and edge[1] == 0.0


def test_progress_is_told_in_distances_of_images() -> None:
    """Five pixels: an L1 distance is five times the brightness."""
    builder = NetworkBuilder((5,))
    hidden = builder.relu(builder.affine([0], [DenseMap(np.ones((1, 5)))]))
    network = builder.build(builder.affine([hidden], [DenseMap(np.array([[0.0], [1.0]]))], np.array([0.0, -2.0])))
    query, heard = Query(network, np.full(5, 0.25), Brightness(0.0, 1.0), norm=Norm.L1), []
    result = verify(query, on_progress=heard.append)
    assert result.upper == pytest.approx(0.75, abs=1e-6) and result.upper >= 0.75
    assert heard[-1].upper == pytest.approx(0.75, abs=1e-5)
    assert all(b.lower is None or b.lower <= 0.75 for b in heard)
    assert all(b.upper is None or b.upper >= 0.75 for b in heard)


def test_the_searched_query_is_the_network_after_the_image() -> None:
    query = _question(5, "both")
    over, rng = searched(query), np.random.default_rng(0)
    for _ in range(5):
        theta: Array = rng.random(2)
        expected = query.network.forward(theta[0] * query.x0 + theta[1])
        assert np.allclose(over.network.forward(theta), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("make", [Brightness, Contrast])
@pytest.mark.parametrize("ends", [(1.0, 0.0), (float("nan"), 1.0), (0.0, float("inf")), ("a", 1.0)])
def test_a_wrong_range_is_an_error(make: type, ends: tuple[object, object]) -> None:
    with pytest.raises(InputError, match="range"):
        make(*ends)
    with pytest.raises(InputError, match="range"):
        BrightnessContrast((0.0, 0.1), ends)  # type: ignore[arg-type]


def test_a_range_that_is_no_pair_is_an_error() -> None:
    with pytest.raises(InputError, match=r"must be \(low, high\)"):
        BrightnessContrast(0.1, (0.0, 1.0))  # type: ignore[arg-type]
