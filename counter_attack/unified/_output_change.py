"""The linearised problem of regression: the largest |d + J eta|_q over |eta|_p <= eps, which is not convex.

J is the Jacobian, m outputs by n entries, and d the change of the outputs so far; with d = 0 the answer is eps times
the operator norm of J from p to q. What can be solved to the end, and how:

    p = 1       any q   a corner of the ball, so one entry moves:  max over i and signs of |d +- eps J_i|_q
    q = inf     any p   one output is pushed:                      max over k of |d_k| + eps |J_k|_p*
    p = 2, q = 2        the secular equation in the singular vectors of J; for d = 0 the first right singular vector
    q = 1       any p   max over signs s of the outputs of s.d + eps |J^T s|_p*,     2^m signs, m <= ENUMERATED
    p = inf, q = 1, 2   max over the corners of the ball,                            2^n corners, n <= ENUMERATED

The rest (q = 1 and p = inf with many of both, and p = inf with q = 2, all NP-hard in general) is climbed from several
starts by eta <- eps steepest(J^T u, p), where u is the dual vector of d + J eta: the value never falls, and where it
ends is a lower bound on the largest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from counter_attack.unified._closed_forms import DUAL, dual_size, steepest
from mipverify_py import Norm

if TYPE_CHECKING:
    from torch import Tensor

ENUMERATED = 12
"""Outputs or entries whose 2^12 signs are all tried."""

ROUNDS = 100
"""Steps of the climb at most, and halvings of the interval that holds the root of the secular equation."""


class Change(NamedTuple):
    """A solution for K inputs: the step eta, shape (K, n); |d + J eta|_q, shape (K,); whether none is better."""

    step: Tensor
    value: Tensor
    exact: bool


def is_solved(p: Norm, q: Norm, outputs: int, entries: int) -> bool:
    """Whether `largest_change` solves the problem of these sizes to the end."""
    if p is Norm.L1 or q is Norm.LINF or (p is Norm.L2 and q is Norm.L2):
        return True
    return (q is Norm.L1 and outputs <= ENUMERATED) or (p is Norm.LINF and entries <= ENUMERATED)


def largest_change(jacobian: Tensor, change: Tensor, eps: Tensor, p: Norm, q: Norm) -> Change:
    """The eta of |eta|_p <= eps with the largest |d + J eta|_q, as the module's table says.

    Args:
        jacobian: J, shape (K, m, n).
        change: d, shape (K, m).
        eps: shape (K,).
        p: norm of the inputs.
        q: norm of the outputs.
    """
    import torch

    outputs, entries = jacobian.shape[1:]
    if p is Norm.L1:
        step = _corner_of_l1(jacobian, change, eps, q)
    elif q is Norm.LINF:
        step = _one_output(jacobian, change, eps, p)
    elif p is Norm.L2 and q is Norm.L2:
        step = _secular(jacobian, change, eps)
    elif q is Norm.L1 and outputs <= ENUMERATED:
        step = _signs_of_outputs(jacobian, change, eps, p)
    elif p is Norm.LINF and entries <= ENUMERATED:
        step = _corners_of_linf(jacobian, change, eps, q)
    else:
        step = _climbed(jacobian, change, eps, p, q)
    step = torch.where((jacobian != 0).any(dim=1), step, 0.0)  # an entry that no output depends on stays
    return Change(step, _size(_moved(jacobian, change, step), q), is_solved(p, q, outputs, entries))


def _moved(jacobian: Tensor, change: Tensor, step: Tensor) -> Tensor:
    return change + (jacobian @ step[:, :, None])[:, :, 0]


def _size(vectors: Tensor, norm: Norm) -> Tensor:
    """Norms of rows: the dual norm of the dual norm."""
    return dual_size(vectors, DUAL[norm])


def _signs(count: int, like: Tensor) -> Tensor:
    """All vectors of -1 and 1, shape (2^count, count)."""
    import torch

    bits = torch.arange(2**count, device=like.device)[:, None] >> torch.arange(count, device=like.device)
    return 1.0 - 2.0 * (bits & 1).to(like.dtype)


def _corner_of_l1(jacobian: Tensor, change: Tensor, eps: Tensor, q: Norm) -> Tensor:
    import torch

    count, outputs, n = jacobian.shape
    columns = eps[:, None, None] * jacobian.transpose(1, 2)
    ends = torch.cat([change[:, None] + columns, change[:, None] - columns], dim=1)
    chosen = _size(ends.reshape(-1, outputs), q).reshape(count, 2 * n).argmax(dim=1)
    step = torch.zeros_like(jacobian[:, 0])
    step[torch.arange(count, device=step.device), chosen % n] = torch.where(chosen < n, eps, -eps)
    return step


def _one_output(jacobian: Tensor, change: Tensor, eps: Tensor, p: Norm) -> Tensor:
    import torch

    count, outputs, n = jacobian.shape
    reach = eps[:, None] * dual_size(jacobian.reshape(-1, n), p).reshape(count, outputs)
    chosen = (change.abs() + reach).argmax(dim=1)
    place = torch.arange(count, device=chosen.device)
    towards = torch.where(change[place, chosen] < 0, -eps, eps)
    return towards[:, None] * steepest(jacobian[place, chosen], p)


def _secular(jacobian: Tensor, change: Tensor, eps: Tensor) -> Tensor:
    """Maximises |d + J eta|_2^2 over |eta|_2 = eps: in the singular vectors, y_i = c_i / (t - s_i^2), t >= s_1^2.

    c is S U^T d. The size of y falls in t, so t is bisected; what is missing to eps where even t = s_1^2 gives too
    little (c_1 = 0, thus always for d = 0) goes along the first singular vector, in which the objective is indifferent.
    """
    import torch

    u, s, vt = torch.linalg.svd(jacobian, full_matrices=False)
    c = s * (u.transpose(1, 2) @ change[:, :, None])[:, :, 0]
    below = s[:, :1].square() - s.square()
    low, high = torch.zeros_like(eps), c.square().sum(dim=1).sqrt() / eps
    for _ in range(ROUNDS):
        middle = (low + high) / 2
        longer = _quotient(c, middle[:, None] + below).square().sum(dim=1) > eps.square()
        low, high = torch.where(longer, middle, low), torch.where(longer, high, middle)
    y = _quotient(c, high[:, None] + below)
    first = torch.where(c[:, 0] < 0, -1.0, 1.0)
    y[:, 0] = first * (eps.square() - y[:, 1:].square().sum(dim=1)).clamp(min=0).sqrt()
    step: Tensor = (vt.transpose(1, 2) @ y[:, :, None])[:, :, 0]
    return step


def _quotient(c: Tensor, by: Tensor) -> Tensor:
    import torch

    return torch.where(c == 0, 0.0, c / by)


def _signs_of_outputs(jacobian: Tensor, change: Tensor, eps: Tensor, p: Norm) -> Tensor:
    import torch

    signs = _signs(jacobian.shape[1], jacobian)
    steps = []
    for j, d, e in zip(jacobian, change, eps, strict=True):  # one by one: all signs of all inputs would need much room
        pulls = signs @ j
        chosen = (signs @ d + e * dual_size(pulls, p)).argmax()
        steps.append(e * steepest(pulls[chosen][None], p)[0])
    return torch.stack(steps)


def _corners_of_linf(jacobian: Tensor, change: Tensor, eps: Tensor, q: Norm) -> Tensor:
    import torch

    corners = _signs(jacobian.shape[2], jacobian)
    return torch.stack(
        [e * corners[_size(d + e * corners @ j.T, q).argmax()] for j, d, e in zip(jacobian, change, eps, strict=True)]
    )


def _climbed(jacobian: Tensor, change: Tensor, eps: Tensor, p: Norm, q: Norm) -> Tensor:
    import torch

    best, most = torch.zeros_like(jacobian[:, 0]), torch.full_like(eps, -torch.inf)
    for start in (_secular(jacobian, change, eps), _one_output(jacobian, change, eps, p)):
        step = eps[:, None] * steepest(start, p)
        value = _size(_moved(jacobian, change, step), q)
        for _ in range(ROUNDS):
            dual = steepest(_moved(jacobian, change, step), DUAL[q])
            next_step = eps[:, None] * steepest((jacobian.transpose(1, 2) @ dual[:, :, None])[:, :, 0], p)
            next_value = _size(_moved(jacobian, change, next_step), q)
            higher = next_value > value
            if not bool(higher.any()):
                break
            step, value = torch.where(higher[:, None], next_step, step), torch.where(higher, next_value, value)
        better = value > most
        best, most = torch.where(better[:, None], step, best), torch.where(better, value, most)
    return best
