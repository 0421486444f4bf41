"""How the images of a data set are spread over its classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from counter_attack.ug100._cells import Cell, Rule
from counter_attack.ug100._table import Column, Table
from onnx_models.errors import InputError

Labels = NDArray[np.int64]
"""The class of every image of a data set, by position."""


def label_tables(members: Mapping[str, Sequence[Cell]], labels: Mapping[str, Labels]) -> Iterator[Table]:
    """One table per data set; without rows and with a note where its labels are not known.

    Args:
        members: data set -> its configurations, each once.
        labels: data set -> labels.

    Raises:
        InputError: an image beyond the end of the labels.
    """
    for data_set, found in members.items():
        yield _table(data_set, found, labels.get(data_set))


def _table(data_set: str, found: Sequence[Cell], labels: Labels | None) -> Table:
    images = np.unique(np.concatenate([cell.index for cell in found]))
    rows = [] if labels is None else _rows(data_set, found, images, labels)
    return Table(
        name=f"labels-{data_set}",
        title=f"Images by label: {data_set}, {len(images):,} images",
        columns=(
            Column("label", "label", "count"),
            Column("images", "images", "count"),
            Column("share", "%", "percent"),
            *(Column(f"distance_{rule.value}", f"mean distance\n{rule.value}", "distance") for rule in Rule),
        ),
        rows=tuple(rows),
        note=f"The labels of {data_set} are not known; the options --mnist and --cifar10 say where those data sets lie."
        if labels is None
        else f"Mean distance: of the exact distances of these images in all {len(found)} configurations.",
    )


def _rows(data_set: str, found: Sequence[Cell], images: Labels, labels: Labels) -> list[dict[str, float | int | None]]:
    if images.max() >= len(labels):
        raise InputError(f"{data_set} has {len(labels)} labels, but there are distances for index {images.max()}.")
    own = labels[images]
    rows: list[dict[str, float | int | None]] = []
    for label in np.unique(own).tolist():
        count = int((own == label).sum())
        row: dict[str, float | int | None] = {"label": label, "images": count, "share": 100 * count / len(images)}
        for rule in Rule:
            counted = [cell.under(rule) for cell in found]
            exact = np.concatenate([cell.upper[labels[cell.index] == label] for cell in counted])
            row[f"distance_{rule.value}"] = float(exact.mean()) if len(exact) else None
        rows.append(row)
    return rows
