"""Attacks that change only what a guide allows: existing attacks, run on a `GuidedProblem`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from counter_attack._classifier import Classifier
from counter_attack._distances import distances
from counter_attack.amoeba._box import UNIT, AsymmetricBox, Domain
from counter_attack.amoeba._guided import Guide, guide
from counter_attack.amoeba._guided_problem import GuidedProblem
from counter_attack.attacks._contract import Attack, AttackResult, AttackStop, Budget
from counter_attack.detection._exact import ExactAttack, ExactResult
from mipverify_py import NotAdversarialError, Query, Witness
from onnx_models import Array, ReluNetwork
from onnx_models.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

HAIRS = (0.0, 1e-12, 1e-9, 1e-6)
"""Shares by which a perturbation is made longer, one after the other, until our own evaluation sees it on the wrong
side, too: minimum-norm attacks end on the boundary, and torch adds in another order."""

TRIFLE = 1e-9
"""Seconds left to an exact search once the time is used up: too few to begin."""

UNFIT = ("finish",)
"""Attacks that work on the network's own cells, which know nothing of masks."""


@dataclass(frozen=True, slots=True, eq=False)
class GuidedResult(AttackResult):
    """What every `AttackResult` has, over all n features, and which of them could change.

    Every success was checked as a `Witness` of `mipverify_py`: evaluated anew without torch, decided rigorously, and
    tested for membership in the domain that the masks leave.

    Attributes:
        decreasing, increasing: M1 and M2, which features may decrease and increase, shape (N, n).
        refuted: inputs whose example, according to torch, did not stand the check, shape (N,); no success.
        lower: proved lower ends of the distance under the masks, shape (N,), infinite where there is no example at all;
            None unless the attack is `ExactAttack`.
        solved: whether the exact search ended with distance and `lower` within the gap asked for, or with a proof that
            there is no example, shape (N,); None likewise.
    """

    decreasing: NDArray[np.bool_]
    increasing: NDArray[np.bool_]
    refuted: NDArray[np.bool_]
    lower: Array | None
    solved: NDArray[np.bool_] | None


@dataclass(frozen=True)
class GuidedAttack:
    """An attack that changes the p percent most constrained features of each input, in the directions of the masks.

    See `guide` for the masks. Attacks run on all inputs at once, as they are, and see the model at the nearest point
    that the masks allow. `ExactAttack` searches each input in the domain that its masks leave, which gives the truth
    that guided attacks can be measured by.

    Attributes:
        attack: which, with its parameters and norm.
        percent: p, above 0 and at most 100.
        signs: whether each feature may only go in the direction in which the box ends first; with 100 percent and
            without signs the attack is the plain one.

    Raises:
        InputError: a percentage out of range, or an attack that works on cells of the network and not on points alone.
    """

    attack: Attack
    percent: float = 100.0
    signs: bool = True

    def __post_init__(self) -> None:
        if not 0 < self.percent <= 100:
            raise InputError(f"A guided attack changes above 0 and at most 100 percent; got {self.percent:g}.")
        if self.attack.name in UNFIT:
            raise InputError(
                f"The attack {self.attack.name} looks past the points it is shown, so it cannot be guided."
            )

    def __call__(
        self,
        network: ReluNetwork,
        boxes: Sequence[AsymmetricBox],
        label: ArrayLike | None = None,
        *,
        domain: Domain = UNIT,
        seed: int = 0,
        budget: Budget | None = None,
    ) -> GuidedResult:
        """Attacks the inputs of the boxes; after Ctrl-C those done so far are kept.

        Args:
            network: the classifier.
            boxes: N of them, at least one, each around its input.
            label: the classes to keep, one for all or shape (N,); None: those that the model predicts.
            domain: valid inputs.
            seed: of all randomness.
            budget: when to stop; None: when the attack's own steps are done.

        Raises:
            InputError: an argument that does not fit, naming it.
        """
        started = time.monotonic()
        guides = self.guides(network, boxes, domain)
        x, norm = np.stack([one.x for one in guides]), self.attack.norm
        if isinstance(self.attack, ExactAttack):
            claimed: AttackResult = searched(self.attack, network, guides, label, seed=seed, budget=budget)
        else:
            problem = GuidedProblem(Classifier.of(network), guides, label, domain=domain, seed=seed, norm=norm)
            claimed = self.attack.solve(problem, budget, started)
        shared = {entry.name: getattr(claimed, entry.name) for entry in fields(AttackResult)}
        confirmed = _Confirmed.of(claimed, network, guides)
        shared |= vars(confirmed) | {"distance": distances(confirmed.adversarial, x, norm)}
        return GuidedResult(
            **shared | {"seconds": time.monotonic() - started},
            decreasing=np.stack([one.decreasing for one in guides]),
            increasing=np.stack([one.increasing for one in guides]),
            lower=claimed.lower if isinstance(claimed, ExactResult) else None,
            solved=claimed.exact if isinstance(claimed, ExactResult) else None,
        )

    def guides(self, network: ReluNetwork, boxes: Sequence[AsymmetricBox], domain: Domain = UNIT) -> list[Guide]:
        """The masks of each input; raises InputError if boxes and network do not fit."""
        if not isinstance(network, ReluNetwork):
            raise InputError(
                f"A guided attack needs a ReluNetwork, got a {type(network).__name__}; load the model with load_onnx."
            )
        if not boxes:
            raise InputError("A guided attack needs at least one box.")
        for box in boxes:
            if box.size != network.input_size:
                raise InputError(f"A box has {box.size} features, the model {network.input_size}; they have to agree.")
        return [guide(box, self.percent, signs=self.signs, domain=domain) for box in boxes]


@dataclass(frozen=True, eq=False)
class _Confirmed:
    """What is left of an attack's claims; fields of `GuidedResult`."""

    success: NDArray[np.bool_]
    tie: NDArray[np.bool_]
    adversarial: Array
    found: NDArray[np.int64]
    refuted: NDArray[np.bool_]

    @classmethod
    def of(cls, claimed: AttackResult, network: ReluNetwork, guides: Sequence[Guide]) -> _Confirmed:
        """Checks every claimed example."""
        none = np.zeros(len(guides), dtype=np.int64)
        rows = cls(none > 0, none > 0, np.full(claimed.adversarial.shape, np.nan), none - 1, none > 0)
        for row in np.flatnonzero(claimed.success).tolist():
            allowed, c = guides[row], int(claimed.reference[row])
            query = Query(network, allowed.x, label=c, norm=claimed.norm, domain=allowed.domain)
            witness = checked(query, claimed.adversarial[row])
            rows.success[row], rows.refuted[row] = witness is not None, witness is None
            if witness is not None:
                rows.adversarial[row], rows.found[row] = witness.point, witness.predicted
                rows.tie[row] = witness.logits[witness.target] == witness.logits[c]
        return rows


def searched(
    attack: ExactAttack,
    network: ReluNetwork,
    guides: Sequence[Guide],
    label: ArrayLike | None,
    *,
    seed: int,
    budget: Budget | None,
) -> ExactResult:
    """The exact search of every input in its own domain; inputs after Ctrl-C or the end of the time stay open."""
    deadline = None if budget is None or budget.seconds is None else time.monotonic() + budget.seconds
    classes = None if label is None else np.broadcast_to(np.asarray(label), (len(guides),))
    found: list[ExactResult] = []
    for row, allowed in enumerate(guides):
        cut = found and found[-1].stop_reason is not AttackStop.FINISHED
        left = Budget(seconds=TRIFLE if cut else None if deadline is None else max(TRIFLE, deadline - time.monotonic()))
        found.append(
            attack(
                network,
                allowed.x[None],
                None if classes is None else classes[row],
                domain=(allowed.domain.lower, allowed.domain.upper),
                seed=seed,
                budget=left,
            )
        )
    stops = [one.stop_reason for one in found if one.stop_reason is not AttackStop.FINISHED]
    arrays = {entry.name for entry in fields(ExactResult)} - {"attack", "norm", "seconds", "stop_reason"}
    return ExactResult(
        attack=attack.name,
        norm=attack.norm,
        seconds=sum(one.seconds for one in found),
        stop_reason=stops[0] if stops else AttackStop.FINISHED,
        **{name: np.concatenate([getattr(one, name) for one in found]) for name in sorted(arrays)},
    )


def checked(query: Query, point: Array) -> Witness | None:
    """The point as a checked adversarial example, made longer by one of `HAIRS` where it needs that; None if it is not.

    Entries that the query's domain fixes stay as they are.
    """
    domain = query.input_domain
    for hair in HAIRS:
        longer = point if hair == 0 else query.x0 + (1 + hair) * (point - query.x0)
        try:
            return Witness(query, np.clip(longer, domain.lower, domain.upper))
        except NotAdversarialError:
            continue
    return None
