"""Recipes: the published numbers as they are in the literature, and values that make no sense."""

from __future__ import annotations

import pytest

from counter_attack.training import DATASETS, METHODS, Recipe, preset
from onnx_models.errors import InputError

PLAIN = {"epochs": 1, "learning_rate": 1e-3, "batch_size": 1}


@pytest.mark.parametrize(
    ("dataset", "batch", "eps", "l1", "stability"),
    [("mnist", 32, 0.05, 2e-5, 1.2e-4), ("cifar10", 128, 2 / 255, 1e-5, 1e-3)],
)
def test_presets_are_the_published_ones(dataset: str, batch: int, eps: float, l1: float, stability: float) -> None:
    standard, adversarial, relu = (preset(dataset, method) for method in METHODS)
    for recipe in (standard, adversarial, relu):
        assert (recipe.epochs, recipe.learning_rate, recipe.batch_size) == (425, 1e-4, batch)
        assert (recipe.translation, recipe.rotation) == (0.1, 15)
    assert standard.eps is None and standard.attack_iterations == 0
    for recipe in (adversarial, relu):
        assert (recipe.eps, recipe.attack_iterations, recipe.attack_step) == (eps, 200, 0.1)
    assert (adversarial.l1, adversarial.stability, adversarial.constant_share) == (0, 0, None)
    assert (relu.l1, relu.stability, relu.weight_threshold, relu.constant_share) == (l1, stability, 1e-3, 0.9)


def test_every_data_set_has_every_method_and_values_can_be_changed() -> None:
    for dataset in DATASETS:
        for method in METHODS:
            recipe = preset(dataset, method, epochs=3, seed=7)
            assert (recipe.epochs, recipe.seed) == (3, 7)
            assert (recipe.eps is None) == (method == "standard")
    without = preset("digits", "relu", attack_iterations=0, stability=0.0)
    assert without.eps is None and without.l1 > 0 and without.constant_share == 0.9


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "epochs is 0; it must be at least 1"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"batch_size": 0}, "batch_size"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**31}, "seed"),
        ({"translation": 1.1}, "translation"),
        ({"rotation": 181.0}, "rotation"),
        ({"eps": 0.0, "attack_iterations": 1}, "eps is 0.0"),
        ({"eps": float("inf"), "attack_iterations": 1}, "eps is inf"),
        ({"eps": 0.1}, "neither an attack nor a stability loss"),
        ({"attack_iterations": 5}, "give eps"),
        ({"stability": 1.0}, "give eps"),
        ({"l1": -1.0}, "l1"),
        ({"constant_share": 0.5}, "above 0.5"),
        ({"patience": 0}, "patience"),
    ],
)
def test_values_out_of_range_are_named(change: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Recipe(**(PLAIN | change))


def test_unknown_presets_are_named() -> None:
    with pytest.raises(InputError, match="'svhn' is unknown; choose one of digits"):
        preset("svhn", "standard")
    with pytest.raises(InputError, match="choose one of standard"):
        preset("mnist", "robust")
    with pytest.raises(InputError, match="no momentum; it has epochs"):
        preset("mnist", "standard", momentum=0.9)
