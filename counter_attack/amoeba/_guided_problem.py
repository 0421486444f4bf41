"""The problem that a guided attack works on: that of the plain attack, seen through a projection onto what is allowed.

The masks differ from input to input, while an attack knows one domain for its whole batch. So the domain stays, and the
model is evaluated at the projection P(x') of whatever point x' an attack shows: entries that are in neither mask are
those of x, entries that may only decrease are at most x, entries that may only increase at least x. What counts as the
attack's example is P(x'). P moves each entry towards x or not at all, so P(x') is never further from x than x' is.

Gradients are those of the model at P(x'), with zeros for the fixed entries. An FGSM step in L2 is therefore as long as
it would be without these entries. A step against an allowed direction is lost, as one out of the domain always was.
With all features in both masks P is the identity, and the attack is the plain one to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from counter_attack._classifier import Classifier
from counter_attack.amoeba._guided import Guide
from counter_attack.attacks._problem import AttackProblem
from mipverify_py import Norm

if TYPE_CHECKING:
    from torch import Tensor

    from counter_attack.amoeba._box import Domain


class GuidedProblem(AttackProblem):
    """N inputs to be attacked, each by what its own guide allows.

    Args:
        classifier: the model.
        guides: the masks, N of them.
        label: the classes to keep, one for all or shape (N,); None: those that the model predicts.
        domain: valid inputs, the same for all.
        seed: of all randomness.
        norm: how distance is measured.
    """

    def __init__(
        self,
        classifier: Classifier,
        guides: list[Guide],
        label: ArrayLike | None,
        *,
        domain: Domain,
        seed: int,
        norm: Norm,
    ) -> None:
        import torch

        super().__init__(classifier, np.stack([one.x for one in guides]), label, domain=domain, seed=seed, norm=norm)
        down, up = (
            torch.from_numpy(np.stack([getattr(one, mask) for one in guides])).to(self.x.device)
            for mask in ("decreasing", "increasing")
        )
        self._free = down | up
        self._low = self.x.masked_fill(down, -torch.inf)
        self._high = self.x.masked_fill(up, torch.inf)

    def allowed(self, points: Tensor, rows: Tensor | None = None) -> Tensor:
        """P of points, shape (K, n)."""
        import torch

        x, free, low, high = (
            part if rows is None else part[rows] for part in (self.x, self._free, self._low, self._high)
        )
        return torch.where(free, torch.clamp(points, low, high), x)

    def logits(self, points: Tensor, rows: Tensor | None = None) -> Tensor:
        """As `AttackProblem.logits`, at P of the points."""
        return super().logits(self.allowed(points, rows), rows)

    def gradient(
        self, points: Tensor, loss: Callable[[Tensor], Tensor], rows: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """As `AttackProblem.gradient`, at P of the points: one that has left the allowed side finds its way back."""
        return super().gradient(self.allowed(points, rows), loss, rows)

    def normal(self, rows: Tensor, *shape: int) -> Tensor:
        """As `AttackProblem.normal`; a random direction has no part in fixed entries, which would only shorten it."""
        draws = super().normal(rows, *shape)
        return draws * self._free[rows] if draws.shape == self._free[rows].shape else draws
