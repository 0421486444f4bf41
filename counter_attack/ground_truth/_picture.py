"""Attacks against ground truths, and a hardened network against a standard one, as a figure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from counter_attack.ground_truth._points import Point
from mipverify_py import Norm
from onnx_models.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAMES = {Norm.LINF: "L-infinity", Norm.L1: "L1", Norm.L2: "L2"}
COLOURS = ("#1b6ca8", "#d95f02", "#1b9e77", "#7570b3", "#a6761d", "#666666")
DPI = 120
_TEXT: dict[str, Any] = {"fontsize": "medium", "parse_math": False}
"""Names of networks may have dollar signs in them."""


def picture(points: Sequence[Point]) -> Figure:
    """A row of panels per norm.

    Left: for each point the distance of the attack's example against the nearest one known; hollow where a limit ended
    the search. Right, with several networks: the least distance of the same input and target in the first network and
    in each of the others; below the diagonal it got worse.

    Raises:
        InputError: no point has both distances.
    """
    from matplotlib.figure import Figure

    networks = list(dict.fromkeys(p.network for p in points))
    norms = list(dict.fromkeys(p.norm for p in points))
    if not any(p.attack is not None and p.upper is not None for p in points):
        raise InputError("There is nothing to draw: no point has both an attack's example and a nearest one.")
    across = 2 if len(networks) > 1 else 1
    figure = Figure(figsize=(4.1 * across, 4.1 * len(norms) + 0.8), dpi=DPI, layout="constrained")
    grid = figure.subplots(len(norms), across, squeeze=False)
    for row, norm in zip(grid, norms, strict=True):
        _attacks(row[0], [p for p in points if p.norm is norm], networks)
        row[0].set_title(f"{NAMES[norm]}: attack and ground truth", **_TEXT)
        if across > 1:
            _networks(row[1], [p for p in points if p.norm is norm and p.is_exact], networks)
            row[1].set_title(f"{NAMES[norm]}: the same input and target", **_TEXT)
    handles, labels = grid[0][0].get_legend_handles_labels()
    where: Any = "outside lower center"
    figure.legend(handles, labels, loc=where, ncols=min(len(labels), 2), frameon=False)
    return figure


def _attacks(axes: Axes, points: Sequence[Point], networks: Sequence[str]) -> None:
    pairs = np.array([(p.upper, p.attack) for p in points if p.attack is not None and p.upper is not None])
    _diagonal(axes, float(pairs.max(initial=0.0)))
    for place, name in enumerate(networks):
        for exact in (True, False):
            chosen = [
                (p.upper, p.attack)
                for p in points
                if p.network == name and p.terminated is exact and p.attack is not None and p.upper is not None
            ]
            x, y = np.array(chosen, np.float64).reshape(len(chosen), 2).T
            colour = COLOURS[place % len(COLOURS)]
            if exact or chosen:
                axes.scatter(
                    x,
                    y,
                    s=14,
                    facecolors=colour if exact else "none",
                    edgecolors=colour,
                    linewidths=0.8,
                    alpha=0.75,
                    label=name if exact else f"{name}, open",
                )
    axes.set(xlabel="ground truth", ylabel="attack")


def _networks(axes: Axes, points: Sequence[Point], networks: Sequence[str]) -> None:
    first = {p.key: p.upper for p in points if p.network == networks[0]}
    top = max((p.upper for p in points if p.upper is not None), default=0.0)
    _diagonal(axes, top)
    for place, name in enumerate(networks[1:], start=1):
        common = [(first[p.key], p.upper) for p in points if p.network == name and p.key in first]
        x, y = np.array(common, np.float64).reshape(len(common), 2).T
        axes.scatter(x, y, s=14, color=COLOURS[place % len(COLOURS)], linewidths=0, alpha=0.75)
    others = networks[1] if len(networks) == 2 else "the others"
    axes.set_xlabel(networks[0], parse_math=False)
    axes.set_ylabel(others, parse_math=False)


def _diagonal(axes: Axes, top: float) -> None:
    end = 1.05 * top or 1.0
    axes.plot([0, end], [0, end], color="black", linewidth=0.8, zorder=1)
    axes.set(xlim=(0, end), ylim=(0, end), aspect="equal")
    axes.locator_params(nbins=5)
