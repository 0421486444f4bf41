"""The papers' tables: attacks on networks, how many inputs are fooled and at what size, beside the exact distance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from counter_attack._distances import distances
from counter_attack.attacks import AttackResult
from counter_attack.detection import ExactResult
from counter_attack.ug100 import Column, Table
from mipverify_py import Norm
from onnx_models import Array
from onnx_models.errors import InputError

ALL = 0.99
"""The share of inputs whose distance the papers call the size that fools (nearly) all of them."""


def robustness_rows(
    network: str,
    x: Array,
    results: Mapping[str, AttackResult],
    exact: ExactResult | None = None,
    eps: float | None = None,
) -> list[dict[str, Any]]:
    """One row per attack on a network, and one for the exact distances, for `robustness_table`.

    The measures are those of Balda, Behboodi and Mathar (2018 and 2019) with |.| the norm of the attacks, over the
    inputs that the network gets right:

        fooled   share with an example at all, in percent
        within   share with an example within eps, in percent
        mean     mean of |eta| over the fooled
        rho      mean of |eta| / |x| over the fooled with x other than 0
        all      least size within which more than 99 % are fooled; None if they are not
        above    sum of |eta| over that of the exact distances, less 1, in percent; over inputs that have both

    Args:
        network: its name.
        x: the inputs, shape (N, n).
        results: what attacks in one norm found for them, by the names of the attacks.
        exact: what the exact search found; only inputs count whose search it closed, so that its row may be about
            fewer inputs.
        eps: see above; None: no such share.

    Raises:
        InputError: no results, or results about other inputs or in different norms.
    """
    every = [*results.values(), *([exact] if exact is not None else [])]
    if not results or any(r.norm is not every[0].norm or r.adversarial.shape != x.shape for r in every):
        raise InputError(f"The table needs results about the {len(x)} inputs in one norm, at least one result.")
    size = distances(x, np.zeros_like(x), every[0].norm)
    rows = [{"network": network, "attack": name, **_measures(r.distance, size, eps)} for name, r in results.items()]
    if exact is None:
        return rows
    known = exact.exact & exact.success
    for row, found in zip(rows, results.values(), strict=True):
        both = known & found.success
        truth = float(exact.upper[both].sum())
        row["above"] = 100.0 * (float(found.distance[both].sum()) / truth - 1.0) if truth > 0 else None
    closed = exact.exact
    truths = _measures(np.where(exact.success, exact.upper, np.nan)[closed], size[closed], eps)
    if not closed.all():
        truths["all"] = None  # of nearly all inputs nothing can be said that leaves some out
    return [*rows, {"network": network, "attack": "exact", **truths, "open": int((~exact.exact).sum())}]


def _measures(distance: Array, size: Array, eps: float | None) -> dict[str, Any]:
    counted = ~(distance == 0)  # an input that the network gets wrong needs no perturbation
    total, good = int(counted.sum()), counted & np.isfinite(distance)
    found, long = np.sort(distance[good]), good & (size > 0)
    needed = int(np.floor(ALL * total))  # so many, and one more, have to be fooled
    return {
        "inputs": total,
        "fooled": 100.0 * len(found) / total if total else None,
        "within": None if eps is None or not total else 100.0 * float((found <= eps).sum()) / total,
        "mean": float(found.mean()) if len(found) else None,
        "rho": float((distance[long] / size[long]).mean()) if long.any() else None,
        "all": float(found[needed]) if len(found) > needed else None,
        "above": None,
        "open": 0,
    }


def robustness_table(rows: Sequence[Mapping[str, Any]], norm: Norm, eps: float | None = None) -> Table:
    """The rows of `robustness_rows`, of one or several networks, as a table."""
    within = [] if eps is None else [Column("within", f"<= {eps:g}\n%", "percent")]
    unsolved = sum(row["open"] for row in rows)
    return Table(
        name="robustness",
        title=f"Fooled by each attack, {norm.value}",
        columns=(
            Column("network", "network", "text"),
            Column("attack", "attack", "text"),
            Column("inputs", "inputs", "count"),
            Column("fooled", "fooled\n%", "percent"),
            *within,
            Column("mean", "mean\n|eta|", "precise"),
            Column("rho", "mean\n|eta|/|x|", "precise"),
            Column("all", "fools\n> 99 %", "precise"),
            Column("above", "above\nexact %", "percent"),
        ),
        rows=tuple(rows),
        note=f"{unsolved:,} exact distances are not known and do not count" if unsolved else "",
    )
