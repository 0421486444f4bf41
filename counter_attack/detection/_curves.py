"""How well estimated distances tell non-robust inputs: ROC at one eps, F1 against eps.

The positives are the non-robust inputs, t <= eps; e <= eps marks one. Published: figures of F1 against eps in Marro and
Lombardi 2023.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from counter_attack._figure import save_figure
from onnx_models import Array
from onnx_models.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True, eq=False)
class RocCurve:
    """True against false positives as the threshold on the estimate falls, for one eps.

    Attributes:
        eps: inputs with an exact distance up to this are the positives.
        false_positive_rate, true_positive_rate: shape (K,), from 0 to 1.
        threshold: inputs with an estimate up to this are marked, shape (K,); the first is minus infinity (none is).
        area: under the curve, in [0, 1].
        at_eps: false and true positive rate of the threshold eps itself: the detector as it is.
    """

    eps: float
    false_positive_rate: Array
    true_positive_rate: Array
    threshold: Array
    area: float
    at_eps: tuple[float, float]


@dataclass(frozen=True, slots=True, eq=False)
class F1Curve:
    """F1 of "estimate <= eps" for "exact distance <= eps".

    Attributes:
        eps: radii, shape (K,).
        f1: shape (K,), in [0, 1]; NaN where no input is non-robust and none is marked, so that F1 has no meaning.
    """

    eps: Array
    f1: Array


def roc_curve(estimate: ArrayLike, exact: ArrayLike, eps: float) -> RocCurve:
    """The ROC curve for estimated and exact distances, each of shape (N,); either may be infinite (none found, or none
    there).

    Raises:
        InputError: different shapes or NaN; no non-robust input, or no robust one, among those given.
    """
    from sklearn import metrics

    estimates, truth = _both(estimate, exact)
    positive = truth <= eps
    if positive.all() or not positive.any():
        kind = "non-robust" if positive.all() else "robust"
        raise InputError(f"At eps {eps:g} all {len(truth)} inputs are {kind}; a ROC curve needs some of each.")
    values, rank = np.unique(estimates, return_inverse=True)  # the order is all that counts, and infinity has a place
    false, true, cuts = metrics.roc_curve(positive, -rank, drop_intermediate=False)
    marked = estimates <= eps
    return RocCurve(
        eps=float(eps),
        false_positive_rate=false,
        true_positive_rate=true,
        threshold=np.concatenate([[-np.inf], values[-cuts[1:].astype(np.int64)]]),
        area=float(metrics.roc_auc_score(positive, -rank)),
        at_eps=(float(marked[~positive].mean()), float(marked[positive].mean())),
    )


def f1_curve(estimate: ArrayLike, exact: ArrayLike, eps: ArrayLike | None = None) -> F1Curve:
    """F1 against eps for estimated and exact distances, each of shape (N,); either may be infinite.

    Args:
        estimate: e.
        exact: t.
        eps: radii; None: 200 from 0 to 1 % beyond the largest finite distance.

    Raises:
        InputError: different shapes or NaN.
    """
    from sklearn.metrics import f1_score

    estimates, truth = _both(estimate, exact)
    if eps is None:
        finite = np.concatenate([estimates, truth])
        finite = finite[np.isfinite(finite)]
        radii = np.linspace(0.0, 1.01 * max(finite.max(initial=0.0), 0.0), 200)
    else:
        radii = np.atleast_1d(np.asarray(eps, dtype=np.float64))
    scores = np.full(len(radii), np.nan)
    for place, radius in enumerate(radii):
        positive, marked = truth <= radius, estimates <= radius
        if positive.any() or marked.any():
            scores[place] = f1_score(positive, marked)
    return F1Curve(radii, scores)


def plot_roc(curve: RocCurve, path: str | Path) -> None:
    """Draws the curve as a PNG (or whatever the file's ending says), with the detector's own point."""
    figure = _figure()
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="0.7", linestyle=":", label="chance")
    axes.plot(curve.false_positive_rate, curve.true_positive_rate, label=f"area {curve.area:.4f}")
    axes.plot(*curve.at_eps, "o", color="black", label="the detector")
    axes.set(xlabel="false positive rate", ylabel="true positive rate", aspect="equal")
    axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
    axes.set_title(f"Non-robust inputs at eps = {curve.eps:g}")
    axes.legend(loc="lower right")
    save_figure(figure, path)


def plot_f1(curve: F1Curve, path: str | Path, *, mark: float | None = None) -> None:
    """Draws F1 against eps; `mark` is an eps to point out."""
    figure = _figure()
    axes = figure.subplots()
    axes.plot(curve.eps, curve.f1)
    if mark is not None:
        axes.axvline(mark, color="0.4", linestyle="--", label=f"eps = {mark:g}")
        axes.legend(loc="lower right")
    axes.set(xlabel="eps", ylabel="F1", xlim=(0, float(curve.eps.max()) or 1.0), ylim=(0, 1.02))
    axes.set_title("F1 of marking inputs as non-robust")
    axes.grid(visible=True, color="0.9")
    save_figure(figure, path)


def _figure() -> Figure:
    from matplotlib.figure import Figure  # without pyplot, so that no state outside is touched

    return Figure(figsize=(5.2, 4.2), dpi=150, layout="constrained")


def _both(estimate: ArrayLike, exact: ArrayLike) -> tuple[Array, Array]:
    estimates, truth = np.asarray(estimate, dtype=np.float64), np.asarray(exact, dtype=np.float64)
    if estimates.ndim != 1 or estimates.shape != truth.shape or not len(truth):
        raise InputError(f"Estimates have shape {estimates.shape}, exact distances {truth.shape}; expected (N,) each.")
    if np.isnan(estimates).any() or np.isnan(truth).any():
        raise InputError("There are distances that are NaN; give infinity where an attack found nothing.")
    return estimates, truth
