"""What tests of attacks share: digits with their exact distances, linear classifiers, watchers, other libraries."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pytest

from counter_attack._distances import distances
from counter_attack.attacks._contract import Attack
from counter_attack.attacks._problem import AttackProblem
from mipverify_py import distance
from onnx_models import Array, DenseMap, NetworkBuilder, ReluNetwork, to_torch
from onnx_models.zoo import digits_test, load_zoo


class Digits(NamedTuple):
    """Digits that a model of the zoo gets right, with brackets of their L-infinity distances."""

    network: ReluNetwork
    images: Array
    labels: Array
    lower: Array
    upper: Array


@cache
def digits(name: str, count: int) -> Digits:
    """The first `count` of them."""
    network, data = load_zoo(name), digits_test()
    flat = data.images.reshape(len(data.images), -1)
    right = np.flatnonzero(network.forward_batch(flat).argmax(axis=1) == data.labels)[:count]
    found = [distance(network, x) for x in flat[right]]
    ends = (np.array([getattr(r, end) for r in found], dtype=np.float64) for end in ("lower", "upper"))
    return Digits(network, flat[right], data.labels[right], *ends)


def linear_classifier(weight: Array, bias: Array) -> ReluNetwork:
    """The logits weight @ x + bias."""
    builder = NetworkBuilder((weight.shape[1],))
    return builder.build(builder.affine([0], [DenseMap(weight)], bias))


class Watched(NamedTuple):
    """Every point that an attack showed to the model, with its input's distance."""

    points: Array
    distance: Array
    rows: Array


def watched(attack: Attack, network: ReluNetwork, x: Array, monkeypatch: pytest.MonkeyPatch) -> Watched:
    """Runs the attack and listens to `AttackProblem.logits`."""
    seen: list[tuple[Array, Array]] = []
    plain = AttackProblem.logits

    def listening(self: AttackProblem, points: Any, rows: Any = None) -> Any:
        own = np.arange(len(self)) if rows is None else rows.cpu().numpy().copy()
        seen.append((points.detach().cpu().numpy().copy(), own))
        return plain(self, points, rows)

    with monkeypatch.context() as patch:
        patch.setattr(AttackProblem, "logits", listening)
        attack(network, x)
    points, rows = (np.concatenate(part) for part in zip(*seen, strict=True))
    return Watched(points, distances(points, x[rows], attack.norm), rows)


def robust_share(adversarial: Array, network: ReluNetwork, labels: Array) -> float:
    """Share of rows that the network still gives their labels."""
    return float(np.mean(network.forward_batch(adversarial).argmax(axis=1) == labels))


def art_classifier(network: ReluNetwork) -> Any:
    """The network for ART, in float32, which is all that ART computes in; skips the test without ART."""
    pytest.importorskip("art", reason="needs the Adversarial Robustness Toolbox")
    import torch
    from art.estimators.classification import PyTorchClassifier

    return PyTorchClassifier(
        model=to_torch(network, dtype=torch.float32),
        loss=torch.nn.CrossEntropyLoss(),
        input_shape=network.input_shape,
        nb_classes=network.output_size,
        clip_values=(0.0, 1.0),
        device_type="cpu",
    )
