"""Proofs of the native engines as values, and their replay."""

from mipverify_py.proof._proof import Index, Multipliers, Plane, Proof, ProofNode, Stage, Tree, Units
from mipverify_py.proof._regions import RegionBounds
from mipverify_py.proof._replay import ReplayReport, TreeReplay, replay, replay_tree
from mipverify_py.proof._structure import ProofError

__all__ = [
    "Index",
    "Multipliers",
    "Plane",
    "Proof",
    "ProofError",
    "ProofNode",
    "RegionBounds",
    "ReplayReport",
    "Stage",
    "Tree",
    "TreeReplay",
    "Units",
    "replay",
    "replay_tree",
]
