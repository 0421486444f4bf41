"""Universal perturbations by summing up minimal ones and projecting the sum."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from counter_attack._subject import Subject
from counter_attack.attacks._contract import Attack, AttackStop
from counter_attack.attacks._deepfool import DeepFool
from counter_attack.attacks._gradient import project
from counter_attack.attacks._problem import SpentError
from counter_attack.universal._perturbation import UniversalPerturbation, shortened
from mipverify_py import Norm
from onnx_models import Array
from onnx_models.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

OVERSHOOT = 0.02
"""How far DeepFool goes beyond the boundary here, as a share of its step: what the boundary's neighbours need, too."""


def by_projection(
    subject: Subject,
    eps: float,
    *,
    share: float = 0.8,
    passes: int = 10,
    seconds: float | None = None,
    attack: Attack | None = None,
    tell: Callable[[str], None] | None = None,
) -> UniversalPerturbation:
    """Algorithm 1 of Moosavi-Dezfooli, Fawzi, Fawzi and Frossard 2017, "Universal adversarial perturbations".

    From v = 0, pass after pass over the inputs in random order: if x + v still has its class, the smallest r that takes
    x + v over the boundary is looked for, and

        v <- P(v + r),    P the L2 projection onto |v| <= eps.

    The passes end once v fools `share` of the inputs, which is the paper's 1 - delta. Two things differ from the paper,
    which has no domain: points are clipped to the domain before the model sees them, and of all passes the v that fools
    most inputs is returned, not the last one. Before the end of the first pass it is the last one.

    Args:
        subject: the inputs that v is made for.
        eps: the paper's xi, > 0.
        share: 0 < share <= 1.
        passes: at most so many, >= 1.
        seconds: ends the passes after this time, > 0; None: no limit.
        attack: finds r; None: DeepFool in L2 with an overshoot of 0.02, as in the paper.
        tell: told what is being done, after every pass.

    Raises:
        InputError: a value out of range.
    """
    if not (eps > 0 and 0 < share <= 1 and passes >= 1):
        raise InputError(
            f"A universal perturbation needs eps > 0, a share in (0, 1] and at least 1 pass; got {eps}, {share} and "
            f"{passes}."
        )
    search = _Search(subject, eps, attack or DeepFool(norm=Norm.L2, overshoot=OVERSHOOT), seconds)
    try:
        stop = search.run(share, passes, tell or (lambda _: None))
    except SpentError:
        stop = AttackStop.TIME
    except KeyboardInterrupt:
        stop = AttackStop.INTERRUPTED
    return UniversalPerturbation("projection", subject.norm, eps, search.best, tuple(search.progress), stop)


class _Search:
    """The sum of perturbations as it grows, and the best one so far."""

    def __init__(self, subject: Subject, eps: float, finder: Attack, seconds: float | None) -> None:
        self.subject, self.eps, self.finder = subject, eps, finder
        self.v = np.zeros(subject.x.shape[1])
        self.best, self.progress = self.v, list[float]()
        self._deadline = math.inf if seconds is None else time.monotonic() + seconds

    def run(self, share: float, passes: int, tell: Callable[[str], None]) -> AttackStop:
        subject, generator = self.subject, np.random.default_rng(self.subject.seed)
        for number in range(passes):
            for row in generator.permutation(len(subject)).tolist():
                if time.monotonic() >= self._deadline:
                    raise SpentError("time")
                self._extend(subject.only(np.array([row])))
            ratio = float(subject.fooled(subject.clip(subject.x + self.v)).mean())
            if ratio > max(self.progress, default=0.0):
                self.best = self.v
            self.progress.append(ratio)
            tell(f"pass {number + 1} of at most {passes}: {ratio:.1%} fooled")
            if ratio >= share:
                return AttackStop.FINISHED
        return AttackStop.BUDGET

    def _extend(self, one: Subject) -> None:
        """v becomes P(v + r) for the only input of `one`, unless that is fooled already or nothing was found."""
        start = one.clip(one.x + self.v)
        if one.fooled(start)[0]:
            return
        found = self.finder(one.classifier, start, one.label, domain=one.domain, seed=one.seed)
        if found.stop_reason is AttackStop.INTERRUPTED:
            raise KeyboardInterrupt
        if found.success[0]:
            self.v = projected(self.v + (found.adversarial - start)[0], self.eps, one.norm)
            if not self.progress:
                self.best = self.v


def projected(vector: Array, eps: float, norm: Norm) -> Array:
    """The nearest vector (in L2) of size at most eps, shape (n,)."""
    import torch

    moved: Tensor = project(torch.from_numpy(vector[None].copy()), torch.tensor([eps], dtype=torch.float64), norm)
    return shortened(np.asarray(moved[0].numpy()), eps, norm)
