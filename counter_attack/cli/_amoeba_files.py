"""The boxes that `counter-attack amoeba box --save` has written."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from counter_attack.amoeba import AsymmetricBox
from mipverify_py.cli._parse import Indices
from onnx_models.errors import InputError

if TYPE_CHECKING:
    from onnx_models import ReluNetwork

_ARRAYS = ("index", "shape", "bounds", "class", "digest", "x", "e1", "e2")


@dataclass(frozen=True, slots=True, eq=False)
class SavedBoxes:
    """Boxes of one kind around different inputs of one model.

    Attributes:
        kind: shape and bounds, "asymmetric, crown".
        indices: positions of the N inputs in their data set or file.
        classes: which class each box keeps, shape (N,).
        boxes: the boxes.
    """

    kind: str
    indices: list[int]
    classes: NDArray[np.int64]
    boxes: list[AsymmetricBox]


def read_boxes(
    path: Path, network: ReluNetwork, *, shape: str | None, bounds: str | None, index: Indices | None
) -> SavedBoxes:
    """The boxes of a file of one shape, found with one kind of bounds.

    Args:
        path: the file.
        network: the model that they must have been found for.
        shape: of the boxes; None: all in the file have the same.
        bounds: that they were found with; None likewise.
        index: which inputs, in this order; None: all.

    Raises:
        InputError: a file that is not there, of another form or of another model; several kinds of boxes, or none.
    """
    arrays = _read(path)
    if str(arrays["digest"]) != network.digest:
        raise InputError(f"{path} has boxes of another model; give the model that they were found for.")
    rows = [
        row
        for row in range(len(arrays["index"]))
        if shape in (None, str(arrays["shape"][row])) and bounds in (None, str(arrays["bounds"][row]))
    ]
    kinds = sorted({f"{arrays['shape'][row]}, {arrays['bounds'][row]}" for row in rows})
    if len(kinds) > 1:
        raise InputError(f"{path} has boxes of several kinds: {'; '.join(kinds)}. Choose by --shape and --bounds.")
    where = {int(arrays["index"][row]): row for row in rows}
    if index is not None:
        wanted = index.resolve(max(where, default=0) + 1, str(path))
        missing = [one for one in wanted if one not in where]
        if missing:
            raise InputError(f"{path} has no such box for index {missing[0]}; it has {_listed(list(where))}.")
        where = {one: where[one] for one in wanted}
    if not where:
        raise InputError(f"{path} has no certified box of that kind.")
    chosen = list(where.values())
    boxes = [AsymmetricBox(*(arrays[name][row] for name in ("x", "e1", "e2"))) for row in chosen]
    return SavedBoxes(kinds[0], list(where), np.asarray(arrays["class"][chosen], dtype=np.int64), boxes)


def _read(path: Path) -> dict[str, NDArray[np.generic]]:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in _ARRAYS}
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from None
    except (KeyError, ValueError, AttributeError, TypeError, EOFError, zipfile.BadZipFile):
        arrays = {}
    if not _fits(arrays):
        raise InputError(f"{path} holds no boxes; `counter-attack amoeba box --save FILE.npz` writes them.")
    return arrays


def _fits(arrays: dict[str, NDArray[np.generic]]) -> bool:
    """Whether all arrays are there, with one row per box."""
    if not arrays:
        return False
    rows = arrays["index"].shape
    names, numbers = ("index", "shape", "bounds", "class"), ("x", "e1", "e2")
    whole = all(np.issubdtype(arrays[name].dtype, np.integer) for name in ("index", "class"))
    real = all(np.issubdtype(arrays[name].dtype, np.floating) and arrays[name].ndim == 2 for name in numbers)
    return (
        whole and real and len(rows) == 1 and {arrays[name].shape[: len(rows)] for name in (*names, *numbers)} == {rows}
    )


def _listed(indices: list[int]) -> str:
    return ", ".join(map(str, indices)) or "none"
