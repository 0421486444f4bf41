"""The square attack against its paper's schedule, exact distances and another implementation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from counter_attack.attacks._epsilon import EpsilonSearch
from counter_attack.attacks._square import Square, area_at, bumps, image_shape
from mipverify_py import Norm
from onnx_models import ReluNetwork, to_torch
from onnx_models.errors import InputError
from tests.helpers.attacked import art_classifier, digits, linear_classifier, robust_share, watched
from tests.helpers.networks import networks

BOTH = pytest.mark.parametrize("norm", [Norm.LINF, Norm.L2])


def test_the_area_halves_as_in_the_paper() -> None:
    """After 10, 50, 200, 500, 1000, 2000, 4000, 6000 and 8000 of 10000 queries."""
    queries = [1, 10, 11, 50, 51, 200, 201, 501, 1001, 2001, 4001, 6001, 8001, 10000]
    halved = [0, 0, 1, 1, 2, 2, 3, 4, 5, 6, 7, 8, 9, 9]
    assert [area_at(0.8, q, 10000) for q in queries] == [0.8 / 2**k for k in halved]
    assert area_at(0.8, 6, 5000) == 0.4


def test_image_shapes() -> None:
    assert image_shape((3, 8, 6)) == (3, 8, 6) and image_shape((8, 6)) == (1, 8, 6)
    assert image_shape((12,)) == (1, 1, 12) and image_shape((2, 3, 4, 5)) == (1, 1, 120)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 7), (3, 3), (5, 5), (4, 2), (2, 6), (2, 1)])
def test_bumps_have_two_signs_and_size_one(height: int, width: int) -> None:
    found = bumps(height, width)
    assert found.shape == (height, width) and abs(float(found.square().sum()) - 1.0) < 1e-12
    assert bool((found != 0).all())
    if height * width > 1:
        half = found[: height // 2] if height >= width else found[:, : width // 2]
        rest = found[height // 2 :] if height >= width else found[:, width // 2 :]
        assert bool((half > 0).all() and (rest < 0).all())


@settings(max_examples=15, deadline=None)
@given(networks(max_relus=6), st.integers(0, 2**32 - 1), st.sampled_from([Norm.LINF, Norm.L2]))
def test_all_points_lie_in_ball_and_domain(network: ReluNetwork, seed: int, norm: Norm) -> None:
    rng = np.random.default_rng(seed)
    x, eps = rng.random((3, network.input_size)), float(rng.uniform(0.01, 0.5))
    with pytest.MonkeyPatch.context() as patch:
        seen = watched(Square(norm, eps=eps, queries=20), network, x, patch)
    assert np.all(seen.distance <= eps * (1 + 1e-9))
    assert np.all((seen.points >= 0) & (seen.points <= 1))


def test_the_first_perturbation_has_vertical_stripes(monkeypatch: pytest.MonkeyPatch) -> None:
    network = digits("digits_conv_standard", 3).network
    seen = watched(Square(eps=0.01, queries=1), network, np.full((3, 64), 0.5), monkeypatch)
    moved = (seen.points - 0.5).reshape(3, 8, 8)
    assert np.allclose(np.abs(moved), 0.01) and np.all(moved == moved[:, :1])
    assert len(np.unique(moved[0, 0])) == 2


def test_a_change_in_linf_is_a_square_of_one_sign(monkeypatch: pytest.MonkeyPatch) -> None:
    network = digits("digits_conv_standard", 3).network
    seen = watched(Square(eps=0.01, queries=100), network, np.full((1, 64), 0.5), monkeypatch)
    before, after = (seen.points[:2] - 0.5).reshape(2, 8, 8)
    rows, columns = (np.flatnonzero((before != after).any(axis=axis)) for axis in (1, 0))
    # The second of 100 queries comes after two halvings: a fifth of 64 pixels.
    assert np.ptp(rows) < 4 and np.ptp(columns) < 4
    changed = after[before != after]
    assert len(changed) and np.all(changed == changed[0])


@BOTH
@pytest.mark.slow
def test_enough_queries_solve_a_linear_classifier(norm: Norm) -> None:
    rng = np.random.default_rng(2)
    weight, x = rng.normal(size=(2, 8)), np.full((4, 8), 0.5)
    bias = np.array([0.1, 0.0]) - weight @ x[0]
    truth = 0.1 / np.linalg.norm(weight[1] - weight[0], 1 if norm is Norm.LINF else 2)
    attack = Square(norm, queries=600, search=EpsilonSearch(bisections=4))
    found = attack(linear_classifier(weight, bias), x)
    assert found.success.all() and np.all(found.distance >= truth * (1 - 1e-9))
    assert np.all(found.distance <= truth * (1.05 if norm is Norm.LINF else 1.3))


@BOTH
def test_digits_are_never_nearer_than_they_are(norm: Norm) -> None:
    data = digits("digits_small_standard", 10)
    found = Square(norm, queries=100, search=EpsilonSearch(bisections=5))(data.network, data.images)
    assert found.success.all()
    assert np.all(found.distance >= data.lower - 1e-12)  # the L2 norm is at least the L-infinity norm
    if norm is Norm.LINF:
        assert np.median(found.distance / data.upper) <= 1.6


def test_it_needs_no_gradients() -> None:
    data = digits("digits_small_standard", 10)
    smooth = to_torch(data.network)

    class Rounded(nn.Module):
        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            return torch.round(smooth(batch) * 100) / 100

    found = Square(eps=0.3, queries=300)(Rounded(), data.images.reshape(-1, *data.network.input_shape))
    assert found.success.mean() >= 0.9


def test_queries_are_what_is_paid_for() -> None:
    data = digits("digits_small_standard", 10)
    found = Square(eps=1e-4, queries=25)(data.network, data.images)
    assert not found.success.any() and found.calls.tolist() == [26] * 10  # one look at the input itself
    many = Square(eps=float(2 * data.upper.max()), queries=500)(data.network, data.images)
    assert many.success.all() and many.calls.mean() < 250


def test_the_seed_decides() -> None:
    data = digits("digits_small_standard", 5)
    first, again, other = (Square(eps=0.3, queries=50)(data.network, data.images, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first.adversarial, again.adversarial, equal_nan=True)
    assert not np.array_equal(first.adversarial, other.adversarial, equal_nan=True)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [({"queries": 0}, "at least 1 query"), ({"area": 0.0}, "share of the image"), ({"area": 1.5}, "share of the")],
)
def test_bad_parameters(parameters: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Square(**parameters)  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@BOTH
@pytest.mark.parametrize("name", ["digits_dense_standard", "digits_small_adversarial"])
def test_as_strong_as_art(name: str, norm: Norm) -> None:
    data = digits(name, 100)
    classifier = art_classifier(data.network)
    from art.attacks.evasion import SquareAttack

    eps = float(np.median(data.upper)) * (1.2 if norm is Norm.LINF else 7.0)
    queries = 1000
    kind = np.inf if norm is Norm.LINF else 2
    attack = SquareAttack(classifier, norm=kind, max_iter=queries, eps=eps, p_init=0.8, batch_size=100, verbose=False)
    np.random.seed(0)  # noqa: NPY002 - the source of ART's draws
    theirs = attack.generate(data.images.reshape(-1, *data.network.input_shape).astype(np.float32), data.labels)
    ours = Square(norm, eps=eps, queries=queries)(data.network, data.images)
    assert 0.05 < ours.success.mean() < 0.98
    assert 1 - ours.success.mean() <= robust_share(theirs.reshape(100, -1), data.network, data.labels) + 0.02
