"""Proofs of the native engines as values, and their replay."""

from mipverify_py.proof._box_replay import BoxReplay, one_thread_each
from mipverify_py.proof._boxes import BoxTree
from mipverify_py.proof._proof import (
    Index,
    Multipliers,
    Plane,
    Proof,
    ProofNode,
    RefinedUnits,
    Slopes,
    Stage,
    Tree,
    Units,
)
from mipverify_py.proof._refinement import (
    RegionBounds,
    limit_bounds,
    limit_network,
    limit_units,
    refine_units,
    without_trees,
)
from mipverify_py.proof._replay import ReplayReport, TreeReplay, replay, replay_tree
from mipverify_py.proof._structure import ProofError

__all__ = [
    "BoxReplay",
    "BoxTree",
    "Index",
    "Multipliers",
    "Plane",
    "Proof",
    "ProofError",
    "ProofNode",
    "RefinedUnits",
    "RegionBounds",
    "ReplayReport",
    "Slopes",
    "Stage",
    "Tree",
    "TreeReplay",
    "Units",
    "limit_bounds",
    "limit_network",
    "limit_units",
    "one_thread_each",
    "refine_units",
    "replay",
    "replay_tree",
    "without_trees",
]
