"""The figures of the analysis as PNG files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from counter_attack.pool import LARGEST_POOL
from counter_attack.ug100._cells import Cell, Rule, cells
from counter_attack.ug100._detector import f1_curve
from counter_attack.ug100._figures import Block, blocks, whole
from counter_attack.ug100._table import file_name
from counter_attack.ug100._tables import best_pools
from onnx_models.errors import InputError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PLOTS: Final = ("scatter", "pools", "f1")
"""Kinds of figures, one file of each per data set and attack set."""

MARKED_EPS: Final = 8 / 255
"""The radius that the curves mark, usual for 8-bit images."""

_DPI = 150
_TITLE: dict[str, Any] = {"fontsize": "medium", "parse_math": False}
"""Names of networks may have dollar signs in them."""
_COLOURS = {Rule.PUBLISHED: "#d95f02", Rule.CONVERGED: "#1b6ca8"}
_LABELS = {Rule.PUBLISHED: "published rule", Rule.CONVERGED: "converged only"}
_RADII = 500


def plots(distances: pd.DataFrame, folder: Path, *, progress: Callable[[Path], None] | None = None) -> list[Path]:
    """Draws attacks' against exact distances, the best R2 by pool size, and F1 against eps; returns the files.

    Args:
        distances: a tidy table, see `read_distances`.
        folder: where `scatter-DATASET-SET.png`, `pools-...` and `f1-...` go; made if it is not there.
        progress: called with each file before it is drawn.

    Raises:
        InputError: the folder cannot be written to.
    """
    found = blocks(cells(distances))
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for block in found:
            for kind, draw in (("scatter", _scatter), ("pools", _pools), ("f1", _f1)):
                if kind == "pools" and len(block.attacks) > LARGEST_POOL:
                    continue  # the table of pools says that there are too many subsets
                path = folder / f"{kind}-{file_name(block.name)}.png"
                if progress is not None:
                    progress(path)
                draw(block).savefig(path, dpi=_DPI)
                written.append(path)
    except OSError as error:
        raise InputError(f"{error.filename or folder}: cannot be written ({error.strerror or error}).") from error
    return written


def scatter_plot(distances: pd.DataFrame, path: Path) -> None:
    """Draws attacks' against exact distances, of one data set and attack set, into one PNG file.

    Raises:
        InputError: the file cannot be written.
    """
    (block,) = blocks(cells(distances))
    try:
        _scatter(block).savefig(path, dpi=_DPI)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error}).") from error


def _panels(block: Block, *, share_y: bool) -> tuple[Figure, list[tuple[Cell, Axes]]]:
    """A figure with a panel per configuration: trainings side by side, architectures one below the other."""
    from matplotlib.figure import Figure

    members = sorted(block.cells, key=lambda cell: cell.architecture)  # stable: trainings keep their order
    across = min(len({cell.training for cell in members}) if members[0].training else 3, 4, len(members))
    down = -(-len(members) // across)
    figure = Figure(figsize=(3.6 * across + 0.4, 3.3 * down + 0.9), layout="constrained")
    grid = figure.subplots(down, across, squeeze=False, sharey=share_y).ravel().tolist()
    for spare in grid[len(members) :]:
        spare.remove()
    return figure, list(zip(members, grid, strict=False))


def _title(cell: Cell) -> str:
    if not cell.training:
        return cell.configuration
    return f"{cell.architecture.upper()}, {'ReLU' if cell.training == 'relu' else cell.training}"


def _scatter(block: Block) -> Figure:
    figure, panels = _panels(block, share_y=False)
    for cell, axes in panels:
        found, converged = cell.table.closest().distance, cell.counts(Rule.CONVERGED)
        known = cell.counts(Rule.PUBLISHED) & ~np.isnan(found)
        top = 1.04 * float(max(found[known].max(), cell.upper[known].max())) if known.any() else 1.0
        axes.plot([0, top], [0, top], color="black", linewidth=0.8, zorder=3, label="ideal: attack = exact")
        for chosen, rule, label in (
            (known & converged, Rule.CONVERGED, "converged"),
            (known & ~converged, Rule.PUBLISHED, "upper end of an open bracket"),
        ):
            points = {"s": 7, "alpha": 0.5, "linewidths": 0, "color": _COLOURS[rule], "label": label}
            axes.scatter(cell.upper[chosen], found[chosen], **points)  # type: ignore[arg-type]
        r2 = whole(cell, Rule.PUBLISHED).r2
        shown = "" if r2 is None else f", R² = {r2:.3f}"
        axes.set_title(f"{_title(cell)}: {int(known.sum()):,} images{shown}", **_TITLE)
        axes.set(xlim=(0, top), ylim=(0, top), aspect="equal")
        axes.locator_params(nbins=5)
    _label(panels, "exact distance", "closest distance by an attack")
    return _finish(figure, block, panels[0][1], marker_scale=2.5)


def _pools(block: Block) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    axes = figure.subplots()
    for rule, shift in ((Rule.PUBLISHED, -0.06), (Rule.CONVERGED, 0.06)):
        best = best_pools(block, rule)
        known = [
            (size, [one.r2 for one in per_cell if one.r2 is not None])
            for size, (_, per_cell) in enumerate(best, start=1)
        ]
        shown = [(size, np.array(values)) for size, values in known if len(values) == len(block.cells)]
        axes.errorbar(
            [size + shift for size, _ in shown],
            [values.mean() for _, values in shown],
            yerr=[values.std() for _, values in shown],
            color=_COLOURS[rule],
            marker="o",
            markersize=4,
            capsize=3,
            label=_LABELS[rule],
        )
    axes.set_xticks(range(1, len(block.attacks) + 1))
    axes.set(xlabel="attacks in the pool", ylabel="R² of the best pool (mean ± deviation over networks)")
    axes.grid(alpha=0.3)
    axes.set_title(f"Best pools by size: {block.title}", **_TITLE)
    axes.legend(loc="lower right")
    return figure


def _f1(block: Block) -> Figure:
    figure, panels = _panels(block, share_y=True)
    for cell, axes in panels:
        known = cell.upper[cell.counts(Rule.PUBLISHED)]
        top = max(float(known.max(initial=0.0)), 1.15 * MARKED_EPS)
        eps = np.linspace(0, top, _RADII + 1)
        for rule, line in ((Rule.PUBLISHED, "-"), (Rule.CONVERGED, "--")):
            counted = cell.under(rule)
            score = f1_curve(counted.table.closest().distance, counted.upper, eps)
            axes.plot(eps, score, line, color=_COLOURS[rule], linewidth=1.3, label=_LABELS[rule])
        axes.axvline(MARKED_EPS, color="black", linewidth=0.8, linestyle=":", label="eps = 8/255")
        axes.set_title(f"{_title(cell)}: {len(known):,} images", **_TITLE)
        axes.set(xlim=(0, top), ymargin=0.04)
        axes.locator_params(nbins=5)
        axes.grid(alpha=0.3)
    _label(panels, "eps", "F1 of “attack ≤ eps”\nagainst “exact ≤ eps”")
    return _finish(figure, block, panels[0][1])


def _label(panels: list[tuple[Cell, Axes]], x: str, y: str) -> None:
    """Names the axes of the outer panels only."""
    for position, (_, axes) in enumerate(panels):
        place = axes.get_subplotspec()
        assert place is not None
        if place.is_first_col():
            axes.set_ylabel(y)
        if place.is_last_row() or position + place.get_gridspec().ncols >= len(panels):
            axes.set_xlabel(x)


def _finish(figure: Figure, block: Block, axes: Axes, *, marker_scale: float = 1.0) -> Figure:
    """The figure with its title and one legend for all panels, above them."""
    handles, labels = axes.get_legend_handles_labels()
    settings: dict[str, Any] = {"loc": "outside lower center", "ncols": len(labels), "frameon": False}
    figure.legend(handles, labels, markerscale=marker_scale, **settings)
    figure.suptitle(block.title, parse_math=False)
    return figure
