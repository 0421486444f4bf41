"""Attacks on ReLU classifiers, what they miss of the exact distance, and detection of inputs that are not robust.

    >>> from counter_attack import CounterAttack, Pool, Quantile, make_attack
    >>> pool = Pool({"pgd": make_attack("pgd"), "fab": make_attack("fab")})
    >>> detector = CounterAttack(pool, Quantile(0.01), eps=0.05, model=network)     # doctest: +SKIP
    >>> detector.fit(images, exact_distances).predict(others)                       # doctest: +SKIP

This package is the fourth and last layer, above `mipverify_py`. Here are the names that one needs first; all are in
`counter_attack.attacks`, `counter_attack.pool`, `counter_attack.detection`, `counter_attack.training` and
`counter_attack.ug100`. Names are imported on first use: importing this package loads neither torch nor scikit-learn.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from counter_attack._classifier import Classifier
    from counter_attack._parameters import parameter_set
    from counter_attack.attacks import ATTACKS, Attack, AttackResult, AttackStop, Budget, ExactFinish, make_attack
    from counter_attack.detection import (
        ChanceConstrained,
        CounterAttack,
        Detection,
        ExactAttack,
        FoolingAttack,
        LeastSquares,
        Multiplicative,
        Quantile,
        RejectingClassifier,
        Zero,
        fit_buffer,
        load_buffer,
        save_buffer,
    )
    from counter_attack.pool import DistanceTable, Pool, PoolResult, Quality, quality
    from counter_attack.training import Job, TrainedModel, preset, read_training_data, train
    from counter_attack.ug100 import read_distances, tables

_HOMES = {
    "ATTACKS": "attacks",
    "Attack": "attacks",
    "AttackResult": "attacks",
    "AttackStop": "attacks",
    "Budget": "attacks",
    "ChanceConstrained": "detection",
    "Classifier": "_classifier",
    "CounterAttack": "detection",
    "Detection": "detection",
    "DistanceTable": "pool",
    "ExactAttack": "detection",
    "ExactFinish": "attacks",
    "FoolingAttack": "detection",
    "Job": "training",
    "LeastSquares": "detection",
    "Multiplicative": "detection",
    "Pool": "pool",
    "PoolResult": "pool",
    "Quality": "pool",
    "Quantile": "detection",
    "RejectingClassifier": "detection",
    "TrainedModel": "training",
    "Zero": "detection",
    "fit_buffer": "detection",
    "load_buffer": "detection",
    "make_attack": "attacks",
    "parameter_set": "_parameters",
    "preset": "training",
    "quality": "pool",
    "read_distances": "ug100",
    "read_training_data": "training",
    "save_buffer": "detection",
    "tables": "ug100",
    "train": "training",
}

__all__ = [
    "ATTACKS",
    "Attack",
    "AttackResult",
    "AttackStop",
    "Budget",
    "ChanceConstrained",
    "Classifier",
    "CounterAttack",
    "Detection",
    "DistanceTable",
    "ExactAttack",
    "ExactFinish",
    "FoolingAttack",
    "Job",
    "LeastSquares",
    "Multiplicative",
    "Pool",
    "PoolResult",
    "Quality",
    "Quantile",
    "RejectingClassifier",
    "TrainedModel",
    "Zero",
    "fit_buffer",
    "load_buffer",
    "make_attack",
    "parameter_set",
    "preset",
    "quality",
    "read_distances",
    "read_training_data",
    "save_buffer",
    "tables",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
