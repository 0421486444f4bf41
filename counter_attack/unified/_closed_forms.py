"""Closed forms of the linearised problems: how far, and where to, a linear function is moved within a norm.

With g the gradient, q the dual exponent (1/p + 1/q = 1) and |.|_q the dual norm, Hoelder's inequality gives

    max <g, eta> over |eta|_p <= eps    =  eps |g|_q     at  eta = eps s
    min |eta|_p with <g, eta> >= gap    =  gap / |g|_q   at  eta = gap / |g|_q s     (gap > 0, g not 0)

with the same direction s, `steepest(g, p)` (Balda, Behboodi and Mathar 2018, "On generation of adversarial examples
using convex programming", theorem 1, and 2019, "Perturbation analysis of learning algorithms").
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from counter_attack._distances import tensor_distances
from counter_attack.attacks._gradient import unit
from mipverify_py import Norm

if TYPE_CHECKING:
    from torch import Tensor

DUAL = {Norm.LINF: Norm.L1, Norm.L1: Norm.LINF, Norm.L2: Norm.L2}
"""The norm with 1/p + 1/q = 1."""


def dual_size(gradient: Tensor, p: Norm) -> Tensor:
    """|g|_q, the largest <g, eta> over |eta|_p <= 1, shape (K,), of gradients of shape (K, n)."""
    return tensor_distances(gradient, gradient.new_zeros(gradient.shape), DUAL[p])


def steepest(gradient: Tensor, p: Norm) -> Tensor:
    """argmax of <g, eta> over |eta|_p <= 1, shape (K, n), of gradients g of shape (K, n); differentiable nowhere.

        L-infinity:  sign(g)
        L2:          g / |g|_2
        L1:          sign(g_i) e_i  for the entry i with the largest |g_i|

    Where several eta are optimal: entries of g that are 0 are not moved in L-infinity, the first of equally large
    entries is the one that is moved in L1, and where g is 0 altogether, eta is 0 in every norm.
    """
    import torch

    if p is Norm.LINF:
        return gradient.sign()
    if p is Norm.L2:
        return unit(gradient)
    size = gradient.abs()
    first = (size == size.amax(dim=1, keepdim=True)).to(torch.int8).argmax(dim=1, keepdim=True)
    return torch.zeros_like(gradient).scatter(1, first, gradient.gather(1, first).sign())


def room_of(gradient: Tensor, points: Tensor, box: tuple[Tensor, Tensor]) -> Tensor:
    """How far each entry may go the way its gradient points, shape (K, n); 0 where the gradient is 0.

    Args:
        gradient: shape (K, n).
        points: in the box, shape (K, n).
        box: lower and upper ends, of shape (n,) or (K, n).
    """
    import torch

    return torch.where(gradient > 0, box[1] - points, torch.where(gradient < 0, points - box[0], 0.0))


def steepest_in_box(gradient: Tensor, room: Tensor, eps: Tensor, p: Norm) -> Tensor:
    """argmax of <g, eta> over |eta|_p <= eps in a box, shape (K, n).

    Every entry moves the way its gradient points, by at most its room r_i:

        L-infinity:  |eta_i| = min(eps, r_i)
        L2:          |eta_i| = min(t |g_i|, r_i)  with t such that |eta|_2 = eps, found by sorting the r_i / |g_i|
        L1:          entries one by one, the largest |g_i| first, each up to its room, until eps is spent

    Args:
        gradient: g, shape (K, n).
        room: see `room_of`, shape (K, n).
        eps: shape (K,).
        p: the norm.
    """
    import torch

    if p is Norm.LINF:
        return gradient.sign() * torch.minimum(room, eps[:, None])
    if p is Norm.L1:
        order = gradient.abs().argsort(dim=1, descending=True, stable=True)
        sorted_room = room.gather(1, order)
        spent = sorted_room.cumsum(dim=1) - sorted_room
        share = sorted_room.minimum((eps[:, None] - spent).clamp(min=0))
        return gradient.sign() * torch.zeros_like(gradient).scatter(1, order, share)
    weight = unit(gradient).abs()
    stops, order = torch.where(weight > 0, room / weight, torch.inf).sort(dim=1, stable=True)
    full = room.square().gather(1, order)
    stopped = full.cumsum(dim=1) - full  # what the entries that have stopped before the k-th use up of eps^2
    moving = weight.square().gather(1, order).flip(1).cumsum(dim=1).flip(1)
    enough = (moving > 0) & (stopped + stops.square() * moving >= eps.square()[:, None])
    first = enough.to(torch.int8).argmax(dim=1, keepdim=True)
    left = (eps.square()[:, None] - stopped.gather(1, first)).clamp(min=0)
    moves = torch.minimum((left / moving.gather(1, first)).sqrt() * weight, room)
    return gradient.sign() * torch.where(enough.any(dim=1, keepdim=True), moves, room)


def constrained(gradient: Tensor, room: Tensor | None, eps: Tensor, p: Norm) -> Tensor:
    """argmax of <g, eta> over |eta|_p <= eps, shape (K, n): in the box that leaves `room`, or anywhere for None."""
    if room is None:
        return eps[:, None] * steepest(gradient, p)
    return steepest_in_box(gradient, room, eps, p)


def nearest(gradient: Tensor, gap: Tensor, p: Norm) -> tuple[Tensor, Tensor]:
    """The smallest |eta|_p with <g, eta> >= gap, shape (K,), and eta / |eta|_p, shape (K, n).

    Infinite where g is 0 and 0 where the gap is 0 or negative. With a box, `onto_hyperplane` of the attacks answers.

    Args:
        gradient: g, shape (K, n).
        gap: shape (K,).
        p: the norm.
    """
    import torch

    size = dual_size(gradient, p)
    return torch.where(size > 0, gap.clamp(min=0) / size, torch.inf), steepest(gradient, p)
