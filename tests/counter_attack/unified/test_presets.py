"""Presets equal the attacks of their names, which are implemented on their own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from counter_attack._classifier import Classifier
from counter_attack.attacks import BIM, FGSM, PGD, Attack, AttackProblem, DeepFool, EpsilonSearch
from counter_attack.unified import PRESETS, LinearisedAttack, preset_attack
from mipverify_py import Norm
from onnx_models import ReluNetwork
from onnx_models.errors import InputError
from onnx_models.zoo import load_zoo, zoo_models
from tests.helpers.attacked import watched
from tests.helpers.attacks import digits

SLOW = pytest.mark.slow
MODELS = ["digits_small_standard", pytest.param("digits_conv_adversarial", marks=SLOW)]
SEARCH = EpsilonSearch(decay_steps=8, bisections=4)
SAME_STEPS: list[tuple[str, type[Attack], dict[str, Any]]] = [
    ("fgsm", FGSM, {}),
    ("fgsm", FGSM, {"eps": 0.2}),
    ("bim", BIM, {"steps": 8, "step_size": 0.05, "search": SEARCH}),
    ("bim", BIM, {"steps": 8, "step_size": 0.05, "eps": 0.2}),
    ("pgd", PGD, {"steps": 8, "step_size": 0.03, "search": SEARCH}),
    ("pgd", PGD, {"steps": 8, "step_size": 0.3, "eps": 1.0}),
]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("norm", list(Norm))
@pytest.mark.parametrize(("name", "kind", "parameters"), SAME_STEPS)
def test_gradient_attacks_are_the_same_bit_for_bit(
    name: str, kind: type[Attack], parameters: dict[str, Any], norm: Norm, model: str
) -> None:
    network, x = load_zoo(model), digits(4)
    own = kind(norm=norm, **parameters)(network, x, seed=3)
    found = preset_attack(name, norm, **parameters)(network, x, seed=3)
    np.testing.assert_array_equal(found.adversarial, own.adversarial)
    np.testing.assert_array_equal(found.calls, own.calls)
    assert found.attack == name


@pytest.mark.parametrize("name", ["fgsm", "bim", "pgd"])
def test_so_is_every_point_that_they_try(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network, x = load_zoo("digits_small_standard"), digits(4)
    kind = {"fgsm": FGSM, "bim": BIM, "pgd": PGD}[name]
    parameters: dict[str, Any] = {} if kind is FGSM else {"steps": 5, "step_size": 0.05, "search": SEARCH}
    own = watched(kind(**parameters), network, x, monkeypatch)
    found = watched(preset_attack(name, **parameters), network, x, monkeypatch)
    np.testing.assert_array_equal(found.points, own.points)


@pytest.mark.parametrize("name", ["digits_conv_standard", *(pytest.param(name, marks=SLOW) for name in zoo_models())])
@pytest.mark.parametrize("norm", [Norm.LINF, Norm.L2])
def test_deepfool_is_the_same_within_rounding(norm: Norm, name: str) -> None:
    """L2 directions are scaled by their largest entry first, which differs in the last bits."""
    network, x = load_zoo(name), digits(8)
    own, found = DeepFool(norm=norm)(network, x), preset_attack("deepfool", norm)(network, x)
    np.testing.assert_array_equal(found.success, own.success)
    np.testing.assert_array_equal(found.calls, own.calls)
    np.testing.assert_allclose(found.adversarial, own.adversarial, rtol=0, atol=1e-12)


def gnm_by_hand(network: ReluNetwork, x: np.ndarray, c: int, eps: float, steps: int) -> np.ndarray:
    """Algorithm 1 of the 2018 paper as it reads, class by class; one input, L-infinity."""
    classifier = Classifier.of(network)
    point = torch.from_numpy(x)
    for _ in range(steps):
        logits = classifier.logits(point[None])[0]
        jacobian = torch.autograd.functional.jacobian(lambda p: classifier.logits(p[None])[0], point)
        lowest, chosen = np.inf, torch.zeros_like(point)
        for j in range(len(logits)):
            slope = jacobian[c] - jacobian[j]
            value = float(logits[c] - logits[j] - eps / steps * slope.abs().sum())
            if j != c and value < lowest:
                lowest, chosen = value, slope
        point = (point - eps / steps * chosen.sign()).clamp(0, 1)
    return point.numpy()


@pytest.mark.parametrize("steps", [1, 4])
def test_gnm_is_the_algorithm_of_the_paper(steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    network, x = load_zoo("digits_small_standard"), digits(4)
    seen = watched(preset_attack("gnm", eps=0.02, steps=steps), network, x, monkeypatch)
    for k in range(4):
        c = int(network.forward(x[k]).argmax())
        last = seen.points[seen.rows == k][-1]
        np.testing.assert_allclose(last, gnm_by_hand(network, x[k], c, 0.02, steps), atol=1e-12)


def test_a_targeted_attack_reaches_the_class_itself() -> None:
    network, x = load_zoo("digits_small_standard"), digits(12)
    labels = network.forward_batch(x).argmax(axis=1)
    targets = ((labels + 3) % 10)[:, None]
    found = preset_attack("targeted")(network, x, targets=targets)
    assert found.success.all()
    problem = AttackProblem(network, x, targets=targets)
    problem.start()
    preset = preset_attack("targeted")
    seen: list[np.ndarray] = []
    plain = problem.logits

    def listening(points: torch.Tensor, rows: torch.Tensor | None = None) -> torch.Tensor:
        logits = plain(points, rows)
        own = problem.rows if rows is None else rows
        top = logits.argmax(dim=1) == torch.from_numpy(targets[:, 0])[own]
        seen.append(own[top].cpu().numpy())
        return logits

    problem.logits = listening  # type: ignore[method-assign]
    preset.run(problem)
    assert set(np.concatenate(seen).tolist()) == set(range(12))


def test_presets_have_their_names_and_parameters() -> None:
    for name, parameters in PRESETS.items():
        attack = preset_attack(name)
        assert isinstance(attack, LinearisedAttack) and attack.name == attack.preset == name
        assert all(getattr(attack, key) == value for key, value in parameters.items())
    assert preset_attack("gnm", steps=3).steps == 3


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("fgms", {}, "no preset 'fgms'; there are fgsm, bim"),
        ("fgsm", {"step": 2}, "no parameter 'step'; it has norm"),
        ("deepfool", {"eps": 0.1}, "deepfool makes the norm small"),
        ("one-pixel", {"random_start": True}, "one-pixel changes few groups"),
    ],
)
def test_mistakes_are_named(name: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        preset_attack(name, **changes)
