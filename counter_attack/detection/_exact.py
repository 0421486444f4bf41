"""The exact search of `mipverify_py` behind the contract of attacks, with the bracket that it proves."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bounds import Bounds
from counter_attack.attacks._contract import Attack, AttackResult, Budget, TargetsLike
from counter_attack.attacks._problem import AttackProblem, SpentError
from mipverify_py import Norm, Options, Result, StopReason, Targets, Verdict, distance
from onnx_models import Array, ReluNetwork
from onnx_models.errors import InputError

if TYPE_CHECKING:
    from torch import nn

    from counter_attack._classifier import Classifier

HAIRS = (0.0, 1e-12, 1e-9, 1e-6)
"""Shares by which a witness's difference from the input is made longer, one after the other, until torch sees it on the
wrong side too: witnesses lie on the boundary, and torch adds in another order than the exact check."""


@dataclass(frozen=True, slots=True, eq=False)
class ExactResult(AttackResult):
    """What every `AttackResult` has, and how far each search came.

    `success` and `distance` are re-tested as for any attack, so `distance` may exceed `upper` by rounding.

    Attributes:
        lower: lower end of the exact distance d*, shape (N,): 0 where nothing is known, infinite where the domain has
            no adversarial example.
        upper: distance of the nearest checked example, rounded up, shape (N,); infinite without one.
        exact: whether the search ended with `upper - lower` within the gap asked for, shape (N,). Where this is False
            the search was cut short, and `distance` is an upper end like that of any other attack.
        own: whether `lower` rests on our own checks alone rather than also on a solver's word, shape (N,).
    """

    lower: Array
    upper: Array
    exact: NDArray[np.bool_]
    own: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class _Brackets:
    """The four arrays of an `ExactResult`, filled as the searches end."""

    lower: Array
    upper: Array
    exact: NDArray[np.bool_]
    own: NDArray[np.bool_]

    @classmethod
    def unknown(cls, count: int) -> _Brackets:
        return cls(np.zeros(count), np.full(count, np.inf), np.zeros(count, bool), np.zeros(count, bool))

    def set(self, row: int, result: Result) -> None:
        none = result.verdict is Verdict.ROBUST
        self.lower[row] = np.inf if none else (result.lower or 0.0)
        self.upper[row] = np.inf if result.upper is None else result.upper
        self.exact[row] = result.stop_reason is StopReason.SOLVED
        self.own[row] = result.evidence is not None and result.evidence.is_own


@dataclass(frozen=True)
class ExactAttack(Attack):
    """The nearest adversarial example itself, by `mipverify_py.distance`; needs a `ReluNetwork`.

    With it and no buffer, `CounterAttack` is an exact robustness check. Searches that a limit cuts short are not taken
    for exact: `ExactResult.exact` says which ended, `lower` and `upper` what is proved of each. The model calls of the
    search are not counted; `Budget.seconds` limits all inputs together, `options.time_limit` each.

    Attributes:
        options: engine, gap and limits of each search; its seed is replaced by that of the call.

    Raises:
        InputError: when called, a model that is no `ReluNetwork`, or an engine that cannot answer in this norm.
    """

    name: ClassVar[str] = "exact"
    norms: ClassVar[tuple[Norm, ...]] = (Norm.LINF, Norm.L1, Norm.L2)

    options: Options = field(default_factory=Options)

    def run(self, problem: AttackProblem) -> None:
        """See `Attack`; what is proved is lost here, and kept when the attack is called."""
        _search(problem, self.options, _Brackets.unknown(len(problem)))

    def __call__(
        self,
        network: ReluNetwork | nn.Module | Classifier,
        x: ArrayLike,
        label: ArrayLike | None = None,
        targets: TargetsLike = None,
        *,
        domain: tuple[ArrayLike, ArrayLike] = (0.0, 1.0),
        seed: int = 0,
        budget: Budget | None = None,
    ) -> ExactResult:
        """As `Attack`, with the bracket of each input."""
        keeping = _Keeping(self.norm, self.options)
        plain = keeping(network, x, label, targets, domain=domain, seed=seed, budget=budget)
        brackets = keeping.kept[0] if keeping.kept else _Brackets.unknown(len(plain.success))
        known = plain.success & (plain.distance == 0)  # the model gets these wrong, so there was nothing to search
        brackets.lower[known], brackets.upper[known] = 0.0, 0.0
        brackets.exact[known], brackets.own[known] = True, True
        shared = {entry.name: getattr(plain, entry.name) for entry in fields(AttackResult)}
        ends = {entry.name: getattr(brackets, entry.name) for entry in fields(_Brackets)}
        return ExactResult(**shared, **ends)


@dataclass(frozen=True)
class _Keeping(Attack):
    """The exact attack which keeps its brackets."""

    name: ClassVar[str] = ExactAttack.name
    norms: ClassVar[tuple[Norm, ...]] = ExactAttack.norms

    options: Options = field(default_factory=Options)
    kept: list[_Brackets] = field(default_factory=list)

    def run(self, problem: AttackProblem) -> None:
        brackets = _Brackets.unknown(len(problem))
        self.kept.append(brackets)
        _search(problem, self.options, brackets)


def network_of(classifier: Classifier) -> ReluNetwork:
    """The network that a classifier was made from; raises InputError if there is none."""
    from onnx_models._torch_network import TorchNetwork

    # Not any module with an attribute of that name: one that wraps a network computes something else.
    if type(classifier.module) is not TorchNetwork:
        raise InputError(
            f"An exact distance needs a ReluNetwork, got a {type(classifier.module).__name__}; load the model with "
            "onnx_models.load_onnx, or use another attack."
        )
    return classifier.module.network


def _search(problem: AttackProblem, options: Options, brackets: _Brackets) -> None:
    network = network_of(problem.classifier)
    domain = Bounds(problem.lower.cpu().numpy(), problem.upper.cpu().numpy())
    for row in (~problem.settled).nonzero()[:, 0].tolist():
        result = distance(
            network,
            problem.x[row].cpu().numpy(),
            options=_limited(problem, options),
            label=int(problem.reference[row]),
            targets=Targets.only(problem.is_target[row].nonzero()[:, 0].tolist()),
            domain=domain,
            norm=problem.norm,
        )
        brackets.set(row, result)
        if result.witness is not None:
            _show(problem, row, result.witness.point)
        if result.stop_reason is StopReason.INTERRUPTED:
            raise KeyboardInterrupt


def _limited(problem: AttackProblem, options: Options) -> Options:
    limits = [options.time_limit] if options.time_limit is not None else []
    if problem.deadline is not None:
        limits.append(problem.deadline - time.monotonic())
        if limits[-1] <= 0:
            raise SpentError("time")
    return replace(options, seed=problem.seed % 2**31, time_limit=min(limits, default=None))


def _show(problem: AttackProblem, row: int, point: Array) -> None:
    """Shows a witness to the problem, longer by a hair where that is needed for torch to agree."""
    import torch

    owner = torch.tensor([row], device=problem.x.device)
    step = torch.from_numpy(point.copy()).to(problem.x.device) - problem.x[row]
    for hair in HAIRS:
        shown = torch.from_numpy(point.copy()).to(problem.x.device) if hair == 0 else problem.x[row] + (1 + hair) * step
        inside = problem.clip(shown[None])
        with torch.no_grad():  # past the problem's own count, which would refuse it when the budget is used up
            problem.record(inside, problem.classifier.logits(inside), owner)
        if bool(torch.isfinite(problem.best_distance[row])):
            return
