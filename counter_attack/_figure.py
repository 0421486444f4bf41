"""Writing figures of matplotlib."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from onnx_models.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def save_figure(figure: Figure, path: str | Path) -> None:
    """Writes the figure; raises InputError where that cannot be done."""
    try:
        figure.savefig(path)
    except (OSError, ValueError) as error:  # ValueError: an ending that matplotlib does not know
        raise InputError(f"{path}: the picture cannot be written ({error}).") from error
