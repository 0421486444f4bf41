"""The simulation of campaigns against closed forms, and the projection of costs against known distributions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnx_models import Array
from tests.benchmarks.projection import mean_cost, share_at_most
from tests.benchmarks.simulation import Cluster, Work, estimate, simulate

ROUNDS = (1.0, 6.0, 50.0)
COSTS = st.lists(st.floats(0.0, 60.0), min_size=1, max_size=40)


def some_costs(count: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).lognormal(0.0, 1.5, count)


def chains(costs: Array, budgets: tuple[float, ...]) -> list[list[float]]:
    """Lengths of the attempts at each query, one by one."""
    attempts = []
    for cost in costs.tolist():
        needed = next((k for k, budget in enumerate(budgets) if cost <= budget), len(budgets) - 1)
        attempts.append([*budgets[:needed], min(cost, budgets[needed])])
    return attempts


# ------------------------------------------------------------------------------------------------------- no losses


def test_one_worker_takes_the_sum_of_the_costs() -> None:
    costs = some_costs(200)
    found = simulate(Work(costs, (math.inf,)), Cluster(1))
    assert found.makespan == pytest.approx(costs.sum())
    assert found.efficiency(1) == pytest.approx(1.0)
    assert (found.attempts, found.still_open, found.failed) == (200, 0, 0)


@pytest.mark.parametrize(("queries", "workers"), [(12, 4), (13, 4), (3, 10)])
def test_equal_costs_are_done_in_waves(queries: int, workers: int) -> None:
    found = simulate(Work(np.full(queries, 2.5), (60.0,)), Cluster(workers, start=1.0))
    assert found.makespan == pytest.approx(1.0 + 2.5 * math.ceil(queries / workers))


@given(COSTS, st.integers(1, 8), st.sampled_from([ROUNDS, ROUNDS[-1:]]))
def test_makespans_are_within_grahams_bounds(costs: list[float], workers: int, budgets: tuple[float, ...]) -> None:
    # Graham, "Bounds on multiprocessing timing anomalies", 1969; the attempts at one query are a chain.
    lengths = [sum(chain) for chain in chains(np.array(costs), budgets)]
    found = simulate(Work(np.array(costs), budgets), Cluster(workers))
    even, longest = sum(lengths) / workers, max(lengths)
    assert found.makespan >= max(even, longest) * (1 - 1e-12)
    assert found.makespan <= (even + (1 - 1 / workers) * longest) * (1 + 1e-12)


@given(COSTS, st.integers(1, 8))
def test_no_work_is_lost_or_invented(costs: list[float], workers: int) -> None:
    expected = chains(np.array(costs), ROUNDS)
    found = simulate(Work(np.array(costs), ROUNDS), Cluster(workers))
    assert found.useful == pytest.approx(sum(chain[-1] for chain in expected))
    assert found.repeated == pytest.approx(sum(sum(chain[:-1]) for chain in expected))
    assert found.attempts == sum(map(len, expected))
    assert found.still_open == sum(cost > ROUNDS[-1] for cost in costs)
    assert found.lost == found.slowed == found.failed == 0
    assert len(found.done) == len(costs) and np.all(np.diff(found.done) >= 0)


def test_the_tail_begins_when_a_share_is_done() -> None:
    found = simulate(Work(np.arange(1.0, 11.0), (math.inf,)), Cluster(10))
    assert (found.tail(0.9), found.tail(0.5), found.tail(1.0)) == (1.0, 5.0, 0.0)
    assert found.present == pytest.approx(55.0)
    assert found.efficiency(10) == pytest.approx(0.55)


def test_a_slow_worker_takes_longer() -> None:
    costs = some_costs(50)
    found = simulate(Work(costs, (math.inf,)), Cluster(1, slow_share=1.0, slow_factor=3.0))
    assert found.makespan == pytest.approx(3 * costs.sum())
    assert found.useful == pytest.approx(costs.sum()) and found.slowed == pytest.approx(2 * costs.sum())


# ------------------------------------------------------------------------------------------------------ the leader


def test_queries_of_no_cost_take_what_the_leader_takes() -> None:
    cluster = Cluster(50, send=0.01, record=0.02)
    work = Work(np.zeros(300), (1.0,))
    found = simulate(work, cluster)
    assert found.makespan == pytest.approx(300 * 0.03) == pytest.approx(estimate(work, cluster).leading)
    assert found.leading == pytest.approx(1.0)


def test_a_transaction_is_shared_by_the_completions_that_wait() -> None:
    work = Work(np.ones(100), (2.0,))
    # All end at 1 s; one of them is the first, and the others wait.
    assert simulate(work, Cluster(100, commit=0.5, batch=100)).makespan == pytest.approx(2.0)
    assert simulate(work, Cluster(100, commit=0.5, batch=1)).makespan == pytest.approx(51.0)


def test_a_worker_goes_on_while_its_completion_is_recorded() -> None:
    found = simulate(Work(np.ones(10), (2.0,)), Cluster(1, record=0.5))
    assert found.makespan == pytest.approx(10.5)


def test_models_go_to_one_worker_after_the_other() -> None:
    # Tasks begin at 3.5, 4, 4.5 (2), 5 (2), 5.5 (3) and 6 s.
    assert simulate(Work(np.ones(10), (2.0,)), Cluster(10, start=3.0, transfer=0.5)).makespan == pytest.approx(7.0)


# ---------------------------------------------------------------------------------------------------------- losses


@given(COSTS, st.integers(0, 2**32))
def test_one_worker_pays_for_every_loss(costs: list[float], seed: int) -> None:
    work = Work(np.array(costs), ROUNDS, max_failures=10**9)
    calm, stormy = Cluster(1, start=0.25), Cluster(1, start=0.25, lifetime=40.0, away=1.5)
    without, found = simulate(work, calm), simulate(work, stormy, seed)
    losses = found.attempts - without.attempts
    assert found.makespan == pytest.approx(without.makespan + found.lost + losses * (1.5 + 0.25))
    assert found.useful == pytest.approx(without.useful) and found.repeated == pytest.approx(without.repeated)
    assert found.makespan >= without.makespan * (1 - 1e-12)


@given(st.integers(1, 60), st.integers(1, 8), st.integers(0, 2**32))
def test_losses_never_beat_waves(queries: int, workers: int, seed: int) -> None:
    work = Work(np.full(queries, 2.0), (5.0,), max_failures=10**9)
    found = simulate(work, Cluster(workers, lifetime=9.0, away=0.5, notice=0.1), seed)
    assert found.makespan >= 2.0 * math.ceil(queries / workers) * (1 - 1e-12)
    assert found.useful == pytest.approx(2.0 * queries) and found.failed == 0


def test_losses_cost_what_the_closed_form_says() -> None:
    work = Work(some_costs(300), ROUNDS, max_failures=10**9)
    cluster = Cluster(1, lifetime=20.0, away=2.0)
    found = np.array([simulate(work, cluster, seed).makespan for seed in range(60)])
    error = found.std(ddof=1) / math.sqrt(len(found))
    assert abs(found.mean() - estimate(work, cluster).computing) < 4 * error
    assert error < 0.03 * found.mean()


def test_a_query_that_is_always_lost_fails() -> None:
    work = Work(np.full(20, 1e6), (1e7,), max_failures=3)
    found = simulate(work, Cluster(4, lifetime=1.0, away=0.5))
    assert (found.failed, found.attempts, found.useful) == (20, 60, 0.0)
    assert len(found.done) == 20


def test_a_seed_gives_one_course_and_another_seed_another() -> None:
    work = Work(some_costs(300), ROUNDS)
    cluster = Cluster(7, start=1.0, lifetime=50.0, away=3.0, send=0.001, record=0.001, slow_share=0.3, slow_factor=2.0)
    first, again, other = (simulate(work, cluster, seed) for seed in (1, 1, 2))
    assert np.array_equal(first.done, again.done) and first[2:] == again[2:]
    assert first.makespan != other.makespan


@pytest.mark.parametrize(
    ("cluster", "largest"),
    [
        (Cluster(16, start=2.0, send=1e-4, record=1e-3), "computing"),
        (Cluster(500, start=2.0, transfer=0.2), "computing"),  # workers still join when all is done
        (Cluster(2000, send=1e-4, record=1e-3), "hardest"),
        (Cluster(2000, send=0.01, record=0.02), "leading"),
        (Cluster(2000, start=500.0), "start"),
    ],
)
def test_what_a_makespan_is_made_of(cluster: Cluster, largest: str) -> None:
    work = Work(some_costs(3000), ROUNDS)
    expected, found = estimate(work, cluster), simulate(work, cluster)
    assert expected.largest == largest
    assert expected.makespan <= found.makespan * (1 + 1e-12)
    assert found.makespan <= 1.1 * sum(expected)  # where one part begins when another has ended


# ------------------------------------------------------------------------------------------------------ projections


def test_the_interval_holds_the_true_mean_about_as_often_as_it_says() -> None:
    generator, places, width = np.random.default_rng(3), np.linspace(-1, 1, 9), 0.7
    truth = float(np.mean(np.exp(places + width**2 / 2)))
    hits = 0
    for seed in range(150):
        strata = [generator.lognormal(place, width, 30) for place in places]
        found = mean_cost(strata, resamples=300, seed=seed)
        assert found.low <= found.estimate <= found.high
        hits += found.low <= truth <= found.high
    assert 0.87 * 150 <= hits <= 0.995 * 150


def test_equal_costs_leave_no_doubt() -> None:
    assert mean_cost([np.full(4, 2.0), np.full(6, 3.0)]) == (2.5, 2.5, 2.5)
    assert mean_cost([np.full(4, 2.0), np.full(6, 3.0)]) * 10 == (25.0, 25.0, 25.0)


@pytest.mark.parametrize("asked", [10, 270])
def test_the_rule_of_three(asked: int) -> None:
    assert share_at_most(0, asked) == pytest.approx(1 - 0.05 ** (1 / asked))
    assert share_at_most(0, asked) == pytest.approx(3 / asked, rel=0.15)
    assert share_at_most(asked, asked) == 1.0


def test_a_share_bound_is_one_where_so_few_are_rare() -> None:
    share = share_at_most(3, 50)
    assert sum(math.comb(50, k) * share**k * (1 - share) ** (50 - k) for k in range(4)) == pytest.approx(0.05)
