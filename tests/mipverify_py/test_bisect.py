"""Bisection around a verifier: brackets that hold the truth, honest ends where a step stays unknown, bad arguments."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mipverify_py import (
    Box,
    Evidence,
    LinfBall,
    Norm,
    Objective,
    Options,
    Query,
    Result,
    StopReason,
    Targets,
    Verdict,
    Witness,
    _bisect,
    _search,
    distance,
    verify,
)
from mipverify_py._attack import GradientAttack
from mipverify_py._balls import L1Ball
from mipverify_py._bisect import bisect
from onnx_models import Array
from onnx_models.errors import InputError
from tests.helpers.norms import dense_network, exact_norm_distance, half_space
from tests.helpers.queries import line_classifier

ROUNDING = 1e-6
TOLERANCE = 1e-3


def brackets_truth(result: Result, truth: float, tolerance: float = TOLERANCE) -> None:
    assert result.stop_reason is StopReason.SOLVED, result.stop_detail
    assert result.verdict is Verdict.ADVERSARIAL and result.witness is not None
    assert result.lower is not None and result.upper is not None
    assert result.upper - result.lower <= tolerance
    assert result.lower <= truth + ROUNDING and truth - ROUNDING <= result.upper
    assert result.upper == result.witness.distance


@pytest.mark.parametrize(("norm", "engine"), [(Norm.LINF, "cuts"), (Norm.LINF, "mip"), (Norm.L1, "auto")])
@pytest.mark.parametrize("seed", [1, 4])
def test_the_bracket_holds_the_truth_of_every_activation_pattern(norm: Norm, engine: str, seed: int) -> None:
    network = dense_network(seed)
    x0 = np.random.default_rng(seed).random(3)
    query = Query(network, x0, norm=norm)
    truth = exact_norm_distance(query)
    result = bisect(query, Options(engine=engine))
    if truth is None:
        assert (result.verdict, result.stop_reason) == (Verdict.ROBUST, StopReason.SOLVED)
        assert result.lower is None and result.upper is None
        return
    brackets_truth(result, truth)


def test_the_bracket_overlaps_that_of_a_direct_search_and_its_ends_answer_questions() -> None:
    network, x0 = dense_network(3, inputs=4, units=5), np.full(4, 0.4)
    found, direct = distance(network, x0, method="bisect", tolerance=0.01), distance(network, x0)
    assert found.lower is not None and found.upper is not None and direct.lower is not None and direct.upper is not None
    assert found.lower <= direct.upper and direct.lower <= found.upper
    asked = Query(network, x0, perturbation=LinfBall(found.lower), objective=Objective.FEASIBILITY)
    assert verify(asked).verdict is Verdict.ROBUST
    assert verify(replace(asked, perturbation=LinfBall(found.upper))).verdict is Verdict.ADVERSARIAL


def test_a_target_that_has_to_win() -> None:
    network, x0 = dense_network(6, units=5, classes=4), np.full(3, 0.5)
    reference = int(network.forward(x0).argmax())
    for target in set(range(4)) - {reference}:
        targets = Targets.only(target, winning=True)
        direct = distance(network, x0, targets=targets)
        found = distance(network, x0, targets=targets, method="bisect")
        assert found.verdict is direct.verdict
        if direct.upper is not None:
            brackets_truth(found, direct.upper)
            assert found.witness is not None and found.witness.query.rivals == direct.witness.query.rivals  # type: ignore[union-attr]
            assert network.forward(found.witness.point).argmax() == target or found.witness.query.margin_at(
                network.forward(found.witness.point)[None]
            ) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(("norm", "truth"), [(Norm.LINF, 0.25), (Norm.L1, 0.5)])
def test_a_half_space_has_the_distance_of_the_formula(norm: Norm, truth: float) -> None:
    network = half_space(np.array([1.0, 1.0]), -1.5)  # x + y >= 1.5 from (0.5, 0.5)
    result = distance(network, [0.5, 0.5], norm=norm, method="bisect", tolerance=1e-5)
    brackets_truth(result, truth, 1e-5)


def test_no_example_in_the_domain() -> None:
    result = distance(line_classifier(slope=0.4), [0.2], method="bisect")
    assert (result.verdict, result.stop_reason) == (Verdict.ROBUST, StopReason.SOLVED)
    assert result.evidence is not None and result.evidence.is_own
    assert result.lower is None and result.upper is None and result.witness is None


def test_an_input_that_is_wrong_already_has_distance_0() -> None:
    result = distance(line_classifier(), [0.9], label=0, method="bisect")
    assert (result.lower, result.upper) == (0.0, 0.0)


def test_progress_narrows_and_ends_with_the_result() -> None:
    seen = []
    result = distance(dense_network(3), np.full(3, 0.4), method="bisect", on_progress=seen.append)
    lowers, uppers = [b.lower for b in seen if b.lower is not None], [b.upper for b in seen if b.upper is not None]
    assert lowers == sorted(lowers) and uppers == sorted(uppers, reverse=True)
    assert (seen[-1].lower, seen[-1].upper) == (result.lower, result.upper)


class Scripted:
    """A verifier that answers truthfully, but otherwise from its `turn`-th question on."""

    def __init__(self, turn: int, change: Any) -> None:
        self.turn, self.change, self.asked = turn, change, []

    def __call__(self, query: Query, options: Options) -> Result:
        self.asked.append(query)
        answer = verify(query, options)
        return answer if len(self.asked) < self.turn else self.change(answer)


def unknown(answer: Result) -> Result:
    return replace(
        answer,
        verdict=Verdict.UNKNOWN,
        witness=None,
        evidence=None,
        stop_reason=StopReason.NODE_LIMIT,
        stop_detail="told to",
    )


def test_an_unknown_step_leaves_the_honest_bracket(monkeypatch: pytest.MonkeyPatch) -> None:
    network, x0 = dense_network(3), np.full(3, 0.4)
    truth = distance(network, x0)
    scripted = Scripted(4, unknown)
    monkeypatch.setattr(_bisect, "verify", scripted)
    result = distance(network, x0, method="bisect")
    assert result.stop_reason is StopReason.NODE_LIMIT and "told to" in result.stop_detail
    assert len(scripted.asked) == 4
    assert result.lower is not None and result.upper is not None and truth.lower is not None and truth.upper is not None
    assert result.lower <= truth.upper and truth.lower <= result.upper
    assert result.upper - result.lower > TOLERANCE


def test_an_interrupted_step_leaves_the_bracket(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(answer: Result) -> Result:
        raise KeyboardInterrupt

    monkeypatch.setattr(_bisect, "verify", Scripted(3, interrupt))
    result = distance(dense_network(3), np.full(3, 0.4), method="bisect")
    assert result.stop_reason is StopReason.INTERRUPTED
    assert result.lower is not None and result.lower > 0 and result.upper is not None


def test_a_verifier_that_contradicts_itself_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A claim that nothing lies within 0.2, where the truth is 0.1; the next example refutes it."""
    network = half_space(np.array([1.0, 3.0]), -2.4)

    def far(self: GradientAttack, deadline: float | None) -> Array:
        return np.array([1.0, 0.5])  # at the boundary 0.4 away, so that the first question is about 0.2

    def claimed(answer: Result) -> Result:
        assert answer.verdict is Verdict.ADVERSARIAL
        return replace(answer, verdict=Verdict.ROBUST, witness=None, evidence=Evidence.SOLVER_CLAIM)

    class Liar(Scripted):
        def __call__(self, query: Query, options: Options) -> Result:
            answer = super().__call__(query, options)
            return claimed(answer) if len(self.asked) == 1 else answer

    monkeypatch.setattr(GradientAttack, "nearest", far)
    liar = Liar(10**9, None)
    monkeypatch.setattr(_bisect, "verify", liar)
    result = distance(network, [0.5, 0.5], method="bisect")
    assert [query.perturbation.radius for query in liar.asked] == pytest.approx([0.2, 0.3])
    assert result.stop_reason is StopReason.NUMERICAL and "claims" in result.stop_detail
    assert result.lower == 0.0 and result.upper is not None and 0.1 - 1e-9 <= result.upper < 0.2


def test_a_claim_is_found_out_where_no_example_can_be_polished(monkeypatch: pytest.MonkeyPatch) -> None:
    """The truth is 0.1; an example 0.3 away, then the claim that nothing lies within 0.15, then an example within."""
    network = half_space(np.array([1.0, 3.0]), -2.4)

    def nothing(*_: object) -> None:
        return None

    honest = distance(network, [0.5, 0.5])

    def example(query: Query, radius: float) -> Result:
        return replace(honest, witness=Witness(query, np.full(2, 0.5 + radius)))

    class Liar:
        asked = 0

        def __call__(self, query: Query, options: Options) -> Result:
            self.asked += 1
            if self.asked == 1:  # anything in the domain
                return example(query, 0.3)
            if self.asked == 2:  # within 0.15, where there are examples
                return replace(honest, verdict=Verdict.ROBUST, witness=None, evidence=Evidence.SOLVER_CLAIM)
            return example(query, 0.1 + 1e-9)  # asked about 0.225, and refutes the claim of 0.15

    monkeypatch.setattr(GradientAttack, "nearest", nothing)
    monkeypatch.setattr(_search, "polish", nothing)
    monkeypatch.setattr(_bisect, "verify", Liar())
    result = distance(network, [0.5, 0.5], method="bisect")
    assert result.stop_reason is StopReason.NUMERICAL and "claims" in result.stop_detail
    assert result.lower == 0.0 and result.upper == pytest.approx(0.1)


def test_an_example_that_is_not_nearer_ends_the_bisection(monkeypatch: pytest.MonkeyPatch) -> None:
    network = half_space(np.array([1.0, 3.0]), -2.4)

    def outside(query: Query, options: Options) -> Result:
        far = Witness(replace(query, perturbation=LinfBall(0.5)), np.full(2, 1.0))
        return replace(verify(query, options), verdict=Verdict.ADVERSARIAL, witness=far)

    monkeypatch.setattr(_bisect, "verify", outside)
    result = distance(network, [0.5, 0.5], method="bisect", options=Options(time_limit=20))
    assert result.stop_reason is StopReason.NUMERICAL and "not nearer" in result.stop_detail
    assert result.lower == 0.0 and result.upper == pytest.approx(0.1)


def test_ctrl_c_counts_where_the_step_had_its_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    scripted = Scripted(2, lambda answer: replace(answer, stop_reason=StopReason.INTERRUPTED))
    monkeypatch.setattr(_bisect, "verify", scripted)
    result = distance(dense_network(3), np.full(3, 0.4), method="bisect")
    assert result.stop_reason is StopReason.INTERRUPTED and len(scripted.asked) == 2


def test_time_runs_out() -> None:
    result = distance(dense_network(3), np.full(3, 0.4), method="bisect", options=Options(time_limit=1e-6))
    assert result.stop_reason is StopReason.TIME_LIMIT


def test_steps_ask_about_balls_of_the_norm_with_the_engine_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    scripted = Scripted(10**9, None)
    monkeypatch.setattr(_bisect, "verify", scripted)
    distance(dense_network(3), np.full(3, 0.4), norm=Norm.L1, method="bisect", tolerance=0.1)
    assert scripted.asked and all(isinstance(query.perturbation, L1Ball) for query in scripted.asked)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "bisection"}, "'direct' or 'bisect'"),
        ({"tolerance": 0.1}, "is for method 'bisect'"),
        ({"method": "bisect", "tolerance": 0.0}, "finite number above 0"),
        ({"method": "bisect", "tolerance": float("nan")}, "finite number above 0"),
        ({"method": "bisect", "tolerance": "wide"}, "tolerance"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        distance(line_classifier(), [0.2], **arguments)


def test_other_queries_are_refused() -> None:
    query = Query(line_classifier(), [0.2])
    with pytest.raises(InputError, match="closest"):
        bisect(replace(query, objective=Objective.FEASIBILITY))
    with pytest.raises(InputError, match="Box"):
        bisect(replace(query, perturbation=Box.of([0.0], [1.0])))
