"""What is told about training: how it goes, and in the end a card that says what the model is."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class EpochReport:
    """How an epoch ended.

    Attributes:
        epoch: its number, from 1.
        epochs: how many there are at most.
        loss: mean objective over the training rows, each measured before the step that it is part of.
        validation_loss: mean objective over the validation rows; None without early stopping.
        validation_accuracy: share of the validation rows that are classified correctly; None without such rows.
        best_epoch: the epoch with the smallest validation loss so far; 0 without early stopping.
    """

    epoch: int
    epochs: int
    loss: float
    validation_loss: float | None
    validation_accuracy: float | None
    best_epoch: int


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What a trained model is, how it was made and how well it does; written as JSON beside the ONNX file.

    Attributes:
        model: name of the ONNX file.
        sha256: of the ONNX file, hexadecimal.
        architecture: name and layers in words, or where the module's factory is.
        parameters: number of trained weights and biases, those pruned included.
        relus: number of ReLU units of the network as `load_onnx` lowers it.
        data: name of the data set.
        data_sha256: of all pixels and labels used, see `TrainingData.digest`.
        rows: which rows trained, validated and tested.
        recipe: every value of the `Recipe`, the seed among them.
        epochs_done: epochs of training.
        kept_epoch: the epoch whose weights were kept.
        pruned: what pruning did, see below; None without pruning. `weights` of `weights_of` weights became 0, `off` of
            `relus_of` ReLUs are always 0, `linear` of them pass their value on.
        accuracy: share classified correctly, for each of train, validation and test that is there.
        device, threads: where it was trained.
        versions: of Python and the packages that computed it.
        finished: when, in UTC.
        seconds: spent on training, without reading data, pruning and export.
    """

    model: str
    sha256: str
    architecture: str
    parameters: int
    relus: int
    data: str
    data_sha256: str
    rows: dict[str, str]
    recipe: dict[str, Any]
    epochs_done: int
    kept_epoch: int
    pruned: dict[str, int] | None
    accuracy: dict[str, float]
    device: str
    threads: int
    versions: dict[str, str]
    finished: str
    seconds: float

    def to_json(self) -> str:
        """The card as an indented JSON object."""
        return json.dumps(asdict(self), indent=2, allow_nan=False) + "\n"
