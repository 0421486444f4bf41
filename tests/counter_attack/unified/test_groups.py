"""Groups of entries: the choice against every other choice."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch

from counter_attack.attacks._hyperplane import onto_hyperplane
from counter_attack.unified import constrained, groups_to_reach, groups_within, members_of, room_of
from mipverify_py import Norm
from tests.helpers.attacks import size

NORMS = list(Norm)
BOX = (torch.zeros(12, dtype=torch.float64), torch.ones(12, dtype=torch.float64))


def test_pixels_are_their_channels() -> None:
    members = members_of("pixels", (3, 2, 2))
    assert members.tolist() == [[0, 4, 8], [1, 5, 9], [2, 6, 10], [3, 7, 11]]
    image = np.arange(12).reshape(3, 2, 2)
    assert members[1].tolist() == image[:, 0, 1].tolist()
    assert members_of("entries", (3, 2, 2)).tolist() == [[k] for k in range(12)]
    assert members_of("pixels", (4,)).tolist() == [[0], [1], [2], [3]]


def every_choice(members: torch.Tensor, k: int) -> list[torch.Tensor]:
    chosen = [members[list(groups)].ravel() for groups in combinations(range(len(members)), k)]
    return [torch.zeros(12, dtype=torch.bool).scatter(0, places, value=True) for places in chosen]


def drawn(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.normal(size=(1, 12))), torch.from_numpy(rng.random((1, 12)))


EXACT = [
    *((norm, k, False) for norm in NORMS for k in (1, 2, 3)),
    *((norm, 1, True) for norm in NORMS),
    *((Norm.LINF, k, True) for k in (2, 3)),
]
"""Norm, number of groups and whether there is a box: the cases in which the choice is said to be the best."""


@pytest.mark.parametrize(("norm", "k", "boxed"), EXACT)
@pytest.mark.parametrize("seed", range(3))
def test_no_other_groups_gain_more(norm: Norm, k: int, boxed: bool, seed: int) -> None:
    g, points = drawn(seed)
    eps, members = torch.tensor([[0.1, 0.7, 3.0][seed % 3]], dtype=torch.float64), members_of("pixels", (3, 2, 2))
    room = room_of(g, points, BOX) if boxed else None

    def gain(mask: torch.Tensor) -> float:
        own, left = torch.where(mask, g, 0.0), None if room is None else torch.where(mask, room, 0.0)
        return float((own * constrained(own, left, eps, norm)).sum())

    chosen = groups_within(g, room, eps, norm, members, k)
    assert int(chosen.sum()) == 3 * k
    assert gain(chosen[0]) == pytest.approx(max(gain(mask) for mask in every_choice(members, k)))


@pytest.mark.parametrize(("norm", "k", "boxed"), EXACT)
@pytest.mark.parametrize("seed", range(3))
def test_no_other_groups_reach_a_gap_nearer(norm: Norm, k: int, boxed: bool, seed: int) -> None:
    g, points = drawn(seed)
    members = members_of("pixels", (3, 2, 2))
    room = room_of(g, points, BOX) if boxed else None
    ends = BOX if boxed else (BOX[0] - 1e3, BOX[1] + 1e3)
    gap = torch.tensor([[0.1, 0.5, 1.2][seed % 3]], dtype=torch.float64)

    def length(mask: torch.Tensor) -> float:
        own = torch.where(mask, g, 0.0)
        step = onto_hyperplane(points, own, gap, ends, norm)
        reached = float((own * step).sum()) >= float(gap) * (1 - 1e-9)
        return float(size(step.numpy(), norm)[0]) if reached else np.inf

    truth = min(length(mask) for mask in every_choice(members, k))
    found = length(groups_to_reach(g, room, gap, norm, members, k)[0])
    assert found == pytest.approx(truth, rel=1e-9) or (np.isinf(found) and np.isinf(truth))
