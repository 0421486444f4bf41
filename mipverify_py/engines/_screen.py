"""One bound for every target at once: most targets need no more."""

from __future__ import annotations

import numpy as np

from mipverify_py.engines._dual_bound import Batch, Bounded, DualBounder
from mipverify_py.engines._problem import Problem
from mipverify_py.proof import Multipliers, ProofNode, Tree

STEPS = 15
"""Gradient steps on the triangle relaxation; most targets close within five."""


def screen(problem: Problem, bounder: DualBounder, threshold: float) -> tuple[Bounded, list[Tree]]:
    """Bounds of f_j - f_c for all targets over the box, and a tree of one node for each target that they exclude."""
    import torch

    unit, count = problem.unit_bounds(problem.bounds), len(problem.targets)
    low = torch.from_numpy(np.tile(unit.lower, (count, 1))).to(bounder.device)
    high = torch.from_numpy(np.tile(unit.upper, (count, 1))).to(bounder.device)
    margin = torch.from_numpy(problem.margin.copy()).to(bounder.device)
    constant = torch.from_numpy(problem.margin_constant.copy()).to(bounder.device)
    alpha, zeros = (high > -low).to(low.dtype), torch.zeros_like(low)
    bounded = bounder.optimise(Batch(margin, constant, zeros, low, high, alpha, zeros, {}), {}, STEPS, threshold)
    closed = (bounded.value < threshold - bounder.slack(bounded)).tolist()
    slopes, nothing = bounded.batch.alpha.cpu().numpy(), np.zeros(unit.size)
    trees = []
    for row, target in enumerate(problem.targets):
        if closed[row]:
            numbers = Multipliers(slopes[row], nothing, np.zeros(0, np.intp), np.zeros(0))
            root = ProofNode(-1, -1, 0, multipliers=numbers)
            trees.append(Tree(target, problem.tree_units, [problem.stage(problem.bounds, threshold)], [], [root]))
    return bounded, trees
