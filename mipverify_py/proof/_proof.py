"""What a native engine leaves behind: per target a tree of splits, and for every node the numbers that bound it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bounds import Bounds
from onnx_models import Array, ReluNetwork

if TYPE_CHECKING:
    from mipverify_py.proof._boxes import BoxTree

Index = NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class Stage:
    """The claim that some nodes of a tree were closed for:  f_j - f_c < threshold  on all of `region`.

    Later stages only claim more of less: their regions are subsets of, and their thresholds at least, the earlier ones.

    Attributes:
        region: the box.
        threshold: what f_j - f_c stays below.
        refinements: how pre-activations over the region are bounded better than by CROWN, ReLU nodes ascending.
    """

    region: Bounds
    threshold: float
    refinements: tuple[RefinedUnits, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Slopes:
    """Slopes alpha of the lower lines of units of one ReLU node, in the bounds of K units behind it.

    Attributes:
        relu: index of the ReLU node.
        units: positions in the node, ascending, shape (M,).
        alpha: for the K upper bounds, then for the K lower ones; clipped to [0, 1], and CROWN's choice where an entry
            is not a number; float16, since every slope is valid; shape (2, K, M).
    """

    relu: int
    units: Index
    alpha: NDArray[np.float16]


@dataclass(frozen=True, slots=True, eq=False)
class RefinedUnits:
    """How pre-activations z of one ReLU node are bounded better than by CROWN.

    First every bound gets slopes of its own. Then trees show for some units that z, or -z, stays below a limit, given
    the bounds so far: `limit_network` says how that is a question about a network.

    Attributes:
        relu: index of the ReLU node.
        units: positions in the node, ascending, shape (K,).
        slopes: of ReLU nodes before it, ascending; units that are not named have CROWN's slopes.
        limits: of z, then of -z; inf where there is no tree, shape (2, K).
        trees: with targets 1 + k for the limits of z and 1 + K + k for those of -z. Leaves that do not hold raise the
            limit by what their bounds are above it. Stages are ignored: a tree is for whatever region the stage has.
    """

    relu: int
    units: Index
    slopes: tuple[Slopes, ...]
    limits: Array
    trees: tuple[Tree, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Units:
    """The units of one ReLU node that are unstable over the first stage's region; a tree splits only these.

    Trees number the units of all `Units` one after the other, in the order of the network's nodes.

    Attributes:
        relu: index of the ReLU node.
        units: positions in the node, ascending.
    """

    relu: int
    units: Index


@dataclass(frozen=True, slots=True, eq=False)
class Plane:
    """An upper plane of one unit:  max(z, 0) <= coefficients . v[entries] + D  for v its direct inputs.

    The direct inputs are the values of the nodes that the unit's pre-activation is an affine map of, one after another
    (`DirectInputs`). Any coefficients are valid with  D = max over the box of v of  max(z, 0) - coefficients . v,
    which is a maximum of two linear functions; so D is not stored, and a plane cannot be wrong, only useless. The
    planes used are facets of the unit's convex hull (Anderson et al., 2020).

    Attributes:
        unit: number of the unit in the tree.
        entries: positions in the direct inputs, ascending, shape (k,).
        coefficients: shape (k,).
    """

    unit: int
    entries: Index
    coefficients: Array


@dataclass(frozen=True, slots=True, eq=False)
class Multipliers:
    """Dual variables of one node. Every choice gives a valid upper bound of f_j - f_c; a good choice a tight one.

    In the backward pass a unit that is neither split nor stable and has coefficient A is replaced, if A < 0, by its
    lower line alpha z, and if A > 0 by the upper lines weighted with `weights`; the triangle's line s z + t takes what
    they leave of 1.

    Attributes:
        alpha: slope of the lower line per unit, in [0, 1], shape (units,).
        rho: multiplier of a bound of each unit's pre-activation, whatever the bound comes from, shape (units,): a
            positive one adds rho (z - l), a negative one -rho (u - z).
        planes: numbers of planes in the tree's list, shape (p,).
        weights: their weights >= 0, shape (p,), whose sum per unit is at most 1.
    """

    alpha: Array
    rho: Array
    planes: Index
    weights: Array


@dataclass(slots=True, eq=False)
class ProofNode:
    """One node of a tree.

    Its region is the parent's region after the parent's tightening, cut by its own split and by its stage's box.

    Attributes:
        parent: number of the parent, -1 for the root. Parents precede their children.
        unit: number of the unit that the parent was split on, -1 for the root.
        sign: +1 for z >= 0, -1 for z <= 0, 0 for the root.
        stage: number of the stage under which its numbers below hold.
        multipliers: for its bound; None where the region is empty at once.
        gammas: shape (2, units): multipliers >= 0 with which the linear upper bound L >= threshold of the target
            tightens the lower (row 0) and upper (row 1) pre-activation bounds of the units that are affine in the
            input; entries of other units are ignored. None where nothing was tightened. 0 leaves a bound as it is.
        children: numbers of both children, or of the only child, which takes over the whole tightened region (unit -1,
            sign 0), or none for a leaf.
    """

    parent: int
    unit: int
    sign: int
    stage: int = 0
    multipliers: Multipliers | None = None
    gammas: Array | None = None
    children: tuple[int, ...] = ()


@dataclass(slots=True, eq=False)
class Tree:
    """The proof that f_j - f_c stays below the last stage's threshold on the last stage's region, for one target j."""

    target: int
    units: tuple[Units, ...]
    stages: list[Stage] = field(default_factory=list)
    planes: list[Plane] = field(default_factory=list)
    nodes: list[ProofNode] = field(default_factory=list)

    @property
    def unit_count(self) -> int:
        """Number of units that may be split."""
        return sum(len(u.units) for u in self.units)

    def split(self, parent: int, unit: int) -> tuple[int, int]:
        """Adds both children of a node and returns their numbers, the one with z >= 0 first."""
        first = len(self.nodes)
        for sign in (1, -1):
            self.nodes.append(ProofNode(parent, unit, sign))
        self.nodes[parent].children = (first, first + 1)
        return first, first + 1

    def refine(self, parent: int) -> int:
        """Adds an only child, to be bounded with the parent's tightened state, and returns its number."""
        self.nodes.append(ProofNode(parent, -1, 0))
        self.nodes[parent].children = (len(self.nodes) - 1,)
        return len(self.nodes) - 1


@dataclass(frozen=True, slots=True, eq=False)
class Proof:
    """That no point of `region` reaches the threshold: f_j - f_c < threshold for every target j of the trees.

    Attributes:
        network: the network.
        reference: c.
        region: the box of inputs; inside the region of every tree's last stage.
        threshold: the margin that is not reached; at least the threshold of every tree's last stage.
        trees: one per target class, in the order of the targets; none where a tree of boxes serves all targets.
        boxes: a tree of boxes for several targets, or None.
    """

    network: ReluNetwork
    reference: int
    region: Bounds
    threshold: float
    trees: tuple[Tree, ...]
    boxes: BoxTree | None = None

    @property
    def targets(self) -> tuple[int, ...]:
        """The classes j that the proof is about, ascending."""
        return tuple(sorted({*(tree.target for tree in self.trees), *(self.boxes.targets if self.boxes else ())}))
