"""Known attacks as parameters of the linearised one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

PRESETS: Final[Mapping[str, Mapping[str, Any]]] = {
    "fgsm": {"objective": "cross-entropy", "problem": "constrained", "steps": 1, "box": False},
    "bim": {"objective": "cross-entropy", "problem": "constrained", "steps": 200, "step_size": 1e-2, "box": False},
    "pgd": {
        "objective": "cross-entropy",
        "problem": "constrained",
        "steps": 200,
        "step_size": 1e-3,
        "random_start": True,
        "box": False,
    },
    "deepfool": {"objective": "margin", "problem": "minimum", "steps": 50, "box": False},
    "gnm": {"objective": "margin", "problem": "constrained", "steps": 10, "box": False},
    "targeted": {"objective": "targeted", "problem": "minimum", "steps": 50},
    "regression": {"objective": "output-change", "problem": "constrained", "steps": 10},
    "one-pixel": {"objective": "margin", "problem": "constrained", "steps": 1, "groups": "pixels", "subsets": 1},
    "few-pixel": {"objective": "margin", "problem": "constrained", "steps": 10, "groups": "pixels", "subsets": 5},
}
"""Name -> the parameters of `LinearisedAttack` that make it that attack; the others have their defaults."""

REGISTERED: Final = ("gnm", "one-pixel", "few-pixel")
"""Presets that are attacks by these names everywhere; those left out have an implementation of their own there, or need
a class to go to or a norm of outputs."""
