"""The engine `boxes`: brute force, agreement, limits, interruptions, and the same answer for any number of jobs."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bounds import Bounds
from mipverify_py import (
    Box,
    LinfBall,
    Objective,
    Options,
    Query,
    Result,
    StopReason,
    Verdict,
    replay,
    verify,
)
from mipverify_py.engines import _box_engine, _box_search
from mipverify_py.engines._box_bound import BoxBounder
from mipverify_py.engines._box_search import BoxSearch
from mipverify_py.engines._box_tree import GrowingBoxTree
from mipverify_py.engines._native import NativeEngine
from mipverify_py.proof import BoxReplay
from onnx_models import Array, DenseMap, NetworkBuilder, ReluNetwork
from tests.helpers.oracles import largest_margin
from tests.helpers.queries import (
    OWN,
    ROUNDING,
    assert_matches,
    exact_distance,
    hard_question,
    line_classifier,
    random_query,
)

SEEDS = st.integers(0, 2**32 - 1)
BOXES = Options(engine="boxes", gap_absolute=1e-4, gap_relative=1e-3)


def deep_network(rng: np.random.Generator, sizes: tuple[int, ...], classes: int = 3) -> ReluNetwork:
    builder, node = NetworkBuilder((sizes[0],)), 0
    for size in sizes[1:]:
        weight = rng.normal(size=(size, builder.size(node))) / np.sqrt(builder.size(node)) * 1.5
        node = builder.relu(builder.affine([node], [DenseMap(weight)], rng.normal(size=size) * 0.3))
    return builder.build(builder.affine([node], [DenseMap(rng.normal(size=(classes, sizes[-1])))]))


def open_question(seed: int = 0, objective: Objective = Objective.FEASIBILITY) -> Query:
    """A query about the whole of [0, 1]^4 that takes a few hundred boxes; no input reaches the margin."""
    rng = np.random.default_rng(seed)
    network = deep_network(rng, (4, 12, 12))
    query = Query(network, rng.random(4), objective=objective)
    best = verify(replace_objective(query, Objective.WORST), BOXES)
    assert best.upper is not None
    return Query(network, query.x0, objective=objective, margin=best.upper + 0.05)


def replace_objective(query: Query, objective: Objective) -> Query:
    return Query(
        query.network, query.x0, query.perturbation, objective, query.label, query.targets, query.margin, query.norm
    )


def assert_proved(result: Result) -> None:
    assert result.evidence in OWN and result.proof is not None
    assert (result.proof.boxes is None) is bool(result.proof.trees)
    report = replay(result.proof)
    assert report.holds, report.failure


@given(SEEDS)
@settings(deadline=None, max_examples=12)
def test_closest_agrees_with_brute_force(seed: int) -> None:
    rng = np.random.default_rng(seed)
    query = random_query(deep_network(rng, (int(rng.integers(1, 3)), 3, 3)), seed)
    result = verify(query, Options(engine="boxes"))
    assert_matches(result, exact_distance(query))
    if result.proof is not None:
        assert_proved(result)


@given(SEEDS)
@settings(deadline=None, max_examples=12)
def test_just_under_and_just_over_the_distance(seed: int) -> None:
    rng = np.random.default_rng(seed)
    network = deep_network(rng, (2, 3, 3))
    query = Query(network, rng.random(2))
    truth = exact_distance(query)
    if truth is None or truth < 1e-3:
        return
    under = Query(network, query.x0, LinfBall(truth * 0.999), Objective.FEASIBILITY)
    result = verify(under, Options(engine="boxes"))
    assert result.verdict is Verdict.ROBUST
    assert_proved(result)
    over = Query(network, query.x0, LinfBall(truth * 1.001), Objective.FEASIBILITY)
    assert verify(over, Options(engine="boxes")).verdict is Verdict.ADVERSARIAL


@given(SEEDS)
@settings(deadline=None, max_examples=7)
@pytest.mark.slow
def test_worst_agrees_with_brute_force(seed: int) -> None:
    rng = np.random.default_rng(seed)
    query = replace_objective(random_query(deep_network(rng, (2, 3, 3)), seed), Objective.WORST)
    truth = largest_margin(
        query.network, query.target_classes, query.reference, lower=query.box.lower, upper=query.box.upper
    )
    result = verify(query, Options(engine="boxes"))
    assert result.stop_reason is StopReason.SOLVED and result.lower is not None and result.upper is not None
    assert result.lower <= truth + ROUNDING and truth - ROUNDING <= result.upper
    assert result.upper - result.lower <= 2e-5 * max(0.1, abs(result.upper))
    assert_proved(result)


@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_a_mixed_integer_program(seed: int) -> None:
    pytest.importorskip("highspy")
    rng = np.random.default_rng(seed)
    network, x0 = deep_network(rng, (4, 10, 10)), rng.random(4)
    for radius in (0.02, 0.1, 0.4):
        query = Query(network, x0, LinfBall(radius), Objective.FEASIBILITY)
        ours, theirs = verify(query, Options(engine="boxes")), verify(query, Options(engine="mip"))
        assert ours.verdict is theirs.verdict is not Verdict.UNKNOWN


def test_a_minimum_of_outputs_is_one_target() -> None:
    """[0, min(p, q)]: excluded where p or q is, although the box as a whole excludes neither."""
    builder = NetworkBuilder((2,))
    hidden = builder.relu(builder.affine([0], [DenseMap(np.array([[1.0, 1.0], [-1.0, 1.0], [1.0, -1.0]]))]))
    p = builder.affine([hidden], [DenseMap(np.array([[1.0, 0.0, -1.0]]))], np.array([-0.9]))
    q = builder.affine([hidden], [DenseMap(np.array([[-1.0, 1.0, -1.0]]))], np.array([0.8]))
    one, minus = DenseMap(np.ones((1, 1))), DenseMap(-np.ones((1, 1)))
    excess = builder.relu(builder.affine([p, q], [one, minus]))
    least = builder.affine([p, excess], [one, minus])
    network = builder.build(builder.affine([least], [DenseMap(np.array([[0.0], [1.0]]))]), fuse=False)
    points = np.stack(np.meshgrid(*[np.linspace(0, 1, 201)] * 2), axis=-1).reshape(-1, 2)
    top = float(network.forward_batch(points)[:, 1].max())
    for margin, verdict in ((top + 0.02, Verdict.ROBUST), (top - 0.02, Verdict.ADVERSARIAL)):
        query = Query(network, np.zeros(2), objective=Objective.FEASIBILITY, label=0, margin=margin)
        assert verify(query, Options(engine="boxes")).verdict is verdict


def test_a_relu_on_the_input_itself() -> None:
    """f_1 - f_0 = 0.3 x_1 - relu(x_0) - relu(0.5 - x_0) is at most -0.2, but only boxes cut along x_0 show that."""
    builder = NetworkBuilder((2,))
    kept = builder.relu(0)
    mirrored = builder.relu(builder.affine([0], [DenseMap(np.array([[-1.0, 0.0]]))], np.array([0.5])))
    rows = [np.array([[0.0, 0.0], [-1.0, 0.3]]), np.array([[0.0], [-1.0]])]
    network = builder.build(builder.affine([kept, mirrored], [DenseMap(row) for row in rows]))
    box = Box.of([-1.0, 0.0], [1.0, 1.0])
    domain = Bounds.of([-1.0, 0.0], [1.0, 1.0])
    for margin, verdict in ((-0.19, Verdict.ROBUST), (-0.21, Verdict.ADVERSARIAL)):
        query = Query(network, np.zeros(2), box, Objective.FEASIBILITY, label=0, margin=margin, domain=domain)
        result = verify(query, replace(BOXES, node_limit=5000))
        assert result.verdict is verdict


@pytest.mark.parametrize("objective", list(Objective))
@pytest.mark.parametrize("nodes", [1, 20, 60])
def test_a_limit_leaves_what_is_proved_so_far(
    objective: Objective, nodes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_box_search, "ROUND", 8)
    monkeypatch.setattr(BoxBounder, "__init__", with_few_at_once(BoxBounder.__init__))
    rng = np.random.default_rng(1)
    query = Query(deep_network(rng, (4, 12, 12)), rng.random(4), objective=objective)
    if objective is Objective.FEASIBILITY:
        query = open_question()
    whole = verify(query, BOXES)
    part = verify(query, replace(BOXES, node_limit=nodes))
    if part.stop_reason is StopReason.SOLVED:
        assert objective is not Objective.FEASIBILITY
        return
    assert part.stop_reason is StopReason.NODE_LIMIT and part.statistics.open_targets
    if objective is Objective.FEASIBILITY:
        assert part.verdict is Verdict.UNKNOWN and part.proof is None
        return
    assert part.lower is None or whole.upper is None or part.lower <= whole.upper
    assert part.upper is None or whole.lower is None or part.upper >= whole.lower
    if part.proof is not None:
        assert_proved(part)


def with_few_at_once(original: Callable[..., None]) -> Callable[..., None]:
    def made(self: BoxBounder, *args: object) -> None:
        original(self, *args)
        self.boxes_at_once = 4

    return made


def test_an_interrupted_distance_has_a_lower_end_from_the_boxes_that_are_left() -> None:
    network, x0 = hard_question()
    query = Query(network, x0, Box.of(np.clip(x0 - 0.5, 0, 1), np.clip(x0 + 0.5, 0, 1)))
    free = np.arange(12) < 4
    query = Query(network, x0, Box.of(np.where(free, 0.0, x0), np.where(free, 1.0, x0)))
    whole = verify(query, BOXES)
    assert whole.stop_reason is StopReason.SOLVED and whole.lower is not None
    ends = [verify(query, replace(BOXES, node_limit=k)) for k in (1, 600, 1500)]
    for part in ends:
        assert part.lower is None or part.lower <= whole.lower + 1e-9
        if part.proof is not None:
            assert_proved(part)


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (BoxSearch, "advance"),
        (BoxSearch, "_settle"),
        (BoxSearch, "_cut"),
        (GrowingBoxTree, "split"),
        (GrowingBoxTree, "claim"),
        (BoxReplay, "check"),
        (BoxBounder, "__call__"),
    ],
)
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("objective", list(Objective))
def test_ctrl_c_at_any_moment(
    owner: type, name: str, after: bool, objective: Objective, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(2)
    query = Query(deep_network(rng, (3, 8, 8)), rng.random(3), objective=objective)
    if objective is Objective.FEASIBILITY:
        query = open_question(2)
    whole, original = verify(query, BOXES), getattr(owner, name)
    for moment in (1, 2, 5):
        calls = itertools.count(1)

        def interrupted(*args: object, **kwargs: object) -> object:
            stop = next(calls) == moment  # noqa: B023
            if stop and not after:
                raise KeyboardInterrupt
            result = original(*args, **kwargs)
            if stop:
                raise KeyboardInterrupt
            return result

        with monkeypatch.context() as patch:
            patch.setattr(owner, name, interrupted)
            part = verify(query, BOXES)
        if part.stop_reason is StopReason.SOLVED:
            continue  # it took fewer calls
        assert part.stop_reason is StopReason.INTERRUPTED
        assert part.verdict is not Verdict.ROBUST or objective is Objective.WORST
        assert part.lower is None or whole.upper is None or part.lower <= whole.upper
        assert part.upper is None or whole.lower is None or part.upper >= whole.lower
        if part.proof is not None:
            assert replay(part.proof).holds


def test_the_answer_is_the_same_for_any_number_of_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BoxBounder, "__init__", with_few_at_once(BoxBounder.__init__))
    query = open_question()
    one, three = (verify(query, replace(BOXES, jobs=jobs)) for jobs in (1, 3))
    assert one.verdict is three.verdict is Verdict.ROBUST
    assert one.proof is not None and three.proof is not None
    first, second = one.proof.boxes, three.proof.boxes
    assert first is not None and second is not None and first.size > 20
    for name in ("axes", "cuts", "children", "stage", "closed"):
        assert np.array_equal(getattr(first, name), getattr(second, name))


def test_floats_that_cannot_decide_say_so() -> None:
    """f_1 - f_0 is at most 0.1 on the box, and the margin is the next number above it."""
    network = line_classifier(slope=0.1, bias=0.0)
    margin = float(np.nextafter(0.1, 1.0))
    result = verify(
        Query(network, np.zeros(1), objective=Objective.FEASIBILITY, label=0, margin=margin), Options(engine="boxes")
    )
    assert result.verdict is Verdict.UNKNOWN and result.stop_reason is StopReason.NUMERICAL


def test_a_maximum_on_the_margin_itself_is_a_witness() -> None:
    network = line_classifier(slope=0.1, bias=0.0)
    query = Query(network, np.zeros(1), objective=Objective.FEASIBILITY, label=0, margin=0.1)
    assert verify(query, Options(engine="boxes")).verdict is Verdict.ADVERSARIAL


def test_leaves_that_the_replay_rejects_are_cut_further(monkeypatch: pytest.MonkeyPatch) -> None:
    """A replay that doubts every first claim: the search goes on below, and what it returns has been replayed."""
    original, doubted = BoxReplay.check, []

    def doubtful(self: BoxReplay, tree: object, numbers: Array, *rest: object) -> Array:
        holds = original(self, tree, numbers, *rest)
        if len(doubted) < 3 and np.any(holds):
            doubted.append(int(numbers[0]))
            self._holds[numbers] = False
            return np.zeros_like(holds)
        return holds

    monkeypatch.setattr(BoxReplay, "check", doubtful)
    result = verify(open_question(), BOXES)
    monkeypatch.undo()
    assert len(doubted) == 3
    assert result.verdict is Verdict.ROBUST
    assert_proved(result)


@pytest.mark.parametrize(("inputs", "units", "boxes"), [(4, 12, True), (4, 2, False), (12, 12, False)])
def test_auto_cuts_boxes_where_few_inputs_are_free(
    inputs: int, units: int, boxes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []
    monkeypatch.setattr(_box_engine.BoxEngine, "run", lambda _: ran.append("boxes"))
    monkeypatch.setattr(NativeEngine, "run", lambda _: ran.append("units"))
    rng = np.random.default_rng(0)
    network = deep_network(rng, (inputs, units, units))
    verify(Query(network, np.full(inputs, 0.5), objective=Objective.WORST))
    assert ran == ["boxes" if boxes else "units"]


def test_fixed_inputs_are_not_free(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []
    monkeypatch.setattr(_box_engine.BoxEngine, "run", lambda _: ran.append("boxes"))
    network = deep_network(np.random.default_rng(0), (30, 20, 20))
    free, x0 = np.arange(30) < 3, np.full(30, 0.5)
    box = Box.of(np.where(free, 0.0, x0), np.where(free, 1.0, x0))
    verify(Query(network, x0, box, Objective.WORST))
    assert ran == ["boxes"]
