"""Training on the digits: what it reaches, that it can be repeated, and what each method is for."""

from __future__ import annotations

import copy
import hashlib
import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from bounds import Bounds, interval_bounds
from counter_attack.training import Job, TrainedModel, preset, read_training_data, train
from onnx_models import Relu, ReluNetwork, load_onnx
from onnx_models.errors import InputError
from onnx_models.zoo import digits_split
from onnx_models.zoo._training import attacked_accuracy

EPS = 0.1


def job(model: str = "A", method: str = "standard", **changes: object) -> Job:
    return Job(read_training_data("digits"), model, preset("digits", method, **changes))


@cache
def trained(model: str, method: str, epochs: int) -> TrainedModel:
    return train(job(model, method, epochs=epochs))


def unstable(network: ReluNetwork, rows: int = 40) -> int:
    """ReLUs whose interval bounds within EPS of a test image have both signs, over some images."""
    count = 0
    for image in digits_split().test.images[:rows].reshape(rows, -1).astype(np.float64):
        bounds = interval_bounds(network, Bounds(np.clip(image - EPS, 0, 1), np.clip(image + EPS, 0, 1)))
        for node in network.nodes:
            if isinstance(node, Relu):
                z = bounds.nodes[node.input]
                count += int(((z.lower < 0) & (z.upper > 0)).sum())
    return count


@pytest.mark.parametrize(("model", "accuracy"), [("A", 0.95), ("B", 0.9), ("C", 0.92)])
def test_standard_training_reaches_its_accuracy(model: str, accuracy: float) -> None:
    found = trained(model, "standard", 25)
    assert found.card.accuracy["test"] >= accuracy
    test = digits_split().test
    predicted = found.network.forward_batch(test.images.reshape(400, -1).astype(np.float64)).argmax(1)
    assert float(np.mean(predicted == test.labels)) == found.card.accuracy["test"]


def test_the_same_seed_gives_the_same_file_and_another_does_not() -> None:
    once, again = (train(job(epochs=2, flip=True, rotation=10.0)) for _ in range(2))
    assert once.onnx == again.onnx
    assert train(job(epochs=2, flip=True, rotation=10.0, seed=1)).onnx != once.onnx


@pytest.mark.slow
def test_training_leaves_the_callers_random_numbers_and_threads_alone() -> None:
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    train(replace(job(epochs=1), threads=threads + 1))
    assert torch.equal(torch.get_rng_state(), state) and torch.get_num_threads() == threads


def test_adversarial_training_lowers_the_error_under_attack() -> None:
    test = digits_split().test
    plain, hardened = (
        attacked_accuracy(copy.deepcopy(trained("A", method, 25).module), test, EPS)
        for method in ("standard", "adversarial")
    )
    assert 1 - hardened < 0.8 * (1 - plain)
    assert trained("A", "adversarial", 25).card.accuracy["test"] >= 0.9


def test_the_stability_loss_lowers_the_number_of_unstable_units_and_pruning_does_so_again() -> None:
    """The same training with and without the loss, neither pruned; then pruned as in the preset."""
    both = {"epochs": 15, "attack_iterations": 0}
    plain = {**both, "weight_threshold": 0.0, "constant_share": None}
    without, with_loss = (train(job("A", "relu", stability=s, **plain)) for s in (0.0, 1e-2))
    assert with_loss.card.pruned is None
    assert with_loss.network.relu_count == without.network.relu_count == 32
    assert unstable(with_loss.network) < 0.5 * unstable(without.network)
    pruned = train(job("A", "relu", stability=1e-2, **both))
    assert unstable(pruned.network) < unstable(with_loss.network)
    counts = pruned.card.pruned
    assert counts is not None and counts["weights"] > 0 and counts["weights_of"] == 64 * 32 + 32 * 10
    assert pruned.network.relu_count == counts["relus_of"] - counts["off"] - counts["linear"] < 32
    assert pruned.card.accuracy["test"] >= 0.8


def test_early_stopping_keeps_the_best_weights() -> None:
    """Steps far too long make the loss on the validation rows go up and down."""
    reports = []
    found = train(job(epochs=40, learning_rate=0.1, patience=3), on_epoch=reports.append)
    losses = [report.validation_loss for report in reports]
    best = int(np.argmin(losses))
    assert len(losses) == best + 1 + 3 < 40
    assert (found.card.kept_epoch, found.card.epochs_done) == (best + 1, len(losses))
    assert found.card.accuracy["validation"] == reports[best].validation_accuracy
    validation = digits_split().validation
    with torch.no_grad():
        logits = found.module(torch.from_numpy(validation.images))
    loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(validation.labels))
    assert loss.item() == pytest.approx(min(losses), rel=1e-5)


def test_model_and_card_are_saved_and_belong_together(tmp_path: Path) -> None:
    found = trained("A", "standard", 25)
    card = found.save(tmp_path / "digits.onnx")
    network = load_onnx(tmp_path / "digits.onnx")
    record = json.loads((tmp_path / "digits.json").read_text())
    assert record["model"] == card.model == "digits.onnx"
    assert record["sha256"] == hashlib.sha256((tmp_path / "digits.onnx").read_bytes()).hexdigest()
    assert (record["relus"], record["parameters"]) == (network.relu_count, 64 * 32 + 32 + 32 * 10 + 10)
    assert record["data_sha256"] == read_training_data("digits").digest()
    assert (record["recipe"]["seed"], record["recipe"]["epochs"]) == (0, 25)
    assert set(record["accuracy"]) == {"train", "validation", "test"}
    assert record["versions"]["torch"] == torch.__version__
    assert {path.name for path in tmp_path.iterdir()} == {"digits.onnx", "digits.json"}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"device": "cuda:77"}, "'cuda:77' cannot be used"),
        ({"device": "nonsense"}, "'nonsense' cannot be used"),
        ({"threads": 0}, "0 threads"),
        ({"model": "D"}, "'D' is unknown"),
    ],
)
def test_jobs_that_cannot_be_done_are_refused(changed: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        train(replace(job(epochs=1), **changed))


def test_early_stopping_without_validation_rows_is_refused() -> None:
    data = replace(read_training_data("digits"), validation=None)
    with pytest.raises(InputError, match="needs validation rows"):
        train(replace(job(epochs=1, patience=1), data=data))


def test_a_loss_that_stops_being_finite_is_told() -> None:
    with pytest.raises(InputError, match="not finite in epoch 1; give a smaller learning rate"):
        train(job(epochs=2, learning_rate=1e30))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU that torch can use")
def test_a_gpu_trains_prunes_and_resumes_as_well(tmp_path: Path) -> None:
    work = replace(job("B", "relu", epochs=10, patience=9), device="cuda")
    found = train(work, checkpoint=tmp_path / "a.checkpoint")
    assert found.card.accuracy["test"] >= 0.8 and found.card.device == "cuda"
    assert train(work, checkpoint=tmp_path / "a.checkpoint", resume=True).network.relu_count == found.network.relu_count
