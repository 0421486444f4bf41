"""The training script: what it writes is what the module computes, and the same seed gives the same file."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from onnx_models import from_torch
from onnx_models.importer import load_onnx_bytes
from onnx_models.zoo import LabelledImages, digits_split, zoo_card, zoo_models, zoo_path
from onnx_models.zoo import train as script
from onnx_models.zoo._architectures import build_architecture
from onnx_models.zoo._recipes import ARCHITECTURES, RECIPES, Recipe
from onnx_models.zoo._training import accuracy, ascend, attacked_accuracy, train
from onnx_models.zoo._write import to_onnx


def used_module(architecture: str) -> nn.Sequential:
    """A module whose batch statistics are not the initial ones."""
    torch.manual_seed(1)
    module = build_architecture(architecture)
    for _ in range(3):
        module.train()(torch.rand(16, 1, 8, 8))
    return module.eval()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_written_model_computes_what_the_module_does(architecture: str) -> None:
    module = used_module(architecture)
    data = to_onnx(module, name=architecture, description="test")
    images = torch.rand(7, 1, 8, 8)
    expected = module.double()(images.double()).detach().numpy()
    (single,) = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"]).run(
        None, {"input": images.numpy()}
    )
    np.testing.assert_allclose(single, expected, atol=1e-5)
    network = load_onnx_bytes(data, architecture)
    np.testing.assert_allclose(network.forward_batch(images.numpy()), expected, rtol=0, atol=1e-12)


def test_torch_s_own_exporter_gives_the_same_network() -> None:
    module = used_module("residual")
    ours = load_onnx_bytes(to_onnx(module, name="residual", description="test"), "ours")
    theirs = from_torch(module, (1, 8, 8))
    images = np.random.default_rng(0).random((5, 1, 8, 8))
    np.testing.assert_allclose(ours.forward_batch(images), theirs.forward_batch(images), atol=1e-5)
    assert ours.relu_count == theirs.relu_count


def test_the_attack_stays_in_the_ball_and_raises_the_loss() -> None:
    module = used_module("dense")
    rows = digits_split().validation
    images, labels = torch.from_numpy(rows.images[:50]), torch.from_numpy(rows.labels[:50])
    attacked = ascend(module, images, labels, 0.1, 10, torch.Generator().manual_seed(0))
    assert float((attacked - images).abs().max()) <= 0.1 + 1e-6
    assert torch.equal(attacked, attacked.clamp(0, 1))
    loss = nn.functional.cross_entropy
    assert loss(module(attacked), labels, reduction="none").gt(loss(module(images), labels, reduction="none")).all()


def test_accuracies_of_a_module_with_known_answers() -> None:
    """Logits (x, 0.5): inputs 0.45 and 0.55 are told apart, and an attack of radius 0.1 takes both, 0.9 neither."""
    linear = nn.Linear(1, 2)
    with torch.no_grad():
        linear.weight.copy_(torch.tensor([[1.0], [0.0]]))
        linear.bias.copy_(torch.tensor([0.0, 0.5]))
    rows = LabelledImages(np.array([[0.45], [0.55], [0.9]], np.float32), np.array([1, 0, 0]))
    assert accuracy(linear, rows) == 1.0
    assert attacked_accuracy(linear, rows, 0.1) == pytest.approx(1 / 3)
    assert attacked_accuracy(linear, rows, 0.04) == 1.0
    wrong = LabelledImages(rows.images, 1 - rows.labels)
    assert accuracy(linear, wrong) == attacked_accuracy(linear, wrong, 0.1) == 0.0


def test_training_leaves_the_global_random_state_alone() -> None:
    recipe = Recipe("small", None, seed=3, epochs=1)
    before = torch.random.get_rng_state()
    train(recipe, digits_split().validation)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_script_trains_one_model_into_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shorter = tuple(dataclasses.replace(recipe, epochs=1) for recipe in RECIPES)
    monkeypatch.setattr(script, "RECIPES", shorter)
    page = tmp_path / "zoo.md"
    script.main(["--only", "digits_small_standard", "--folder", str(tmp_path), "--page", str(page)])
    assert {path.name for path in tmp_path.iterdir()} == {
        "digits_small_standard.onnx",
        "digits_small_standard.json",
        "zoo.md",
    }
    card = json.loads((tmp_path / "digits_small_standard.json").read_text("utf-8"))
    assert card["epochs"] == 1 and 0.1 < card["accuracy"] < zoo_card("digits_small_standard").accuracy
    assert all(name in page.read_text("utf-8") for name in zoo_models())


def test_the_script_refuses_unknown_models(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        script.main(["--only", "nonsense"])
    assert "digits_small_standard" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("eps", [None, 0.1])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_same_seed_gives_the_same_weights(architecture: str, eps: float | None) -> None:
    recipe = Recipe(architecture, eps, seed=5, epochs=2)
    rows = digits_split().train
    first, second = (to_onnx(train(recipe, rows), name="model", description="") for _ in range(2))
    assert first == second
    other = to_onnx(train(dataclasses.replace(recipe, seed=6), rows), name="model", description="")
    assert first != other


@pytest.mark.slow
def test_retraining_gives_the_packaged_accuracy(tmp_path: Path) -> None:
    """Another processor may round differently, so the file itself need not be the same."""
    (recipe,) = (r for r in RECIPES if r.name == "digits_residual_standard")
    card = script.make_model(recipe, digits_split(), tmp_path)
    packaged = zoo_card(recipe.name)
    assert abs(card.accuracy - packaged.accuracy) < 0.02
    assert (card.parameters, card.relus) == (packaged.parameters, packaged.relus)
    assert (tmp_path / f"{recipe.name}.onnx").stat().st_size == zoo_path(recipe.name).stat().st_size
