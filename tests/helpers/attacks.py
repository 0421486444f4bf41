"""What tests of attacks share: digits, their exact distances, a test of results from outside, and Foolbox."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest

from counter_attack.attacks import AttackResult
from mipverify_py import Norm, distance
from onnx_models import Array, ReluNetwork
from onnx_models.zoo import digits_test, load_zoo

ROUNDING = 1e-9
"""How far logits of two evaluations may be apart, and distances of two solvers' tolerances."""


def digits(count: int) -> Array:
    """The first test digits as rows, shape (count, 64)."""
    return np.asarray(digits_test().images[:count], dtype=np.float64).reshape(count, -1)


@functools.cache
def exact_distances(model: str, count: int, norm: Norm = Norm.LINF) -> Array:
    """Proved lower bounds, within the solver's gap of the truth, on the distances of the first test digits."""
    network = load_zoo(model)
    lower = [distance(network, x, norm=norm).lower for x in digits(count)]
    assert None not in lower
    return np.array(lower)


def size(difference: Array, norm: Norm) -> Array:
    """Norms of rows, by numpy's own function."""
    return np.linalg.norm(difference, ord={Norm.LINF: np.inf, Norm.L1: 1, Norm.L2: 2}[norm], axis=1)


def assert_sound(result: AttackResult, network: ReluNetwork, x: Array, targets: list[list[int]] | None = None) -> None:
    """The successes are what they claim, by numpy alone; `targets` are those of each input, None is all but c."""
    good = result.success
    assert np.array_equal(good, np.isfinite(result.distance))
    assert np.array_equal(good, np.isfinite(result.adversarial).all(axis=1))
    assert np.isnan(result.adversarial[~good]).all() and np.all(result.found[~good] == -1)
    assert not result.tie[~good].any()
    points = result.adversarial[good]
    assert np.all((points >= 0) & (points <= 1))
    np.testing.assert_allclose(result.distance[good], size(points - x[good], result.norm), rtol=1e-12, atol=1e-15)
    if not good.any():
        return
    logits = network.forward_batch(points.reshape(-1, *network.input_shape))
    for row, values in zip(np.flatnonzero(good), logits, strict=True):
        c = int(result.reference[row])
        wrong = [j for j in range(len(values)) if j != c] if targets is None else targets[row]
        assert values[wrong].max() >= values[c] - ROUNDING


def foolbox_model(network: ReluNetwork) -> Any:
    """The network as Foolbox takes it: rows in, logits out, in float64."""
    foolbox = pytest.importorskip("foolbox")
    import torch

    from counter_attack._classifier import Classifier

    classifier = Classifier.of(network)

    class Rows(torch.nn.Module):
        def forward(self, rows: torch.Tensor) -> torch.Tensor:
            return classifier.logits(rows)

    return foolbox.PyTorchModel(Rows().eval(), bounds=(0, 1), device="cpu")


def foolbox_distances(attack: Any, network: ReluNetwork, x: Array, norm: Norm, eps: Array | None = None) -> Array:
    """Distances that an attack of Foolbox reaches, measured by us; infinite where it fails. `eps`: radii to try."""
    import torch

    model, rows = foolbox_model(network), torch.from_numpy(x)
    label = model(rows).argmax(dim=1)
    radii = None if eps is None else eps.tolist()
    _, points, success = attack(model, rows, label, epsilons=radii)
    attempts = [(points, success)] if eps is None else list(zip(points, success, strict=True))
    found = [np.where(good.numpy(), size(point.detach().numpy() - x, norm), np.inf) for point, good in attempts]
    return np.asarray(np.min(found, axis=0))
