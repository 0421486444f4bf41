"""Exact finishing of a pool: the closest example of all its attacks becomes a local optimum among activation cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

import numpy as np
from numpy.typing import ArrayLike

from counter_attack.attacks import Attack, AttackStop, Budget, ExactFinish
from counter_attack.pool._pool import PoolResult
from mipverify_py import Norm
from onnx_models import Array, ReluNetwork
from onnx_models.errors import InputError

if TYPE_CHECKING:
    from torch import nn

    from counter_attack._classifier import Classifier
    from counter_attack.attacks import AttackProblem
    from counter_attack.attacks._contract import TargetsLike

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


def finish_pool(
    result: PoolResult,
    network: ReluNetwork | nn.Module | Classifier,
    x: ArrayLike,
    label: ArrayLike | None = None,
    targets: TargetsLike = None,
    *,
    domain: tuple[ArrayLike, ArrayLike] = (0.0, 1.0),
    seed: int = 0,
    budget: Budget | None = None,
    kicks: bool = True,
) -> PoolResult:
    """The pool with one more member, "finish": exact local search from its closest examples (see `ExactFinish`).

    The closest examples themselves count among what "finish" found, so it is never farther than another member; where
    all attacks failed, it fails, too.

    Args:
        result: of the attacks, about the same inputs; the other arguments are those that the pool was called with.
        network: a `ReluNetwork`, or what was made from one.
        x: the inputs.
        label: their classes, or None.
        targets: which classes count as wrong, or None.
        domain: valid inputs.
        seed: of the search.
        budget: of the search alone.
        kicks: whether to go on from the first local minimum, which costs most of the time; L-infinity only.

    Raises:
        InputError: an argument that does not fit, a pool that has a member "finish" already, or a model without cells.
    """
    if FINISH in result.results:
        raise InputError("The pool is finished already.")
    search = ExactFinish(norm=result.norm, inner=Found(norm=result.norm, points=result.adversarial), kicks=kicks)
    found = search(network, x, label, targets, domain=domain, seed=seed, budget=budget)
    interrupted = result.interrupted or found.stop_reason is AttackStop.INTERRUPTED
    return PoolResult.of({**result.results, FINISH: found}, interrupted=interrupted)
