"""k-fold validation: against a plain loop, and what cannot be validated."""

from __future__ import annotations

import numpy as np
import pytest

from counter_attack.detection import KINDS, LeastSquares, Pairs, Quantile, Zero, validate
from onnx_models.errors import InputError


def some_pairs(count: int) -> Pairs:
    rng = np.random.default_rng(0)
    exact = rng.gamma(4.0, 0.02, count)
    return Pairs(exact * (1 + rng.gamma(0.5, 0.05, count)), exact)


def test_every_pair_is_in_one_fold() -> None:
    found = validate(LeastSquares(), some_pairs(103), folds=5)
    assert [fold.pairs for fold in found.folds] == [21, 21, 21, 20, 20]


def test_scores_of_the_zero_buffer_are_those_of_the_pairs() -> None:
    """It is fitted on nothing, so the folds, whatever they are, make up the whole."""
    pairs = some_pairs(100)
    found = validate(Zero(), pairs, folds=4)
    error = np.abs(pairs.exact - pairs.heuristic)
    assert found.mean("mean_absolute_error") == pytest.approx(error.mean())
    assert found.mean("coverage") == pytest.approx(np.mean(pairs.exact <= pairs.heuristic))
    squares = [fold.root_mean_squared_error**2 for fold in found.folds]
    assert np.mean(squares) == pytest.approx(np.mean(error**2))


def test_scores_are_their_definitions() -> None:
    """With folds of two pairs each, whose members an exhaustive search over pairs of pairs identifies."""
    pairs = some_pairs(6)
    found = validate(LeastSquares(), pairs, folds=3, seed=4)
    options = []
    for i in range(6):
        for j in range(i):
            rest = np.delete(np.arange(6), [i, j])
            line = np.poly1d(np.polyfit(pairs.heuristic[rest], pairs.exact[rest], 1))
            t, e = pairs.exact[[i, j]], line(pairs.heuristic[[i, j]])
            r2 = 1 - np.sum((t - e) ** 2) / np.sum((t - t.mean()) ** 2)
            options.append((np.mean(t <= e), r2, np.abs(t - e).mean(), np.sqrt(np.mean((t - e) ** 2))))
    for fold in found.folds:
        scores = (fold.coverage, fold.r2, fold.mean_absolute_error, fold.root_mean_squared_error)
        assert any(scores == pytest.approx(option, rel=1e-6) for option in options)


@pytest.mark.parametrize("tau", [0.01, 0.5, 0.99])
def test_quantiles_carry_over_to_other_pairs(tau: float) -> None:
    found = validate(Quantile(tau), some_pairs(1000), folds=5)
    assert found.mean("coverage") == pytest.approx(tau, abs=0.02)


def test_the_seed_decides_the_folds() -> None:
    pairs = some_pairs(60)
    assert validate(LeastSquares(), pairs, seed=1) == validate(LeastSquares(), pairs, seed=1)
    assert validate(LeastSquares(), pairs, seed=1) != validate(LeastSquares(), pairs, seed=2)


def test_r2_is_missing_where_all_exact_distances_are_equal() -> None:
    found = validate(Zero(), Pairs(np.linspace(0.1, 0.2, 20), np.full(20, 0.1)), folds=2)
    assert [fold.r2 for fold in found.folds] == [None, None]
    assert found.mean("r2") is None and found.deviation("r2") is None


@pytest.mark.parametrize("name", KINDS)
def test_too_few_pairs(name: str) -> None:
    with pytest.raises(InputError, match="5 folds needs at least 10 pairs"):
        validate(KINDS[name](), some_pairs(9), folds=5)
    with pytest.raises(InputError, match="at least 2 folds"):
        validate(KINDS[name](), some_pairs(9), folds=1)
