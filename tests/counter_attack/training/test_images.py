"""Augmentation against scipy, and the attack against a closed form."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import affine_transform

from counter_attack.training import Recipe
from counter_attack.training._images import Images, attacked, augmented
from mipverify_py.data import DataSet

PLAIN = {"epochs": 1, "learning_rate": 1e-3, "batch_size": 1}


def draws(seed: int, count: int) -> np.ndarray:
    """The random numbers that augmentation uses, shape (4, count): mirror, angle, shift right, shift down."""
    return torch.rand((4, count), generator=torch.Generator().manual_seed(seed)).double().numpy()


@pytest.mark.parametrize(("height", "width"), [(8, 8), (6, 9)])
@pytest.mark.parametrize("change", [{"flip": True}, {"rotation": 30.0}, {"translation": 0.3}, "all"])
def test_augmentation_is_the_affine_map_that_scipy_computes(
    height: int, width: int, change: dict[str, float] | str
) -> None:
    chosen = {"flip": True, "rotation": 30.0, "translation": 0.3} if change == "all" else change
    recipe = Recipe(**(PLAIN | chosen))
    images = torch.rand((7, 2, height, width), generator=torch.Generator().manual_seed(1))
    found = augmented(images, recipe, torch.Generator().manual_seed(5)).numpy()
    mirror, angle, right, down = draws(5, 7)
    for k in range(7):
        sign = -1.0 if recipe.flip and mirror[k] < 0.5 else 1.0
        turn = np.deg2rad(recipe.rotation) * (2 * angle[k] - 1)
        # Pixel coordinates (row, column) from the centre; the new image at p shows the old one at matrix @ p + shift.
        matrix = np.array([[np.cos(turn), np.sin(turn)], [-sign * np.sin(turn), sign * np.cos(turn)]])
        shift = recipe.translation * np.array([height * (2 * down[k] - 1), width * (2 * right[k] - 1)])
        centre = np.array([(height - 1) / 2, (width - 1) / 2])
        for channel in range(2):
            expected = affine_transform(
                images[k, channel].double().numpy(),
                matrix,
                centre + shift - matrix @ centre,
                order=1,
                mode="grid-constant",
            )
            np.testing.assert_allclose(found[k, channel], expected, atol=2e-5)


def test_mirrored_images_are_the_images_and_their_mirror_images() -> None:
    images = torch.rand((30, 1, 5, 5), generator=torch.Generator().manual_seed(1))
    found = augmented(images, Recipe(**PLAIN, flip=True), torch.Generator().manual_seed(2))
    same = (found - images).abs().amax((1, 2, 3)) < 1e-6
    mirrored = (found - images.flip(3)).abs().amax((1, 2, 3)) < 1e-6
    assert bool((same ^ mirrored).all()) and 5 < int(mirrored.sum()) < 25


def test_the_attack_on_a_linear_model_ends_in_the_corner_of_the_ball() -> None:
    """Two classes: the sign of the gradient is that of w_other - w_label everywhere, so the maximum is known."""
    generator = torch.Generator().manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(6, 2))
    with torch.no_grad():
        module[1].weight.copy_(torch.randn(2, 6, generator=generator))
    images, labels = torch.rand((9, 1, 2, 3), generator=generator), torch.arange(9) % 2
    recipe = Recipe(**PLAIN, eps=0.3, attack_iterations=25, attack_step=0.1)
    found = attacked(module.train(), images, labels, recipe, generator)
    assert module.training and all(p.grad is None for p in module.parameters())
    uphill = (module[1].weight[1 - labels] - module[1].weight[labels]).sign().reshape(images.shape)
    torch.testing.assert_close(found, (images + 0.3 * uphill).clamp(0, 1), atol=1e-6, rtol=0)


def test_the_attack_stays_in_the_ball_and_starts_at_random() -> None:
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(6, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
    images, labels = torch.rand((50, 1, 2, 3)), torch.zeros(50, dtype=torch.int64)
    one = Recipe(**PLAIN, eps=0.1, attack_iterations=1, attack_step=0.01)
    first, second = (attacked(module, images, labels, one, torch.Generator().manual_seed(k)) for k in (0, 1))
    assert bool((first != second).any())
    for found in (first, second):
        assert bool(((found - images).abs() <= 0.1 + 1e-6).all() and (found >= 0).all() and (found <= 1).all())
        assert float((found - images).abs().mean()) > 0.03
    none = Recipe(**PLAIN)
    assert attacked(module, images, labels, none, torch.Generator()) is images


def test_images_are_the_quotients_that_verification_uses() -> None:
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 1, 3, 4)
    data = DataSet("test", pixels, np.array([3, 4]), white=16)
    images, labels = Images(data, torch.device("cpu")).batch(torch.tensor([1, 0]))
    np.testing.assert_array_equal(images.double().numpy(), data.images[::-1])
    assert labels.tolist() == [4, 3]
