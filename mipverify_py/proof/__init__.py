"""Proofs of the native engines as values, and their replay."""

from mipverify_py.proof._proof import Index, Multipliers, Plane, Proof, ProofNode, Stage, Tree, Units

__all__ = ["Index", "Multipliers", "Plane", "Proof", "ProofNode", "Stage", "Tree", "Units"]
