"""The published figures, cell by cell, and tables of small data against naive computations."""

from __future__ import annotations

import csv
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import linprog

from counter_attack.ug100 import TABLES, Column, Rule, Table, calibrate, cells, read_distances, tables
from onnx_models.errors import InputError
from tests.helpers.ug100 import MIP, STRONG, Maker

FIGURES = ("difference", "below", "r2")


@pytest.fixture(scope="module")
def published(shared_data: Path) -> pd.DataFrame:
    return read_distances(shared_data / "ug100")


@pytest.fixture(scope="module")
def statistics(shared_data: Path) -> list[dict[str, str]]:
    with (shared_data / "ug100" / "configuration_stats.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def _printed(row: Any, name: str, rule: Rule) -> float:
    return float(f"{row[f'{name}_{rule.value}']:.{3 if name == 'r2' else 2}f}")


def test_every_published_figure_is_reproduced(published: pd.DataFrame, statistics: list[dict[str, str]]) -> None:
    found = {
        (row["configuration"], table.name.rpartition("-")[2]): row
        for table in tables(published, ["configurations"])
        for row in table.rows
    }
    assert len(statistics) == 24 == len(found)
    for expected in statistics:
        name = "-".join(expected[key] for key in ("domain", "architecture", "training"))
        row = found[name, expected["parameter_set"]]
        assert row["images_published"] == int(expected["n_valid"])
        assert row["images_converged"] == int(expected["n_converged"])
        assert row["success_published"] == float(expected["success_rate_pct"])
        columns = (
            (Rule.PUBLISHED, ("published_difference_pct", "published_below_1_255_pct", "published_r2")),
            (Rule.PUBLISHED, ("difference_of_averages_pct", "below_1_255_pct", "r2")),
            (Rule.CONVERGED, ("converged_difference_pct", "converged_below_1_255_pct", "converged_r2")),
        )
        for rule, keys in columns:
            for figure, key in zip(FIGURES, keys, strict=True):
                assert _printed(row, figure, rule) == float(expected[key]), (name, key)


def test_images_per_configuration_are_those_of_the_statistics(
    published: pd.DataFrame, statistics: list[dict[str, str]]
) -> None:
    totals = {"-".join((r["domain"], r["architecture"], r["training"])): int(r["n_total"]) for r in statistics}
    assert {cell.configuration: len(cell.index) for cell in cells(published)} == totals


def test_labels_are_counted_over_all_images(published: pd.DataFrame, shared_data: Path) -> None:
    from mipverify_py.data import read_mnist

    labels = read_mnist(shared_data / "mnist").labels
    mnist, cifar10 = tables(published, ["labels"], labels={"mnist": labels})
    images = published.loc[published["configuration"] == "mnist-a-standard", "index"].unique()
    assert {row["label"]: row["images"] for row in mnist.rows} == {
        k: int((labels[images] == k).sum()) for k in range(10)
    }
    assert sum(row["share"] for row in mnist.rows) == pytest.approx(100)
    assert not cifar10.rows
    assert "not known" in cifar10.note
    with pytest.raises(InputError, match="mnist has 100 labels, but there are distances for index"):
        list(tables(published, ["labels"], labels={"mnist": labels[:100]}))


def _random(seed: int, *, attacks: tuple[str, ...] = ("bim", "fab", "pgd"), images: int = 30) -> pd.DataFrame:
    """Two networks on one data set, with failures, open brackets and missing ends."""
    random = np.random.default_rng(seed)
    rows = []
    for name in ("toy-a-standard", "toy-b-relu"):
        upper = random.uniform(0.01, 0.1, images)
        lower = np.where(random.random(images) < 0.3, upper / 2, upper)
        upper[0] = np.nan
        for i in range(images):
            for attack in attacks:
                distance = np.nan if random.random() < 0.1 else random.uniform(0.01, 0.12)
                rows.append((name, i, "strong", attack, distance, lower[i], upper[i]))
    return pd.DataFrame(rows, columns=["configuration", "index", "attack_set", "attack", "distance", "lower", "upper"])


def _naive(frame: pd.DataFrame, name: str, attacks: tuple[str, ...], rule: Rule) -> dict[str, float]:
    """The figures of some attacks on one network, by pandas alone."""
    own = frame[(frame["configuration"] == name) & frame["upper"].notna()]
    if rule is Rule.CONVERGED:
        own = own[own["upper"] - own["lower"] <= 1e-5]
    exact = own.groupby("index")["upper"].first()
    found = own[own["attack"].isin(attacks)].groupby("index")["distance"].min()
    pairs = pd.DataFrame({"t": exact, "a": found}).dropna()
    return {
        "success": 100 * len(pairs) / len(exact),
        "difference": 100 * (pairs["a"].mean() / pairs["t"].mean() - 1),
        "below": 100 * ((pairs["t"] - pairs["a"]).abs() < 1 / 255).mean(),
        "r2": pairs["a"].corr(pairs["t"]) ** 2,
    }


def _mean_and_spread(frame: pd.DataFrame, attacks: tuple[str, ...], rule: Rule) -> dict[str, float]:
    both = pd.DataFrame([_naive(frame, name, attacks, rule) for name in ("toy-a-standard", "toy-b-relu")])
    return {**both.mean().to_dict(), **both.std(ddof=0).add_suffix("_std").to_dict()}


def _agree(row: Any, expected: dict[str, float], ending: str) -> None:
    for key, value in expected.items():
        name, _, spread = key.partition("_")
        shown = row[f"{name}{ending}{'_std' if spread else ''}"]
        assert shown == pytest.approx(value, abs=1e-9), key


@pytest.mark.parametrize("rule", Rule)
def test_means_over_networks_are_those_of_naive_computation(rule: Rule) -> None:
    frame, ending = _random(1), f"_{rule.value}"
    names = ("trainings", "attacks", "drop-one")
    found = {table.name.removesuffix("-toy-strong"): table for table in tables(frame, names)}
    attacks = ("bim", "fab", "pgd")
    *by_training, every = found["trainings"].rows
    _agree(every, _mean_and_spread(frame, attacks, rule), ending)
    for row, name in zip(by_training, ("toy-a-standard", "toy-b-relu"), strict=True):
        assert row["training"] == name.rpartition("-")[2]
        _agree(row, _naive(frame, name, attacks, rule), ending)
    for row in found["attacks"].rows:
        _agree(row, _mean_and_spread(frame, (row["attack"],), rule), ending)
    for row in found["drop-one"].rows:
        kept = tuple(attack for attack in attacks if attack != row["dropped"])
        _agree(row, _mean_and_spread(frame, kept, rule), ending)


@pytest.mark.parametrize("seed", range(3))
def test_best_pools_are_found_by_looking_at_all(seed: int) -> None:
    frame = _random(seed)
    [table] = tables(frame, ["pools"])
    for rule, size in itertools.product(Rule, (1, 2, 3)):
        [row] = [row for row in table.rows if row["size"] == size and row["rule"] == rule.value]
        pools = list(itertools.combinations(("bim", "fab", "pgd"), size))
        means = {pool: _mean_and_spread(frame, pool, rule) for pool in pools}
        best = max(pools, key=lambda pool: (round(means[pool]["success"], 9), means[pool]["r2"]))
        assert row["pool"] == ", ".join(best)
        _agree(row, means[best], "")


def test_tightness_counts_what_is_closed(make: Maker) -> None:
    [table] = tables(read_distances(make(mip=MIP, strong=STRONG)), ["tightness"])
    [row] = table.rows
    assert (row["images"], row["with_upper"], row["converged"], row["infeasible"]) == (5, 3, 2, 1)
    assert row["gap_max"] == pytest.approx(0.2)
    assert row["gap_mean"] == pytest.approx((0 + 0.2 + 5e-6) / 3)
    assert row["converged_share"] == 40
    assert row["gap_relative"] == pytest.approx(100 * 0.200005 / (0.1 + 0.3 + 0.400005))


def test_relative_gaps_leave_out_images_without_a_lower_end(make: Maker) -> None:
    brackets = MIP["toy-a-standard"] | {"9": {"lower": None, "upper": 0.7}}
    [table] = tables(read_distances(make(mip={"toy-a-standard": brackets}, strong=STRONG)), ["tightness"])
    assert table.rows[0]["gap_relative"] == pytest.approx(100 * 0.200005 / (0.1 + 0.3 + 0.400005))


def test_all_tables_of_the_smallest_data_say_what_they_cannot(make: Maker) -> None:
    found = list(tables(read_distances(make(mip=MIP, strong=STRONG))))
    assert [table.name.partition("-toy")[0] for table in found] == list(TABLES)
    for table in found:
        for row in table.rows:
            assert all(isinstance(column.show(row), str) for column in table.columns)
    calibration = next(table for table in found if table.name.startswith("calibration"))
    assert {row["true_published"] for row in calibration.rows} == {None}  # too few images
    assert "toy" in next(table for table in found if table.name == "labels-toy").note


def test_attacks_that_not_all_networks_have_are_named() -> None:
    frame = _random(2)
    frame = frame[~((frame["configuration"] == "toy-b-relu") & (frame["attack"] == "fab"))]
    [table] = tables(frame, ["attacks"])
    assert [row["attack"] for row in table.rows] == ["bim", "pgd"]
    assert "not all configurations have it: fab" in table.note


def test_a_missing_row_and_an_unknown_table_are_mistakes() -> None:
    with pytest.raises(InputError, match="89 rows for 30 images and 3 attacks"):
        list(tables(_random(3).drop(index=5), ["attacks"]))
    with pytest.raises(InputError, match="There is no table figures; there are tightness"):
        list(tables(_random(3), ["figures"]))


def test_thirteen_attacks_leave_out_only_the_table_of_subsets() -> None:
    frame = _random(4, attacks=tuple(f"attack{i}" for i in range(13)), images=12)
    found = list(tables(frame, ["attacks", "pools"]))
    assert len(found[0].rows) == 13
    assert not found[1].rows
    assert "Not computed: 13 attacks" in found[1].note


def test_csv_and_json_have_unrounded_numbers() -> None:
    [table] = tables(_random(5), ["configurations"])
    rows = list(csv.DictReader(table.csv().splitlines()))
    for row, shown in zip(rows, table.rows, strict=True):
        assert {key: float(row[key]) for key in ("r2_published", "below_converged")} == {
            key: shown[key] for key in ("r2_published", "below_converged")
        }
    assert table.record()["rows"] == [dict(row) for row in table.rows]
    assert Table("t", "T", table.columns, ()).csv().startswith("architecture,training,")


def _pinball(quantile: float, residual: np.ndarray[Any, Any]) -> float:
    return float(np.maximum(quantile * residual, (quantile - 1) * residual).mean())


@pytest.mark.parametrize("quantile", [0.1, 0.5, 0.9])
def test_calibration_minimises_the_quantile_loss_on_the_other_folds(quantile: float) -> None:
    random = np.random.default_rng(7)
    exact = random.uniform(0.001, 0.01, 60)
    found = exact * random.uniform(1, 1.5, 60)
    result = calibrate(found, exact, quantile, seed=1)
    assert sorted(np.unique(result.fold, return_counts=True)[1].tolist()) == [12] * 5
    for number in range(5):
        held = result.fold == number
        assert result.shares[number] == pytest.approx((exact[held] <= result.predicted[held]).mean())
        slope, intercept = np.polyfit(found[held], result.predicted[held], 1)  # predictions lie on one line
        assert result.predicted[held] == pytest.approx(slope * found[held] + intercept)
        n = int((~held).sum())
        a, t = found[~held], exact[~held]
        best = linprog(
            np.r_[0, 0, np.full(n, quantile / n), np.full(n, (1 - quantile) / n)],
            A_eq=np.c_[a, np.ones(n), np.eye(n), -np.eye(n)],
            b_eq=t,
            bounds=[(None, None)] * 2 + [(0, None)] * (2 * n),
        ).fun
        assert _pinball(quantile, t - slope * a - intercept) == pytest.approx(best, rel=1e-6)


@pytest.mark.parametrize(
    ("found", "exact", "quantile", "folds", "message"),
    [
        ([1.0] * 10, [1.0] * 9, 0.5, 5, "two rows of finite distances"),
        ([np.nan] * 10, [1.0] * 10, 0.5, 5, "two rows of finite distances"),
        ([1.0] * 10, [1.0] * 10, 1.0, 5, "lies between 0 and 1; got 1.0"),
        ([1.0] * 9, [1.0] * 9, 0.5, 5, "9 inputs cannot be divided into 5 folds"),
        ([1.0] * 9, [1.0] * 9, 0.5, 1, "9 inputs cannot be divided into 1 folds"),
    ],
)
def test_calibration_refuses_what_it_cannot_use(
    found: list[float], exact: list[float], quantile: float, folds: int, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        calibrate(found, exact, quantile, folds=folds)


@pytest.mark.slow
def test_published_data_are_calibrated_within_their_spread(published: pd.DataFrame) -> None:
    standard = published[published["configuration"].isin(["mnist-a-standard", "cifar10-b-relu"])]
    for table in tables(standard, ["calibration"]):
        for row in table.rows:
            for rule in Rule:
                true, spread = row[f"true_{rule.value}"], row[f"true_{rule.value}_std"]
                assert abs(true - row["expected"]) <= max(3 * spread, 0.5)


@pytest.mark.parametrize(("style", "shown"), [("percent", "0.00"), ("share", "0.000"), ("precise", "-1e-09")])
def test_what_is_rounded_to_zero_has_no_sign(style: Any, shown: str) -> None:
    assert Column("x", "x", style).show({"x": -1e-9}) == shown
