"""FMN against formulas, exact distances and Foolbox's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from counter_attack.attacks import FMN
from mipverify_py import Norm, Query
from onnx_models import DenseMap, NetworkBuilder, ReluNetwork
from onnx_models.errors import InputError
from onnx_models.zoo import load_zoo
from tests.helpers.attacked import linear_classifier, watched
from tests.helpers.attacks import assert_sound, digits, exact_distances, foolbox_distances
from tests.helpers.norms import dense_network, exact_norm_distance

DUAL = {Norm.LINF: 1, Norm.L1: np.inf, Norm.L2: 2}


@pytest.mark.parametrize("norm", list(Norm))
@pytest.mark.parametrize("target", [None, 2])
def test_linear_classifiers_have_a_formula(norm: Norm, target: int | None) -> None:
    """|f_j - f_c| / |w_j - w_c| in the dual norm, for the class that was found; no class is nearer than the nearest."""
    rng = np.random.default_rng(5)
    weight, x = rng.normal(size=(4, 6)), rng.uniform(0.47, 0.53, size=(6, 6))
    network = linear_classifier(weight, -weight @ np.full(6, 0.5) + np.array([0.3, 0.0, 0.0, 0.0]))
    logits = network.forward_batch(x)
    assert np.all(logits.argmax(axis=1) == 0)
    slopes = np.array([np.linalg.norm(weight[j] - weight[0], DUAL[norm]) for j in (1, 2, 3)])
    planes = (logits[:, :1] - logits[:, 1:]) / slopes
    result = FMN(norm, steps=300)(network, x, targets=target)
    assert_sound(result, network, x, None if target is None else [[target]] * len(x))
    assert result.success.all()
    best = planes.min(axis=1) if target is None else planes[:, target - 1]
    reached = planes[np.arange(len(x)), result.found - 1] if target is None else best
    assert np.all(result.distance >= best * (1 - 1e-9)) and np.all(result.distance <= reached * 1.01)


@pytest.mark.parametrize("norm", list(Norm))
def test_a_boundary_beyond_the_domains_ends_is_reached(norm: Norm) -> None:
    """Half of the entries, those with the largest slopes, start at the ends that they would have to cross."""
    weight = np.array([[0.0] * 4, [4.0, 4.0, 1.0, 1.0]])
    network = linear_classifier(weight, np.array([0.0, -9.0]))
    result = FMN(norm, steps=200)(network, [[1.0, 1.0, 0.2, 0.2]])  # 1 in all is missing, to be shared by two entries
    truth = {Norm.LINF: 0.3, Norm.L1: 0.6, Norm.L2: 0.3 * np.sqrt(2)}[norm]
    assert truth * (1 - 1e-9) <= result.distance[0] <= truth * 1.01


def test_the_first_round_goes_a_little_beyond_the_linearised_boundary() -> None:
    """0.3 to the boundary in L-infinity, and gamma = 5 % of that."""
    network = linear_classifier(np.array([[0.0, 0.0], [1.0, 1.0]]), np.array([0.0, -1.0]))
    with pytest.MonkeyPatch.context() as patch:
        seen = watched(FMN(steps=2), network, np.array([[0.2, 0.2]]), patch)
    np.testing.assert_allclose(seen.points, [[0.2, 0.2], [0.515, 0.515]])


@pytest.mark.parametrize("norm", list(Norm))
def test_all_points_lie_in_the_domain(norm: Norm) -> None:
    network, x = load_zoo("digits_small_standard"), digits(5)
    with pytest.MonkeyPatch.context() as patch:
        seen = watched(FMN(norm, steps=20), network, x, patch)
    assert np.all((seen.points >= 0) & (seen.points <= 1))


def test_digits_are_never_nearer_than_they_are() -> None:
    model = "digits_small_standard"
    network, x, truth = load_zoo(model), digits(20), exact_distances(model, 20)
    result = FMN(steps=200)(network, x)
    assert_sound(result, network, x)
    assert result.success.all()
    assert np.all(result.distance >= truth - 1e-9) and np.median(result.distance / truth) <= 1.05


@pytest.mark.parametrize("norm", [Norm.L1, Norm.L2])
def test_tiny_networks_are_never_nearer_than_they_are(norm: Norm) -> None:
    network, x = dense_network(5), np.random.default_rng(1).random((10, 3))
    result = FMN(norm, steps=200)(network, x)
    assert_sound(result, network, x)
    truth = [exact_norm_distance(Query(network, point, norm=norm)) for point in x]
    assert None not in truth and result.success.all()
    share = result.distance / np.array(truth, dtype=np.float64)
    assert np.all(share >= 1 - 1e-6) and np.median(share) <= 1.02


@pytest.mark.parametrize("norm", list(Norm))
def test_an_input_fares_the_same_alone(norm: Norm) -> None:
    network, x = load_zoo("digits_small_standard"), digits(6)
    together = FMN(norm, steps=15)(network, x)
    for k, point in enumerate(x):
        assert FMN(norm, steps=15)(network, point[None]).distance[0] == pytest.approx(together.distance[k], rel=1e-6)


def flat_network() -> ReluNetwork:
    """No input of [0, 1] moves its logits."""
    builder = NetworkBuilder((2,))
    hidden = builder.relu(builder.affine([0], [DenseMap(np.ones((2, 2)))], np.array([-5.0, -9.0])))
    return builder.build(builder.affine([hidden], [DenseMap(np.eye(2))], np.array([1.0, 0.0])))


@pytest.mark.parametrize("norm", list(Norm))
def test_without_a_gradient_there_is_a_failure_and_no_nan(norm: Norm) -> None:
    result = FMN(norm, steps=10)(flat_network(), [[0.5, 0.5]])
    assert not result.success[0] and result.calls[0] == 11


@pytest.mark.parametrize("parameters", [{"steps": 0}, {"step_size": 0.0}, {"gamma": 1.0}, {"gamma": 0.0}])
def test_bad_parameters_are_refused(parameters: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        FMN(**parameters)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("norm", list(Norm))
def test_the_median_is_not_worse_than_that_of_foolbox(norm: Norm) -> None:
    attacks = pytest.importorskip("foolbox").attacks
    kind = {Norm.LINF: attacks.LInfFMNAttack, Norm.L1: attacks.L1FMNAttack, Norm.L2: attacks.L2FMNAttack}[norm]
    network, x = load_zoo("digits_dense_standard"), digits(100)
    theirs = foolbox_distances(kind(steps=100), network, x, norm)
    ours = FMN(norm, steps=100)(network, x)
    assert ours.success.sum() >= np.isfinite(theirs).sum()
    assert np.median(np.where(ours.success, ours.distance, np.inf)) <= 1.02 * np.median(theirs)
