"""Whatever a proof chooses, the rules give true bounds: tried at points whose exact values are known."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pytest

from bounds import Bounds
from mipverify_py.certificate import Rejected
from mipverify_py.certificate._document import GRID, Network, Work
from mipverify_py.certificate._encode import network_section
from mipverify_py.certificate._rules import Form, Objective, Plane, Region, State
from mipverify_py.certificate.checker import ends
from tests.helpers.forgeries import random_choices, spread
from tests.helpers.networks import FAMILIES
from tests.helpers.proofs import exact_values, samples

Values = Sequence[Sequence[Fraction]]


def random_planes(rng: np.random.Generator, region: Region, sizes: Sequence[int]) -> list[Plane]:
    """Planes of the units, over what they read and over earlier nodes that may have nothing to do with them."""
    planes = []
    for unit in range(len(region.units)):
        for direct in (True, False):
            reads = sorted(region.network.direct(region.units[unit], region.work)[0])
            if not direct:
                earlier = rng.integers(max(1, region.units[unit][0]), size=2).tolist()
                reads = [(s, int(rng.integers(sizes[s]))) for s in earlier]
            values = [None if rng.random() < 0.2 else int(rng.integers(-40, 41)) for _ in reads]
            terms = [[s, [j], [c]] for (s, j), c in zip(reads, values, strict=True)]
            planes.append(region.plane({"unit": unit, "bits": 4, "terms": terms}))
    return planes


def random_state(rng: np.random.Generator, region: Region, values: Values) -> State:
    """A part of the box in which a point with these values lies."""
    state: State = {}
    for p, i in region.units:
        z, low, high = values[p][i], region.low[p][i], region.high[p][i]
        way = int(rng.integers(4))
        if way == 1:
            state[p, i] = (max(low, 0), high) if z >= 0 else (low, min(high, 0))
        elif way == 2:
            state[p, i] = max(low, int(z * 2**GRID // 1)), high
        elif way == 3:
            state[p, i] = low, min(high, -int(-z * 2**GRID // 1))
    return state


def value(form: Form, x: Sequence[Fraction]) -> Fraction:
    total = sum(g * v for g, v in zip(form.slopes, x, strict=True))
    return Fraction(total, 1 << form.exponent) + form.constant


def objective_at(objective: Objective, values: Values) -> Fraction:
    ((node, (exponent, row)),) = objective.items()
    return sum((c * v for c, v in zip(row, values[node], strict=True)), Fraction(0)) / (1 << exponent)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("family", FAMILIES)
def test_every_choice_gives_a_bound_at_every_point(family: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    network = FAMILIES[family](rng, max_relus=6)
    centre, reach = rng.normal(size=network.input_size), rng.random(network.input_size)
    box, sizes = Bounds(centre - reach, centre + reach), [node.size for node in network.nodes]
    units = [[relu, list(range(network.nodes[relu].size))] for relu in network.relu_indices]
    cube = ends(box.lower.tolist(), box.upper.tolist(), centre.tolist(), None)
    region = Region(Network(network_section(network)), Work(2**50), cube, units)
    region.derive([])
    planes, bounded = random_planes(rng, region, sizes), 0
    for x in samples(rng, box, 8):
        values = exact_values(network, x)
        for node, found in enumerate(values):
            for low, v, high in zip(region.low[node], found, region.high[node], strict=True):
                assert low <= v * 2**GRID <= high
        for _ in range(8):
            node = int(rng.integers(1, len(sizes)))
            objective = {node: (2, rng.integers(-9, 10, size=sizes[node]).tolist())}
            state = random_state(rng, region, values)
            choice = region.choice(random_choices(rng, len(region.units), len(planes)), planes)
            try:
                form = region.bound(objective, state, choice)
            except Rejected:  # the weights of a unit's planes add up to more than 1
                continue
            bounded += 1
            truth = objective_at(objective, values)
            assert value(form, values[0]) >= truth
            assert region.top(form) >= truth
            gammas = [[u, sign, spread(rng, 99)] for u in _first_layer(region) for sign in (0, 1)]
            threshold = truth - random_gap(rng)
            tighter = region.tighten(state, form, threshold, (gammas, 4))
            assert tighter is not None  # the point reaches the threshold, so it must stay
            for (p, i), (low, high) in tighter.items():
                assert low <= values[p][i] * 2**GRID <= high
    assert bounded > 20


def _first_layer(region: Region) -> list[int]:
    """The units that read the input alone."""
    return [
        u for u, unit in enumerate(region.units) if all(s == 0 for s, _ in region.network.direct(unit, region.work)[0])
    ]


def random_gap(rng: np.random.Generator) -> Fraction:
    """By how much a threshold is below what the point reaches; often by nothing."""
    return Fraction(int(rng.integers(3)), 1 << int(rng.integers(1, 40)))
