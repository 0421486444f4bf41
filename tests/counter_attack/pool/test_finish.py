"""Finishing a pool: never farther than the pool, never below the exact distance, and mostly equal to it."""

from __future__ import annotations

import numpy as np
import pytest

from counter_attack.attacks import FGSM, Budget, UniformNoise
from counter_attack.pool import FINISH, Pool, PoolResult, drop_one, finish_pool
from mipverify_py import Norm, distance
from onnx_models import ReluNetwork, to_torch
from onnx_models.errors import InputError
from onnx_models.zoo import digits_test, load_zoo

IMAGES = digits_test().images[:5]


@pytest.fixture(scope="module")
def network() -> ReluNetwork:
    return load_zoo("digits_small_standard")


@pytest.fixture(scope="module")
def pool(network: ReluNetwork) -> PoolResult:
    return Pool({"uniform": UniformNoise(runs=20), "fgsm": FGSM()})(network, IMAGES)


def test_a_finished_pool_reaches_exact_distances(network: ReluNetwork, pool: PoolResult) -> None:
    found = finish_pool(pool, network, IMAGES)
    exact = np.array([distance(network, image).upper for image in IMAGES])
    assert found.table.attacks == ("uniform", "fgsm", FINISH)
    assert np.all(found.distance >= exact * (1 - 1e-5)) and np.all(found.distance <= pool.distance)
    assert np.mean(found.distance <= exact * (1 + 1e-5)) >= 0.6
    np.testing.assert_array_equal(found.results["fgsm"].distance, pool.results["fgsm"].distance)
    assert drop_one(found.table, exact)[-1].quality == drop_one(pool.table, exact)[0].quality


def test_where_all_attacks_fail_finishing_fails(network: ReluNetwork) -> None:
    none = Pool({"uniform": UniformNoise(runs=1)})(network, IMAGES, budget=Budget(calls=1))
    assert not none.success.any()
    found = finish_pool(none, network, IMAGES)
    assert not found.success.any() and np.isnan(found.adversarial).all()


def test_labels_targets_and_norms_carry_over(network: ReluNetwork) -> None:
    labels = digits_test().labels[:5].astype(np.int64)
    targets = ((labels + 1) % 10)[:, None]
    pool = Pool({"uniform": UniformNoise(runs=50)})(network, IMAGES, labels, targets)
    found = finish_pool(pool, network, IMAGES, labels, targets, kicks=False)
    rows = found.success
    assert rows.any()
    logits = network.forward_batch(found.adversarial[rows])
    place = np.arange(len(logits))
    assert np.all(logits[place, targets[rows, 0]] >= logits[place, labels[rows]] - 1e-9)
    assert np.all(found.distance[rows] <= pool.distance[rows])


def test_what_cannot_be_finished_is_refused(network: ReluNetwork, pool: PoolResult) -> None:
    import torch

    with pytest.raises(InputError, match="finished already"):
        finish_pool(finish_pool(pool, network, IMAGES, kicks=False), network, IMAGES)
    module = torch.nn.Sequential(torch.nn.Flatten(), to_torch(network))
    with pytest.raises(InputError, match="ReluNetwork"):
        finish_pool(pool, module, IMAGES)
    assert pool.norm is Norm.LINF
