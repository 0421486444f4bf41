"""The screen: one bound per target, and a tree of one node that replays for each target it excludes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mipverify_py.engines._dual_bound import DualBounder
from mipverify_py.engines._screen import screen
from mipverify_py.proof import Proof, replay
from tests.helpers.duals import ODD, odd_problem, random_problem, true_maximum
from tests.helpers.networks import FAMILIES


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=4)
@given(seed=st.integers(0, 2**32 - 1), share=st.sampled_from([-0.1, 0.001, 0.1, 1.0]))
def test_bounds_are_valid_and_excluded_targets_replay(family: str, seed: int, share: float) -> None:
    problem = random_problem(family, seed)
    tops = [true_maximum(problem, target) for target in problem.targets]
    threshold = tops[0] + share * (1.0 + abs(tops[0]))
    bounded, trees = screen(problem, DualBounder(problem), threshold)
    assert np.all(bounded.value.numpy() >= np.array(tops) - 1e-9)
    below = [t for t, value in zip(problem.targets, bounded.value.tolist(), strict=True) if value < threshold - 1e-6]
    found = [tree.target for tree in trees]
    assert set(below) <= set(found) <= {t for t, top in zip(problem.targets, tops, strict=True) if top < threshold}
    if trees:
        assert replay(Proof(problem.network, 0, problem.box, threshold, tuple(trees))).holds


@pytest.mark.parametrize("name", ODD)
def test_odd_networks(name: str) -> None:
    problem = odd_problem(name)
    bounded, trees = screen(problem, DualBounder(problem), 1e3)
    assert [tree.target for tree in trees] == list(problem.targets) and bounded.value.shape == (2,)
    assert replay(Proof(problem.network, 0, problem.box, 1e3, tuple(trees))).holds
    lowest = min(true_maximum(problem, target) for target in problem.targets)
    assert screen(problem, DualBounder(problem), lowest)[1] == []
