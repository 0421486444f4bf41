"""The parts of a certificate about one box: better bounds of units, and a tree per target."""

from __future__ import annotations

import math
from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import numpy as np

from mipverify_py.certificate._document import Work
from mipverify_py.certificate._fast_network import FastNetwork
from mipverify_py.certificate._fast_pieces import Ask, dyadic
from mipverify_py.certificate._fast_region import FastRegion
from mipverify_py.certificate._rules import Ends
from mipverify_py.certificate._tree import Tally, TreeWriter, UnitTable
from mipverify_py.proof import RefinedUnits, Tree, Units
from onnx_models import ReluNetwork

SLOPE_BITS = 8
"""Bits of slopes in refinements, which are half floats to begin with."""
ATTEMPTS = 3
"""How often a limit is raised until its tree holds."""


def tree_regions(
    network: ReluNetwork,
    exact: FastNetwork,
    box: Ends,
    claim: tuple[int, Fraction],
    trees: tuple[Tree, ...],
    tally: Tally,
) -> list[dict[str, Any]]:
    """The sections that prove the claim (reference class and margin) on a box with a tree for each target.

    Trees whose stages refine bounds in the same way share a section. Multipliers fit the bounds that they were found
    with: a unit that better bounds make stable loses its line, and the sum of all may be worse for it.

    Raises:
        NotProvedError: a tree does not hold on this box in exact arithmetic.
    """
    groups: dict[tuple[tuple[int, int], ...], list[Tree]] = {}
    for tree in trees:
        groups.setdefault(tuple(_all_refinements([tree])), []).append(tree)
    sections = [_section(network, exact, box, claim, group, tally) for group in groups.values()]
    for section in sections[:-1]:
        section["cut"] = "again"
    return sections


def _section(
    network: ReluNetwork, exact: FastNetwork, box: Ends, claim: tuple[int, Fraction], trees: list[Tree], tally: Tally
) -> dict[str, Any]:
    reference, margin = claim
    refinements = sorted(_all_refinements(trees).values(), key=lambda refinement: refinement.relu)
    units = UnitTable(network, _listed(trees, refinements))
    region = FastRegion(exact, Work(2**60), box, units.section)
    steps = _derive(network, region, units, refinements, tally)
    written = []
    for tree in trees:
        objective = {tree.target: 1, reference: -1}
        writer = TreeWriter(region, units, len(network.nodes) - 1, objective, margin, tree, tally)
        written.append([tree.target, writer.run()])
    return {"units": units.section, "steps": steps, "trees": written, "cut": None}


def _all_refinements(trees: list[Tree]) -> dict[tuple[int, int], RefinedUnits]:
    """What the trees' stages know of units, by node and slopes; of two with the same slopes the one that has trees."""
    found: dict[tuple[int, int], RefinedUnits] = {}
    for refinement in (r for tree in trees for stage in tree.stages for r in stage.refinements):
        key = refinement.relu, id(refinement.slopes)
        if key not in found or refinement.trees:
            found[key] = refinement
    return found


def _listed(trees: list[Tree], refinements: list[RefinedUnits]) -> Iterable[Units]:
    for tree in (*trees, *(limit for found in refinements for limit in found.trees)):
        yield from tree.units
    for found in refinements:
        yield Units(found.relu, found.units)
        for slopes in found.slopes:
            yield Units(slopes.relu, slopes.units)


def _derive(
    network: ReluNetwork, region: FastRegion, units: UnitTable, refinements: list[RefinedUnits], tally: Tally
) -> list[dict[str, Any]]:
    """Bounds of all nodes as the checker will derive them; returns the steps that made some of them better."""
    steps: list[dict[str, Any]] = []
    for index in range(1, len(network.nodes)):
        region.enter(index)
        for found in refinements:
            node = network.nodes[found.relu]
            if getattr(node, "input", None) == index:
                steps += _slope_steps(region, units, found, index)
                steps += _limit_steps(region, units, found, index, tally)
    return steps


def _slope_steps(region: FastRegion, units: UnitTable, found: RefinedUnits, index: int) -> list[dict[str, Any]]:
    kept = []
    places = [units.places([Units(slopes.relu, slopes.units)]) for slopes in found.slopes]
    for row, sign in ((0, 1), (1, 0)):
        low, high = region.low[index], region.high[index]
        listed = [(k, unit) for k, unit in enumerate(found.units.tolist()) if low[unit] < 0 < high[unit]]
        for start in range(0, len(listed), region.most):
            here = listed[start : start + region.most]
            choices = [_slope_choice(found, places, (row, k), len(region.units)) for k, _ in here]
            asks = [
                Ask({unit: 2 * sign - 1}, {}, region.chosen(choice, []))
                for (_, unit), choice in zip(here, choices, strict=True)
            ]
            for (_, unit), choice, answer in zip(here, choices, region.answers(index, asks), strict=True):
                before = low[unit], high[unit]
                region.take_top(index, unit, 2 * sign - 1, region.top_of(answer))
                if (low[unit], high[unit]) != before:
                    kept.append({"node": index, "unit": unit, "sign": sign, "below": None, "proof": choice})
    return kept


def _slope_choice(found: RefinedUnits, places: list[list[int]], bound: tuple[int, int], count: int) -> dict[str, Any]:
    """The choices for one bound of a refinement."""
    alpha: list[int | None] = [None] * count
    for slopes, where in zip(found.slopes, places, strict=True):
        values = np.clip(slopes.alpha[bound].astype(np.float64), 0.0, 1.0)
        for place, value in zip(where, values.tolist(), strict=True):
            alpha[place] = None if math.isnan(value) else round(value * (1 << SLOPE_BITS))
    while alpha and alpha[-1] is None:
        alpha.pop()
    return {"bits": SLOPE_BITS, "alpha": alpha, "rho": [], "planes": []}


def _limit_steps(
    region: FastRegion, units: UnitTable, found: RefinedUnits, index: int, tally: Tally
) -> list[dict[str, Any]]:
    kept, count = [], len(found.units)
    for tree in found.trees:
        k, sign = (tree.target - 1) % count, 1 if tree.target <= count else -1
        unit, limit = int(found.units[k]), float(found.limits.reshape(-1)[tree.target - 1])
        before = region.low[index][unit], region.high[index][unit]
        if not before[0] < 0 < before[1] or not math.isfinite(limit):
            continue
        for _ in range(ATTEMPTS):
            writer = TreeWriter(region, units, index, {unit: sign}, Fraction(limit), tree, tally, lenient=True)
            proof = writer.run()
            if writer.highest is None:
                step = {"node": index, "unit": unit, "sign": (sign + 1) // 2, "below": limit.hex(), "proof": proof}
                region.take_top(index, unit, sign, dyadic(Fraction(limit)))
                if (region.low[index][unit], region.high[index][unit]) != before:
                    kept.append(step)
                break
            limit = float(np.nextafter(float(writer.highest), np.inf)) + 2.0**-40
    return kept
