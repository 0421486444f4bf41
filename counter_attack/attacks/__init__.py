"""Attacks: one contract, one module per family, all in torch and in batches.

    >>> from counter_attack.attacks import PGD
    >>> result = PGD(steps=200, step_size=1e-3)(network, images)     # doctest: +SKIP
    >>> result.distance, result.adversarial                          # doctest: +SKIP

Names are imported on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from counter_attack.attacks._apgd import APGD
    from counter_attack.attacks._brendel import BrendelBethge
    from counter_attack.attacks._carlini import CarliniWagnerLinf
    from counter_attack.attacks._carlini_l2 import CarliniWagnerL2
    from counter_attack.attacks._contract import Attack, AttackResult, AttackStop, Budget
    from counter_attack.attacks._deepfool import DeepFool
    from counter_attack.attacks._ensemble import AutoEnsemble
    from counter_attack.attacks._epsilon import EpsilonAttack, EpsilonSearch
    from counter_attack.attacks._fab import FAB
    from counter_attack.attacks._finish import ExactFinish
    from counter_attack.attacks._fmn import FMN
    from counter_attack.attacks._gradient import BIM, FGSM, PGD
    from counter_attack.attacks._noise import GaussianNoise, UniformNoise
    from counter_attack.attacks._problem import AttackProblem
    from counter_attack.attacks._registry import ATTACKS, make_attack
    from counter_attack.attacks._square import Square

_HOMES = {
    "APGD": "_apgd",
    "ATTACKS": "_registry",
    "Attack": "_contract",
    "AttackProblem": "_problem",
    "AttackResult": "_contract",
    "AttackStop": "_contract",
    "AutoEnsemble": "_ensemble",
    "BIM": "_gradient",
    "BrendelBethge": "_brendel",
    "Budget": "_contract",
    "CarliniWagnerL2": "_carlini_l2",
    "CarliniWagnerLinf": "_carlini",
    "DeepFool": "_deepfool",
    "EpsilonAttack": "_epsilon",
    "EpsilonSearch": "_epsilon",
    "ExactFinish": "_finish",
    "FAB": "_fab",
    "FGSM": "_gradient",
    "FMN": "_fmn",
    "GaussianNoise": "_noise",
    "PGD": "_gradient",
    "Square": "_square",
    "UniformNoise": "_noise",
    "make_attack": "_registry",
}

__all__ = [
    "APGD",
    "ATTACKS",
    "BIM",
    "FAB",
    "FGSM",
    "FMN",
    "PGD",
    "Attack",
    "AttackProblem",
    "AttackResult",
    "AttackStop",
    "AutoEnsemble",
    "BrendelBethge",
    "Budget",
    "CarliniWagnerL2",
    "CarliniWagnerLinf",
    "DeepFool",
    "EpsilonAttack",
    "EpsilonSearch",
    "ExactFinish",
    "GaussianNoise",
    "Square",
    "UniformNoise",
    "make_attack",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
