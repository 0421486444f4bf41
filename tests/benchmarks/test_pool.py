"""The comparison of pools with exact distances still runs; what it measures is not tested."""

from __future__ import annotations

import numpy as np
import pytest

from counter_attack.attacks import FGSM
from counter_attack.pool import Pool
from onnx_models.zoo import digits_test, load_zoo
from tests.benchmarks import pool
from tests.benchmarks.finishing import Truth


def test_the_pool_is_shown_without_and_with_finishing(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--networks", "zoo:digits_small_standard", "--images", "1,3,5", "--attacks", "deepfool"]
    assert pool.main(options) == 0
    out, errors = capsys.readouterr()
    assert "1 attacks" in out and "+ finish" in out and "3 of 3" in out
    assert "3 of 3 brackets closed" in errors


def test_a_distance_below_a_proof_is_named() -> None:
    images = digits_test().images[:2].reshape(2, -1)
    found = Pool({"fgsm": FGSM()}, finish=True)(load_zoo("digits_small_standard"), images)
    low = np.array([0.0, 0.9])
    named = pool.contradictions("net", found, Truth(images, low, low, 2))
    assert len(named) == 2 and all("exact at least 0.9" in text for text in named)


def test_what_there_is_not_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        pool.main(["--networks", "zoo:none"])
    assert "none" in capsys.readouterr().err
