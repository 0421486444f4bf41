"""Exact projections onto the intersection of a hyperplane and a box, in L1, L2 and L-infinity, in batches."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from mipverify_py import Norm

if TYPE_CHECKING:
    from torch import Tensor


def onto_hyperplane(point: Tensor, normal: Tensor, gap: Tensor, box: tuple[Tensor, Tensor], norm: Norm) -> Tensor:
    """The steps d, shape (K, n), smallest in `norm` with  normal.d = gap  and  point + d  in the box.

    Where no point of the box is on the hyperplane, the d to a point of the box that is as near to it as can be.

    Every entry moves only in its useful direction, by d_i >= 0 say, and at most by the room r_i that the box leaves;
    with sizes w_i = |normal_i| the d_i are

        L1:                entries one by one, the largest w_i first, each up to its room
        L2, L-infinity:    d_i = min(t p_i, r_i),  p_i = w_i for L2, 1 for L-infinity (0 where w_i = 0)

    with t such that sum w_i d_i = |gap|: piecewise linear in t, solved by sorting the t = r_i / p_i at which entries
    stop.

    Args:
        point: shape (K, n), in the box.
        normal: shape (K, n).
        gap: shape (K,).
        box: lower and upper ends, each of shape (n,).
        norm: the norm of d.
    """
    import torch

    signed = normal * gap.sign()[:, None]
    room = torch.where(signed > 0, box[1] - point, torch.where(signed < 0, point - box[0], 0.0))
    weight, need = signed.abs(), gap.abs()
    if norm is Norm.L1:
        return signed.sign() * _one_by_one(weight, room, need)
    return signed.sign() * _together(weight, weight if norm is Norm.L2 else weight.sign(), room, need)


def _one_by_one(weight: Tensor, room: Tensor, need: Tensor) -> Tensor:
    import torch

    order = weight.argsort(dim=1, descending=True, stable=True)
    weights, rooms = weight.gather(1, order), room.gather(1, order)
    gains = weights * rooms
    left = need[:, None] - (gains.cumsum(dim=1) - gains)
    moves = torch.where(weights > 0, left / weights, 0.0).clamp_min(0.0)
    return torch.zeros_like(room).scatter(1, order, torch.minimum(moves, rooms))


def _together(weight: Tensor, pace: Tensor, room: Tensor, need: Tensor) -> Tensor:
    import torch

    stop = torch.where(pace > 0, room / pace, math.inf)
    stops, order = stop.sort(dim=1, stable=True)
    gains = (weight * room).gather(1, order)
    stopped = gains.cumsum(dim=1) - gains  # what the entries that have stopped before the k-th contribute
    slopes = (weight * pace).gather(1, order).flip(1).cumsum(dim=1).flip(1)
    enough = (slopes > 0) & (stopped + stops * slopes >= need[:, None])
    first = enough.to(torch.int8).argmax(dim=1, keepdim=True)
    t = (need[:, None] - stopped.gather(1, first)) / slopes.gather(1, first)
    moves = torch.minimum(t.clamp_min(0.0) * pace, room)
    return torch.where(enough.any(dim=1, keepdim=True), moves, room)
