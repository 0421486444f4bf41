"""Finishing a pool: never farther than the pool, never below the exact distance, and mostly equal to it."""

from __future__ import annotations

import numpy as np
import pytest

from counter_attack.attacks import FGSM, Budget, UniformNoise
from counter_attack.pool import FINISH, Pool, PoolProgress, PoolResult, drop_one
from mipverify_py import Norm, distance
from onnx_models import ReluNetwork, to_torch
from onnx_models.errors import InputError
from onnx_models.zoo import digits_test, load_zoo

IMAGES = digits_test().images[:5]


@pytest.fixture(scope="module")
def network() -> ReluNetwork:
    return load_zoo("digits_small_standard")


ATTACKS = {"uniform": UniformNoise(runs=20), "fgsm": FGSM()}


@pytest.fixture(scope="module")
def pool(network: ReluNetwork) -> PoolResult:
    return Pool(ATTACKS)(network, IMAGES)


def test_a_finished_pool_reaches_exact_distances(network: ReluNetwork, pool: PoolResult) -> None:
    told: list[PoolProgress] = []
    found = Pool(ATTACKS, told.append, finish=True)(network, IMAGES)
    assert [(one.attack, one.position, one.total) for one in told[::2]] == [
        ("uniform", 0, 3),
        ("fgsm", 1, 3),
        (FINISH, 2, 3),
    ]
    exact = np.array([distance(network, image).upper for image in IMAGES])
    assert found.table.attacks == ("uniform", "fgsm", FINISH)
    assert np.all(found.distance >= exact * (1 - 1e-5)) and np.all(found.distance <= pool.distance)
    assert np.mean(found.distance <= exact * (1 + 1e-5)) >= 0.6
    np.testing.assert_array_equal(found.results["fgsm"].distance, pool.results["fgsm"].distance)
    assert drop_one(found.table, exact)[-1].quality == drop_one(pool.table, exact)[0].quality


def test_where_all_attacks_fail_finishing_fails(network: ReluNetwork) -> None:
    found = Pool({"uniform": UniformNoise(runs=1)}, finish=True)(network, IMAGES, budget=Budget(calls=1))
    assert found.table.attacks == ("uniform", FINISH)
    assert not found.success.any() and np.isnan(found.adversarial).all()


def test_labels_targets_and_norms_carry_over(network: ReluNetwork) -> None:
    labels = digits_test().labels[:5].astype(np.int64)
    targets = ((labels + 1) % 10)[:, None]
    found = Pool({"uniform": UniformNoise(runs=50)}, finish=True)(network, IMAGES, labels, targets)
    rows = found.success
    assert rows.any()
    logits = network.forward_batch(found.adversarial[rows])
    place = np.arange(len(logits))
    assert np.all(logits[place, targets[rows, 0]] >= logits[place, labels[rows]] - 1e-9)
    assert found.winner[int(np.flatnonzero(rows)[0])] == FINISH


def test_other_norms_are_finished_too(network: ReluNetwork) -> None:
    found = Pool({"l2": FGSM(norm=Norm.L2)}, finish=True)(network, IMAGES[:1])
    assert found.norm is Norm.L2 and found.distance[0] < found.results["l2"].distance[0]


def test_what_cannot_be_finished_is_refused(network: ReluNetwork) -> None:
    import torch

    with pytest.raises(InputError, match="another name"):
        Pool({FINISH: FGSM()}, finish=True)
    module = torch.nn.Sequential(torch.nn.Flatten(), to_torch(network))
    with pytest.raises(InputError, match="ReluNetwork"):
        Pool({"fgsm": FGSM()}, finish=True)(module, IMAGES)
