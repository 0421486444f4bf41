"""Exact finishing: what an attack has found becomes a local optimum among the cells of a ReLU network."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from bounds import Bounds
from counter_attack.attacks._contract import Attack
from counter_attack.attacks._problem import AttackProblem, SpentError
from mipverify_py import Norm, Options, Query, Targets
from mipverify_py._finish import finish
from onnx_models import ReluNetwork
from onnx_models.errors import InputError

HAIR = 1e-12
"""The margin asked for, as a share of the largest logit at the input: torch adds in another order than the exact check,
and in another one for every size of a batch, so it may see a point on the boundary itself on either side."""


@dataclass(frozen=True)
class ExactFinish(Attack):
    """Another attack, then exact local search from its closest success: an addition of this project's own.

    Within an activation cell a ReLU network is affine, so the nearest adversarial example of a cell is the optimum of a
    linear program (L1 and L-infinity) or a convex quadratic one (L2). The search moves the example onto the boundary,
    solves its cell, goes on to neighbouring cells, and in L-infinity tries kicks out of the local minimum. On small
    networks the result is mostly the nearest adversarial example itself; nothing here proves it.

    Works on a `ReluNetwork` only. Its evaluations of the network count as no model calls; `Budget.seconds` limits it as
    it limits attacks.

    Attributes:
        inner: the attack, in the same norm; inputs that it has no success on stay without. None: each input starts
            from the attack that the exact search of `mipverify_py` starts from.
        kicks: whether to go on from the first local minimum, which costs most of the time; L-infinity only.
        seconds: for the local search of one input at most, > 0; None: until it ends by itself.

    Raises:
        InputError: an inner attack in another norm, a value out of range; when called, a model that is no ReluNetwork.
    """

    name: ClassVar[str] = "finish"
    norms: ClassVar[tuple[Norm, ...]] = (Norm.LINF, Norm.L2, Norm.L1)

    inner: Attack | None = None
    kicks: bool = True
    seconds: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.inner is not None and self.inner.norm is not self.norm:
            raise InputError(
                f"The attack {self.inner.name} works in {self.inner.norm.value}, the finishing in {self.norm.value}; "
                "give both the same norm."
            )
        if self.seconds is not None and not self.seconds > 0:
            raise InputError(f"The finishing of an input takes more than 0 seconds; got {self.seconds}.")

    def run(self, problem: AttackProblem) -> None:
        """See `Attack`. An inner attack that uses up its model calls is finished all the same."""
        network, spent = _network(problem), None
        try:
            if self.inner is not None:
                self.inner.run(problem)
        except SpentError as error:
            if error.reason == "time":
                raise
            spent = error
        self._finish(problem, network)
        if spent is not None:
            raise spent

    def _finish(self, problem: AttackProblem, network: ReluNetwork) -> None:
        import torch

        rows = (~problem.settled).nonzero()[:, 0]
        for k, row in enumerate(rows.tolist()):
            known = math.isfinite(float(problem.best_distance[row]))
            if self.inner is not None and not known:
                continue
            query = _query(network, problem, row)
            points = problem.best[row].cpu().numpy()[None] if known else np.zeros((0, query.x0.size))
            found = finish(query, points, self._options(problem), kicks=self.kicks)
            if found is not None:
                point = torch.from_numpy(found.point[None].copy()).to(problem.x.device)
                with torch.no_grad():  # past the problem's own count, which would refuse it when the time is used up
                    problem.record(point, problem.classifier.logits(point), rows[k : k + 1])

    def _options(self, problem: AttackProblem) -> Options:
        limits = [] if self.seconds is None else [self.seconds]
        if problem.deadline is not None:
            limits.append(problem.deadline - time.monotonic())
        limit = min(limits, default=None)
        if limit is not None and limit <= 0:
            raise SpentError("time")
        return Options(seed=problem.seed % 2**31, time_limit=limit)


def _network(problem: AttackProblem) -> ReluNetwork:
    from onnx_models._torch_network import TorchNetwork

    module = problem.classifier.module
    if type(module) is not TorchNetwork:  # a module that wraps a network computes something else
        raise InputError(
            f"Exact finishing needs the activation cells of a ReluNetwork, got a {type(module).__name__}; load the "
            "model with onnx_models.load_onnx, or leave the finishing out."
        )
    return module.network


def _query(network: ReluNetwork, problem: AttackProblem, row: int) -> Query:
    """The question for the nearest adversarial example of an input."""
    x0, targets = problem.x[row].cpu().numpy(), problem.is_target[row].nonzero()[:, 0].tolist()
    return Query(
        network,
        x0,
        label=int(problem.reference[row]),
        targets=Targets.only(targets),
        margin=HAIR * float(np.abs(network.forward(x0)).max()),
        norm=problem.norm,
        domain=Bounds(problem.lower.cpu().numpy(), problem.upper.cpu().numpy()),
    )
