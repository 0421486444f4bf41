"""Whether a proof has the shape of a proof: everything that is checked before any number in it is used."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bounds import Bounds
from bounds._direct import direct_inputs
from mipverify_py.proof._proof import Plane, Proof, ProofNode, RefinedUnits, Stage, Tree
from onnx_models import Array, Relu, ReluNetwork
from onnx_models.errors import MipverifyError


class ProofError(MipverifyError):
    """A proof is malformed: what it says has no meaning, let alone holds."""


def check_claim(proof: Proof) -> None:
    """Raises ProofError unless the trees, if they hold, add up to what the proof claims."""
    require(len(proof.targets) > 0, "The proof has no trees, so it claims nothing.")
    require(
        bool(np.isfinite(proof.threshold)), f"The threshold {proof.threshold!r} of the proof is not a finite number."
    )
    for tree in proof.trees:
        require(len(tree.stages) > 0, f"The tree of target {tree.target} has no stages.")
        last = tree.stages[-1]
        inside = is_inside(proof.region, last.region)
        require(inside, f"The proof's region is not inside the last stage's region of target {tree.target}.")
        low = f"The proof's threshold {proof.threshold!r} is below the last stage's, {last.threshold!r}."
        require(proof.threshold >= last.threshold, low)


def check_tree(network: ReluNetwork, reference: int, tree: Tree) -> None:
    """Raises ProofError unless classes, units and stages are sound; planes and nodes have checks of their own."""
    for name, value in (("reference", reference), ("target", tree.target)):
        require(0 <= whole(value, name) < network.output_size, f"The {name} {value} is not a class of the network.")
    check_units(network, ((units.relu, units.units) for units in tree.units), len(network.nodes))
    check_stages(network, tree.stages)


def check_stages(network: ReluNetwork, stages: list[Stage]) -> None:
    """Raises ProofError unless every stage claims more of less than the one before it."""
    inputs = network.input_size
    require(len(stages) > 0, "The tree has no stages.")
    for number, stage in enumerate(stages):
        require(bool(np.isfinite(stage.threshold)), f"The threshold of stage {number} is not a finite number.")
        require(stage.region.size == inputs, f"The region of stage {number} does not fit the network's input.")
        check_refinements(network, stage.refinements)
    for number, (earlier, later) in enumerate(pairwise(stages), 1):
        require(is_inside(later.region, earlier.region), f"The region of stage {number} is not inside the one before.")
        require(later.threshold >= earlier.threshold, f"The threshold of stage {number} is below the one before.")


def check_refinements(network: ReluNetwork, refinements: tuple[RefinedUnits, ...]) -> None:
    """Raises ProofError unless units and slopes are of ReLU nodes in order, and the slopes have their shapes."""
    relus = [(found.relu, found.units) for found in refinements]
    check_units(network, relus, len(network.nodes))
    for found in refinements:
        count = len(found.units)
        floats(found.limits, (2, count), f"limits of node {found.relu}")
        targets = [whole(tree.target, "target of a limit's tree") for tree in found.trees]
        sound = all(1 <= target <= 2 * count for target in targets) and len(set(targets)) == len(targets)
        require(sound, f"The trees of node {found.relu} are not for different limits of its {count} units.")
        check_units(network, [(slopes.relu, slopes.units) for slopes in found.slopes], found.relu)
        for slopes in found.slopes:
            shape = 2, len(found.units), len(slopes.units)
            alpha: Any = slopes.alpha
            fits = isinstance(alpha, np.ndarray) and alpha.dtype == np.float16 and alpha.shape == shape
            require(fits, f"Slopes of node {slopes.relu} for node {found.relu} are no float16 array of shape {shape}.")


def check_units(network: ReluNetwork, listed: Iterable[tuple[Any, Any]], end: int) -> None:
    """Raises ProofError unless `listed` has ReLU nodes before node `end`, and units of each, both ascending."""
    previous = 0
    for node, units in listed:
        relu = whole(node, "ReLU node")
        known = previous < relu < end and isinstance(network.nodes[relu], Relu)
        require(known, f"Node {relu} is no ReLU node between node {previous} and node {end}.")
        ascending(units, network.nodes[relu].size, f"units of node {relu}")
        previous = relu


def check_planes(network: ReluNetwork, relus: NDArray[np.intp], planes: list[Plane]) -> None:
    """Raises ProofError unless the planes' entries are in range; `relus` has the ReLU node of every unit."""
    if not planes:
        return
    parts: list[NDArray[np.intp]] = []
    for plane in planes:
        unit = whole(plane.unit, "unit of a plane")
        require(0 <= unit < len(relus), f"A plane is for unit {unit}, the tree has {len(relus)}.")
        parts.append(indices(plane.entries, None, f"entries of a plane of unit {unit}"))
        floats(plane.coefficients, (len(plane.entries),), f"coefficients of a plane of unit {unit}")
    widths = {relu: direct_inputs(network, relu).weight.shape[1] for relu in set(relus.tolist())}
    owners, lengths = np.array([p.unit for p in planes]), np.array([len(p.entries) for p in planes])
    entries = np.concatenate(parts)
    ends, units = np.repeat([widths[int(r)] for r in relus[owners]], lengths), np.repeat(owners, lengths)
    first = np.zeros(len(entries), np.bool_)
    first[(np.cumsum(lengths) - lengths)[lengths > 0]] = True
    inside, ascends = (entries >= 0) & (entries < ends), first | (np.diff(entries, prepend=-1) > 0)
    if not np.all(inside):
        wrong = int(np.argmin(inside))
        raise ProofError(f"The entries of a plane of unit {units[wrong]} are not all below {ends[wrong]}.")
    require(bool(np.all(ascends)), f"The entries of a plane of unit {units[int(np.argmin(ascends))]} do not ascend.")


def levels(tree: Tree, stages: int | None = None) -> list[list[int]]:
    """Numbers of the nodes that hang on the root, by depth. Raises ProofError where children are not all there.

    `stages` is the number of stages if those of the tree do not count.
    """
    nodes = tree.nodes
    require(len(nodes) > 0, "The tree has no nodes.")
    require(nodes[0].parent == -1, "Node 0 is not a root.")
    result, level, count = [], [0], len(nodes)
    while level:
        result.append(level)
        below: list[int] = []
        for number in level:
            check_stage(tree, number, len(tree.stages) if stages is None else stages)
            children = nodes[number].children
            if children:
                if len(children) > 2 or not all(number < whole(c, "child") < count for c in children):
                    raise ProofError(f"Node {number} has the children {children}, not one or two later nodes.")
                check_children(tree, number, [nodes[c] for c in children])
                below += children
        level = below
    return result


def check_stage(tree: Tree, number: int, stages: int) -> None:
    """Raises ProofError unless the node's stage exists and is not before its parent's."""
    node = tree.nodes[number]
    earliest = tree.nodes[node.parent].stage if node.parent >= 0 else 0
    if not earliest <= whole(node.stage, "stage") < stages:
        raise ProofError(f"Node {number} has stage {node.stage}, its parent {earliest}; there are {stages} stages.")


def check_children(tree: Tree, number: int, children: list[ProofNode]) -> None:
    """Raises ProofError unless the children are the two sides of one unit, or one node that is not split off."""
    if any(child.parent != number for child in children):
        raise ProofError(f"A child of node {number} names another parent.")
    signs, units = [child.sign for child in children], {child.unit for child in children}
    if signs not in ([1, -1], [-1, 1], [0]):
        raise ProofError(f"The children of node {number} have the signs {signs}.")
    lowest, highest = (-1, -1) if len(children) == 1 else (0, tree.unit_count - 1)
    if len(units) != 1 or not lowest <= whole(units.pop(), "unit") <= highest:
        raise ProofError(f"The children of node {number} do not split one of the tree's {tree.unit_count} units.")


def is_inside(inner: Bounds, outer: Bounds) -> bool:
    """Whether box `inner` is a subset of box `outer`."""
    return inner.size == outer.size and bool(np.all(outer.lower <= inner.lower) and np.all(inner.upper <= outer.upper))


def require(condition: bool, message: str) -> None:
    """Raises ProofError with the message unless the condition holds."""
    if not condition:
        raise ProofError(message)


def whole(value: Any, name: str) -> int:
    """The value as an int; ProofError if it is none."""
    if not isinstance(value, int | np.integer):
        raise ProofError(f"The {name} {value!r} is not a whole number.")
    return int(value)


def ascending(values: Any, end: int, name: str) -> None:
    """Raises ProofError unless `values` is an array of ascending integers from 0 to end - 1."""
    require(bool(np.all(np.diff(indices(values, end, name)) > 0)), f"The {name} do not ascend.")


def indices(values: Any, end: int | None, name: str) -> NDArray[np.intp]:
    """The values, an array of integers from 0 to end - 1 where `end` is given; ProofError if they are none."""
    is_index = isinstance(values, np.ndarray) and values.ndim == 1 and values.dtype.kind in "iu"
    require(is_index, f"The {name} are not an array of indices.")
    if end is not None and len(values):
        require(int(values.min()) >= 0 and int(values.max()) < end, f"The {name} are not all below {end}.")
    result: NDArray[np.intp] = values.astype(np.intp, copy=False)
    return result


def floats(values: Any, shape: tuple[int, ...], name: str) -> Array:
    """The values, a float64 array of the shape; ProofError if they are none."""
    fits = isinstance(values, np.ndarray) and values.dtype == np.float64 and values.shape == shape
    require(fits, f"The {name} are not a float64 array of shape {shape}.")
    result: Array = values
    return result
