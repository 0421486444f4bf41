"""Checkpoints: a training that was interrupted anywhere ends as if it had not been, bit for bit."""

from __future__ import annotations

import errno
import os
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from counter_attack.training import Job, TrainingInterruptedError, preset, read_training_data, train
from counter_attack.training._files import read_checkpoint, write_checkpoint, write_whole
from onnx_models.errors import InputError

METHODS = {
    "standard": {"method": "standard", "flip": True, "translation": 0.1},
    "early stopping": {"method": "standard", "patience": 2},
    "relu": {"method": "relu", "rotation": 10.0, "patience": 3, "attack_iterations": 3},
}


def job(method: str = "standard", epochs: int = 4, **changes: object) -> Job:
    return Job(read_training_data("digits"), "A", preset("digits", method, epochs=epochs, **changes))


def after(count: int) -> Callable[[], bool]:
    """False `count` times, then True."""
    asked = iter(range(count))
    return lambda: next(asked, None) is None


@pytest.mark.parametrize("name", METHODS)
def test_stopped_within_epochs_and_resumed_is_the_same_as_uninterrupted(name: str, tmp_path: Path) -> None:
    work, place, stops = job(**METHODS[name]), tmp_path / "a.checkpoint", 0
    expected = train(work)
    while True:  # 19 batches in an epoch
        try:
            found = train(work, checkpoint=place, resume=True, stop=after(29))
            break
        except TrainingInterruptedError:
            stops += 1
    assert stops >= 2
    assert found.onnx == expected.onnx
    assert replace(found.card, finished="", seconds=0.0) == replace(expected.card, finished="", seconds=0.0)


def test_killed_after_any_epoch_and_resumed_is_the_same_as_uninterrupted(tmp_path: Path) -> None:
    """Nothing that the process knew is used, only the file that was there at the end of an epoch."""
    work, place = job(epochs=3, flip=True), tmp_path / "a.checkpoint"
    copies = []

    def keep(_: object) -> None:
        copies.append(shutil.copy(place, tmp_path / f"{len(copies)}.checkpoint"))

    expected = train(work, checkpoint=place, on_epoch=keep)
    assert len(copies) == 3
    for copied in copies:
        assert train(work, checkpoint=Path(copied), resume=True).onnx == expected.onnx


def test_stopping_at_once_keeps_the_beginning(tmp_path: Path) -> None:
    place = tmp_path / "a.checkpoint"
    with pytest.raises(TrainingInterruptedError):
        train(job(), checkpoint=place, stop=lambda: True)
    assert train(job(), checkpoint=place, resume=True).onnx == train(job()).onnx


def test_stopping_while_relus_are_pruned_costs_no_epoch(tmp_path: Path) -> None:
    work, place, epochs = job("relu", epochs=1), tmp_path / "a.checkpoint", []
    with pytest.raises(TrainingInterruptedError):
        train(work, checkpoint=place, stop=lambda: bool(epochs), on_epoch=epochs.append)
    found = train(work, checkpoint=place, resume=True, on_epoch=epochs.append)
    assert len(epochs) == 1 and found.onnx == train(work).onnx


def test_dropout_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nets_with_dropout.py").write_text(
        "from torch import nn\n"
        "def net(): return nn.Sequential(nn.Flatten(), nn.Linear(64, 9), nn.Dropout(0.5), nn.ReLU(), nn.Linear(9, 10))"
    )
    monkeypatch.syspath_prepend(tmp_path)
    work, place = replace(job(epochs=2), model="nets_with_dropout:net"), tmp_path / "a.checkpoint"
    states = []
    for stop in (None, after(7)):
        place.unlink(missing_ok=True)
        with pytest.raises(TrainingInterruptedError):
            train(work, checkpoint=place, resume=True, stop=stop or after(11))
        if stop is not None:
            with pytest.raises(TrainingInterruptedError):
                train(work, checkpoint=place, resume=True, stop=after(4))
        states.append(read_checkpoint(place)["loop"])
    assert states[0]["progress"]["position"] == states[1]["progress"]["position"] > 0
    for name, tensor in states[0]["module"].items():
        assert torch.equal(tensor, states[1]["module"][name])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"seed": 1}, r"differs in .*initial weights, recipe.seed \(0 there, 1 asked for\)"),
        ({"epochs": 5}, r"recipe.epochs \(4 there, 5 asked for\)"),
        ({"learning_rate": 0.5}, "recipe.learning_rate"),
        ({"model": "B"}, "architecture"),
        ({"labels": True}, "differs in data;"),
    ],
)
def test_a_checkpoint_of_another_training_is_refused(changed: dict[str, object], message: str, tmp_path: Path) -> None:
    place = tmp_path / "a.checkpoint"
    with pytest.raises(TrainingInterruptedError):
        train(job(), checkpoint=place, stop=lambda: True)
    before = place.read_bytes()
    other = job(**{name: value for name, value in changed.items() if name not in ("model", "labels")})
    if "model" in changed:
        other = replace(other, model="B")
    if "labels" in changed:
        labels = other.data.train.labels.copy()
        labels[0] = (labels[0] + 1) % 10
        other = replace(other, data=replace(other.data, train=replace(other.data.train, labels=labels)))
    with pytest.raises(InputError, match=message):
        train(other, checkpoint=place, resume=True)
    assert place.read_bytes() == before


class _Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch /tmp/counter-attack-was-here",)


@pytest.mark.parametrize("kind", ["empty", "text", "cut", "pickle", "other content", "no job", "folder"])
def test_files_that_are_no_checkpoints_are_refused_and_run_nothing(kind: str, tmp_path: Path) -> None:
    place = tmp_path / "a.checkpoint"
    if kind == "cut":
        write_checkpoint(place, {"job": {}, "loop": {}, "much": torch.zeros(1000)})
        place.write_bytes(place.read_bytes()[:-500])
    elif kind == "other content":
        torch.save([1, 2], place)
    elif kind == "no job":
        write_checkpoint(place, {"job": 3})
    elif kind == "folder":
        place.mkdir()
    elif kind == "pickle":
        torch.save(_Evil(), place)
        assert b"counter-attack-was-here" in place.read_bytes()
    else:
        place.write_bytes({"empty": b"", "text": b"not a checkpoint"}[kind])
    with pytest.raises(InputError, match=r"a\.checkpoint: (is no checkpoint|cannot be read)"):
        train(job(), checkpoint=place, resume=True)
    assert not Path("/tmp/counter-attack-was-here").exists()


@contextmanager
def files_limited_to(size: int) -> Iterator[None]:
    """Files cannot grow beyond so many bytes, as on a full disk: the system refuses in the middle of writing."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_told_and_costs_nothing_that_was_there(tmp_path: Path) -> None:
    place = tmp_path / "a.checkpoint"
    with pytest.raises(TrainingInterruptedError):
        train(job(), checkpoint=place, stop=after(25))
    before = place.read_bytes()
    with (
        files_limited_to(1000),
        pytest.raises(InputError, match=rf"a\.checkpoint: cannot be written \({os.strerror(errno.EFBIG)}\)"),
    ):
        train(job(), checkpoint=place, resume=True)
    assert place.read_bytes() == before and list(tmp_path.iterdir()) == [place]
    assert train(job(), checkpoint=place, resume=True).onnx == train(job()).onnx


def test_places_that_cannot_be_written_are_told_before_training(tmp_path: Path) -> None:
    epochs: list[object] = []
    for place in (tmp_path / "absent" / "a.checkpoint", tmp_path):
        with pytest.raises(InputError, match="cannot be written"):
            train(job(), checkpoint=place, on_epoch=epochs.append)
    assert not epochs and list(tmp_path.iterdir()) == []


def test_files_are_written_with_ordinary_permissions(tmp_path: Path) -> None:
    write_whole(tmp_path / "a", b"x")
    (tmp_path / "b").write_bytes(b"x")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode
