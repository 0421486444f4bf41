"""Differentiable bounds of margins, against exact minima by enumeration, sampling, and the package `bounds`."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bounds import batched_bounds
from counter_attack.amoeba import BoundKind, MarginBounds
from counter_attack.amoeba._bounds import margin_rows
from onnx_models.errors import InputError
from onnx_models.zoo import digits_test, load_zoo
from tests.helpers.networks import FAMILIES
from tests.helpers.oracles import largest_margin

ROUNDING = 1e-7
KINDS = [BoundKind.INTERVAL, BoundKind.CROWN]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("seed", range(2))
def test_bounds_are_below_the_exact_minimum(family: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    network = FAMILIES[family](rng, max_relus=6)
    x = rng.random((2, network.input_size))
    lower, upper = x - 0.4 * rng.random(x.shape), x + 0.4 * rng.random(x.shape)
    classes = np.array([0, 2])
    found = {
        kind: MarginBounds(network, kind).margins(*(torch.tensor(v) for v in (lower, upper, classes))).numpy()
        for kind in KINDS
    }
    for row, kept in enumerate(classes):
        others = [j for j in range(3) if j != kept]
        exact = [-largest_margin(network, (j,), int(kept), lower=lower[row], upper=upper[row]) for j in others]
        for kind in KINDS:
            assert np.all(found[kind][row] <= np.array(exact) + ROUNDING)
    assert np.all(found[BoundKind.CROWN] >= found[BoundKind.INTERVAL] - ROUNDING)


@pytest.mark.parametrize("kind", KINDS)
def test_over_points_they_are_the_margins(kind: BoundKind) -> None:
    network, images = load_zoo("digits_pool_standard"), digits_test().images[:3].reshape(3, -1).astype(float)
    classes = np.array([6, 0, 9])
    logits = network.forward_batch(images)
    expected = [np.delete(row[kept] - row, kept) for row, kept in zip(logits, classes, strict=True)]
    x = torch.tensor(images)
    assert MarginBounds(network, kind).margins(x, x, torch.tensor(classes)).numpy() == pytest.approx(np.array(expected))


def test_linear_bounds_are_those_of_the_package_or_intervals() -> None:
    network = load_zoo("digits_dense_standard")
    x = digits_test().images[:4].reshape(4, -1).astype(float)
    lower, upper, classes = np.clip(x - 0.05, 0, 1), np.clip(x + 0.05, 0, 1), torch.tensor([6, 6, 6, 6])
    ends = torch.tensor(lower), torch.tensor(upper)
    crown = MarginBounds(network, BoundKind.CROWN).margins(*ends, classes).numpy()
    interval = MarginBounds(network, BoundKind.INTERVAL).margins(*ends, classes).numpy()
    rows = margin_rows(classes[:1], 10)[0].numpy()
    package = -batched_bounds(network, lower, upper, -rows)[1].bound.reshape(4, -1)
    assert crown == pytest.approx(np.maximum(package, interval), abs=1e-9)
    assert (package > interval).any()


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_those_of_finite_differences(kind: BoundKind) -> None:
    rng = np.random.default_rng(3)
    network = FAMILIES["dense"](rng, max_relus=8)
    x = rng.random((1, network.input_size))
    ends = [torch.tensor(x + sign * 0.1, requires_grad=True) for sign in (-1, 1)]
    bounds, classes = MarginBounds(network, kind), torch.tensor([1])
    assert torch.autograd.gradcheck(lambda low, high: bounds.margins(low, high, classes), ends)


def test_exact_bounds_have_no_gradient() -> None:
    with pytest.raises(InputError, match="no gradient"):
        MarginBounds(load_zoo("digits_small_standard"), BoundKind.EXACT)
