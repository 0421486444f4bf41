"""The search for the least radius at which an attack succeeds, on attacks whose least radius is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from counter_attack.attacks import AttackProblem, Budget, EpsilonSearch
from counter_attack.attacks._problem import SpentError
from mipverify_py import Norm
from onnx_models import DenseMap, NetworkBuilder
from onnx_models.errors import InputError
from tests.helpers.queries import line_classifier

Attempt = tuple[list[float], list[int]]


def searched(
    x: list[float], search: EpsilonSearch, point_at: Callable[[Tensor, Tensor], Tensor], **arguments: Any
) -> tuple[AttackProblem, list[Attempt]]:
    """Runs the search on the line classifier (boundary at 0.5, domain [0, 1]); what was tried, in order."""
    problem = AttackProblem(line_classifier(), np.array(x)[:, None], **arguments)
    problem.start()
    return problem, run(problem, search, point_at)


def run(problem: AttackProblem, search: EpsilonSearch, point_at: Callable[[Tensor, Tensor], Tensor]) -> list[Attempt]:
    tried: list[Attempt] = []

    def attack_at(eps: Tensor, rows: Tensor) -> None:
        tried.append((eps.tolist(), rows.tolist()))
        problem.logits(problem.clip(point_at(eps, rows)), rows)

    search.run(problem, attack_at)
    return tried


def staying(point: float) -> Callable[[Tensor, Tensor], Tensor]:
    """An attack that shows the same point whatever its radius."""
    return lambda eps, rows: torch.full((len(rows), 1), point).to(eps)


def radii(tried: list[Attempt], row: int) -> list[float]:
    return [eps[rows.index(row)] for eps, rows in tried if row in rows]


def on_the_surface(x: list[float]) -> Callable[[Tensor, Tensor], Tensor]:
    """The strongest attack: the end of the ball."""
    start = torch.tensor(x, dtype=torch.float64)[:, None]
    return lambda eps, rows: start[rows] + eps[:, None]


@given(st.lists(st.floats(0.0, 0.499), min_size=1, max_size=4))
def test_it_finds_the_least_radius(x: list[float]) -> None:
    problem, tried = searched(x, EpsilonSearch(), on_the_surface(x))
    truth = 0.5 - np.array(x)
    assert np.all(problem.best_distance.numpy() >= truth)
    # Bisection leaves a quarter of the last radius over 2**20.
    np.testing.assert_allclose(problem.best_distance, truth, rtol=0.34 * 2**-20, atol=1e-15)
    assert len(tried) <= 50


def test_the_published_order_of_attempts() -> None:
    """From the width by 3/4 as long as it succeeds, then halves between the last failure and the last success."""
    _, tried = searched([0.0], EpsilonSearch(bisections=3), on_the_surface([0.0]))
    # 1, 0.75 and 0.5625 succeed, 0.421875 does not; then the middle of [0.421875, 0.5625] = 0.4921875 fails, ...
    expected = [1.0, 0.75, 0.5625, 0.421875, 0.4921875, 0.52734375, 0.509765625]
    assert radii(tried, 0) == expected


def test_rows_search_on_their_own_and_stop_costing() -> None:
    x = [0.0, 0.45, 0.2]
    together, _ = searched(x, EpsilonSearch(bisections=4), on_the_surface(x))
    for row, value in enumerate(x):
        alone, tried = searched([value], EpsilonSearch(bisections=4), on_the_surface([value]))
        assert alone.best_distance[0] == together.best_distance[row]
        assert together.calls[row] == len(tried) + 1


def test_settled_inputs_are_left_out() -> None:
    x = [0.8, 0.2]
    problem, tried = searched(x, EpsilonSearch(), on_the_surface(x), label=0)
    assert radii(tried, 0) == [] and len(radii(tried, 1)) > 5
    assert problem.best_distance[0] == 0


def test_an_input_without_success_is_given_up_after_the_decay() -> None:
    _, tried = searched([0.1], EpsilonSearch(decay_steps=7), staying(0.1))
    np.testing.assert_allclose(radii(tried, 0), 0.75 ** np.arange(7))


def test_an_attack_that_overshoots_at_the_width_is_tried_nearer() -> None:
    """Steps that leave the adversarial interval [0.5, 0.8] on its far side fail at large radii only."""
    builder = NetworkBuilder((1,))
    hidden = builder.relu(builder.affine([0], [DenseMap(np.array([[1.0], [1.0]]))], np.array([-0.4, -0.65])))
    maps = [DenseMap(np.array([[0.0, 0.0], [1.0, -2.5]]))]
    network = builder.build(builder.affine([hidden], maps, np.array([0.0, -0.1])))
    values = network.forward_batch(np.array([[0.49], [0.51], [0.7], [0.9]]))
    assert list(values[:, 1] > values[:, 0]) == [False, True, True, False]
    problem = AttackProblem(network, [[0.0]])
    problem.start()
    run(problem, EpsilonSearch(), lambda eps, _rows: eps[:, None])
    assert problem.best_distance[0] == pytest.approx(0.5, rel=1e-6)


def test_a_nearer_point_shortens_the_search() -> None:
    """An attack that jumps to 0.51 whatever its radius needs no attempt above 0.31."""
    x = [0.2]
    _, tried = searched(x, EpsilonSearch(bisections=2), lambda eps, _: torch.where(eps >= 0.31, 0.51, 0.2)[:, None])
    distance = 0.51 - 0.2
    np.testing.assert_allclose(radii(tried, 0), [1.0, 0.75 * distance, 0.875 * distance, 0.9375 * distance])


def test_what_another_attack_found_is_built_upon() -> None:
    problem = AttackProblem(line_classifier(), [[0.2]])
    problem.start()
    problem.logits(torch.tensor([[0.6]], dtype=torch.float64))
    tried = run(problem, EpsilonSearch(bisections=1), staying(0.2))
    np.testing.assert_allclose(radii(tried, 0), [0.3, 0.35])


def test_a_failure_that_a_nearer_success_contradicts_is_forgotten() -> None:
    """A lucky attack: fails at 0.75 of the first distance, then falls on a point at half of that."""
    points = iter([0.9, 0.2, 0.52])

    def lucky(eps: Tensor, rows: Tensor) -> Tensor:
        return staying(next(points, 0.2))(eps, rows)

    problem, tried = searched([0.2], EpsilonSearch(bisections=6), lucky)
    assert problem.best_distance[0] == pytest.approx(0.32)
    later = radii(tried, 0)[3:]
    assert later and max(later) < 0.32 and min(later) < 0.17  # below the radius of 0.525 that failed


@pytest.mark.parametrize(("norm", "width"), [(Norm.LINF, 2.0), (Norm.L1, 5.0), (Norm.L2, 3.0)])
def test_it_starts_at_the_width_of_the_domain_in_the_norm(norm: Norm, width: float) -> None:
    builder = NetworkBuilder((3,))
    network = builder.build(builder.affine([0], [DenseMap(np.zeros((2, 3)))], np.array([1.0, 0.0])))
    domain = np.array([0.0, 0.0, -1.0]), np.array([2.0, 1.0, 1.0])
    problem = AttackProblem(network, [[1.0, 0.5, 0.0]], domain=domain, norm=norm)
    tried = run(problem, EpsilonSearch(decay_steps=1), lambda _, rows: problem.x[rows])
    np.testing.assert_allclose(radii(tried, 0), [width])


def test_the_end_of_the_budget_ends_the_search() -> None:
    problem = AttackProblem(line_classifier(), [[0.2]])
    problem.limit(Budget(calls=4), 0.0)
    problem.start()
    with pytest.raises(SpentError, match="budget"):
        run(problem, EpsilonSearch(), on_the_surface([0.2]))
    assert problem.calls[0] == 4 and problem.best_distance[0] < 0.8


@pytest.mark.parametrize(
    "arguments",
    [{"initial_factor": 0.0}, {"initial_factor": 1.0}, {"decay_steps": 0}, {"bisections": -1}],
)
def test_bad_plans_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="search"):
        EpsilonSearch(**arguments)
