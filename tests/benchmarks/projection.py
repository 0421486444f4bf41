"""From measured costs of a few cases to the cost of a whole campaign, with intervals.

Configurations are strata: each was sampled on its own, and each has the same share of the campaign's cases.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from onnx_models import Array

LEVEL = 0.95
RESAMPLES = 10_000


class Interval(NamedTuple):
    """An estimate, and the ends of its confidence interval of level `LEVEL`."""

    estimate: float
    low: float
    high: float

    def __mul__(self, factor: object) -> Interval:
        """The interval in another unit; the factor is positive."""
        assert isinstance(factor, float | int) and factor > 0
        return Interval(*(factor * value for value in self))


def mean_cost(strata: Sequence[Array], *, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """Mean cost per case where all strata weigh the same, by a stratified, studentised bootstrap.

    With m_h the mean and s_h the standard deviation of the n_h costs of stratum h out of H, the estimate is
    m = sum m_h / H with standard error e = sqrt(sum s_h^2 / n_h) / H. Costs are drawn anew within each stratum, and the
    quantiles of t* = (m* - m) / e* give the interval [m - t_hi e, m - t_lo e]; the plain quantiles of m* cover too
    rarely where few costs are large (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, section 12.5). The
    lower end is at least 0. It says nothing about cases that are harder than any that was seen: see `share_at_most`.

    Args:
        strata: costs of each, at least two, all >= 0.
        resamples: how often costs are drawn.
        seed: of the draws.
    """
    generator = np.random.default_rng(seed)
    estimate, error = _mean_and_error([costs[None] for costs in strata])
    drawn = [costs[generator.integers(len(costs), size=(resamples, len(costs)))] for costs in strata]
    means, errors = _mean_and_error(drawn)
    usable = errors > 0  # none is where all costs of each stratum are equal
    if not usable.any():
        return Interval(*[float(estimate[0])] * 3)
    t = (means[usable] - estimate) / errors[usable]
    high, low = estimate - error * np.quantile(t, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(estimate[0]), max(0.0, float(low)), float(high))


def _mean_and_error(strata: Sequence[Array]) -> tuple[Array, Array]:
    """Estimate and standard error of each row of costs; the strata's arrays have shapes (rows, n_h)."""
    means = np.mean([costs.mean(axis=1) for costs in strata], axis=0)
    squares = np.sum([costs.var(axis=1, ddof=1) / costs.shape[1] for costs in strata], axis=0)
    return means, np.sqrt(squares) / len(strata)


def share_at_most(seen: int, asked: int) -> float:
    """The share of cases of a kind that is not exceeded with confidence `LEVEL` after `seen` of `asked` were of it.

    Clopper and Pearson's bound; for `seen` = 0 it is 1 - (1 - LEVEL)^(1 / asked), about 3 / asked: the rule of three.
    """
    return 1.0 if seen == asked else float(stats.beta.ppf(LEVEL, seen + 1, asked - seen))
