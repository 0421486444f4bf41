"""The papers' table: figures against their definitions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from counter_attack.attacks import FGSM, DeepFool
from counter_attack.detection import ExactAttack
from counter_attack.unified import robustness_rows, robustness_table
from mipverify_py import Norm
from onnx_models.errors import InputError
from onnx_models.zoo import load_zoo
from tests.helpers.attacks import digits


@pytest.mark.slow
def test_figures_are_what_they_are_called() -> None:
    network, x = load_zoo("digits_small_standard"), digits(8)
    labels = network.forward_batch(x).argmax(axis=1)
    labels[2] = (labels[2] + 1) % 10  # an input that the network gets wrong
    result = FGSM()(network, x, labels)
    failed = result.success.copy()
    failed[5] = False
    result = replace(result, success=failed, distance=np.where(failed, result.distance, np.nan))
    exact = ExactAttack()(network, x, labels)
    exact = replace(exact, exact=np.arange(8) != 7)
    first, last = robustness_rows("small", x, {"fgsm": result}, exact, eps=0.12)
    fooled = np.array([0, 1, 3, 4, 6, 7])
    d = result.distance[fooled]
    assert (first["inputs"], first["fooled"]) == (7, pytest.approx(600 / 7))
    assert first["within"] == pytest.approx(100 * (d <= 0.12).sum() / 7)
    assert first["mean"] == pytest.approx(d.mean()) and first["rho"] == pytest.approx(
        (d / x[fooled].max(axis=1)).mean()
    )
    assert first["all"] is None and last["all"] is None
    both = fooled[:-1]
    assert first["above"] == pytest.approx(100 * (result.distance[both].sum() / exact.upper[both].sum() - 1))
    assert last["attack"] == "exact" and last["open"] == 1
    assert last["mean"] == pytest.approx(exact.upper[[0, 1, 3, 4, 5, 6]].mean())
    table = robustness_table([first, last], Norm.LINF, 0.12)
    assert "1 exact distances are not known" in table.note and "<= 0.12" in table.columns[4].heading


def test_the_size_that_fools_nearly_all_is_a_quantile() -> None:
    network, x = load_zoo("digits_small_standard"), digits(10)
    result = replace(FGSM()(network, x), distance=np.arange(1.0, 11.0))
    wide = replace(result, distance=np.arange(1.0, 201.0), adversarial=np.zeros((200, 64)))
    assert robustness_rows("small", x, {"fgsm": result})[0]["all"] == 10.0
    assert robustness_rows("small", np.ones((200, 64)), {"fgsm": wide})[0]["all"] == 199.0  # 198 are not more than 99 %


def test_other_inputs_and_norms_are_refused() -> None:
    network, x = load_zoo("digits_small_standard"), digits(3)
    found = DeepFool()(network, x)
    for results in ({}, {"a": found, "b": DeepFool(norm=Norm.L2)(network, x)}, {"a": DeepFool()(network, x[:2])}):
        with pytest.raises(InputError, match="about the 3 inputs in one norm"):
            robustness_rows("small", x, results)
