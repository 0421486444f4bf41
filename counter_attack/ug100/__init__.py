"""Data sets of exact distances like UG100, built and read; distances by attacks against exact ones, tabled and drawn.

    >>> from pathlib import Path
    >>> from counter_attack.ug100 import read_distances, tables
    >>> for table in tables(read_distances(Path("ug100"))): print(table.title)    # doctest: +SKIP

Names are imported on first use: importing this package loads neither pandas nor matplotlib.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from counter_attack.ug100._build import BuildInterruptedError, BuildPlan, build_ug100
    from counter_attack.ug100._calibration import Calibration, calibrate
    from counter_attack.ug100._campaign import campaign_frame
    from counter_attack.ug100._cells import Cell, Rule, cells
    from counter_attack.ug100._checks import check_distances
    from counter_attack.ug100._dataset import UG100Data, load_ug100
    from counter_attack.ug100._dataset_verify import VerifyReport
    from counter_attack.ug100._dataset_write import write_ug100
    from counter_attack.ug100._detector import f1_curve
    from counter_attack.ug100._frame import COLUMNS
    from counter_attack.ug100._labels import Labels
    from counter_attack.ug100._plots import plots
    from counter_attack.ug100._read import read_distances, write_distances
    from counter_attack.ug100._table import Column, Table
    from counter_attack.ug100._tables import TABLES, tables

_HOMES = {
    "BuildInterruptedError": "_build",
    "BuildPlan": "_build",
    "COLUMNS": "_frame",
    "Calibration": "_calibration",
    "Cell": "_cells",
    "Column": "_table",
    "Labels": "_labels",
    "Rule": "_cells",
    "TABLES": "_tables",
    "Table": "_table",
    "UG100Data": "_dataset",
    "VerifyReport": "_dataset_verify",
    "build_ug100": "_build",
    "calibrate": "_calibration",
    "campaign_frame": "_campaign",
    "cells": "_cells",
    "check_distances": "_checks",
    "f1_curve": "_detector",
    "load_ug100": "_dataset",
    "plots": "_plots",
    "read_distances": "_read",
    "tables": "_tables",
    "write_distances": "_read",
    "write_ug100": "_dataset_write",
}

__all__ = [
    "COLUMNS",
    "TABLES",
    "BuildInterruptedError",
    "BuildPlan",
    "Calibration",
    "Cell",
    "Column",
    "Labels",
    "Rule",
    "Table",
    "UG100Data",
    "VerifyReport",
    "build_ug100",
    "calibrate",
    "campaign_frame",
    "cells",
    "check_distances",
    "f1_curve",
    "load_ug100",
    "plots",
    "read_distances",
    "tables",
    "write_distances",
    "write_ug100",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
