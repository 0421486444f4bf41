"""The models of a data set: which ones there are, and training each once, however often the work is interrupted."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from counter_attack.training import ARCHITECTURES, METHODS, Job, preset, train
from counter_attack.training._files import write_whole
from counter_attack.ug100._dataset_files import model_card_bytes
from mipverify_py.data._bytes import read_all, read_text
from onnx_models.errors import InputError

if TYPE_CHECKING:
    from counter_attack.training import EpochReport, TrainingData

DIGITS_EPOCHS: Final = 40
"""Epochs for the digits unless told otherwise; more of them change little."""

QUICK: Mapping[str, Any] = MappingProxyType({"epochs": 30, "learning_rate": 1e-3, "batch_size": 64})
QUICK_ATTACK: Mapping[str, Any] = MappingProxyType({"attack_iterations": 7, "attack_step": 0.25})
"""Hours instead of days for MNIST and CIFAR-10: fewer and larger steps, of Adam and of the attack trained against."""


@dataclass(frozen=True, slots=True)
class Grid:
    """The models of a data set: every architecture with every training.

    Attributes:
        data: what they learn from.
        architectures: names among `ARCHITECTURES` of the data.
        trainings: names among `METHODS`.
        epochs: of every recipe; None: as published, or as `quick` says.
        quick: whether the recipes are changed by `QUICK` and `QUICK_ATTACK`; the digits' are quick already.
        seed: of every recipe.
        split: rows [first, stop) of the test files that are learned from, where there are no training files; None: the
            training files, or for the digits their training part.

    Raises:
        InputError: an unknown name, or `quick` in vain.
    """

    data: TrainingData
    architectures: tuple[str, ...] = ("A", "B", "C")
    trainings: tuple[str, ...] = METHODS
    epochs: int | None = None
    quick: bool = False
    seed: int = 0
    split: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        known = {"architecture": tuple(ARCHITECTURES[self.data.name]), "training": METHODS}
        for kind, given in (("architecture", self.architectures), ("training", self.trainings)):
            wrong = [name for name in given if name not in known[kind]]
            if wrong or not given or len(set(given)) < len(given):
                raise InputError(
                    f"The {kind}s {', '.join(given) or 'given are none, which'} are not a choice among "
                    f"{', '.join(known[kind])}, each at most once."
                )
        if self.quick and self.data.name == "digits":
            raise InputError("The recipes for the digits are quick already; leave quick out.")

    @property
    def fitted(self) -> dict[str, Any]:
        """What the weights are fitted to: "files" and, of the test files, "first" and "stop" of the rows."""
        if self.split is None:
            return {"files": "training"}
        first, stop = self.split
        return {"files": "test", "first": first, "stop": stop}

    @property
    def jobs(self) -> dict[str, Job]:
        """What to train, by name of the configuration, such as "mnist-a-standard"."""
        return {
            f"{self.data.name}-{architecture.lower()}-{training}": self._job(architecture, training)
            for training in self.trainings
            for architecture in self.architectures
        }

    def _job(self, architecture: str, training: str) -> Job:
        changes: dict[str, Any] = {"seed": self.seed}
        if self.quick:
            changes |= QUICK
            changes |= {} if training == "standard" else QUICK_ATTACK
        if self.data.name == "digits":
            changes["epochs"] = DIGITS_EPOCHS
        if self.epochs is not None:
            changes["epochs"] = self.epochs
        return Job(self.data, architecture, preset(self.data.name, training, **changes))


@dataclass(frozen=True, slots=True)
class TrainingWatch:
    """Who is told about the training of a grid, and asked whether to end.

    Attributes:
        stop: asked after every batch whether to end.
        on_model: told the name of a model, its number from 1, how many there are, and what is to be trained; None for a
            model that is there already.
        on_batch: told, as by `train`, the epoch and the share of it that is done.
        on_epoch: told about every epoch.
    """

    stop: Callable[[], bool] = field(default=lambda: False)
    on_model: Callable[[str, int, int, Job | None], None] = field(default=lambda *_: None)
    on_batch: Callable[[int, float], None] | None = None
    on_epoch: Callable[[EpochReport], None] | None = None


def train_grid(grid: Grid, folder: Path, watch: TrainingWatch | None = None) -> dict[str, Path]:
    """The model files of a grid by configuration; a model that is in the folder already is taken as it is.

    Beside each is its card, with the field `fitted` added: which files, and which rows, its weights were fitted to.

    Args:
        grid: which.
        folder: gets NAME.onnx, NAME.json and, until a training has ended, NAME.checkpoint; made if it is not there.
        watch: who is told and asked.

    Raises:
        TrainingInterruptedError: `watch.stop` said so; the same call goes on where this one ended.
        InputError: a model of the same name was trained in another way, or a file cannot be read or written.
    """
    watch = watch or TrainingWatch()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be made ({error.strerror or error}).") from error
    jobs = grid.jobs
    places = {name: folder / f"{name}.onnx" for name in jobs}
    # All of them are looked at before hours are spent on the first.
    present = {name: _is_present(job, places[name], grid.fitted) for name, job in jobs.items()}
    for number, (name, job) in enumerate(jobs.items(), start=1):
        watch.on_model(name, number, len(jobs), None if present[name] else job)
        if not present[name]:
            _train(job, places[name], grid.fitted, watch)
    return places


def _is_present(job: Job, path: Path, fitted: Mapping[str, Any]) -> bool:
    """Whether the model is there; raises InputError if one is there that is not what the job makes."""
    place = path.with_suffix(".json")
    if not path.exists() or not place.exists():
        if path.exists() and not path.with_suffix(".checkpoint").exists():
            raise InputError(f"{path}: has no card {place.name} beside it; remove it, or name another folder.")
        return False
    onnx = read_all(path)
    try:
        card = json.loads(read_text(place))
    except json.JSONDecodeError as error:
        raise InputError(f"{place}: is no sound JSON ({error}); remove it and {path.name} to train anew.") from error
    if not isinstance(card, dict) or card.get("sha256") != hashlib.sha256(onnx).hexdigest():
        raise InputError(f"{path}: is not the model that {place.name} describes; remove both to train anew.")
    wrong = list(_differences(card, job, fitted))
    if wrong:
        raise InputError(
            f"{path}: was trained in another way, which differs in {', '.join(wrong)}; give the same options, or name "
            "another folder."
        )
    return True


def _differences(card: Mapping[str, Any], job: Job, fitted: Mapping[str, Any]) -> Iterator[str]:
    """In what a card is not that of the job."""
    asked = {"architecture": job.description, "data_sha256": job.data.digest(), "fitted": fitted}
    yield from (key for key, value in asked.items() if card.get(key) != value)
    found = card.get("recipe")
    recipe: Mapping[str, Any] = found if isinstance(found, dict) else {}
    for key, value in asdict(job.recipe).items():
        if key not in recipe or recipe[key] != value:
            yield f"{key} ({recipe.get(key)} there, {value} asked for)"


def _train(job: Job, path: Path, fitted: Mapping[str, Any], watch: TrainingWatch) -> None:
    checkpoint = path.with_suffix(".checkpoint")
    model = train(
        job,
        checkpoint=checkpoint,
        resume=True,
        stop=watch.stop,
        on_batch=watch.on_batch,
        on_epoch=watch.on_epoch,
    )
    card = asdict(replace(model.card, model=path.name)) | {"fitted": dict(fitted)}
    write_whole(path, model.onnx)
    write_whole(path.with_suffix(".json"), model_card_bytes(card))  # last: a model without a card is not finished
    with suppress(OSError):  # it only takes space now
        checkpoint.unlink()
