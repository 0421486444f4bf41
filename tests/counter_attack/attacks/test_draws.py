"""Random numbers of each input's own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import kstest, spearmanr

from counter_attack.attacks._draws import GOLDEN, Draws

MASK = (1 << 64) - 1


def split_mix(state: int, count: int) -> list[int]:
    """SplitMix64 as its authors write it down, in Python's whole numbers."""
    numbers = []
    for _ in range(count):
        state = (state + GOLDEN) & MASK
        z = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        numbers.append(z ^ (z >> 31))
    return numbers


def inputs(count: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(5).random((count, 3)))


def test_the_generator_is_split_mix() -> None:
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    assert split_mix(1234567, 4) == published
    draws = Draws(0, inputs(2))
    draws._keys[:] = torch.tensor([1234567, -5])
    drawn = draws.uniform(torch.tensor([0, 1]), (2, 2)).reshape(2, 4)
    for row, begin in zip(drawn, (1234567, -5 & MASK), strict=True):
        assert row.tolist() == [(number >> 11) / 2**53 for number in split_mix(begin, 4)]


def test_an_input_gets_the_same_numbers_in_any_company() -> None:
    x, alone = inputs(4), []
    for k in range(4):
        draws = Draws(7, x[k : k + 1])
        alone.append(torch.cat([draws.uniform(torch.tensor([0]), (5,))[0], draws.normal(torch.tensor([0]), (2,))[0]]))
    together, first = Draws(7, x), torch.tensor([3, 1, 0])
    parts = {k: [row] for k, row in zip(first.tolist(), together.uniform(first, (5,)), strict=True)}
    parts[2] = [together.uniform(torch.tensor([2]), (5,))[0]]
    for k, row in zip([2, 0, 1, 3], together.normal(torch.tensor([2, 0, 1, 3]), (2,)), strict=True):
        assert torch.equal(torch.cat([*parts[k], row]), alone[k])


@pytest.mark.parametrize(("seed", "change"), [(8, 0.0), (-1, 0.0), (7, 1e-16)])
def test_seed_and_input_make_the_numbers(seed: int, change: float) -> None:
    x, rows = inputs(1), torch.tensor([0])
    other = x.clone()
    other[0, 0] += change * 8
    one, two = Draws(7, x).uniform(rows, (50,)), Draws(seed, other).uniform(rows, (50,))
    assert not bool((one == two).any())


def test_they_are_distributed_as_they_say_and_independent() -> None:
    draws, rows = Draws(0, inputs(200)), torch.arange(200)
    flat, bell = draws.uniform(rows, (100,)).numpy(), draws.normal(rows, (100,)).numpy()
    assert flat.min() >= 0 and flat.max() < 1
    assert kstest(flat.ravel(), "uniform").pvalue > 1e-3 and kstest(bell.ravel(), "norm").pvalue > 1e-3
    for values in (flat, bell):
        assert abs(spearmanr(values[:, :-1].ravel(), values[:, 1:].ravel()).statistic) < 0.03
        assert abs(spearmanr(values[:-1].ravel(), values[1:].ravel()).statistic) < 0.03
