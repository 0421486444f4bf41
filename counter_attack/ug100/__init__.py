"""The analysis of UG100: distances by attacks against exact ones, read, tabled, drawn and checked.

    >>> from pathlib import Path
    >>> from counter_attack.ug100 import read_distances, tables
    >>> for table in tables(read_distances(Path("ug100"))): print(table.title)    # doctest: +SKIP

Names are imported on first use: importing this package loads neither pandas nor matplotlib.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from counter_attack.ug100._calibration import Calibration, calibrate
    from counter_attack.ug100._cells import Cell, Rule, cells
    from counter_attack.ug100._checks import check_distances
    from counter_attack.ug100._detector import f1_curve
    from counter_attack.ug100._frame import COLUMNS
    from counter_attack.ug100._labels import Labels
    from counter_attack.ug100._plots import plots
    from counter_attack.ug100._read import read_distances, write_distances
    from counter_attack.ug100._table import Column, Table
    from counter_attack.ug100._tables import TABLES, tables

_HOMES = {
    "COLUMNS": "_frame",
    "Calibration": "_calibration",
    "Cell": "_cells",
    "Column": "_table",
    "Labels": "_labels",
    "Rule": "_cells",
    "TABLES": "_tables",
    "Table": "_table",
    "calibrate": "_calibration",
    "cells": "_cells",
    "check_distances": "_checks",
    "f1_curve": "_detector",
    "plots": "_plots",
    "read_distances": "_read",
    "tables": "_tables",
    "write_distances": "_read",
}

__all__ = [
    "COLUMNS",
    "TABLES",
    "Calibration",
    "Cell",
    "Column",
    "Labels",
    "Rule",
    "Table",
    "calibrate",
    "cells",
    "check_distances",
    "f1_curve",
    "plots",
    "read_distances",
    "tables",
    "write_distances",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
