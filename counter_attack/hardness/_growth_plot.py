"""The picture of growth: nodes and seconds by size, and the share of satisfiable formulas."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from counter_attack.hardness._growth import TRANSITION, GrowthRow, summarise_growth
from onnx_models.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_KINDS = (
    (True, "o", "#1b6ca8", "satisfiable"),
    (False, "s", "#d95f02", "unsatisfiable"),
    (None, "x", "0.45", "open (limit)"),
)
_JITTER = 0.16
"""Largest shift of a point to the side, as a share of the distance of two sizes: equal ones can be told apart."""


def plot_growth(rows: Sequence[GrowthRow], path: str | Path) -> None:
    """Draws rows of several sizes at one ratio, or of one size at several ratios, as a PNG.

    Raises:
        InputError: no rows, several sizes and several ratios at once, or a file that cannot be written.
    """
    from matplotlib.figure import Figure  # without pyplot, so that no state outside is touched

    sizes, ratios = {row.variables for row in rows}, {row.ratio for row in rows}
    if not rows or min(len(sizes), len(ratios)) > 1:
        raise InputError("A picture of growth needs formulas of several sizes at one ratio, or of one size.")
    by_ratio = len(ratios) > 1
    x = np.array([row.ratio if by_ratio else row.variables for row in rows], dtype=np.float64)
    figure = Figure(figsize=(9.0, 3.4), dpi=110, layout="constrained")
    nodes, seconds, share = figure.subplots(1, 3)
    _points(nodes, x, np.array([row.nodes + 1.0 for row in rows]), rows)
    _points(seconds, x, np.array([row.seconds for row in rows]), rows)
    middle = {(row.variables, row.ratio): value for row, value in zip(rows, x, strict=True)}
    summaries = summarise_growth(rows)
    places = [middle[s.variables, s.ratio] for s in summaries]
    nodes.plot(places, [s.nodes + 1 for s in summaries], color="0.3", label="median")
    seconds.plot(places, [s.seconds for s in summaries], color="0.3", label="median")
    asked = [(p, s.cp_sat_seconds) for p, s in zip(places, summaries, strict=True) if s.cp_sat_seconds is not None]
    if asked:
        seconds.plot(*zip(*asked, strict=True), color="#4d9221", marker="^", label="CP-SAT, median")
    known = [(p, s.share) for p, s in zip(places, summaries, strict=True) if s.share is not None]
    if known:
        share.plot(*zip(*known, strict=True), color="#1b6ca8", marker="o")
    if by_ratio:
        share.axvline(TRANSITION, color="0.6", linestyle="--", label=f"{TRANSITION}")
        share.legend(fontsize="small")
    label = "clauses per variable" if by_ratio else "variables"
    fixed = f"{sizes.pop()} variables" if by_ratio else f"{ratios.pop():g} clauses per variable"
    for axes, title in ((nodes, "nodes + 1"), (seconds, "seconds"), (share, "satisfiable share of the decided")):
        axes.set_title(title, fontsize="medium")
        axes.set_xlabel(label)
        axes.set_xticks(np.unique(x), [f"{place:g}" for place in np.unique(x)])
        axes.grid(visible=True, color="0.9")
    nodes.set_yscale("log")
    seconds.set_yscale("log")
    share.set_ylim(-0.04, 1.04)
    nodes.legend(fontsize="x-small", loc="best")
    seconds.legend(fontsize="x-small", loc="best")
    figure.suptitle(f"Random 3-SAT as an attack: {fixed}", fontsize="medium")
    try:
        figure.savefig(path)
    except (OSError, ValueError) as error:  # ValueError: an ending that matplotlib does not know
        raise InputError(f"{path}: the picture cannot be written ({error}).") from error


def _points(axes: Axes, x: np.ndarray, y: np.ndarray, rows: Sequence[GrowthRow]) -> None:
    """One mark per formula, by answer."""
    places = np.unique(x)
    width = float(np.diff(places).min()) if len(places) > 1 else 1.0
    shift = np.array([_JITTER * width * (2 * ((7 * row.seed) % 10) / 9 - 1) for row in rows])
    for answer, marker, colour, label in _KINDS:
        chosen = np.array([row.satisfiable is answer for row in rows])
        if chosen.any():
            axes.plot((x + shift)[chosen], y[chosen], marker, color=colour, markersize=4, alpha=0.7, label=label)
