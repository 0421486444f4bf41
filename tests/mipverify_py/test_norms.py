"""Distances in L1 and L2, and balls of these norms: closed forms, brute force, backends against each other."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bounds import Bounds
from mipverify_py import (
    Box,
    Evidence,
    L1Ball,
    L2Ball,
    LinfBall,
    Norm,
    Objective,
    Options,
    Query,
    Result,
    StopReason,
    Verdict,
    distance,
    replay,
    verify,
)
from mipverify_py._search import Search
from mipverify_py.cli._claim import unsupported
from mipverify_py.engines import _mip, _mixed
from onnx_models.errors import BackendAbilityError, BackendLimitError, InputError
from tests.helpers.norms import dense_network, exact_norm_distance, half_space
from tests.helpers.queries import OWN, assert_matches

WIDE = Bounds(np.full(3, -50.0), np.full(3, 50.0))
LINEAR, QUADRATIC = ("highs", "scip", "cbc", "gurobi", "ortools"), ("scip", "gurobi", "ortools")
SOLVERS = [(Norm.L1, name) for name in LINEAR] + [(Norm.L2, name) for name in QUADRATIC]
OTHERS = pytest.mark.parametrize("norm", [Norm.L1, Norm.L2])
WITH_EXAMPLES = (0, 3, 4, 5)
"""Seeds of `dense_network` and of an input that has an adversarial example; 1 has none."""
BALLS = {Norm.LINF: LinfBall, Norm.L1: L1Ball, Norm.L2: L2Ball}
DUAL = {Norm.LINF: 1, Norm.L1: np.inf, Norm.L2: 2}


def mip(backend: str) -> Options:
    return Options(engine="mip", backend=backend)


def assert_near(result: Result, truth: float) -> None:
    """The bracket holds the truth and is as narrow as asked for."""
    assert_matches(result, truth)
    assert result.lower is not None and result.upper is not None
    assert result.upper - result.lower <= max(1e-6, 1e-5 * result.upper) + 1e-12


@pytest.mark.parametrize("norm", Norm)
@given(weights=st.lists(st.integers(-5, 5), min_size=3, max_size=3), bias=st.integers(-6, -1))
@settings(max_examples=6)
def test_the_distance_to_a_hyperplane(norm: Norm, weights: list[int], bias: int) -> None:
    """min |x - x0|_p over w . x + b >= 0 is -(w . x0 + b) over the dual norm of w (Hoelder's inequality)."""
    normal = np.array(weights, float)
    x0 = np.array([0.25, -0.5, 0.75])
    short = -(normal @ x0 + bias)
    if short <= 0 or not normal.any():
        return
    truth = short / np.linalg.norm(normal, DUAL[norm])
    if truth > 20:  # the domain should not matter
        return
    result = distance(half_space(normal, float(bias)), x0, domain=WIDE, norm=norm)
    assert_near(result, truth)
    assert result.witness is not None and WIDE.contains(result.witness.point)


@pytest.mark.parametrize(("norm", "backend"), SOLVERS)
def test_a_program_without_binaries(norm: Norm, backend: str) -> None:
    """No ReLU, so a linear or convex program: its bound is asked for all the same."""
    network, x0 = half_space(np.array([1.0, -2.0, 2.0]), -1.0), np.array([0.2, 0.6, 0.4])
    assert_near(distance(network, x0, norm=norm, options=mip(backend)), {Norm.L1: 0.6, Norm.L2: 0.4}[norm])
    worst = verify(Query(network, x0, BALLS[norm](0.1), Objective.WORST), mip(backend))
    assert worst.stop_reason is StopReason.SOLVED and worst.lower is not None
    assert worst.lower == pytest.approx(-1.2 + 0.1 * (2 if norm is Norm.L1 else 3), abs=1e-5)


@pytest.mark.parametrize(("norm", "backend"), SOLVERS)
@pytest.mark.parametrize("seed", [0, 1, 4])
def test_every_able_backend_finds_the_true_distance(norm: Norm, backend: str, seed: int) -> None:
    query = Query(dense_network(seed), np.random.default_rng(seed).random(3), norm=norm)
    result = verify(query, mip(backend))
    truth = exact_norm_distance(query)
    assert_matches(result, truth)
    assert truth is None or (result.engine == "mip" and result.backend == backend)


@OTHERS
@pytest.mark.parametrize("seed", range(8))
def test_auto_finds_the_true_distance(norm: Norm, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x0 = rng.random(3)
    box = Box.of(np.clip(x0 - 0.6 * rng.random(3), 0, 1), np.clip(x0 + 0.6 * rng.random(3), 0, 1))
    query = Query(
        dense_network(seed + 50), x0, perturbation=[box, LinfBall(0.4)][seed % 2], norm=norm, margin=0.1 * (seed % 3)
    )
    result = verify(query)
    assert_matches(result, exact_norm_distance(query))
    assert result.engine == ("mip" if result.backend else "auto")


@pytest.mark.parametrize("seed", range(4))
def test_a_box_that_does_not_hold_x0(seed: int) -> None:
    """The nearest point of the box need not be a corner, and distances are measured from x0 all the same."""
    x0 = np.random.default_rng(seed).random(3) * 0.3
    box = Box.of(np.array([0.4, 0.0, 0.5]), np.array([1.0, 1.0, 0.9]))
    for norm in Norm:
        query = Query(dense_network(seed), x0, perturbation=box, norm=norm)
        assert_matches(verify(query), exact_norm_distance(query))


@pytest.mark.parametrize("seed", range(6))
def test_norms_are_ordered(seed: int) -> None:
    """|v|_inf <= |v|_2 <= |v|_1 <= sqrt(n) |v|_2 <= n |v|_inf for every v, so for the minima too."""
    network, x0 = dense_network(seed, inputs=5, units=8), np.random.default_rng(seed).random(5)
    found = {norm: distance(network, x0, norm=norm) for norm in Norm}
    if any(result.verdict is Verdict.ROBUST for result in found.values()):
        assert {result.verdict for result in found.values()} == {Verdict.ROBUST}
        return
    upper = {norm: result.upper or 0.0 for norm, result in found.items()}
    room = 1e-4
    assert upper[Norm.LINF] <= upper[Norm.L2] + room <= upper[Norm.L1] + 2 * room
    assert upper[Norm.L1] <= np.sqrt(5) * upper[Norm.L2] + room
    assert upper[Norm.L2] <= np.sqrt(5) * upper[Norm.LINF] + room


@pytest.mark.parametrize(("norm", "backend"), [*SOLVERS, (Norm.L1, "auto"), (Norm.L2, "auto")])
def test_just_under_and_just_over(norm: Norm, backend: str) -> None:
    options = Options() if backend == "auto" else mip(backend)
    for seed in WITH_EXAMPLES:
        network, x0 = dense_network(seed), np.random.default_rng(seed).random(3)
        truth = exact_norm_distance(Query(network, x0, norm=norm))
        assert truth is not None
        for share, verdict in ((0.999, Verdict.ROBUST), (1.001, Verdict.ADVERSARIAL)):
            ball = BALLS[norm](share * truth)
            result = verify(Query(network, x0, ball, Objective.FEASIBILITY, norm=norm), options)
            assert result.verdict is verdict and result.stop_reason is StopReason.SOLVED
            if result.witness is not None:
                assert ball.contains(result.witness.point, x0) and result.witness.distance <= ball.radius


@OTHERS
@pytest.mark.parametrize("seed", WITH_EXAMPLES)
def test_the_nearest_example_within_a_ball_of_another_norm(norm: Norm, seed: int) -> None:
    """Distance and set are independent: within a ball wide enough the L-infinity distance is that of the domain."""
    network, x0 = dense_network(seed), np.random.default_rng(seed).random(3)
    plain = distance(network, x0)
    assert plain.upper is not None
    wide = verify(Query(network, x0, BALLS[norm](3.0 * plain.upper)))
    assert_matches(wide, plain.upper)
    narrow = verify(Query(network, x0, BALLS[norm](0.9 * plain.upper)))
    assert narrow.verdict is Verdict.ROBUST and narrow.evidence in OWN


@pytest.mark.parametrize(("norm", "backends"), [(Norm.L1, ("highs", "cbc")), (Norm.L2, ("scip", "gurobi"))])
@pytest.mark.parametrize("seed", range(3))
def test_the_largest_margin_in_a_ball(norm: Norm, backends: tuple[str, str], seed: int) -> None:
    network, x0 = dense_network(seed, units=6), np.random.default_rng(seed).random(3)
    query = Query(network, x0, BALLS[norm](0.3), Objective.WORST)
    found = [verify(query, mip(name)) for name in backends] + [verify(query)]
    for result in found:
        assert result.stop_reason is StopReason.SOLVED and result.lower is not None and result.upper is not None
        assert result.point is not None and BALLS[norm](0.3).contains(result.point, x0)
        assert result.upper - result.lower <= 2e-5
        assert result.upper >= max(other.lower or -np.inf for other in found) - 1e-6
    box = verify(Query(network, x0, LinfBall(0.3), Objective.WORST))
    assert box.upper is not None and found[0].lower is not None and found[0].lower <= box.upper


def test_a_proof_shows_no_less_than_the_result_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """24/32 of the distance in L2, a step of the bisection over linear bounds, is 5e-6 of it below that in L-infinity.

    The native engine proves less, since it stops 1e-5 below the distance.
    """
    share = 0.75**2 * (1.0 + 1e-5)
    slope = (share + np.sqrt(2.0 * share - 1.0)) / (1.0 - share)  # (1 + b**2) / (1 + b)**2 is the share
    monkeypatch.setattr(_mip, "_solve", lambda _search, _encoding: None)
    query = Query(half_space(np.array([1.0, slope]), -2.0), np.full(2, 0.25), norm=Norm.L2)
    result = verify(query)
    assert result.evidence in OWN and result.lower is not None
    assert result.proof is None or unsupported(query, result, result.proof) == ""


@OTHERS
def test_a_ball_in_a_robust_box_is_proved_without_a_solver(norm: Norm) -> None:
    network, x0 = dense_network(1, inputs=5, units=8), np.random.default_rng(1).random(5)
    plain = distance(network, x0)
    assert plain.lower is not None
    result = verify(Query(network, x0, BALLS[norm](0.99 * plain.lower), Objective.FEASIBILITY, norm=norm))
    assert result.verdict is Verdict.ROBUST and result.evidence in OWN
    assert result.backend is None and result.engine == "auto"
    assert result.proof is not None and replay(result.proof).holds


def test_without_an_able_backend_the_bracket_is_reproved(monkeypatch: pytest.MonkeyPatch) -> None:
    """The lower end is the L-infinity distance, the upper one a checked example; the answer says what is missing."""
    monkeypatch.setattr(_mixed, "available_backends", lambda: ("highs", "cbc"))
    network, x0 = dense_network(0), np.random.default_rng(0).random(3)
    plain, truth = distance(network, x0), exact_norm_distance(Query(network, x0, norm=Norm.L2))
    result = distance(network, x0, norm=Norm.L2)
    assert result.stop_reason is StopReason.SOLVER_FAILED and "scip" in result.stop_detail
    assert result.evidence in OWN and result.proof is not None and replay(result.proof).holds
    assert result.lower is not None and result.upper is not None and plain.upper is not None and truth is not None
    assert plain.upper - 1e-5 <= result.lower <= truth + 1e-9 <= result.upper + 1e-8


def test_a_licence_that_is_too_small_leaves_the_bracket(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(search: object) -> None:
        raise BackendLimitError("too many variables")

    monkeypatch.setattr(_mip, "run_mip", refuse)
    result = distance(dense_network(0), np.random.default_rng(0).random(3), norm=Norm.L1)
    assert (result.stop_reason, result.stop_detail) == (StopReason.SOLVER_FAILED, "too many variables")
    assert result.evidence in OWN and result.lower is not None and result.upper is not None


def test_an_interruption_keeps_what_the_box_has_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    original = _mixed.run_native

    def interrupted(search: Search) -> None:
        original(search)
        raise KeyboardInterrupt

    monkeypatch.setattr(_mixed, "run_native", interrupted)
    network, x0 = dense_network(3), np.random.default_rng(3).random(3)
    truth = exact_norm_distance(Query(network, x0))
    result = distance(network, x0, norm=Norm.L2)
    assert result.stop_reason is StopReason.INTERRUPTED and result.evidence in OWN
    assert result.lower == pytest.approx(truth, rel=1e-4)


@pytest.mark.parametrize("backend", ["highs", "cbc"])
@pytest.mark.parametrize(
    ("norm", "ball", "objective"),
    [(Norm.L2, LinfBall(0.5), Objective.CLOSEST), (Norm.LINF, L2Ball(0.5), Objective.FEASIBILITY)],
    ids=["objective", "row"],
)
def test_a_backend_without_squares_refuses_by_name(
    backend: str, norm: Norm, ball: LinfBall, objective: Objective
) -> None:
    query = Query(dense_network(0), np.full(3, 0.5), ball, objective, norm=norm)
    with pytest.raises(BackendAbilityError, match=f"{backend!r} does not solve .* choose one of scip, gurobi, ortools"):
        verify(query, mip(backend))


@pytest.mark.parametrize("engine", ["cuts", "duals"])
@pytest.mark.parametrize(("norm", "ball"), [(Norm.L2, LinfBall(0.5)), (Norm.LINF, L1Ball(0.5))], ids=["norm", "ball"])
def test_native_engines_refuse_by_name(engine: str, norm: Norm, ball: LinfBall) -> None:
    with pytest.raises(InputError, match=engine):
        verify(Query(dense_network(0), np.full(3, 0.5), ball, norm=norm), Options(engine=engine))


@OTHERS
def test_claims_say_what_they_rest_on(norm: Norm) -> None:
    result = distance(dense_network(0), np.random.default_rng(0).random(3), norm=norm, options=mip("scip"))
    assert result.evidence is Evidence.SOLVER_CLAIM and result.proof is None
    squares = " and squares" if norm is Norm.L2 else ""
    assert result.evidence_detail.startswith("scip ")
    assert result.evidence_detail.endswith(f"with rows{squares} kept to 1e-09")


@OTHERS
def test_an_image_that_is_adversarial_already(norm: Norm) -> None:
    network, x0 = dense_network(0), np.full(3, 0.5)
    wrong = (int(np.argmax(network.forward(x0))) + 1) % 3
    result = distance(network, x0, label=wrong, norm=norm)
    assert (result.lower, result.upper) == (0.0, 0.0)


def test_distance_takes_no_unknown_argument() -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'perturbation'"):
        distance(dense_network(0), np.zeros(3), perturbation=LinfBall(0.1))  # type: ignore[call-arg]
    with pytest.raises(InputError, match="norm"):
        distance(dense_network(0), np.zeros(3), norm="l3")  # type: ignore[arg-type]


@OTHERS
def test_a_radius_of_zero(norm: Norm) -> None:
    network, x0 = dense_network(0), np.random.default_rng(0).random(3)
    for options in (Options(), mip("scip")):
        result = verify(Query(network, x0, BALLS[norm](0.0), Objective.FEASIBILITY), options)
        assert result.verdict is Verdict.ROBUST


@OTHERS
def test_progress_tells_a_bracket_that_narrows(norm: Norm) -> None:
    seen: list[tuple[float, float]] = []
    network, x0 = dense_network(3, inputs=6, units=10), np.random.default_rng(3).random(6)
    result = distance(
        network,
        x0,
        norm=norm,
        on_progress=lambda b: seen.append((b.lower or 0.0, np.inf if b.upper is None else b.upper)),
    )
    assert seen and seen[-1] == (result.lower, result.upper)
    lows, highs = zip(*seen, strict=True)
    assert list(lows) == sorted(lows) and list(highs) == sorted(highs, reverse=True)
