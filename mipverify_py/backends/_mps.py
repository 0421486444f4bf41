"""Models as MPS files, exact to the last bit."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from os import PathLike
from pathlib import Path

import numpy as np

from bounds import MipModel
from mipverify_py.backends._one_sided import OneSidedRows
from onnx_models import Array
from onnx_models.errors import InputError

OBJECTIVE = "obj"
"""Name of the objective row; columns and rows get other names."""


def write_mps(model: MipModel, path: str | PathLike[str]) -> None:
    """Writes `model` to a free-format MPS file that any solver reads.

    Numbers are written with the digits that identify their float64 value. Rows are called r0, r1, ...; a row with two
    different finite ends i becomes r<i> (lower) and r<i>u (upper), because the RANGES section would round, and a row
    without ends is left out. The offset is written as the negated right-hand side of the objective, as is usual.

    Args:
        model: the model; its column names are kept.
        path: file to write, overwritten if it exists.

    Raises:
        InputError: the model has squares, which readers of MPS files disagree on.
    """
    if not model.is_linear:
        raise InputError("A model with squares cannot be written as an MPS file; solve it with a backend instead.")
    rows = OneSidedRows.of(model)
    text = mps_lines(model, rows, model.names, number=repr_number, header="FREE")
    with Path(path).open("w", encoding="ascii") as file:
        file.writelines(line + "\n" for line in text)


def mps_lines(
    model: MipModel, rows: OneSidedRows, names: Sequence[str], *, number: Callable[[float], str], header: str
) -> Iterator[str]:
    """The lines of an MPS file with the given column names, way of writing numbers and format word."""
    labels = row_labels(rows)
    yield f"NAME model {header}"
    yield "ROWS"
    yield f" N {OBJECTIVE}"
    kinds = {"=": "E", ">": "G", "<": "L"}
    yield from (f" {kinds[sense]} {label}" for sense, label in zip(rows.sense.tolist(), labels, strict=True))
    yield "COLUMNS"
    yield from _columns(model, rows, names, labels, number)
    yield "RHS"
    if model.offset != 0:
        yield f" RHS {OBJECTIVE} {number(-model.offset)}"
    right = zip(labels, rows.right.tolist(), strict=True)
    yield from (f" RHS {label} {number(value)}" for label, value in right if value != 0)
    yield "BOUNDS"
    yield from _bounds(model, names, number)
    yield "ENDATA"


def row_labels(rows: OneSidedRows) -> list[str]:
    """The names of the rows, unique: r<i> for row i of the model, r<i>u for its upper end when it has two."""
    doubled = np.zeros(int(rows.source.max(initial=-1)) + 1, bool)
    doubled[rows.source[rows.sense == ">"]] = True
    suffix = np.where((rows.sense == "<") & doubled[rows.source], "u", "")
    return [f"r{source}{end}" for source, end in zip(rows.source.tolist(), suffix.tolist(), strict=True)]


def repr_number(value: float) -> str:
    """The shortest decimal that reads back as the same float64."""
    return repr(float(value))


def ieee_number(value: float) -> str:
    """The 12 characters in which COIN-OR's FREEIEEE format spells the bits of a float64.

    Each 16-bit quarter, the highest first, is three base-64 digits, the lowest first, over 0-9 a-z A-Z * +. CBC reads
    decimals with a routine of its own that misses the last bit of about one number in five, and these exactly.
    """
    quarters = struct.unpack(">4H", struct.pack(">d", value))
    return "".join(_DIGITS[(quarter >> shift) & 63] for quarter in quarters for shift in (0, 6, 12))


_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ*+"


def _columns(
    model: MipModel, rows: OneSidedRows, names: Sequence[str], labels: list[str], number: Callable[[float], str]
) -> Iterator[str]:
    matrix = rows.matrix.tocsc()
    starts, index, data = matrix.indptr.tolist(), matrix.indices.tolist(), matrix.data.tolist()
    inside = False
    for j, (name, cost, whole) in enumerate(zip(names, model.cost.tolist(), model.integer.tolist(), strict=True)):
        if whole != inside:
            yield f" MARK{j} 'MARKER' '{'INTORG' if whole else 'INTEND'}'"
            inside = whole
        yield f" {name} {OBJECTIVE} {number(cost)}"  # also when it is 0: a column must occur to exist
        for k in range(starts[j], starts[j + 1]):
            yield f" {name} {labels[index[k]]} {number(data[k])}"
    if inside:
        yield f" MARK{model.columns} 'MARKER' 'INTEND'"


def _bounds(model: MipModel, names: Sequence[str], number: Callable[[float], str]) -> Iterator[str]:
    # Both ends of every column are spelled out: readers disagree on the defaults of integer columns.
    ends: Sequence[tuple[Array, str, str]] = (
        (model.column_lower, "LO", "MI"),
        (model.column_upper, "UP", "PL"),
    )
    for j, name in enumerate(names):
        lower, upper = float(model.column_lower[j]), float(model.column_upper[j])
        if np.isinf(lower) and np.isinf(upper):
            yield f" FR BND {name}"
        elif lower == upper:
            yield f" FX BND {name} {number(lower)}"
        else:
            for values, finite, infinite in ends:
                value = float(values[j])
                yield f" {infinite} BND {name}" if np.isinf(value) else f" {finite} BND {name} {number(value)}"
