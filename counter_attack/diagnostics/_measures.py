"""The robustness measures rho1 and rho2, of attacks and of the exact distances."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from counter_attack._subject import Subject, sizes
from counter_attack.attacks._contract import AttackResult
from onnx_models import Array
from onnx_models.errors import InputError

if TYPE_CHECKING:
    from counter_attack.detection import ExactResult

Ends = tuple[float | None, float | None]
"""Lower and upper end of a number; None where there is none, both the same where it is known."""

SHARES = (0.5, 0.99)
"""The fooling ratios that rho2 is given for."""


@dataclass(frozen=True, slots=True, eq=False)
class Measures:
    """Measures of one way to find examples, over the inputs for which it found one.

    Attributes:
        name: the attack's, or "exact".
        found: inputs with an example.
        of: all inputs N.
        mean: mean distance over those found.
        rho1: mean of |eta|_p / |x|_p over those found with x other than 0.
        exact_mean, exact_rho1: the exact ones over the same inputs; (None, None) without exact distances.
        rho2: the least eps at which each of `SHARES` of all N inputs are fooled; None where never.
    """

    name: str
    found: int
    of: int
    mean: Ends
    rho1: Ends
    exact_mean: Ends
    exact_rho1: Ends
    rho2: tuple[Ends, ...]


def rho1(distance: Array, x: Array, subject: Subject) -> float | None:
    """mean of |eta|_p / |x|_p for distances |eta|_p, shape (K,), of inputs x, shape (K, n); None for K = 0.

    Moosavi-Dezfooli, Fawzi and Frossard 2016 (DeepFool), section 4, for p = 2 with DeepFool's eta; Balda, Behboodi
    and Mathar call it rho1 and use it for other p and attacks. Here only inputs count that the model gets right.

    Raises:
        InputError: an input of norm 0, for which the ratio has no meaning.
    """
    scale = sizes(x, subject.norm)
    if np.any(scale == 0):
        raise InputError("rho1 divides by |x|, and an input is 0 everywhere; leave it out.")
    return float(np.mean(distance / scale)) if len(distance) else None


def rho2(distance: Array, share: float) -> float | None:
    """The least eps with which at least `share` of all N inputs are fooled; None if none is large enough.

    With the distances of the nearest examples found, shape (N,), infinite where there is none, it is the k-th smallest,
    k = ceil(share N): where the attack's fooling ratio as a function of eps comes to `share`.

    Raises:
        InputError: a share outside (0, 1], or no distances.
    """
    if not 0 < share <= 1 or not len(distance):
        raise InputError(f"rho2 needs a share in (0, 1] and at least one input; got {share} and {len(distance)}.")
    found = float(np.sort(distance)[math.ceil(share * len(distance) - 1e-9) - 1])
    return found if math.isfinite(found) else None


def measures(
    subject: Subject, results: Mapping[str, AttackResult], exact: ExactResult | None = None
) -> tuple[Measures, ...]:
    """Measures of each attack and, as the last, of the exact distances, with the brackets' ends where these are open.

    Args:
        subject: model and inputs.
        results: what each attack, in the subject's norm, found for all of them.
        exact: brackets of all of them; None: not known.
    """
    rows, scaled = [], sizes(subject.x, subject.norm) > 0  # without |x| there is no ratio to it
    for name, result in results.items():
        good = result.success
        distance = np.where(good, result.distance, np.inf)
        value = None if not good.any() else float(result.distance[good].mean())
        ratio = rho1(result.distance[good & scaled], subject.x[good & scaled], subject)
        quantiles = tuple(rho2(distance, share) for share in SHARES)
        rows.append(
            Measures(
                name=name,
                found=int(good.sum()),
                of=len(subject),
                mean=(value, value),
                rho1=(ratio, ratio),
                exact_mean=_mean(exact, good),
                exact_rho1=_ratio(exact, good & scaled, subject),
                rho2=tuple((eps, eps) for eps in quantiles),
            )
        )
    if exact is not None:
        there = np.isfinite(exact.upper)
        rows.append(
            Measures(
                name="exact",
                found=int(there.sum()),
                of=len(subject),
                mean=_mean(exact, there),
                rho1=_ratio(exact, there & scaled, subject),
                exact_mean=_mean(exact, there),
                exact_rho1=_ratio(exact, there & scaled, subject),
                rho2=tuple((rho2(exact.lower, share), rho2(exact.upper, share)) for share in SHARES),
            )
        )
    return tuple(rows)


def _mean(exact: ExactResult | None, chosen: NDArray[np.bool_]) -> Ends:
    if exact is None or not chosen.any():
        return None, None
    return _finite(float(exact.lower[chosen].mean())), _finite(float(exact.upper[chosen].mean()))


def _ratio(exact: ExactResult | None, chosen: NDArray[np.bool_], subject: Subject) -> Ends:
    if exact is None or not chosen.any():
        return None, None
    low, high = (rho1(end[chosen], subject.x[chosen], subject) for end in (exact.lower, exact.upper))
    assert low is not None and high is not None
    return _finite(low), _finite(high)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
