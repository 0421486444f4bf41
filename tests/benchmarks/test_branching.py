"""The comparison of branching rules still runs, and every variant proves the same; what it measures is not tested."""

from __future__ import annotations

import pytest

from mipverify_py.data import read_digits
from onnx_models.zoo import load_zoo
from tests.benchmarks import branching


def test_every_variant_proves_what_the_engine_proves() -> None:
    network, image = load_zoo("digits_small_standard"), read_digits().image(1)
    radius = branching.largest_radius(network, image, 60.0, gap=0.05)
    assert radius > 0
    for variant in branching.VARIANTS.values():
        assert branching.measure(branching.problem_at(network, image, radius), variant, 60.0).open == 0
        assert branching.measure(branching.problem_at(network, image, 1.1 * radius), variant, 60.0).open > 0


def test_the_table_names_networks_and_variants(capsys: pytest.CaptureFixture[str]) -> None:
    model = "zoo:digits_small_standard"
    assert branching.main(["--networks", model, "--images", "1", "--variants", "gap,look-ahead"]) == 0
    shown = capsys.readouterr().out
    assert all(word in shown for word in (model, "gap", "look-ahead"))
