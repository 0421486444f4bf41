"""Several adversarial examples: apart, checked, and exhausted only where every other one is near them."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mipverify_py._witnesses as module
from bounds import Bounds, MipModel
from mipverify_py import (
    Brightness,
    Evidence,
    L1Ball,
    LinfBall,
    Options,
    Query,
    StopReason,
    Targets,
    WitnessList,
    witnesses,
)
from mipverify_py._witnesses import at_least
from mipverify_py.backends import MipSolution, SolveLimits, SolveStatus, solve_isolated
from onnx_models import DenseMap, NetworkBuilder, ReluNetwork
from onnx_models.errors import BackendCrashError, InputError
from tests.helpers.networks import random_network
from tests.helpers.queries import OWN, line_classifier

ATTACKS = [True, False]
"""Whether attacks may find examples, or the solver has to find all of them."""


@pytest.fixture(params=ATTACKS, ids=["attacks", "solver alone"])
def attacks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    if not request.param:
        monkeypatch.setattr(module, "ATTEMPTS", 0)
    return bool(request.param)


def assert_apart(found: WitnessList) -> None:
    points = [[Fraction(v) for v in w.point.tolist()] for w in found.witnesses]
    for k, first in enumerate(points):
        for second in points[:k]:
            assert max(abs(a - b) for a, b in zip(first, second, strict=True)) >= Fraction(found.min_distance)


def plane_classifier(seed: int) -> ReluNetwork:
    """Three classes over two inputs."""
    rng = np.random.default_rng(seed)
    builder = NetworkBuilder((2,))
    hidden = builder.relu(builder.affine([0], [DenseMap(rng.normal(size=(5, 2)) * 2)], rng.normal(size=5)))
    return builder.build(builder.affine([hidden], [DenseMap(rng.normal(size=(3, 5)))], rng.normal(size=3) / 4))


@pytest.mark.parametrize("seed", [0, 2, 7, 8, 10, 12])
def test_when_it_is_exhausted_a_grid_holds_no_other(seed: int, attacks: bool) -> None:
    network = plane_classifier(seed)
    query = Query(network, np.array([0.5, 0.5]), LinfBall(0.5))
    found = witnesses(query, 50, 0.3)
    assert found.exhausted and found.stop_reason is StopReason.SOLVED and found.evidence is not None
    assert_apart(found)
    axis = np.linspace(0, 1, 81)
    grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    adversarial = grid[query.margin_at(network.forward_batch(grid)) >= 0]
    assert found.witnesses or not len(adversarial)
    if len(adversarial):
        centres = np.stack([w.point for w in found.witnesses])
        nearest = np.abs(adversarial[:, None] - centres[None]).max(axis=2).min(axis=1)
        assert nearest.max() < 0.3 + 1e-6


@pytest.mark.parametrize("count", [1, 2, 3])
def test_as_many_as_asked_for_are_enough(count: int, attacks: bool) -> None:
    found = witnesses(Query(line_classifier(), np.array([0.25])), count, 0.125)
    assert len(found.witnesses) == count and not found.exhausted and found.evidence is None
    assert_apart(found)
    assert all(w.point[0] >= 0.5 and w.target == 1 for w in found.witnesses)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_all_are_checked_and_apart(seed: int) -> None:
    rng = np.random.default_rng(seed)
    network = random_network(rng, max_relus=5)
    query = Query(network, rng.random(network.input_size), LinfBall(float(rng.random())))
    found = witnesses(query, 4, float(rng.uniform(0.05, 0.6)), Options(seed=seed % 1000))
    assert len(found.witnesses) == 4 or found.exhausted or found.stop_reason is StopReason.NUMERICAL
    assert_apart(found)
    for witness in found.witnesses:
        assert query.perturbation.contains(witness.point, query.x0)
        assert query.margin_at(network.forward(witness.point)[None])[0] >= -1e-9


def test_a_set_smaller_than_the_distance_is_exhausted_without_a_solver() -> None:
    found = witnesses(Query(line_classifier(), np.array([0.5]), LinfBall(0.1)), 2, 0.15)
    assert len(found.witnesses) == 1 and found.exhausted and found.evidence in OWN


def test_bounds_show_that_there_is_none() -> None:
    found = witnesses(Query(line_classifier(), np.array([0.1]), LinfBall(0.1)), 2, 0.01)
    assert found.witnesses == () and found.exhausted and found.evidence in OWN


def test_the_first_is_the_input_itself_where_it_is_misclassified() -> None:
    found = witnesses(Query(line_classifier(), np.array([0.25]), label=1, targets=Targets.only(0)), 1, 0.1)
    assert found.witnesses[0].distance == 0.0


def test_equal_seeds_give_equal_examples() -> None:
    query = Query(plane_classifier(7), np.array([0.5, 0.5]), LinfBall(0.5))
    first, second = (witnesses(query, 5, 0.1, Options(seed=7)) for _ in range(2))
    assert [w.point.tolist() for w in first.witnesses] == [w.point.tolist() for w in second.witnesses]


@pytest.mark.parametrize(
    ("first", "second", "distance", "expected"),
    [
        (0.3, 0.1, 0.2, False),  # the floats 0.3 - 0.1 differ by less than the float 0.2
        (0.5, 0.25, 0.25, True),
        (0.25, 0.5, 0.25, True),
        (0.5, 0.25, np.nextafter(0.25, 1), False),
        (1.0, 2.0**-60, 1.0, False),
    ],
)
def test_distances_are_compared_exactly(first: float, second: float, distance: float, expected: bool) -> None:
    assert at_least(distance, np.array([0.7, first]), np.array([0.7, second])) is expected
    assert (abs(Fraction(first) - Fraction(second)) >= Fraction(distance)) is expected


def test_half_spaces_begin_at_the_first_float_that_is_far_enough() -> None:
    rng = np.random.default_rng(0)
    box = Bounds(np.full(200, -10.0), np.full(200, 10.0))
    centre, apart = rng.normal(size=200), 0.3
    for entry, upward, end in module._faces(box, centre, apart):
        nearer = np.nextafter(end, centre[entry])
        assert abs(Fraction(end) - Fraction(centre[entry])) >= Fraction(apart)
        assert abs(Fraction(float(nearer)) - Fraction(centre[entry])) < Fraction(apart)
        assert bool(end > centre[entry]) is upward


class TestHostileSolver:
    query = Query(line_classifier(), np.array([0.25]))

    def run(self, monkeypatch: pytest.MonkeyPatch, answer: SolveStatus | Exception | str) -> WitnessList:
        def scripted(name: str, model: MipModel, limits: SolveLimits) -> MipSolution:
            if isinstance(answer, Exception):
                raise answer
            if isinstance(answer, str):  # a point in the middle of nowhere
                return replace(solve_isolated(name, model, limits), point=model.column_lower)
            return MipSolution(answer, None, None, None, None, 0, 0.0)

        monkeypatch.setattr(module, "ATTEMPTS", 0)
        monkeypatch.setattr(module, "solve_isolated", scripted)
        return witnesses(self.query, 2, 0.1)

    @pytest.mark.parametrize(
        ("answer", "reason"),
        [
            (SolveStatus.TIME_LIMIT, StopReason.TIME_LIMIT),
            (SolveStatus.INTERRUPTED, StopReason.INTERRUPTED),
            (SolveStatus.INFEASIBLE_OR_UNBOUNDED, StopReason.SOLVER_FAILED),
            (SolveStatus.UNKNOWN, StopReason.SOLVER_FAILED),
            (BackendCrashError("highs: its process was ended"), StopReason.SOLVER_FAILED),
            ("a wrong point", StopReason.NUMERICAL),
        ],
    )
    def test_nothing_but_infeasible_is_taken_for_exhausted(
        self, monkeypatch: pytest.MonkeyPatch, answer: SolveStatus | Exception | str, reason: StopReason
    ) -> None:
        found = self.run(monkeypatch, answer)
        assert (found.stop_reason, found.exhausted, found.evidence) == (reason, False, None)

    def test_infeasible_is_the_solvers_claim(self, monkeypatch: pytest.MonkeyPatch) -> None:
        found = self.run(monkeypatch, SolveStatus.INFEASIBLE)
        assert found.exhausted and found.evidence is Evidence.SOLVER_CLAIM and "highs" in found.evidence_detail


def test_a_time_limit_keeps_what_was_found() -> None:
    found = witnesses(Query(line_classifier(), np.array([0.5])), 3, 0.1, Options(time_limit=1e-9))
    assert len(found.witnesses) == 1 and found.stop_reason is StopReason.TIME_LIMIT


@pytest.mark.parametrize("seed", [7, 8])
def test_a_set_that_is_no_box_is_respected(seed: int, attacks: bool) -> None:
    query = Query(plane_classifier(seed), np.array([0.5, 0.5]), L1Ball(0.6))
    found = witnesses(query, 50, 0.15)
    assert len(found.witnesses) > 1 and found.exhausted
    assert_apart(found)
    assert all(query.perturbation.contains(w.point, query.x0) for w in found.witnesses)


def test_targets_that_have_to_win_do(attacks: bool) -> None:
    network = plane_classifier(8)
    predicted = int(np.argmax(network.forward(np.array([0.5, 0.5]))))
    for target in {0, 1, 2} - {predicted}:
        targets = Targets.only(target, winning=True)
        found = witnesses(Query(network, np.array([0.5, 0.5]), LinfBall(0.5), targets=targets), 50, 0.2)
        assert found.exhausted
        assert_apart(found)
        grid = np.stack(np.meshgrid(*[np.linspace(0, 1, 41)] * 2), axis=-1).reshape(-1, 2)
        logits = network.forward_batch(grid)
        wins = grid[logits.argmax(axis=1) == target]
        assert all(w.logits[target] >= w.logits.max() - 1e-9 for w in found.witnesses)
        for point in wins:
            assert min(np.abs(point - w.point).max() for w in found.witnesses) < 0.2 + 1e-6


def test_sets_of_images_given_by_parameters_are_refused() -> None:
    with pytest.raises(InputError, match="given by parameters"):
        witnesses(Query(line_classifier(), np.array([0.25]), Brightness(-0.1, 0.1)), 2, 0.1)


@pytest.mark.parametrize(("count", "apart"), [(0, 0.1), (1.5, 0.1), (1, 0.0), (1, -1.0), (1, np.inf), (1, np.nan)])
def test_wrong_arguments_are_refused(count: float, apart: float) -> None:
    with pytest.raises(InputError, match="must be"):
        witnesses(Query(line_classifier(), np.array([0.25])), count, apart)  # type: ignore[arg-type]
