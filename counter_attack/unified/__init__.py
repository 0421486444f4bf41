"""One linearised attack that many known ones are cases of (Balda, Behboodi and Mathar 2018 and 2019).

    >>> from counter_attack.unified import LinearisedAttack, preset_attack
    >>> preset_attack("gnm", steps=5)(network, images).distance                            # doctest: +SKIP
    >>> LinearisedAttack(problem="minimum", groups="pixels", subsets=3)(network, images)   # doctest: +SKIP

Names are imported on first use: importing this package does not load torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from counter_attack.unified._attack import PROBLEMS, LinearisedAttack, preset_attack
    from counter_attack.unified._closed_forms import constrained, dual_size, nearest, room_of, steepest, steepest_in_box
    from counter_attack.unified._groups import GROUPS, groups_to_reach, groups_within, members_of
    from counter_attack.unified._objectives import OBJECTIVES
    from counter_attack.unified._output_change import Change, is_solved, largest_change
    from counter_attack.unified._regression import OutputChange, change_outputs
    from counter_attack.unified._settings import PRESETS
    from counter_attack.unified._table import robustness_rows, robustness_table

_HOMES = {
    "Change": "_output_change",
    "GROUPS": "_groups",
    "LinearisedAttack": "_attack",
    "OBJECTIVES": "_objectives",
    "OutputChange": "_regression",
    "PRESETS": "_settings",
    "PROBLEMS": "_attack",
    "change_outputs": "_regression",
    "constrained": "_closed_forms",
    "dual_size": "_closed_forms",
    "groups_to_reach": "_groups",
    "groups_within": "_groups",
    "is_solved": "_output_change",
    "largest_change": "_output_change",
    "members_of": "_groups",
    "nearest": "_closed_forms",
    "preset_attack": "_attack",
    "robustness_rows": "_table",
    "robustness_table": "_table",
    "room_of": "_closed_forms",
    "steepest": "_closed_forms",
    "steepest_in_box": "_closed_forms",
}

__all__ = [
    "GROUPS",
    "OBJECTIVES",
    "PRESETS",
    "PROBLEMS",
    "Change",
    "LinearisedAttack",
    "OutputChange",
    "change_outputs",
    "constrained",
    "dual_size",
    "groups_to_reach",
    "groups_within",
    "is_solved",
    "largest_change",
    "members_of",
    "nearest",
    "preset_attack",
    "robustness_rows",
    "robustness_table",
    "room_of",
    "steepest",
    "steepest_in_box",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
