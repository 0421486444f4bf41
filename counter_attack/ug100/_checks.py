"""What in a table of distances contradicts itself: solvers' claims against examples that attacks hold in hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from counter_attack.ug100._cells import GAP_ABSOLUTE, GAP_RELATIVE
from counter_attack.ug100._table import Column, Table
from onnx_models.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

_IMAGE: Final = ["configuration", "index"]

_ROW: Final = (
    Column("configuration", "configuration", "text"),
    Column("index", "index", "text"),
    Column("attack_set", "attack set", "text"),
    Column("attack", "attack", "text"),
    Column("distance", "distance", "precise"),
    Column("lower", "lower", "precise"),
    Column("upper", "upper", "precise"),
    Column("by", "by", "distance"),
)


def check_distances(distances: pd.DataFrame, *, tolerance: float = 0.0) -> list[Table]:
    """One table per check, with all that fails it: no rows is a clean bill.

    `Table.note` says what fails; rows name the image, the attack with its distance, the bracket, and by how much.

    Args:
        distances: a tidy table, see `read_distances`.
        tolerance: how far a distance may undercut an end of a bracket and pass, at least 0.

    Raises:
        InputError: a negative tolerance.
    """
    if not tolerance >= 0 or np.isinf(tolerance):
        raise InputError(f"A tolerance of {tolerance} makes no sense; give a number of at least 0.")
    d = distances
    finite, infeasible = np.isfinite(d["lower"]), np.isinf(d["lower"])
    found, bounded = d["distance"].notna(), d["upper"].notna()
    gap = (d["upper"] - d["lower"].where(finite)).abs()
    converged = (gap <= GAP_ABSOLUTE) | (gap <= GAP_RELATIVE * d["upper"])
    under_lower = found & finite & (d["distance"] < d["lower"] - tolerance)
    under_upper = found & bounded & (d["distance"] < d["upper"] - tolerance) & ~under_lower
    failed = ~found.groupby([d["configuration"], d["index"], d["attack_set"]], observed=True).transform("any")
    image = ~d.duplicated(_IMAGE)
    within = f" by more than {tolerance:g}" if tolerance else ""
    return [
        _table("below-lower", f"An attack is nearer than a proved lower end{within}.", d[under_lower], "lower"),
        _table(
            "infeasible-contradicted",
            "A solver claims that there is no adversarial example, and attacks found some (the nearest is shown).",
            _nearest(d[infeasible & found]),
            None,
        ),
        _table(
            "infeasible-with-upper",
            "A claim of infeasibility comes with an example.",
            d[infeasible & bounded & image],
            None,
        ),
        _table("crossed", "The upper end is below the lower end.", d[finite & (d["upper"] < d["lower"]) & image], None),
        _table(
            "below-converged-upper",
            f"An attack is nearer than the upper end of a converged bracket{within}, but not than its lower end.",
            d[under_upper & converged],
            "upper",
        ),
        _table(
            "below-open-upper",
            f"An attack is nearer{within} than the upper end of an open bracket: that end is not exact.",
            d[under_upper & ~converged],
            "upper",
        ),
        _table(
            "no-upper",
            "A solver found no example, without claiming infeasibility, and attacks found some (the nearest is shown).",
            _nearest(d[~bounded & ~infeasible & found]),
            None,
        ),
        _table("no-lower", "An image has no lower end.", d[d["lower"].isna() & image], None),
        _table(
            "no-attack",
            "All attacks of a set failed on an image (its first row is shown).",
            d[failed].drop_duplicates([*_IMAGE, "attack_set"]),
            None,
        ),
    ]


def _nearest(rows: pd.DataFrame) -> pd.DataFrame:
    """Of each image the row with the least distance."""
    return rows.sort_values("distance", kind="stable").drop_duplicates(_IMAGE).sort_index()


def _table(name: str, meaning: str, rows: pd.DataFrame, end: str | None) -> Table:
    """The rows as a table; `end` is the end of the bracket that distances undercut, largest amount first."""
    images = len(rows.drop_duplicates(_IMAGE))
    listed = rows if end is None else rows.assign(by=rows[end] - rows["distance"]).sort_values("by", ascending=False)
    records = [
        {str(key): _plain(value) for key, value in record.items()} for record in listed.to_dict(orient="records")
    ]
    title = f"{name}: {len(rows):,} {'case' if len(rows) == 1 else 'cases'} on {images:,} image-network pairs"
    return Table(name, title, _ROW if end is not None else _ROW[:-1], tuple(records), meaning)


def _plain(value: object) -> str | int | float | None:
    """A value for JSON: None for a missing number, "infeasible" for an infinite lower end."""
    if isinstance(value, float):
        return None if np.isnan(value) else "infeasible" if np.isinf(value) else value
    assert isinstance(value, str | int)
    return value
