"""The scripts about the cost, the scale and the store of campaigns still run; what they measure is not tested."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.benchmarks import campaign_costs, campaign_scale, campaign_store
from tests.benchmarks.campaign_costs import Case
from tests.benchmarks.campaign_store import Throughput

SMALL = ["--networks", "zoo:digits_small_standard,zoo:digits_small_adversarial", "--seconds", "20"]


def test_costs_without_a_time_count_as_the_limit() -> None:
    figures = {"settled": True, "seconds": 3.0, "cpu_seconds": 2.0, "stop": "solved"}
    found = campaign_costs.costs([figures, {"error": "process died"}, {**figures, "settled": False}], 60.0)
    assert found == [Case(2.0, 3.0, True), Case(60.0, 60.0, False), Case(2.0, 3.0, False)]


def test_a_projection_is_the_mean_times_the_cases() -> None:
    found = {"a": [Case(1.0, 2.0, True)] * 5, "b": [Case(3.0, 4.0, True)] * 5}
    lines = dict(campaign_costs.projections(found, {"set": {"a": (1.0, 9.0), "b": (2.0, 9.0)}}, 1800))
    assert [line.estimate for line in lines.values()] == pytest.approx([1.0, 1.5, 0.75, 1.75])
    assert all(line.low == line.estimate == line.high for line in lines.values())


def test_what_was_not_seen_is_bounded() -> None:
    found = {"a": [Case(1.0, 1.0, True)] * 300}
    told = campaign_costs.unseen(found, 36.0, 10_000)
    assert "0 of 300" in told and "0.99 % of all: 99 cases of 10,000, or 1.0 core-hours" in told


def test_costs_are_drawn_evenly_from_configurations() -> None:
    drawn = campaign_scale.drawn([np.array([1.0, 2.0]), np.array([10.0]), np.array([100.0])], 1000, seed=5)
    assert [int(np.sum((drawn >= low) & (drawn < 10 * low))) for low in (1, 10, 100)] == [334, 333, 333]
    assert set(drawn) == {1.0, 2.0, 10.0, 100.0} and not np.all(np.diff(drawn) >= 0)


def test_budgets_are_those_of_a_campaign() -> None:
    assert campaign_scale.budgets(600.0) == (12.0, 75.0, 600.0)
    assert campaign_scale.budgets(4.0) == (1.0, 4.0)


def test_a_transaction_and_its_results_are_told_apart() -> None:
    commit, record = campaign_store.transaction(
        [
            Throughput(f"results recorded, {n} at a time", 2000, 2000 * (0.002 + 0.01 / n))
            for n in campaign_store.BATCHES
        ]
    )
    assert (commit, record) == pytest.approx((0.01, 0.002))


@pytest.mark.slow
def test_costs_are_measured_and_replayed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ["--out", str(tmp_path / "costs.jsonl"), "--images", "1,3"]
    pool = tmp_path / "quick.toml"
    pool.write_text("[attacks.pgd]\nsteps = 5\n[attacks.deepfool]\n")
    assert campaign_costs.main([*SMALL, *out, "--sets", str(pool), "--batch", "1"]) == 0
    shown = capsys.readouterr()
    assert "2 of 2" in shown.out and "0 of 4 cases were open" in shown.out and "exact distances and" in shown.out
    assert shown.err.count("solved") == 4
    assert campaign_scale.main([*SMALL, *out, "--cases", "100", "--workers", "1,50", "--seeds", "2"]) == 0
    shown = capsys.readouterr()
    assert shown.out.count("100 cases") == 4 and "solved" not in shown.err


@pytest.mark.slow
def test_the_store_and_runs_are_measured(capsys: pytest.CaptureFixture[str]) -> None:
    options = [
        "--results",
        "20",
        "--workers",
        "2",
        "--executors",
        "processes",
        "--networks",
        "zoo:digits_conv_standard",
        "--images",
        "2",
    ]
    assert campaign_store.main(options) == 0
    shown = capsys.readouterr().out
    assert "1000 at a time" in shown and "A transaction takes" in shown
    assert all(shown.count(name) == 1 for name in ("no cost", "zoo:digits_conv_standard"))
