"""Exact finishing of a pool: the closest examples of all its attacks are where the search begins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

import numpy as np

from counter_attack.attacks import Attack, ExactFinish
from mipverify_py import Norm
from onnx_models import Array

if TYPE_CHECKING:
    from counter_attack.attacks import AttackProblem

FINISH: Final = ExactFinish.name
"""The name under which finishing stands beside the attacks of its pool."""


@dataclass(frozen=True, eq=False)
class Found(Attack):
    """Shows the examples that were found before.

    Attributes:
        points: shape (N, n); rows of NaN for none.
    """

    name: ClassVar[str] = "found"
    norms: ClassVar[tuple[Norm, ...]] = (Norm.LINF, Norm.L2, Norm.L1)

    points: Array | None = None

    def run(self, problem: AttackProblem) -> None:
        """See `Attack`."""
        import torch

        assert self.points is not None
        kept = np.flatnonzero(np.isfinite(self.points).all(axis=1))
        if len(kept):
            place = problem.x.device
            problem.logits(torch.from_numpy(self.points[kept]).to(place), torch.from_numpy(kept).to(place))
