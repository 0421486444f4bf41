"""Random noise: the sizes of its draws, its search, and Foolbox's repeated noise."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from counter_attack.attacks import AttackProblem, GaussianNoise, UniformNoise
from mipverify_py import Norm
from onnx_models import DenseMap, NetworkBuilder
from onnx_models.errors import InputError
from onnx_models.zoo import load_zoo
from tests.helpers.attacks import assert_sound, digits, exact_distances, foolbox_distances, size
from tests.helpers.queries import line_classifier

KINDS = [UniformNoise, GaussianNoise]


def flat_problem(n: int, norm: Norm) -> AttackProblem:
    builder = NetworkBuilder((n,))
    network = builder.build(builder.affine([0], [DenseMap(np.zeros((2, n)))], np.array([1.0, 0.0])))
    return AttackProblem(network, np.full((1, n), 0.5), norm=norm)


@pytest.mark.parametrize("norm", list(Norm))
@pytest.mark.parametrize("kind", KINDS)
def test_draws_have_the_size_that_is_asked_for(kind: type[UniformNoise | GaussianNoise], norm: Norm) -> None:
    eps = np.linspace(0.1, 2.0, 50)
    problem = flat_problem(9, norm)
    draws = [
        kind(norm=norm).draw(problem, torch.tensor([radius], dtype=torch.float64), problem.rows[:1])
        for radius in eps.tolist()
    ]
    noise = torch.cat(draws).numpy()
    sizes = size(noise, norm)
    if kind is UniformNoise and norm is Norm.LINF:
        assert np.all(sizes <= eps) and np.median(sizes / eps) > 0.9  # the largest of 9 uniform draws
    else:
        np.testing.assert_allclose(sizes, eps, rtol=1e-12)
    assert abs((noise > 0).mean() - 0.5) < 0.08


@pytest.mark.parametrize("kind", KINDS)
def test_results_are_sound_and_never_below_the_exact_distance(kind: type[UniformNoise | GaussianNoise]) -> None:
    network, x = load_zoo("digits_small_standard"), digits(20)
    result = kind(runs=20)(network, x)
    assert_sound(result, network, x)
    assert result.success.sum() >= 16
    assert np.all(result.distance[result.success] >= exact_distances("digits_small_standard", 20)[result.success])


@pytest.mark.parametrize("kind", KINDS)
def test_in_one_dimension_noise_finds_the_boundary(kind: type[UniformNoise | GaussianNoise]) -> None:
    result = kind(runs=200)(line_classifier(), [[0.2], [0.4]])
    np.testing.assert_allclose(result.distance, [0.3, 0.1], rtol=2e-2)
    assert np.all(result.distance >= [0.3 - 1e-15, 0.1 - 1e-15])


@pytest.mark.parametrize("kind", KINDS)
def test_more_runs_help_at_a_given_eps(kind: type[UniformNoise | GaussianNoise]) -> None:
    network, x = load_zoo("digits_small_standard"), digits(60)
    few, many = (kind(runs=runs, eps=0.25)(network, x) for runs in (2, 200))
    assert many.success.sum() > few.success.sum()
    assert np.all(many.distance[many.success] <= 0.25 * (1 + 1e-12))


@pytest.mark.parametrize("kind", KINDS)
def test_runs_are_counted_and_end_with_success(kind: type[UniformNoise | GaussianNoise]) -> None:
    # From 0.2 nothing within 0.1 is adversarial; from 0.45 about every second draw is.
    result = kind(runs=50, eps=0.1)(line_classifier(), [[0.2], [0.45]])
    np.testing.assert_array_equal(result.success, [False, True])
    assert result.calls[0] == 51 and result.calls[1] < 30


@pytest.mark.parametrize("kind", KINDS)
def test_inputs_that_are_done_are_left_out(kind: type[UniformNoise | GaussianNoise]) -> None:
    sizes: list[int] = []
    module = torch.nn.Sequential(torch.nn.Linear(1, 2))
    with torch.no_grad():
        module[0].weight[:] = torch.tensor([[0.0], [1.0]])
        module[0].bias[:] = torch.tensor([0.0, -0.5])
    module.register_forward_hook(lambda _module, given, _logits: sizes.append(len(given[0])))
    kind(runs=64, eps=0.1)(module, [[0.2], [0.45], [0.45], [0.45]])
    assert sizes[:2] == [4, 4] and sizes.count(1) > 32


def test_noise_follows_its_seed() -> None:
    network, x = load_zoo("digits_small_standard"), digits(4)
    first, again, other = (UniformNoise(runs=5)(network, x, seed=s) for s in (0, 0, 1))
    np.testing.assert_array_equal(first.adversarial, again.adversarial)
    assert np.any(first.distance != other.distance)


def test_targets_are_kept_to() -> None:
    network, x = load_zoo("digits_small_standard"), digits(10)
    target = np.where(UniformNoise(runs=20)(network, x).reference == 8, 1, 8)
    result = UniformNoise(runs=20)(network, x, targets=target[:, None])
    assert_sound(result, network, x, targets=[[int(j)] for j in target])
    assert result.success.any()


@pytest.mark.parametrize("kind", KINDS)
def test_no_runs_are_refused(kind: type[UniformNoise | GaussianNoise]) -> None:
    with pytest.raises(InputError, match="needs at least 1 run"):
        kind(runs=0)


FOOLBOX = {
    (UniformNoise, Norm.LINF): "LinfRepeatedAdditiveUniformNoiseAttack",
    (UniformNoise, Norm.L2): "L2RepeatedAdditiveUniformNoiseAttack",
    (GaussianNoise, Norm.L2): "L2RepeatedAdditiveGaussianNoiseAttack",
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("kind", "norm"), list(FOOLBOX))
def test_the_median_is_not_worse_than_that_of_foolbox(kind: type[UniformNoise | GaussianNoise], norm: Norm) -> None:
    """100 digits, 100 draws at each radius; 50 radii on Foolbox's grid, as many as our search tries at most."""
    attacks = pytest.importorskip("foolbox").attacks
    torch.manual_seed(0)  # Foolbox draws from torch's own generator
    network, x = load_zoo("digits_small_standard"), digits(100)
    grid = np.linspace(0.02, 1.0, 50) * (1.0 if norm is Norm.LINF else 3.0)
    theirs = foolbox_distances(getattr(attacks, FOOLBOX[kind, norm])(repeats=100), network, x, norm, grid)
    ours = kind(norm=norm, runs=100)(network, x)
    assert np.median(np.where(ours.success, ours.distance, np.inf)) <= 1.02 * np.median(theirs)
