"""Examples made on one model and counted on another."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from counter_attack._classifier import Classifier
from counter_attack._share import Share
from counter_attack._subject import Subject
from counter_attack.attacks._gradient import ascent, project, step
from counter_attack.attacks._problem import AttackProblem
from onnx_models import Array
from onnx_models.errors import InputError

REACH = 2.5
"""All steps of an iteration together are so many times as long as eps."""


@dataclass(frozen=True, slots=True, eq=False)
class Transfer:
    """What examples made on a source do to the target.

    Attributes:
        source: name of the model that the examples were made on.
        eps: radius of the balls that they are in.
        points: the examples, one per input of the subject, shape (N, n), within eps and in the domain.
        on_source: which of them the source gives a class other than the input's, shape (N,).
        on_target: which of them the target does.
    """

    source: str
    eps: float
    points: Array
    on_source: NDArray[np.bool_]
    on_target: NDArray[np.bool_]

    @property
    def share(self) -> Share:
        """The share of inputs whose class the target changes: the fooling ratio."""
        return Share.true(self.on_target)


def push(source: Classifier, subject: Subject, eps: float, *, steps: int = 20) -> Array:
    """Points within eps of the inputs that the source gives other classes as firmly as it can, shape (N, n).

    Projected ascent of the source's loss from the inputs themselves (Kurakin, Goodfellow and Bengio 2017), for all
    steps: unlike `counter_attack.attacks.BIM` it does not stop at the boundary of the source, since the target's is
    elsewhere. One step of length eps is FGSM; of several, each is 2.5 eps / steps long. Rounding may put
    points outside the ball by a share of about 1e-16.

    Args:
        source: the model whose gradients are used.
        subject: the inputs with their classes, in the target's opinion.
        eps: radius, > 0, in the subject's norm.
        steps: >= 1.

    Raises:
        InputError: a value out of range.
    """
    if not eps > 0 or steps < 1:
        raise InputError(f"Examples need a radius above 0 and at least 1 step; got {eps} and {steps}.")
    import torch

    problem = AttackProblem(
        source, subject.x, subject.label, domain=subject.domain, norm=subject.norm, seed=subject.seed
    )
    radius = torch.full_like(problem.best_distance, eps)
    length = radius if steps == 1 else radius * (REACH / steps)
    points = problem.x
    for _ in range(steps):
        slope = ascent(problem, points, problem.rows)
        moved = points + step(problem, points, slope, length) - problem.x
        points = problem.clip(problem.x + project(moved, radius, subject.norm))
    return np.asarray(points.cpu().numpy())


def transfer(subject: Subject, name: str, source: Classifier, eps: float, *, steps: int = 20) -> Transfer:
    """Makes examples on the source and counts those that fool the subject's model; see `push`."""
    points = push(source, subject, eps, steps=steps)
    return Transfer(
        source=name,
        eps=eps,
        points=points,
        on_source=replace(subject, classifier=source).fooled(points),
        on_target=subject.fooled(points),
    )
