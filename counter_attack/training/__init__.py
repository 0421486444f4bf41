"""Training of classifiers: standard, against an attack, or towards few unstable ReLUs; exported as ONNX with a card.

    >>> from counter_attack.training import Job, preset, read_training_data, train
    >>> job = Job(read_training_data("digits"), "B", preset("digits", "standard"))
    >>> train(job).save(Path("digits-b.onnx"))                       # doctest: +SKIP

Names are imported on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from counter_attack.training._architectures import ARCHITECTURES, build_architecture, build_module
    from counter_attack.training._data import TrainingData, read_training_data
    from counter_attack.training._recipe import DATASETS, METHODS, Recipe, preset
    from counter_attack.training._report import EpochReport, ModelCard
    from counter_attack.training._train import Job, TrainedModel, TrainingInterruptedError, train

_HOMES = {
    "ARCHITECTURES": "_architectures",
    "DATASETS": "_recipe",
    "EpochReport": "_report",
    "Job": "_train",
    "METHODS": "_recipe",
    "ModelCard": "_report",
    "Recipe": "_recipe",
    "TrainedModel": "_train",
    "TrainingData": "_data",
    "TrainingInterruptedError": "_train",
    "build_architecture": "_architectures",
    "build_module": "_architectures",
    "preset": "_recipe",
    "read_training_data": "_data",
    "train": "_train",
}

__all__ = [
    "ARCHITECTURES",
    "DATASETS",
    "METHODS",
    "EpochReport",
    "Job",
    "ModelCard",
    "Recipe",
    "TrainedModel",
    "TrainingData",
    "TrainingInterruptedError",
    "build_architecture",
    "build_module",
    "preset",
    "read_training_data",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
