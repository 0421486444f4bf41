"""Regression: how far can the outputs of a model be moved by a perturbation of given size?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from counter_attack._classifier import Classifier
from counter_attack._distances import distances
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
            outside the domain, too. For a model that is linear around x and a wide domain, the change.
        solved: whether that maximum is one; if not, it is a lower bound, see `largest_change`.
        size: |points - x|_p, shape (N,).
    """

    points: Array
    change: Array
    linearised: Array
    solved: bool
    size: Array


def change_outputs(
    model: ReluNetwork | nn.Module | Classifier,
    x: ArrayLike,
    *,
    eps: float,
    norms: tuple[Norm, Norm] = (Norm.LINF, Norm.L2),
    steps: int = 1,
    domain: tuple[ArrayLike, ArrayLike] = (0.0, 1.0),
) -> OutputChange:
    """Perturbations that move the outputs of a model far: a linearised attack on regression.

    T steps of size eps / T each solve the linearised problem at the point where the last one led, and are clipped to
    the domain. The first step is eps / T times a vector that attains the operator norm of the Jacobian or its opposite,
    to which the linearisation is indifferent: the one that changes the outputs more. The furthest outputs count.

    Args:
        model: with one or more outputs.
        x: inputs, shape (N, *shape) or (N, n).
        eps: largest |eta|_p, > 0.
        norms: p of the perturbation and q of the outputs.
        steps: T, >= 1.
        domain: valid inputs, see `Attack`.

    Raises:
        InputError: an argument that does not fit, naming it.
    """
    import torch

    if not (np.isfinite(eps) and eps > 0) or steps < 1:
        raise InputError(f"A change of outputs needs a finite eps > 0 and at least 1 step; got {eps} and {steps}.")
    inputs = read_inputs(model, x)
    classifier = Classifier.of(model, shape=inputs.shape[1:])
    rows = inputs.reshape(len(inputs), -1)
    start, low, high = (torch.from_numpy(a.copy()).to(classifier.device) for a in (rows, *read_domain(domain, rows)))
    radius = torch.full((len(rows),), float(eps), dtype=start.dtype, device=start.device)
    with torch.no_grad():
        origin = classifier.logits(start)
    if origin.ndim != 2 or not bool(torch.isfinite(origin).all()):
        raise InputError(f"The model gives shape {tuple(origin.shape)}; expected finite outputs (N, outputs).")

    def evaluate(points: Tensor, _: Tensor) -> Tensor:
        return classifier.logits(points)

    def reached(step: Tensor) -> tuple[Tensor, Tensor]:
        """The points where a step leads, and how far their outputs are."""
        moved = start + project(points + step - start, radius, p)
        ends = torch.minimum(torch.maximum(moved, low), high)
        with torch.no_grad():
            outputs = classifier.logits(ends)
        return ends, torch.from_numpy(distances(outputs.cpu().numpy(), origin.cpu().numpy(), q)).to(start)

    numbers, (p, q) = torch.arange(len(rows), device=start.device), norms
    points = furthest = start
    most, promised = torch.zeros_like(radius), torch.zeros_like(radius)
    for number in range(steps):
        linear = jacobian(evaluate, points, numbers, origin.shape[1])
        step = largest_change(linear.slope, linear.value - origin, radius / steps, p, q).step
        ends, change = reached(step)
        if number == 0:
            promised = largest_change(linear.slope, torch.zeros_like(origin), radius, p, q).value
            others, opposite = reached(-step)
            ends = torch.where((opposite > change)[:, None], others, ends)
            change = torch.maximum(change, opposite)
        points = ends
        furthest, most = torch.where((change > most)[:, None], points, furthest), torch.maximum(change, most)
    found = furthest.cpu().numpy()
    return OutputChange(
        points=found,
        change=most.cpu().numpy(),
        linearised=promised.cpu().numpy(),
        solved=is_solved(p, q, origin.shape[1], rows.shape[1]),
        size=distances(found, rows, p),
    )
