"""A small data set in the layout of UG100, with one image of each kind."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

MIP = {
    "toy-a-standard": {
        "3": {"lower": 0.1, "upper": 0.1},
        "7": {"lower": 0.1, "upper": 0.3},  # open
        "1": {"lower": 1e100, "upper": None},  # "infeasible"
        "9": {"lower": 0.2, "upper": None},
        "4": {"lower": 0.4, "upper": 0.400005},
    }
}
STRONG = {
    "toy-a-standard": {
        "3": {"pgd": 0.09, "fab": 0.11},
        "7": {"pgd": 0.25, "fab": None},
        "1": {"pgd": None, "fab": 0.5},
        "9": {"pgd": 0.6, "fab": 0.7},
        "4": {"pgd": 0.400001, "fab": 0.5},
    }
}

Maker = Callable[..., Path]
"""Writes a folder from dicts: folder name -> configuration -> contents; compressed unless told otherwise."""


def write_folder(target: Path, *, compressed: bool = True, **folders: dict[str, Any]) -> Path:
    """The folder `target`, with `mip/NAME.json.gz` and so on in it."""
    for folder, files in folders.items():
        (target / folder).mkdir(exist_ok=True)
        for name, contents in files.items():
            data = json.dumps(contents).encode()
            if compressed:
                (target / folder / f"{name}.json.gz").write_bytes(gzip.compress(data))
            else:
                (target / folder / f"{name}.json").write_bytes(data)
    return target
