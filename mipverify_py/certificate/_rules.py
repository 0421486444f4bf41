"""The rules of a certificate: exact bounds of a network's nodes on a box, and proofs by trees of splits.

Python's standard library alone. Numbers are integers times powers of two: bounds are in units of 2**-GRID and rounded
outward, all between two roundings is exact. docs/explanation/certificates.md proves the rules, by their numbers here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction
from itertools import product
from types import MappingProxyType
from typing import Any, NamedTuple

from mipverify_py.certificate._document import (
    GRID,
    MOST_DIGITS,
    Affine,
    Network,
    Row,
    Unit,
    Work,
    down,
    fields,
    number,
    require,
    whole,
)

SLOPE = 30
"""Slopes of upper lines are multiples of 2**-SLOPE."""
MOST_STATES, MOST_PRICE = 2**22, 2**80
"""Limits of a proof: bounds held at once while a tree is walked; a multiplier."""

Ends = tuple[list[int], list[int]]
"""Lower and upper ends of a box in units of 2**-GRID."""
State = dict[Unit, tuple[int, int]]
"""Bounds of pre-activations z on a part of the box, for units that have better ones there than on all of it."""
Objective = dict[int, tuple[int, list[int]]]
"""A sum over nodes of coefficients times values, coefficients in units of 2**-exponent: node to (exponent, those)."""


class Plane(NamedTuple):
    """y <= sum of C v + constant for a unit's direct inputs v: C by source, in units of 2**-exponent."""

    unit: Unit
    slopes: dict[int, list[tuple[int, int]]]
    exponent: int
    constant: Fraction


NOTHING: Mapping[Unit, Any] = MappingProxyType({})


class Choice(NamedTuple):
    """What a linear bound may choose freely, integers in units of 2**-bits.

    alpha: slopes in [0, 1] of lower lines; units without one have 1 where u > -l, else 0. rho: multipliers of the lower
    bounds of units where positive, of the upper ones where negative. shares: planes and their weights >= 0 by unit.
    """

    bits: int = 0
    alpha: Mapping[Unit, int] = NOTHING
    rho: Mapping[Unit, int] = NOTHING
    shares: Mapping[Unit, list[tuple[Plane, int]]] = NOTHING


class Form(NamedTuple):
    """slopes . x * 2**-exponent + constant."""

    slopes: list[int]
    exponent: int
    constant: Fraction


class Region:
    """A box with bounds of every node's values on it, in units of 2**-GRID, and the units that proofs may name."""

    def __init__(self, network: Network, work: Work, box: Ends, units: list[Any]) -> None:
        self.network, self.work, self.low, self.high = network, work, [box[0]], [box[1]]
        self.units: list[Unit] = []
        for node, entries in units:
            source = network.nodes[whole(node, len(network.nodes))]
            self.units += [(whole(source, len(network.nodes)), whole(i, network.sizes[node])) for i in entries]

    def derive(self, steps: list[Any]) -> None:
        """Bounds of every node, and after each those of the steps that are for it."""
        waiting = steps[::-1]
        for index in range(1, len(self.network.nodes)):
            self.enter(index)
            while waiting and waiting[-1]["node"] == index:
                self.step(index, waiting.pop())
        require(not waiting, "Steps are not in the order of the nodes.")

    def enter(self, index: int) -> None:
        """Bounds of a node: by rule 1, and where that leaves a pre-activation unstable by rules 2 and 4."""
        node = self.network.nodes[index]
        if isinstance(node, Affine):
            self.add_interval(node)
            if index in self.network.read_by_relu and any(source > 0 for source, _ in node.parts):
                for i, sign in product(range(len(node.bias)), (1, -1)):
                    if self.low[index][i] < 0 < self.high[index][i]:
                        self.take(index, i, sign, self.top(self.bound(self.pick(index, i, sign), {}, Choice())))
        else:
            assert node is not None
            self.low.append([max(0, v) for v in self.low[node]])
            self.high.append([max(0, v) for v in self.high[node]])

    def add_interval(self, node: Affine) -> None:
        """Rule 1. A sum is at most the sum of the largest values of its terms."""
        low, high = [[b << GRID for b in node.bias] for _ in range(2)]
        for source, rows in node.parts:
            bottom, top = self.low[source], self.high[source]
            for i, (columns, weights) in enumerate(rows):
                self.work.spend(2 * len(weights), node.exponent + GRID)
                low[i] += sum(w * (bottom[j] if w > 0 else top[j]) for j, w in zip(columns, weights, strict=True))
                high[i] += sum(w * (top[j] if w > 0 else bottom[j]) for j, w in zip(columns, weights, strict=True))
        self.work.measured(low, high)
        self.low.append([v >> node.exponent for v in low])
        self.high.append([-(-v >> node.exponent) for v in high])

    def step(self, index: int, value: Any) -> None:
        """A better bound of one unit z, or of -z: rule 4 with choices, or rule 7 for a limit."""
        _, unit, sign, below, proof = fields(value, "node unit sign below proof")
        objective = self.pick(index, whole(unit, self.network.sizes[index]), 2 * whole(sign, 2) - 1)
        if below is None:
            top = self.top(self.bound(objective, {}, self.choice(proof, [])))
        else:
            top = number(below)
            self.walk(objective, top, proof)
        self.take(index, unit, 2 * sign - 1, top)

    def pick(self, node: int, unit: int, sign: int) -> Objective:
        """The objective sign * z for one entry z of a node."""
        return {node: (0, [sign * (i == unit) for i in range(self.network.sizes[node])])}

    def take(self, index: int, unit: int, sign: int, top: Fraction) -> None:
        """Takes in that sign * z is at most `top`."""
        if sign > 0:
            self.high[index][unit] = min(self.high[index][unit], -down(-top))
        else:
            self.low[index][unit] = max(self.low[index][unit], down(-top))

    def bound(self, objective: Objective, state: State, choice: Choice) -> Form:
        """Rules 2 and 3. A linear function of x that is at least the objective for every x of the part with `state`.

        From the last node back every node is replaced by what it is made of, or by something that is no smaller.
        """
        self.work.spend(self.network.sizes[0], 0)
        left, constant = {0: (0, [0] * self.network.sizes[0]), **objective}, Fraction(0)
        for (p, i), rho in choice.rho.items():  # rule 3: neither rho (z - l) nor -rho (u - z) is negative
            low, high = state.get((p, i)) or (self.low[p][i], self.high[p][i])
            self.add(left, p, choice.bits, [(i, rho)])
            constant -= Fraction(rho * (low if rho > 0 else high), 1 << (choice.bits + GRID))
        while (index := max(left)) > 0:
            exponent, coefficients = left.pop(index)
            node = self.network.nodes[index]
            if isinstance(node, Affine):
                total = sum(c * b for c, b in zip(coefficients, node.bias, strict=True))
                exponent += node.exponent
                constant += Fraction(total, 1 << exponent)
                for source, rows in node.parts:
                    self.add(left, source, exponent, enumerate(self.pull(rows, coefficients, source, exponent)))
            else:
                assert node is not None
                constant += self.through_relu(left, node, (exponent, coefficients), state, choice)
        exponent, slopes = left[0]
        return Form(slopes, exponent, constant)

    def pull(self, rows: list[Row], coefficients: list[int], source: int, exponent: int) -> list[int]:
        """The coefficients of what a map reads, from those of what it gives."""
        total, products = [0] * self.network.sizes[source], 0
        for c, (columns, weights) in zip(coefficients, rows, strict=True):
            if c and isinstance(columns, range):
                total = [t + c * w for t, w in zip(total, weights, strict=True)]
            elif c:
                for j, w in zip(columns, weights, strict=True):
                    total[j] += c * w
            products += 1 + (len(weights) if c else 0)
        self.work.spend(products + len(total), exponent)
        self.work.measured(total)
        return total

    def add(self, left: Objective, node: int, exponent: int, terms: Iterable[tuple[int, int]]) -> None:
        """Adds coefficients, in units of 2**-exponent, to those that a node has."""
        old, kept = left.get(node) or (exponent, [0] * self.network.sizes[node])
        common = max(old, exponent)
        self.work.vector(len(kept), common)
        kept = [c << (common - old) for c in kept]
        for i, c in terms:
            kept[i] += c << (common - exponent)
        left[node] = common, kept

    def through_relu(
        self, left: Objective, p: int, part: tuple[int, list[int]], state: State, choice: Choice
    ) -> Fraction:
        """Rule 2. Replaces a y, with y = max(z, 0), for every entry z of node p; returns what is constant.

        l >= 0: y = z.  u <= 0: y = 0.  a < 0: y >= alpha z.  a > 0: y is at most each of its planes, and at most
        s z + t for s in [0, 1] and t = max(u (1 - s), -l s), since that is so at z = l, 0 and u.
        """
        (exponent, coefficients), result, intercepts, constant, one = part, [], 0, Fraction(0), 1 << choice.bits
        for i, a in enumerate(coefficients):
            low, high = state.get((p, i)) or (self.low[p][i], self.high[p][i])
            if a == 0 or low >= 0 or high <= 0:
                result.append(a << (choice.bits + SLOPE) if low >= 0 else 0)
            elif a < 0:
                result.append(a * choice.alpha.get((p, i), one if high > -low else 0) << SLOPE)
            else:
                rest = one
                for plane, weight in choice.shares.get((p, i), ()):
                    rest -= weight
                    for source, terms in plane.slopes.items():
                        finer = exponent + choice.bits + plane.exponent
                        self.add(left, source, finer, [(j, a * weight * c) for j, c in terms])
                    constant += plane.constant * a * weight / (1 << (exponent + choice.bits))
                require(rest >= 0, "The weights of a unit's planes add up to more than 1.")
                slope = (high << SLOPE) // (high - low)
                result.append(a * rest * slope)
                intercepts += a * rest * max(high * ((1 << SLOPE) - slope), -low * slope)
        exponent += choice.bits + SLOPE
        self.add(left, p, exponent, enumerate(result))
        return constant + Fraction(intercepts, 1 << (exponent + GRID))

    def top(self, form: Form) -> Fraction:
        """Rule 4. A linear function on a box is largest where each entry is at the end that its slope asks for."""
        self.work.spend(len(form.slopes), form.exponent + GRID)
        ends = zip(form.slopes, self.low[0], self.high[0], strict=True)
        return form.constant + Fraction(sum(g * (b if g > 0 else a) for g, a, b in ends), 1 << (form.exponent + GRID))

    def plane(self, value: Any) -> Plane:
        """Rule 5. y <= C v + D for any C with  D = max( max of -C v,  max of (w - C) v + b ),  as y is 0 or w v + b."""
        unit, bits, terms = fields(value, "unit bits terms")
        unit = self.units[whole(unit, len(self.units))]
        named = frozenset(source for source, _, _ in terms)
        w, bias, exponent = self.network.direct(unit, self.work, named)
        common, slopes = max(whole(bits, MOST_DIGITS), exponent), dict[Unit, int]()
        for source, entries, values in terms:
            size = self.network.sizes[whole(source, unit[0] + 1)]  # before the ReLU: so bounds end
            for j, c in zip(entries, values, strict=True):
                v = source, whole(j, size)  # null stands for the coefficient that w has
                slopes[v] = (
                    w.get(v, 0) << (common - exponent)
                    if c is None
                    else whole(c, MOST_PRICE, -MOST_PRICE) << (common - bits)
                )
        off = self.largest({v: -c for v, c in slopes.items()}, common)
        rest = {v: (w.get(v, 0) << (common - exponent)) - slopes.get(v, 0) for v in {**slopes, **w}}
        constant = max(off, self.largest(rest, common) + Fraction(bias, 1 << exponent))
        by_source: dict[int, list[tuple[int, int]]] = {}
        for (source, j), c in slopes.items():
            by_source.setdefault(source, []).append((j, c))
        return Plane(unit, by_source, common, constant)

    def largest(self, coefficients: dict[Unit, int], exponent: int) -> Fraction:
        """The largest value over the box of a sum of values of nodes, by their bounds."""
        bits = max((c.bit_length() for c in coefficients.values()), default=0)
        self.work.spend(len(coefficients), exponent + GRID + bits)
        ends = ((c, self.low[p][j], self.high[p][j]) for (p, j), c in coefficients.items())
        return Fraction(sum(c * (b if c > 0 else a) for c, a, b in ends), 1 << (exponent + GRID))

    def choice(self, value: Any, planes: list[Plane]) -> Choice:
        """Choices from the file, checked to lie in their ranges."""
        bits, alpha, rho, shares = fields(value, "bits alpha rho planes")
        one = 1 << whole(bits, MOST_DIGITS)
        require(len(alpha) <= len(self.units), "There are more slopes than units.")
        slopes = {u: whole(k, one + 1) for u, k in zip(self.units, alpha, strict=False) if k is not None}
        prices = {self.units[whole(u, len(self.units))]: whole(k, MOST_PRICE, -MOST_PRICE) for u, k in rho}
        found: dict[Unit, list[tuple[Plane, int]]] = {}
        for place, weight in shares:
            plane = planes[whole(place, len(planes))]
            found.setdefault(plane.unit, []).append((plane, whole(weight, one + 1)))
        return Choice(bits, slopes, prices, found)

    def tighten(self, state: State, form: Form, threshold: Fraction, value: tuple[Any, int]) -> State | None:
        """Rule 6. Where L(x) = g x + k is to be at least t, any gamma >= 0 gives, for z = w x + b,

        z <= max over the box of (w + gamma g) x + b + gamma (k - t), and the same for -z. None: bounds cross.
        """
        gammas, bits = value
        found = dict(state)
        parts = [g * (b if g > 0 else a) for g, a, b in zip(form.slopes, self.low[0], self.high[0], strict=True)]
        total = sum(parts)
        for u, sign, gamma in gammas:
            unit = p, i = self.units[whole(u, len(self.units))]
            w, bias, exponent = self.network.direct(unit, self.work)
            require(all(source == 0 for source, _ in w), "A unit that is tightened reads more than the input.")
            factor, s = Fraction(whole(gamma, MOST_PRICE), 1 << bits), 2 * whole(sign, 2) - 1
            common = max(exponent, form.exponent + bits)
            mixed = {
                (0, j): (s * c << (common - exponent)) + (gamma * form.slopes[j] << (common - form.exponent - bits))
                for (_, j), c in w.items()
            }
            rest = Fraction(total - sum(parts[j] for _, j in w), 1 << (form.exponent + GRID))
            top = self.largest(mixed, common) + s * Fraction(bias, 1 << exponent)
            top += factor * (rest + form.constant - threshold)
            low, high = found.get(unit) or (self.low[p][i], self.high[p][i])
            found[unit] = (low, min(high, -down(-top))) if s > 0 else (max(low, down(-top)), high)
        return None if any(low > high for low, high in found.values()) else found

    def exclude(self, reference: int, margin: Fraction, trees: Iterable[tuple[Any, Any]]) -> set[int]:
        """The classes j for which a tree shows that f_j - f_reference stays below the margin."""
        found = set()
        for target, tree in trees:
            self.work.spend(self.network.sizes[-1], 0)
            row = [0] * self.network.sizes[-1]
            row[whole(target, len(row))] += 1
            row[reference] -= 1
            self.walk({len(self.network.nodes) - 1: (0, row)}, margin, tree)
            found.add(target)
        return found

    def walk(self, objective: Objective, threshold: Fraction, tree: Any) -> None:
        """Rule 7. A tree whose every leaf is empty or has a bound below the threshold; z >= 0 comes before z <= 0."""
        planes, nodes = fields(tree, "planes nodes")
        table, waiting = [self.plane(plane) for plane in planes], list[State | None]([{}])
        for node in nodes:
            require(bool(waiting), "A tree goes on after its last leaf.")
            here = waiting.pop()
            if "split" in node:
                p, i = self.units[whole(fields(node, "split")[0], len(self.units))]
                low, high = (here or {}).get((p, i)) or (self.low[p][i], self.high[p][i])
                for part in (low, min(high, 0)), (max(low, 0), high):
                    waiting.append(None if here is None or part[0] > part[1] else {**here, (p, i): part})
            elif "tighten" in node:
                gammas, bits, choice = fields(node, "tighten bits by")
                if here is not None:
                    form = self.bound(objective, here, self.choice(choice, table))
                    here = self.tighten(here, form, threshold, (gammas, whole(bits, MOST_DIGITS)))
                waiting.append(here)
            else:
                (choice,) = fields(node, "close")
                closed = here is None or self.top(self.bound(objective, here, self.choice(choice, table))) < threshold
                require(closed, "The bound of a leaf is not below the threshold.")
            size = len(here or {})
            self.work.spend(size, GRID)
            require(len(waiting) * (size + 1) <= MOST_STATES, "A tree is too deep.")
        require(not waiting, "A tree ends before all its parts are closed.")
