"""Trees for many targets at once, grown level by level in common batches: many small proofs, not one large one."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, fields
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from mipverify_py.engines._dual_bound import Batch, Bounded, DualBounder
from mipverify_py.engines._dual_branch import Branching, Choice
from mipverify_py.engines._problem import Problem
from mipverify_py.engines._tighten import Tightener
from mipverify_py.proof import Index, Multipliers, ProofNode, Tree

if TYPE_CHECKING:
    from torch import Tensor

ROOT_STEPS, NODE_STEPS = 15, 8
"""Gradient steps at the roots and below."""

BATCH = 256
"""Nodes bounded together."""


@dataclass(frozen=True, slots=True, eq=False)
class _Level:
    """B open nodes of the same depth.

    Attributes:
        row: position of each node's target, shape (B,).
        number: of each node in its tree, shape (B,).
        signs, lower, upper, alpha, beta: as in `Batch`, shape (B, units).
        gammas: where tightening starts, shape (B, 2, units).
    """

    row: Tensor
    number: Tensor
    signs: Tensor
    lower: Tensor
    upper: Tensor
    alpha: Tensor
    beta: Tensor
    gammas: Tensor

    def take(self, which: Tensor | slice) -> _Level:
        """Some of the nodes."""
        return _Level(*(getattr(self, f.name)[which] for f in fields(self)))

    @classmethod
    def joined(cls, parts: list[_Level]) -> _Level:
        """The nodes of all parts."""
        import torch

        return cls(*(torch.cat([getattr(p, f.name) for p in parts]) for f in fields(cls)))


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    """What a batch of nodes gave: bounds, and tightened bounds and a unit to split for those that stay open, `left`."""

    bounded: Bounded
    left: Index
    lower: Tensor
    upper: Tensor
    gammas: Tensor
    leads: Tensor
    choice: Choice


class Forest:
    """One tree per target of a problem, for  f_j - f_c < 0  on its box.

    A tree grows until it is closed, has `budget` nodes, or another one settles it: every leaf has multipliers, and so a
    bound, whether it is closed or not.
    """

    def __init__(self, problem: Problem, budget: int, settles: Index, device: str = "cpu") -> None:
        """`settles` has for each target the position of one whose tree is not needed once this one's is closed, or -1.

        Of a tree that is not needed any more the leaves are left without bounds.
        """
        self._problem, self._budget, self._settles = problem, budget, settles
        self._bounder = DualBounder(problem, device)
        self._tightener = Tightener(problem, problem.box, device)
        self._branching = Branching(self._bounder, {})
        stage = problem.stage(problem.bounds, 0.0)
        self.trees = [Tree(j, problem.tree_units, [stage], [], [ProofNode(-1, -1, 0)]) for j in problem.targets]
        self._open = np.ones(len(self.trees), np.intp)
        """Leaves of each tree that are not closed."""
        self._downward = False

    @property
    def closed(self) -> Index:
        """Positions of the targets whose trees have no open leaf."""
        return np.flatnonzero(self._open == 0)

    def grow(self, jobs: int, deadline: float | None = None) -> bool:
        """Grows all trees; `jobs` threads change nothing but the time. False if the `deadline` cut it short."""
        import torch

        level, steps = self._roots(), ROOT_STEPS
        with ExitStack() as stack:
            pool = None
            if jobs > 1:
                made = ThreadPoolExecutor(jobs, initializer=torch.set_num_threads, initargs=(1,))
                pool = stack.enter_context(made)
            while len(level.row):
                if deadline is not None and time.monotonic() >= deadline:
                    return False
                parts = [level.take(slice(k, k + BATCH)) for k in range(0, len(level.row), BATCH)]
                found = list((pool.map if pool else map)(partial(self._bound, steps), parts))
                self._downward, steps = not self._downward, NODE_STEPS
                for part, result in zip(parts, found, strict=True):
                    self._record(part, result)
                level = self._children(parts, found)
        return True

    def _roots(self) -> _Level:
        import torch

        unit, count, device = self._problem.unit_bounds(self._problem.bounds), len(self.trees), self._bounder.device
        low = torch.from_numpy(np.tile(unit.lower, (count, 1))).to(device)
        high = torch.from_numpy(np.tile(unit.upper, (count, 1))).to(device)
        zeros, row = torch.zeros_like(low), torch.arange(count, device=device)
        gammas = low.new_zeros(count, 2, unit.size)
        return _Level(row, torch.zeros_like(row), zeros, low, high, (high > -low).to(low.dtype), zeros, gammas)

    def _bound(self, steps: int, level: _Level) -> _Found:
        import torch

        problem, device = self._problem, self._bounder.device
        rows = level.row.cpu().numpy()
        margin = torch.from_numpy(problem.margin[rows]).to(device)
        constant = torch.from_numpy(problem.margin_constant[rows]).to(device)
        batch = Batch(margin, constant, level.signs, level.lower, level.upper, level.alpha, level.beta, {})
        bounded = self._bounder.optimise(batch, {}, steps, 0.0)
        slack = self._bounder.slack(bounded)
        left = (bounded.value >= -slack).nonzero()[:, 0]
        inner = bounded.rows(left)
        lower, upper, gammas, leads = self._tightener.run_tensors(
            inner.form,
            inner.constant + slack[left],
            0.0,
            inner.batch.lower,
            inner.batch.upper,
            level.gammas[left],
            downward=self._downward,
        )
        choice = self._branching.choose(inner, lower, upper, 0.0)
        return _Found(bounded, left.cpu().numpy(), lower, upper, gammas, leads, choice)

    def _record(self, level: _Level, found: _Found) -> None:
        """Writes the nodes' numbers into their trees, as leaves, and counts those that are closed."""
        batch, none = found.bounded.batch, np.zeros(0)
        alpha, rho = batch.alpha.cpu().numpy(), (batch.signs * batch.beta).cpu().numpy()
        rows, numbers = level.row.tolist(), level.number.tolist()
        for k, (row, number) in enumerate(zip(rows, numbers, strict=True)):
            node = self.trees[row].nodes[number]
            node.multipliers = Multipliers(alpha[k], rho[k], np.zeros(0, np.intp), none)
        still, gammas = np.zeros(len(rows), np.bool_), found.gammas.cpu().numpy()
        still[found.left] = ~(found.lower > found.upper).any(1).cpu().numpy()
        np.subtract.at(self._open, np.array(rows)[~still], 1)
        for k, at in enumerate(found.left.tolist()):
            if np.any(gammas[k]):
                self.trees[rows[at]].nodes[numbers[at]].gammas = gammas[k]

    def _children(self, parts: list[_Level], found: list[_Found]) -> _Level:
        """Splits open leaves, those with the largest bounds first, where the budget allows it."""
        import torch

        other = self._settles[self.closed]
        needed = self._open > 0
        needed[other[other >= 0]] = False
        found_rows = [part.row.cpu().numpy()[f.left] for part, f in zip(parts, found, strict=True)]
        values = [f.bounded.value.cpu().numpy()[f.left] for f in found]
        units = [f.choice.unit.cpu().numpy() for f in found]
        empty = [(f.lower > f.upper).any(1).cpu().numpy() for f in found]
        part_of = np.repeat(np.arange(len(found)), [len(v) for v in values])
        place = np.concatenate([np.arange(len(v)) for v in values])
        row, value = np.concatenate(found_rows), np.concatenate(values)
        able = needed[row] & (np.concatenate(units) >= 0) & ~np.concatenate(empty)
        order = np.argsort(-value, kind="stable")
        chosen: list[list[int]] = [[] for _ in found]
        numbers: list[list[int]] = [[] for _ in found]
        for k in order[able[order]].tolist():
            tree, part, at = self.trees[row[k]], int(part_of[k]), int(place[k])
            if len(tree.nodes) + 2 > self._budget:
                continue
            number = int(parts[part].number[found[part].left[at]])
            children = tree.split(number, int(units[part][at]))
            if tree.nodes[number].gammas is None:
                tree.nodes[number].multipliers = None  # nothing below needs its bound
            self._open[row[k]] += 1
            chosen[part].append(at)
            numbers[part] += children
        born = [
            _halves(part, f, torch.tensor(at, dtype=torch.int64), torch.tensor(n, dtype=torch.int64))
            for part, f, at, n in zip(parts, found, chosen, numbers, strict=True)
        ]
        return _Level.joined(born)


def _halves(level: _Level, found: _Found, at: Tensor, numbers: Tensor) -> _Level:
    """Both children of each of the nodes at `at` among those left, the one with z >= 0 first."""
    import torch

    device = level.row.device
    at, numbers = at.to(device).repeat_interleave(2), numbers.to(device)
    whole = torch.from_numpy(found.left).to(device)[at]
    batch, k = found.bounded.batch, torch.arange(len(at), device=device)
    unit = found.choice.unit[at]
    sign = (1.0 - 2.0 * (k % 2)).to(batch.lower.dtype)
    signs, beta = batch.signs[whole], batch.beta[whole]
    signs[k, unit] = sign
    beta[k, unit] = found.choice.beta[at, k % 2]
    lower, upper = found.lower[at], found.upper[at]
    lower[k[::2], unit[::2]] = 0.0
    upper[k[1::2], unit[1::2]] = 0.0
    return _Level(level.row[whole], numbers, signs, lower, upper, batch.alpha[whole], beta, found.leads[at])
