"""Regression: how far can the outputs of a model be moved by a perturbation of given size?"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from counter_attack._classifier import Classifier
from counter_attack._distances import distances
from counter_attack.attacks._contract import AttackStop
from counter_attack.attacks._gradient import project
from counter_attack.attacks._problem import read_domain, read_inputs
from counter_attack.unified._objectives import jacobian
from counter_attack.unified._output_change import is_solved, largest_change
from mipverify_py import Norm
from onnx_models import Array, ReluNetwork
from onnx_models.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True, slots=True, eq=False)
class OutputChange:
    """Perturbations of N inputs and how far they move the outputs; each change is a lower bound on the largest.

    Attributes:
        points: the perturbed inputs, within eps and in the domain, shape (N, n).
        change: |f(points) - f(x)|_q, evaluated, shape (N,).
        linearised: max of |J eta|_q over |eta|_p <= eps at x, shape (N,): what the first linearisation promises,
            outside the domain, too. For a model that is linear around x and a wide domain, the change. NaN where
            the first linearisation was interrupted.
        solved: whether that maximum is one; if not, it is a lower bound, see `largest_change`.
        size: |points - x|_p, shape (N,).
        stop: why the steps ended: FINISHED, TIME or INTERRUPTED.
    """

    points: Array
    change: Array
    linearised: Array
    solved: bool
    size: Array
    stop: AttackStop


def change_outputs(
    model: ReluNetwork | nn.Module | Classifier,
    x: ArrayLike,
    *,
    eps: float,
    norms: tuple[Norm, Norm] = (Norm.LINF, Norm.L2),
    steps: int = 1,
    domain: tuple[ArrayLike, ArrayLike] = (0.0, 1.0),
    seconds: float | None = None,
) -> OutputChange:
    """Perturbations that move the outputs of a model far: a linearised attack on regression.

    T steps of size eps / T each solve the linearised problem at the point where the last one led, and are clipped to
    the domain. The first step is eps / T times a vector that attains the operator norm of the Jacobian or its opposite,
    to which the linearisation is indifferent: the one that changes the outputs more. The furthest outputs count. After
    Ctrl-C those of the steps done by then are returned.

    Args:
        model: with one or more outputs.
        x: inputs, shape (N, *shape) or (N, n).
        eps: largest |eta|_p, > 0.
        norms: p of the perturbation and q of the outputs.
        steps: T, >= 1.
        domain: valid inputs, see `Attack`.
        seconds: no step but the first begins after this time, > 0; None: no limit.

    Raises:
        InputError: an argument that does not fit, naming it.
    """
    if not (np.isfinite(eps) and eps > 0) or steps < 1 or not (seconds is None or seconds > 0):
        raise InputError(
            "A change of outputs needs a finite eps > 0 and at least 1 step, and more than 0 seconds or None; "
            f"got {eps}, {steps} and {seconds}."
        )
    deadline = math.inf if seconds is None else time.monotonic() + seconds
    inputs = read_inputs(model, x)
    search = _Search(Classifier.of(model, shape=inputs.shape[1:]), inputs.reshape(len(inputs), -1), eps, norms, domain)
    stop = AttackStop.FINISHED
    try:
        for number in range(steps):
            if number and time.monotonic() >= deadline:
                stop = AttackStop.TIME
                break
            search.step(first=number == 0, share=1 / steps)
    except KeyboardInterrupt:
        stop = AttackStop.INTERRUPTED
    return search.found(stop)


class _Search:
    """The points of N inputs as they move, and the furthest ones so far."""

    def __init__(
        self,
        classifier: Classifier,
        rows: Array,
        eps: float,
        norms: tuple[Norm, Norm],
        domain: tuple[ArrayLike, ArrayLike],
    ) -> None:
        import torch

        self._classifier, self._rows, self._norms = classifier, rows, norms
        self._start, self._low, self._high = (
            torch.from_numpy(a.copy()).to(classifier.device) for a in (rows, *read_domain(domain, rows))
        )
        self._radius = self._start.new_full((len(rows),), eps)
        with torch.no_grad():
            self._origin = classifier.logits(self._start)
        if self._origin.ndim != 2 or not bool(torch.isfinite(self._origin).all()):
            raise InputError(
                f"The model gives shape {tuple(self._origin.shape)}; expected finite outputs (N, outputs)."
            )
        self._points = self._furthest = self._start
        self._most = torch.zeros_like(self._radius)
        self._promised = torch.full_like(self._radius, torch.nan)

    def step(self, *, first: bool, share: float) -> None:
        """Solves the linearised problem where the points are, and moves them by `share` of the radius."""
        import torch

        (p, q), numbers = self._norms, torch.arange(len(self._rows), device=self._start.device)
        linear = jacobian(lambda points, _: self._classifier.logits(points), self._points, numbers, self._outputs)
        eta = largest_change(linear.slope, linear.value - self._origin, self._radius * share, p, q).step
        ends, change = self._reached(eta)
        if first:
            self._promised = largest_change(linear.slope, torch.zeros_like(self._origin), self._radius, p, q).value
            others, opposite = self._reached(-eta)
            ends = torch.where((opposite > change)[:, None], others, ends)
            change = torch.maximum(change, opposite)
        furthest = torch.where((change > self._most)[:, None], ends, self._furthest)
        self._points, self._furthest, self._most = ends, furthest, torch.maximum(change, self._most)

    def found(self, stop: AttackStop) -> OutputChange:
        """What there is so far."""
        p, q = self._norms
        points = self._furthest.cpu().numpy()
        return OutputChange(
            points=points,
            change=self._most.cpu().numpy(),
            linearised=self._promised.cpu().numpy(),
            solved=is_solved(p, q, self._outputs, self._rows.shape[1]),
            size=distances(points, self._rows, p),
            stop=stop,
        )

    @property
    def _outputs(self) -> int:
        return int(self._origin.shape[1])

    def _reached(self, eta: Tensor) -> tuple[Tensor, Tensor]:
        """The points where a step leads, and how far their outputs are."""
        import torch

        p, q = self._norms
        moved = self._start + project(self._points + eta - self._start, self._radius, p)
        ends = torch.minimum(torch.maximum(moved, self._low), self._high)
        with torch.no_grad():
            outputs = self._classifier.logits(ends)
        return ends, torch.from_numpy(distances(outputs.cpu().numpy(), self._origin.cpu().numpy(), q)).to(self._start)
