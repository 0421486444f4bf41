"""Fooling ratio against eps: of attacks, each at every radius, and of the exact distances."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from counter_attack._figure import save_figure
from counter_attack._share import Share
from counter_attack._subject import Subject
from counter_attack.attacks._contract import Attack
from counter_attack.attacks._epsilon import EpsilonAttack
from counter_attack.transfer._push import REACH
from onnx_models import Array
from onnx_models.errors import InputError

if TYPE_CHECKING:
    from counter_attack.detection import ExactResult


@dataclass(frozen=True, slots=True, eq=False)
class FoolingCurve:
    """Which inputs an attack fools within each of K radii.

    Attributes:
        name: the attack's.
        eps: radii, shape (K,), ascending.
        fooled: shape (K, N).
    """

    name: str
    eps: Array
    fooled: NDArray[np.bool_]

    @property
    def shares(self) -> tuple[Share, ...]:
        """The fooling ratio at each radius."""
        return tuple(Share.true(row) for row in self.fooled)


@dataclass(frozen=True, slots=True, eq=False)
class ExactCurve:
    """What is proved about each of K radii.

    Attributes:
        eps: radii, shape (K,), ascending.
        fooled: inputs with a checked example within the radius, shape (K, N): no attack can be asked for fewer.
        possible: inputs whose distance is not proved to be larger, shape (K, N): no attack can fool others. The two
            differ where a bracket is open, or a radius falls into a closed one.
    """

    eps: Array
    fooled: NDArray[np.bool_]
    possible: NDArray[np.bool_]

    @property
    def shares(self) -> tuple[tuple[Share, Share], ...]:
        """Lower and upper end of the exact fooling ratio at each radius."""
        return tuple((Share.true(low), Share.true(high)) for low, high in zip(self.fooled, self.possible, strict=True))


def at_radius(attack: EpsilonAttack, eps: float) -> EpsilonAttack:
    """The attack at this radius; where it has steps, all together are 2.5 eps long (as in Madry et al. 2018)."""
    changed: dict[str, Any] = {"eps": eps}
    names = {field.name for field in dataclasses.fields(attack)}
    if {"steps", "step_size"} <= names:
        changed["step_size"] = REACH * eps / getattr(attack, "steps")  # noqa: B009  # not every attack has it
    return dataclasses.replace(attack, **changed)


def fooling_curve(subject: Subject, name: str, attack: Attack, eps: ArrayLike) -> FoolingCurve:
    """Which inputs the attack fools at each radius.

    An attack within a ball runs anew at every radius (see `at_radius`), so its curve may fall: that is a sign of
    trouble, see `diagnose`. One that looks for the nearest example runs once, and what it finds counts from there on.

    Raises:
        InputError: radii that are not positive and ascending, or an attack in another norm.
    """
    radii = _radii(eps)
    _same_norm(subject, name, attack)
    if not isinstance(attack, EpsilonAttack):
        found = subject.attacked(attack)
        return FoolingCurve(name, radii, np.stack([subject.within(found, e) for e in radii.tolist()]))
    rows = [subject.within(subject.attacked(at_radius(attack, e)), e) for e in radii.tolist()]
    return FoolingCurve(name, radii, np.stack(rows))


def fooling_curves(subject: Subject, attacks: Mapping[str, Attack], eps: ArrayLike) -> tuple[FoolingCurve, ...]:
    """The curves of several attacks by name."""
    return tuple(fooling_curve(subject, name, attack, eps) for name, attack in attacks.items())


def exact_curve(exact: ExactResult, eps: ArrayLike) -> ExactCurve:
    """What exact brackets, one for each input, say about each radius."""
    radii = _radii(eps)
    return ExactCurve(radii, exact.upper <= radii[:, None], exact.lower <= radii[:, None])


def draw_curves(
    curves: Sequence[FoolingCurve], exact: ExactCurve | None, path: str | Path, *, title: str = "Fooling ratio"
) -> None:
    """Draws the ratios in percent with their 95 % intervals, and the exact ones as a black band."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.6, 4.0), dpi=120, layout="constrained")
    axes = figure.subplots()
    if exact is not None:
        low, high = (100 * np.array([pair[end].ratio for pair in exact.shares]) for end in (0, 1))
        axes.fill_between(exact.eps, low, high, color="0.6", alpha=0.6)
        axes.plot(exact.eps, low, color="black", linewidth=2.2, label="exact")
    for curve, marker in zip(curves, "os^vDPX*<>" * len(curves), strict=False):
        ratio = 100 * np.array([share.ratio for share in curve.shares])
        ends = 100 * np.array([share.interval for share in curve.shares])
        reach = np.stack([np.maximum(ratio - ends[:, 0], 0.0), np.maximum(ends[:, 1] - ratio, 0.0)])
        axes.errorbar(
            curve.eps, ratio, yerr=reach, marker=marker, markersize=4, linewidth=1.2, capsize=2, label=curve.name
        )
    axes.set(xlabel="eps", ylabel="fooling ratio, %", ylim=(-2, 102), title=title)
    axes.grid(visible=True, color="0.9")
    axes.legend(loc="best", fontsize=8)
    save_figure(figure, path)


def _radii(eps: ArrayLike) -> Array:
    radii = np.atleast_1d(np.asarray(eps, dtype=np.float64))
    if radii.ndim != 1 or not len(radii) or not np.all(np.isfinite(radii) & (radii > 0)) or np.any(np.diff(radii) <= 0):
        raise InputError(f"Radii have to be above 0 and ascending; got {radii.tolist()}.")
    return radii


def _same_norm(subject: Subject, name: str, attack: Attack) -> None:
    if attack.norm is not subject.norm:
        raise InputError(
            f"{name} works in {attack.norm.value}, but radii are in {subject.norm.value}; make them agree."
        )
