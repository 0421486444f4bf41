"""Guided attacks beside the plain one at the same budget: success rates, and sizes of the perturbations."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypedDict, Unpack

import numpy as np
from numpy.typing import ArrayLike, NDArray

from counter_attack.amoeba._box import AsymmetricBox, Domain
from counter_attack.amoeba._guided_attack import HAIRS, GuidedAttack, GuidedResult
from counter_attack.attacks._contract import Attack, AttackStop, Budget
from counter_attack.attacks._epsilon import EpsilonAttack
from counter_attack.ug100._table import Column, Table
from mipverify_py import Norm
from onnx_models import Array, ReluNetwork
from onnx_models.errors import InputError

PLAIN = (100.0, False)
"""Percent and signs of an unguided attack."""


class Asked(TypedDict, total=False):
    """What a guided attack is called with, beside network and boxes."""

    label: ArrayLike | None
    domain: Domain
    seed: int
    budget: Budget | None


@dataclass(frozen=True, slots=True, eq=False)
class GuidedRun:
    """One guided attack on all inputs.

    Attributes:
        how: attack, percentage and signs.
        eps: the budget; None if the nearest example was looked for, however far.
        result: what it found.
        x: the inputs, shape (N, n).
    """

    how: GuidedAttack
    eps: float | None
    result: GuidedResult
    x: Array

    @property
    def guidance(self) -> str:
        """How it is called in tables: "plain", "10 %" or "10 %, signs"."""
        if (self.how.percent, self.how.signs) == PLAIN:
            return "plain"
        return f"{self.how.percent:g} %" + (", signs" if self.how.signs else "")

    @property
    def wrong(self) -> NDArray[np.bool_]:
        """Inputs that the model gets wrong as they are, shape (N,)."""
        return np.asarray(self.result.success & (self.result.distance == 0))

    @property
    def success(self) -> NDArray[np.bool_]:
        """Inputs with a checked example within the budget, shape (N,); `wrong` ones do not count."""
        reach = np.inf if self.eps is None else self.eps * (1 + HAIRS[-1])
        return np.asarray(
            self.result.success & (np.nan_to_num(self.result.distance, nan=np.inf) <= reach) & ~self.wrong
        )

    @property
    def open(self) -> NDArray[np.bool_] | None:
        """Inputs that an exact search left undecided, shape (N,); None for other attacks.

        With a budget: neither an example within it nor a proof that there is none. Without: the search was cut short,
        so that there may be a nearer example than the one that counts.
        """
        lower, solved = self.result.lower, self.result.solved
        if lower is None or solved is None:
            return None
        decided = solved if self.eps is None else self.success | (lower > self.eps)
        return np.asarray(~decided & ~self.wrong)

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C cut it off."""
        return self.result.stop_reason is AttackStop.INTERRUPTED

    @property
    def sizes(self) -> Array:
        """Changed features, L1, L2 and L-infinity norm of each perturbation, shape (N, 4); NaN without success."""
        change = np.abs(self.result.adversarial - self.x)
        change[~self.success] = np.nan
        changed = np.where(self.success, np.count_nonzero(change, axis=1), np.nan)
        return np.stack(
            [changed, change.sum(axis=1), np.sqrt(np.square(change).sum(axis=1)), change.max(axis=1)], axis=1
        )


def compare_guided(
    network: ReluNetwork,
    boxes: Sequence[AsymmetricBox],
    attacks: Sequence[Attack],
    guidance: Sequence[tuple[float, bool]],
    *,
    eps: float | None = None,
    progress: Callable[[GuidedAttack], None] | None = None,
    **asked: Unpack[Asked],
) -> Iterator[GuidedRun]:
    """Runs every attack first unguided, then with each guidance; all have the same steps, seed and budget.

    Args:
        network: the classifier.
        boxes: around the inputs.
        attacks: each in its norm. With `eps` those that take a radius get it; of the others' examples those count that
            lie within it.
        guidance: percent and signs of each guided attack.
        eps: radius in the attack's own norm, above 0; None: each attack looks for the nearest example.
        progress: called with what is run next.
        **asked: `label`, `domain`, `seed` and `budget` of each run, as for `GuidedAttack`.

    Returns:
        the runs, each as soon as it is done; after Ctrl-C the one that was cut off is the last.

    Raises:
        InputError: as `GuidedAttack`, or an eps that is not above 0.
    """
    if eps is not None and not eps > 0:
        raise InputError(f"The radius has to be above 0; got {eps}. None looks for the nearest examples.")
    for attack in attacks:
        within = replace(attack, eps=eps) if eps is not None and isinstance(attack, EpsilonAttack) else attack
        for percent, signs in (PLAIN, *guidance):
            how = GuidedAttack(within, percent, signs)
            if progress is not None:
                progress(how)
            result = how(network, boxes, **asked)
            yield GuidedRun(how, eps, result, np.stack([box.x for box in boxes]))
            if result.stop_reason is AttackStop.INTERRUPTED:
                return


def guided_table(runs: Sequence[GuidedRun]) -> Table:
    """One row per run: success rate, mean L0, L1, L2 and L-infinity of its own perturbations, and how much longer.

    How much longer is (mean(g) - mean(a)) / mean(a) over the inputs on which both succeeded, with g and a the distances
    of the guided and the plain attack in the attack's norm; it is not given within a radius. Inputs that the model gets
    wrong are left out.
    """
    plain = {_key(run): run for run in runs if run.guidance == "plain"}
    rows = tuple(_row(run, plain.get(_key(run))) for run in runs)
    counted = 0 if not runs else int((~runs[0].wrong).sum())
    left_out = 0 if not runs else len(runs[0].x) - counted
    eps = None if not runs else runs[0].eps
    within = "nearest examples" if eps is None else f"within {eps:g}"
    note = f"{left_out} inputs that the model gets wrong are left out." if left_out else ""
    columns = (
        Column("attack", "attack", "text"),
        Column("norm", "norm", "text"),
        Column("guidance", "changed", "text"),
        Column("success", "success %", "percent"),
        Column("open", "open", "count"),
        Column("l0", "L0", "share"),
        Column("l1", "L1", "share"),
        Column("l2", "L2", "share"),
        Column("linf", "Linf", "share"),
        Column("longer", "distance against\nplain %", "percent"),
        Column("common", "inputs\nof that", "count"),
    )
    return Table("guided-attacks", f"Guided attacks, {within}: {counted} inputs", columns, rows, note)


def _key(run: GuidedRun) -> tuple[str, Norm]:
    return run.how.attack.name, run.how.attack.norm


def _row(run: GuidedRun, plain: GuidedRun | None) -> dict[str, Any]:
    sizes, counted = run.sizes[run.success], int((~run.wrong).sum())
    means = sizes.mean(axis=0).tolist() if len(sizes) else [None] * 4
    both = np.zeros(0, dtype=bool) if plain is None or plain is run else run.success & plain.success
    longer = None
    if plain is not None and run.eps is None and both.any():
        longer = 100 * float(run.result.distance[both].mean() / plain.result.distance[both].mean() - 1)
    return {
        "attack": run.how.attack.name,
        "norm": run.how.attack.norm.value,
        "guidance": run.guidance,
        "percent": run.how.percent,
        "signs": run.how.signs,
        "success": 100 * int(run.success.sum()) / counted if counted else None,
        "open": None if run.open is None else int(run.open.sum()),
        **dict(zip(("l0", "l1", "l2", "linf"), means, strict=True)),
        "longer": longer,
        "common": None if longer is None else int(both.sum()),
        "refuted": int(run.result.refuted.sum()),
        "finished": run.result.stop_reason is AttackStop.FINISHED,
    }
