"""Pictures of universal perturbations."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from counter_attack._figure import save_figure
from counter_attack._subject import Subject
from counter_attack.universal._perturbation import UniversalPerturbation
from onnx_models import Array
from onnx_models.errors import InputError

SHOWN = 4
"""Inputs that are shown with the perturbation."""


def draw_universal(
    perturbation: UniversalPerturbation, subject: Subject, shape: tuple[int, ...], path: str | Path
) -> None:
    """Draws v and the first inputs without and with it, below each the class that the model gives.

    Args:
        perturbation: v.
        subject: whose first inputs are shown.
        shape: of an input: (channels, height, width) with 1 or 3 channels, or (height, width).
        path: a .png file, or another that matplotlib knows.

    Raises:
        InputError: inputs that are no pictures, or a file that cannot be written.
    """
    from matplotlib.figure import Figure

    from counter_attack.transfer import oracle_of

    count = min(SHOWN, len(subject))
    points, oracle = perturbation.apply(subject)[:count], oracle_of(subject.classifier)
    figure = Figure(figsize=(1.7 + 1.35 * count, 3.2), dpi=120, layout="constrained")
    grid = figure.subplots(2, count + 1, squeeze=False)
    reach = float(np.abs(perturbation.vector).max()) or 1.0
    plane = _picture(perturbation.vector / (2 * reach) + 0.5, shape)
    grid[0][0].imshow(plane, cmap="RdBu_r", vmin=0, vmax=1)
    grid[0][0].set_title(f"v, within ±{reach:.3g}", fontsize=9)
    low, high = float(subject.domain[0].min()), float(subject.domain[1].max())
    for row, (rows, classes) in enumerate(((subject.x[:count], subject.label[:count]), (points, oracle(points)))):
        for column in range(count):
            axes = grid[row][column + 1]
            axes.imshow(_picture((rows[column] - low) / (high - low), shape), cmap="gray", vmin=0, vmax=1)
            changed = row == 1 and classes[column] != subject.label[column]
            axes.set_title(f"class {classes[column]}", fontsize=9, color="#b2182b" if changed else "black")
    grid[0][1].set_ylabel("inputs", fontsize=9)
    grid[1][1].set_ylabel("with v", fontsize=9)
    for axes in grid.ravel().tolist():
        axes.set(xticks=[], yticks=[])
    grid[1][0].axis("off")
    save_figure(figure, path)


def _picture(row: Array, shape: tuple[int, ...]) -> Array:
    """A row of shape (n,) as (height, width) or (height, width, 3)."""
    if len(shape) == 2:
        return row.reshape(shape)
    if len(shape) == 3 and shape[0] == 1:
        return row.reshape(shape[1:])
    if len(shape) == 3 and shape[0] == 3:
        return np.moveaxis(row.reshape(shape), 0, -1)
    raise InputError(f"Inputs of shape {shape} are no pictures; a picture is (height, width), or 1 or 3 of these.")
