"""Problems, nodes and odd networks for tests of the batched duals."""

from __future__ import annotations

from collections.abc import Callable
from types import FrameType

import numpy as np
import torch

from bounds import Bounds
from mipverify_py.engines._dual_bound import Batch, DualBounder
from mipverify_py.engines._dual_planes import LayerPlanes
from mipverify_py.engines._dual_search import DualSearch
from mipverify_py.engines._problem import Problem, compile_problem
from mipverify_py.engines._target import Status
from mipverify_py.proof import Tree, TreeReplay
from onnx_models import Array, DenseMap, NetworkBuilder, ReluNetwork
from tests.helpers.networks import FAMILIES
from tests.helpers.oracles import largest_margin
from tests.helpers.proofs import random_box


def random_problem(family: str, seed: int, *, max_relus: int = 7, radius: float = 0.8) -> Problem:
    """A random network of a family over a random box; reference 0, targets 1 and 2."""
    rng = np.random.default_rng(seed)
    network = FAMILIES[family](rng, max_relus=max_relus, fuse=bool(rng.random() < 0.7))
    return compile_problem(network, 0, (1, 2), random_box(rng, network.input_size, radius))


def wide_problem(seed: int, *, inputs: int = 12, units: int = 6, reads: int | None = None) -> Problem:
    """One hidden layer, all targets 1 and 2, over a box of radius 1 around 0; each unit reads `reads` inputs or all."""
    rng = np.random.default_rng(seed)
    weight = rng.normal(size=(units, inputs))
    if reads is not None:
        kept = np.argsort(rng.random(weight.shape), axis=1)[:, :reads]
        mask = np.zeros(weight.shape)
        np.put_along_axis(mask, kept, 1.0, axis=1)
        weight = weight * mask
    network = two_layers(weight, rng.normal(size=units) * 0.3, rng.normal(size=(3, units)))
    return compile_problem(network, 0, (1, 2), Bounds(-np.ones(inputs), np.ones(inputs)))


def two_layers(hidden: Array, bias: Array, output: Array) -> ReluNetwork:
    """output @ relu(hidden @ x + bias)."""
    builder = NetworkBuilder((hidden.shape[1],))
    node = builder.relu(builder.affine((0,), (DenseMap(hidden),), bias))
    return builder.build(builder.affine((node,), (DenseMap(output),)))


def true_maximum(problem: Problem, target: int, box: Bounds | None = None) -> float:
    """max of f_j - f_c over the box, by brute force."""
    region = box or problem.box
    return largest_margin(problem.network, (target,), problem.reference, lower=region.lower, upper=region.upper)


def columns(problem: Problem, inputs: Array) -> Array:
    """The columns v of a problem at inputs of shape (B, n)."""
    values = problem.network.activations(inputs)
    return np.hstack([inputs, *(values[layer.relu][:, layer.units] for layer in problem.layers)])


def margins(problem: Problem, target: int, inputs: Array) -> Array:
    """f_j - f_c at inputs of shape (B, n), by the network itself."""
    logits = problem.network.forward_batch(inputs)
    return logits[:, target] - logits[:, problem.reference]


def random_batch(
    rng: np.random.Generator,
    problem: Problem,
    row: int,
    size: int,
    planes: dict[int, LayerPlanes],
    *,
    split: float = 0.3,
) -> Batch:
    """Nodes of one target with random signs, random multipliers, and the bounds of the whole box cut by the signs."""
    unit, count = problem.unit_bounds(problem.bounds), problem.unit_count
    signs = np.where(rng.random((size, count)) < split, rng.choice([-1.0, 1.0], (size, count)), 0.0)
    lower, upper = np.where(signs > 0, 0.0, unit.lower), np.where(signs < 0, 0.0, unit.upper)
    beta = rng.random((size, count)) * rng.choice([0.0, 0.1, 1.0], (size, 1))
    mu = {k: rng.random((size, len(p.units), 1 + p.count)) for k, p in planes.items()}
    return Batch(
        margin=torch.from_numpy(np.tile(problem.margin[row], (size, 1))),
        margin_constant=torch.full((size,), float(problem.margin_constant[row]), dtype=torch.float64),
        signs=torch.from_numpy(signs),
        lower=torch.from_numpy(lower),
        upper=torch.from_numpy(upper),
        alpha=torch.from_numpy(rng.random((size, count))),
        beta=torch.from_numpy(beta),
        mu={k: torch.from_numpy(m / m.sum(2, keepdims=True)) for k, m in mu.items()},
    )


def searched(problem: Problem, target: int, threshold: float, *, nodes: int = 3000, quantum: int = 50) -> DualSearch:
    """A search that has ended, or has bounded `nodes` nodes."""
    search = DualSearch(problem, target, threshold, DualBounder(problem))
    advanced(search, nodes, quantum)
    return search


def advanced(search: DualSearch, nodes: int = 3000, quantum: int = 50) -> int:
    """Goes on with a search until it ends or has bounded `nodes` nodes; returns how many it bounded."""
    done = 0
    while search.status is Status.OPEN and done < nodes:
        done += search.advance(quantum, None).nodes
    return done


def _no_hidden_layer() -> tuple[ReluNetwork, Bounds]:
    builder = NetworkBuilder((2,))
    weight = np.array([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]])
    return builder.build(builder.affine((0,), (DenseMap(weight),))), Bounds.of([0.0, 0.0], [1.0, 1.0])


def _stable() -> tuple[ReluNetwork, Bounds]:
    network = two_layers(np.eye(2), np.array([1.0, -3.0]), np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 1.0]]))
    return network, Bounds.of([0.0, 0.0], [1.0, 1.0])


def _constant() -> tuple[ReluNetwork, Bounds]:
    network = two_layers(np.array([[1.0, -1.0]]), np.zeros(1), np.zeros((3, 1)))
    return network, Bounds.of([-1.0, -1.0], [1.0, 1.0])


def _unread() -> tuple[ReluNetwork, Bounds]:
    """Two of four unstable units are read by nobody, one has no weights at all."""
    hidden = np.array([[1.0, -1.0], [1.0, 1.0], [2.0, -1.0], [0.0, 0.0]])
    output = np.array([[0.0, 0.0, 0.0, 1.0], [1.0, 0.0, 0.0, 0.0], [0.0, 0.0, -1.0, 0.0]])
    return two_layers(hidden, np.array([0.1, -0.2, 0.0, 0.0]), output), Bounds.of([-1.0, -1.0], [1.0, 1.0])


def _fixed_inputs() -> tuple[ReluNetwork, Bounds]:
    rng = np.random.default_rng(3)
    network = two_layers(rng.normal(size=(5, 4)), rng.normal(size=5) * 0.1, rng.normal(size=(3, 5)))
    return network, Bounds.of([-1.0, 0.3, -1.0, 0.2], [1.0, 0.3, 1.0, 0.2])


def _point() -> tuple[ReluNetwork, Bounds]:
    network, _ = _fixed_inputs()
    return network, Bounds.of([0.1, 0.2, 0.3, 0.4], [0.1, 0.2, 0.3, 0.4])


def _relu_of_the_input() -> tuple[ReluNetwork, Bounds]:
    builder = NetworkBuilder((3,))
    node = builder.relu(0)
    weight = np.array([[0.0, 0.0, 0.0], [1.0, -1.0, 1.0], [-1.0, -1.0, 2.0]])
    return builder.build(builder.affine((node,), (DenseMap(weight),))), Bounds.of([-1.0] * 3, [1.0, 2.0, 0.5])


def _stable_then_unstable() -> tuple[ReluNetwork, Bounds]:
    """The second layer's units are affine in the input, though they read the first layer."""
    rng = np.random.default_rng(5)
    builder = NetworkBuilder((2,))
    first = builder.relu(builder.affine((0,), (DenseMap(np.eye(2)),), np.full(2, 2.0)))
    middle = builder.affine((first,), (DenseMap(rng.normal(size=(5, 2))),), rng.normal(size=5) * 0.1)
    last = builder.affine((builder.relu(middle),), (DenseMap(rng.normal(size=(3, 5))),))
    return builder.build(last, fuse=False), Bounds.of([-1.0, -1.0], [1.0, 1.0])


def _two_affine_nodes() -> tuple[ReluNetwork, Bounds]:
    rng = np.random.default_rng(6)
    builder = NetworkBuilder((3,))
    first = builder.affine((0,), (DenseMap(rng.normal(size=(3, 3))),))
    middle = builder.affine((first,), (DenseMap(rng.normal(size=(6, 3))),), rng.normal(size=6) * 0.1)
    last = builder.affine((builder.relu(middle),), (DenseMap(rng.normal(size=(3, 6))),))
    return builder.build(last, fuse=False), Bounds.of([-1.0] * 3, [1.0] * 3)


def _negative_only() -> tuple[ReluNetwork, Bounds]:
    """No unit of the hidden layer raises the margin of any target."""
    rng = np.random.default_rng(7)
    output = np.vstack([np.full(6, 3.0), -rng.random((2, 6))])
    network = two_layers(rng.normal(size=(6, 4)), rng.normal(size=6) * 0.1, output)
    return network, Bounds.of([-1.0] * 4, [1.0] * 4)


ODD: dict[str, Callable[[], tuple[ReluNetwork, Bounds]]] = {
    "no hidden layer": _no_hidden_layer,
    "no unstable unit": _stable,
    "constant output": _constant,
    "units that nobody reads": _unread,
    "fixed inputs": _fixed_inputs,
    "a single point": _point,
    "relu of the input": _relu_of_the_input,
    "stable first layer": _stable_then_unstable,
    "two affine nodes": _two_affine_nodes,
    "only negative coefficients": _negative_only,
}
"""Networks with a corner of their own, each with a box; three classes."""


def odd_problem(name: str) -> Problem:
    """The problem of one of the `ODD` networks, reference 0, targets 1 and 2."""
    network, box = ODD[name]()
    return compile_problem(network, 0, (1, 2), box)


def failures(problem: Problem, tree: Tree) -> list[int]:
    """Leaves that do not hold."""
    return TreeReplay(problem.network, problem.reference, tree).failures()


def lineage(tree: Tree, number: int) -> set[int]:
    """A node and all nodes above it."""
    found = set()
    while number >= 0:
        found.add(number)
        number = tree.nodes[number].parent
    return found


class Interrupter:
    """Raises KeyboardInterrupt at the n-th line that runs in the searches' and planes' modules or in the tree's."""

    FILES = ("_dual_search.py", "_dual_lane.py", "_dual_planes.py", "_proof.py")

    def __init__(self, line: int) -> None:
        self.left, self.fired = line, False

    def __call__(self, frame: FrameType, event: str, _: object) -> Interrupter | None:
        if not frame.f_code.co_filename.endswith(self.FILES):
            return None
        if event == "line":
            self.left -= 1
            if self.left == 0:
                self.fired = True
                raise KeyboardInterrupt
        return self
