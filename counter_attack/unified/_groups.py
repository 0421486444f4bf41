"""Attacks on few groups of entries, such as pixels: which groups to change, by their closed-form gains.

Let S be a union of k disjoint groups and g_S the gradient within them. Without a box the best that can be done there is
eps |g_S|_q, and the k groups with the largest |g_s|_q are the best union, for every norm (Balda, Behboodi and Mathar
2019, "Perturbation analysis of learning algorithms", on single and multiple subset attacks). With a box the gain of one
group is still known exactly, and k groups are ranked by it. That is the best choice where k is 1, and in L-infinity,
where gains of groups add up; in L1 and L2 groups share eps, so that it need not be the best of several.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from counter_attack._distances import tensor_distances
from counter_attack.unified._closed_forms import constrained, dual_size, steepest_in_box
from mipverify_py import Norm

if TYPE_CHECKING:
    from torch import Tensor

GROUPS = ("entries", "pixels")
"""Each entry on its own; or the channels of each pixel together."""

HALVINGS = 60
"""Of the interval that holds the least size at which groups reach a gap: below float64's resolution of it."""


def members_of(groups: str, shape: tuple[int, ...]) -> Tensor:
    """The entries of each group, shape (groups, entries of one): all groups are of the same size.

    Pixels are the positions of an input of shape (channels, height, width); an input of another shape has no channels,
    so that every entry is a pixel.
    """
    import torch

    places = torch.arange(math.prod(shape))
    return places.reshape(shape[0], -1).T.clone() if groups == "pixels" and len(shape) == 3 else places[:, None]


def gains(gradient: Tensor, room: Tensor | None, eps: Tensor, p: Norm, members: Tensor) -> Tensor:
    """The largest <g, eta> over |eta|_p <= eps within each group alone, shape (K, groups); see `constrained`."""
    count, size = members.shape
    rows = gradient[:, members].reshape(-1, size)
    sizes = eps.repeat_interleave(count)
    if room is None:
        found = sizes * dual_size(rows, p)
    else:
        found = (rows * steepest_in_box(rows, room[:, members].reshape(-1, size), sizes, p)).sum(dim=1)
    return found.reshape(-1, count)


def support(chosen: Tensor, members: Tensor, n: int) -> Tensor:
    """Which entries belong to the chosen groups (K, k): shape (K, n)."""
    import torch

    mask = torch.zeros(len(chosen), n, dtype=torch.bool, device=chosen.device)
    return mask.scatter(1, members[chosen].reshape(len(chosen), -1), value=True)


def best(found: Tensor, k: int) -> Tensor:
    """The k groups with the largest gains, the first among equals, shape (K, k)."""
    return found.argsort(dim=1, descending=True, stable=True)[:, :k]


def groups_within(gradient: Tensor, room: Tensor | None, eps: Tensor, p: Norm, members: Tensor, k: int) -> Tensor:
    """The entries of the k groups in which a linear function grows most within eps, shape (K, n)."""
    return support(best(gains(gradient, room, eps, p, members), k), members, gradient.shape[1])


def groups_to_reach(gradient: Tensor, room: Tensor | None, gap: Tensor, p: Norm, members: Tensor, k: int) -> Tensor:
    """The entries of the k groups with which a linear function grows by `gap` in the least size, shape (K, n).

    The size is bisected: at each, the k groups with the largest gains are the candidates. Where no size will do, those
    that gain most in the whole box.
    """
    import torch

    if room is None:
        return groups_within(gradient, None, torch.ones_like(gap), p, members, k)
    high = tensor_distances(room, torch.zeros_like(room), p)
    low = torch.zeros_like(high)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        found = gains(gradient, room, middle, p, members)
        reached = found.gather(1, best(found, k)).sum(dim=1) >= gap
        low, high = torch.where(reached, low, middle), torch.where(reached, middle, high)
    return groups_within(gradient, room, high, p, members, k)


def gain_of(gradient: Tensor, room: Tensor | None, eps: Tensor, p: Norm) -> tuple[Tensor, Tensor]:
    """The best step within eps and what it gains: shapes (K, n) and (K,)."""
    step = constrained(gradient, room, eps, p)
    return step, (gradient * step).sum(dim=1)
