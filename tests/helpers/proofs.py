"""Proof trees for tiny networks, made without an engine: sound and complete ones, and hostile ones."""

from __future__ import annotations

from fractions import Fraction
from itertools import product

import numpy as np
from scipy.optimize import linprog

from bounds import Bounds, NetworkBounds, linear_bounds
from bounds._direct import direct_inputs
from mipverify_py.proof import Multipliers, Plane, Proof, ProofNode, Stage, Tree, Units
from onnx_models import Affine, Array, DenseMap, Input, NetworkBuilder, ReluNetwork
from tests.helpers.oracles import PatternPiece, pieces

PENALTY = 1e6
"""Price of a violated half-space in `cell_multipliers`; larger than any multiplier that a tiny network needs."""

HOSTILE = (np.nan, np.inf, -np.inf, -1e300, -1.0, 0.0, 1e-320, 0.5, 1.0, 7.0, 1e300)


def exact_values(network: ReluNetwork, x: Array) -> list[list[Fraction]]:
    """The value of every node at one input, term by term in fractions."""
    values: list[list[Fraction]] = []
    for node in network.nodes:
        if isinstance(node, Input):
            values.append([Fraction(float(v)) for v in x])
        elif isinstance(node, Affine):
            total = [Fraction(float(b)) for b in node.bias]
            for source, linear_map in zip(node.inputs, node.maps, strict=True):
                matrix = linear_map.to_sparse().tocoo()
                for i, j, w in zip(*matrix.coords, matrix.data, strict=True):
                    total[i] += Fraction(float(w)) * values[source][j]
            values.append(total)
        else:
            values.append([max(v, Fraction(0)) for v in values[node.input]])
    return values


def random_box(rng: np.random.Generator, size: int, radius: float) -> Bounds:
    """A box around a point of the unit cube; a tenth of the entries are fixed."""
    centre = rng.random(size)
    spread = radius * rng.random(size) * (rng.random(size) < 0.9)
    return Bounds(np.clip(centre - spread, 0, 1), np.clip(centre + spread, 0, 1))


def samples(rng: np.random.Generator, box: Bounds, count: int) -> Array:
    """`count` points inside the box and `count` corners."""
    inside = box.lower + rng.random((count, box.size)) * (box.upper - box.lower)
    corners = np.where(rng.random((count, box.size)) < 0.5, box.lower, box.upper)
    return np.clip(np.vstack([inside, corners]), box.lower, box.upper)


def tree_units(network: ReluNetwork, bounds: NetworkBounds) -> tuple[Units, ...]:
    """All unstable units."""
    found = [(r, np.flatnonzero(bounds.pre_activation(network, r).straddles_zero)) for r in network.relu_indices]
    return tuple(Units(relu, units) for relu, units in found if len(units))


def root_tree(network: ReluNetwork, target: int, box: Bounds, threshold: float) -> Tree:
    """A tree of one stage and one node without multipliers."""
    tree = Tree(target, tree_units(network, linear_bounds(network, box)), [Stage(box, threshold)])
    tree.nodes.append(ProofNode(-1, -1, 0))
    return tree


def proof_of(network: ReluNetwork, reference: int, *trees: Tree) -> Proof:
    """The proof of what the trees' last stages claim."""
    last = trees[0].stages[-1]
    return Proof(network, reference, last.region, last.threshold, trees)


def add_planes(rng: np.random.Generator, network: ReluNetwork, tree: Tree, count: int) -> None:
    """Adds random planes; about half of them keep a random part of the unit's weights, as facets of its hull do."""
    units = [(u.relu, k) for u in tree.units for k in u.units]
    for _ in range(count if units else 0):
        number = int(rng.integers(len(units)))
        relu, unit = units[number]
        row = direct_inputs(network, relu).weight[[unit]].toarray()[0]
        entries = np.flatnonzero(rng.random(len(row)) < 0.8)
        kept = row[entries] * (rng.random(len(entries)) if rng.random() < 0.5 else rng.random(len(entries)) < 0.5)
        tree.planes.append(Plane(number, entries, kept + rng.normal(size=len(entries)) * rng.choice([0.0, 0.0, 0.1])))


def random_multipliers(rng: np.random.Generator, tree: Tree, *, hostile: bool = False) -> Multipliers:
    """Multipliers in their ranges; hostile ones are anything else."""
    count, planes = tree.unit_count, len(tree.planes)
    chosen = rng.permutation(planes)[: int(rng.integers(planes + 1))]
    owner = np.array([tree.planes[p].unit for p in chosen], np.intp)
    weights = rng.random(len(chosen)) / np.maximum(1.0, np.bincount(owner, minlength=count)[owner])
    plain = Multipliers(rng.random(count), rng.normal(size=count) * rng.choice([0.0, 0.1, 1.0]), chosen, weights)
    if not hostile:
        return plain
    twice = np.concatenate([chosen, chosen[: len(chosen) // 2]])
    return Multipliers(
        *(spoiled(rng, a) for a in (plain.alpha, plain.rho)), twice, spoiled(rng, rng.random(len(twice)))
    )


def random_gammas(rng: np.random.Generator, tree: Tree, *, hostile: bool = False) -> Array:
    """Multipliers for tightening; hostile ones are anything else."""
    gammas = rng.random((2, tree.unit_count)) * 10.0 ** rng.integers(-2, 2, (2, tree.unit_count))
    return spoiled(rng, gammas) if hostile else gammas


def spoiled(rng: np.random.Generator, values: Array) -> Array:
    """The values, about a fifth of them replaced by `HOSTILE` ones."""
    return np.where(rng.random(values.shape) < 0.2, rng.choice(HOSTILE, values.shape), values)


def complete_tree(
    network: ReluNetwork, reference: int, target: int, box: Bounds, threshold: float, rng: np.random.Generator
) -> Tree:
    """A tree that splits every unstable unit; its leaves are cells, bounded by multipliers of their linear programs.

    The inner nodes have random multipliers, and half of them random gammas.
    """
    tree = root_tree(network, target, box, threshold)
    add_planes(rng, network, tree, 3 * tree.unit_count)
    bounds, every = linear_bounds(network, box), list(pieces(network))
    paths: list[tuple[int, dict[int, int]]] = [(0, {})]
    while paths:
        number, signs = paths.pop()
        if len(signs) == tree.unit_count:
            piece = every[_pattern_number(network, bounds, tree, signs)]
            tree.nodes[number].multipliers = cell_multipliers(network, tree, piece, (reference, target), box, signs)
            continue
        tree.nodes[number].multipliers = random_multipliers(rng, tree)
        if rng.random() < 0.5:
            tree.nodes[number].gammas = random_gammas(rng, tree)
        unit = int(rng.choice([k for k in range(tree.unit_count) if k not in signs]))
        on, off = tree.split(number, unit)
        paths += [(on, {**signs, unit: 1}), (off, {**signs, unit: -1})]
    return tree


def _flat_units(network: ReluNetwork, tree: Tree) -> list[int]:
    """Position of each of the tree's units among all ReLU units of the network."""
    first, starts = 0, {}
    for relu in network.relu_indices:
        starts[relu] = first
        first += network.nodes[relu].size
    return [starts[u.relu] + int(k) for u in tree.units for k in u.units]


def _pattern_number(network: ReluNetwork, bounds: NetworkBounds, tree: Tree, signs: dict[int, int]) -> int:
    """Number of the piece with the given units on and off, and stable units as they are."""
    on = np.concatenate([bounds.pre_activation(network, r).lower >= 0 for r in network.relu_indices])
    for unit, place in enumerate(_flat_units(network, tree)):
        on[place] = signs[unit] > 0
    return list(product((False, True), repeat=len(on))).index(tuple(bool(b) for b in on))


def cell_multipliers(
    network: ReluNetwork, tree: Tree, piece: PatternPiece, classes: tuple[int, int], box: Bounds, signs: dict[int, int]
) -> Multipliers:
    """The rho that bound f_j - f_c on one cell by its maximum, or far below every threshold if the cell is empty.

    They are the dual solution of  max f_j - f_c - PENALTY s  with every half-space violated by at most s.
    """
    g, h, f, _ = piece
    reference, target = classes
    places = [_flat_units(network, tree)[unit] for unit in signs]
    rho = np.zeros(tree.unit_count)
    if signs:
        rows = np.hstack([g[places], -np.ones((len(places), 1))])
        cost = np.append(f[reference] - f[target], PENALTY)
        limits = [*zip(box.lower, box.upper, strict=True), (0.0, None)]
        answer = linprog(cost, A_ub=rows, b_ub=h[places], bounds=limits, method="highs")
        assert answer.status == 0
        rho[list(signs)] = -np.array(list(signs.values())) * answer.ineqlin.marginals
    empty = np.zeros(0)
    return Multipliers(np.zeros(tree.unit_count), rho, empty.astype(np.intp), empty)


def absolute_value() -> ReluNetwork:
    """f_0 = 1/2, f_1 = relu(x) + relu(-x)."""
    builder = NetworkBuilder((1,))
    hidden = builder.relu(builder.affine([0], [DenseMap(np.array([[1.0], [-1.0]]))]))
    weight = np.array([[0.0, 0.0], [1.0, 1.0]])
    return builder.build(builder.affine([hidden], [DenseMap(weight)], np.array([0.5, 0.0])), fuse=False)


def plain_multipliers(units: int) -> Multipliers:
    """No planes, alpha 0, rho 0."""
    return Multipliers(np.zeros(units), np.zeros(units), np.zeros(0, np.intp), np.zeros(0))


def split_proof() -> Proof:
    """f_1 - f_0 = |x| - 1/2 < 0.6 on [-1, 1], split on the sign of x, though no split is needed."""
    tree = root_tree(absolute_value(), 1, Bounds.of([-1.0], [1.0]), 0.6)
    tree.planes.append(Plane(0, np.array([0]), np.array([0.5])))
    tree.split(0, 0)
    for node in tree.nodes:
        node.multipliers = Multipliers(np.zeros(2), np.zeros(2), np.array([0]), np.array([0.5]))
    return proof_of(absolute_value(), 0, tree)
