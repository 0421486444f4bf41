"""Running several attacks on the same inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from counter_attack._classifier import Classifier
from counter_attack.attacks import Attack, AttackResult, AttackStop, Budget, ExactFinish
from counter_attack.pool._finish import FINISH, Found
from counter_attack.pool._table import DistanceTable
from mipverify_py import Norm
from onnx_models import Array, ReluNetwork
from onnx_models.errors import InputError

if TYPE_CHECKING:
    from torch import nn

    from counter_attack.attacks._contract import TargetsLike


@dataclass(frozen=True, slots=True)
class PoolProgress:
    """Where a pool is: told before an attack begins and after it ends.

    Attributes:
        attack: its name in the pool.
        position: its number, from 0.
        total: attacks in the pool, the finishing included.
        result: what it found; None when it begins.
    """

    attack: str
    position: int
    total: int
    result: AttackResult | None


@dataclass(frozen=True, slots=True, eq=False)
class PoolResult:
    """The closest success of a pool per input, and what each attack found.

    Attributes:
        results: by name, the attacks that ran. After Ctrl-C the last one may be partial (see its `stop_reason`) and
            those after it are missing.
        table: their distances, shape (N, attacks that ran); NaN for failures.
        norm: how distances are measured.
        success: whether any attack succeeded, shape (N,).
        distance: the least distance, shape (N,); NaN without success.
        winner: name of the attack that reached it (the first among equals), one per input; None without success.
        adversarial: the closest example, shape (N, n); rows of NaN without success.
        interrupted: whether Ctrl-C ended the run before all attacks were done.
    """

    results: dict[str, AttackResult]
    table: DistanceTable
    norm: Norm
    success: NDArray[np.bool_]
    distance: Array
    winner: tuple[str | None, ...]
    adversarial: Array
    interrupted: bool

    @classmethod
    def of(cls, results: Mapping[str, AttackResult], *, interrupted: bool = False) -> PoolResult:
        """The pool of results that are there already, of the same inputs.

        Raises:
            InputError: no result, or results about different numbers of inputs or in different norms.
        """
        found = dict(results)
        if not found or len({(r.norm, r.adversarial.shape) for r in found.values()}) > 1:
            raise InputError("A pool needs results of the same inputs in the same norm, at least one.")
        table = DistanceTable.of({name: result.distance for name, result in found.items()})
        closest, first = table.closest(), next(iter(found.values()))
        # Stacking all examples would take k times their memory.
        adversarial = np.full_like(first.adversarial, np.nan)
        for position, result in enumerate(found.values()):
            chosen = closest.attack == position
            adversarial[chosen] = result.adversarial[chosen]
        return cls(
            results=found,
            table=table,
            norm=first.norm,
            success=closest.attack >= 0,
            distance=closest.distance,
            winner=tuple(None if i < 0 else table.attacks[i] for i in closest.attack.tolist()),
            adversarial=adversarial,
            interrupted=interrupted,
        )


@dataclass(frozen=True, eq=False)
class Pool:
    """Attacks that are run one after the other on the same inputs; calling it attacks a batch.

    Attributes:
        attacks: by name, in the order of the run; at least one, all in the same norm.
        progress: called with a `PoolProgress` before and after each attack; None: nobody is told.
        finish: whether exact local search goes on from the closest examples (see `ExactFinish`; a `ReluNetwork` only).
            It stands last in the results, as "finish". What it begins with counts as found by it, too: it is never
            farther than an attack, and fails where all fail.

    Raises:
        InputError: no attack, different norms, or an attack of the name "finish" beside the finishing.
    """

    attacks: Mapping[str, Attack]
    progress: Callable[[PoolProgress], None] | None = None
    finish: bool = False

    def __post_init__(self) -> None:
        norms = {attack.norm.value for attack in self.attacks.values()}
        if not norms:
            raise InputError("A pool needs at least one attack.")
        if len(norms) > 1:
            raise InputError(f"The attacks of a pool share one norm; these are in {', '.join(sorted(norms))}.")
        if self.finish and FINISH in self.attacks:
            raise InputError(f"The pool is finished already; give the attack {FINISH!r} another name.")

    @property
    def norm(self) -> Norm:
        """The norm that all attacks make small."""
        return next(iter(self.attacks.values())).norm

    @property
    def names(self) -> tuple[str, ...]:
        """The attacks in the order of the run, the finishing included."""
        return (*self.attacks, *([FINISH] if self.finish else []))

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
    ) -> PoolResult:
        """Runs the attacks; arguments as for one attack, `seed` and `budget` counting for each of them anew.

        Ctrl-C ends the run; what was found by then is kept.

        Raises:
            InputError: an argument that does not fit.
            KeyboardInterrupt: Ctrl-C before there was any result to keep.
        """
        model = Classifier.of(network) if isinstance(network, ReluNetwork) else network
        results: dict[str, AttackResult] = {}
        interrupted = False
        try:
            for position, name in enumerate(self.names):
                self._tell(name, position, None)
                attack = self.attacks[name] if name in self.attacks else self._finishing(results)
                result = attack(model, x, label, targets, domain=domain, seed=seed, budget=budget)
                results[name] = result
                interrupted = result.stop_reason is AttackStop.INTERRUPTED
                self._tell(name, position, result)
                if interrupted:
                    break
        except KeyboardInterrupt:
            if not results:
                raise
            interrupted = True
        return PoolResult.of(results, interrupted=interrupted)

    def _finishing(self, results: Mapping[str, AttackResult]) -> Attack:
        points = PoolResult.of(results).adversarial
        return ExactFinish(norm=self.norm, inner=Found(norm=self.norm, points=points))

    def _tell(self, name: str, position: int, result: AttackResult | None) -> None:
        if self.progress is not None:
            self.progress(PoolProgress(name, position, len(self.names), result))
