"""Malformed proofs: each is refused for its own reason, and none crashes the replay."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bounds import Bounds
from mipverify_py.proof import Plane, ProofError, Stage, Tree, Units, replay, replay_tree
from tests.helpers.proofs import split_proof

Spoil = Callable[[Tree], object]


def node(number: int, **changes: Any) -> Spoil:
    """Changes attributes of a node."""
    return lambda tree: [setattr(tree.nodes[number], name, value) for name, value in changes.items()]


def both_sides(**changes: Any) -> Spoil:
    """Changes attributes of both children of the root."""
    return lambda tree: [node(number, **changes)(tree) for number in (1, 2)]


def multipliers(**changes: Any) -> Spoil:
    """Changes the multipliers of a leaf."""
    return lambda tree: setattr(tree.nodes[1], "multipliers", replace(tree.nodes[1].multipliers, **changes))


def units(*listed: Units) -> Spoil:
    return lambda tree: setattr(tree, "units", listed)


def plane(unit: int, entries: Any, coefficients: Any) -> Spoil:
    return lambda tree: tree.planes.append(Plane(unit, entries, coefficients))


def stage(lower: list[float], upper: list[float], threshold: float) -> Spoil:
    return lambda tree: tree.stages.append(Stage(Bounds.of(lower, upper), threshold))


SPOILS: dict[str, tuple[Spoil, str]] = {
    "no nodes": (lambda tree: tree.nodes.clear(), "no nodes"),
    "no stages": (lambda tree: tree.stages.clear(), "no stages"),
    "a child is missing": (lambda tree: tree.nodes.pop(), "not one or two later nodes"),
    "a child twice": (node(0, children=(1, 1)), r"signs \[1, 1\]"),
    "one side only": (node(0, children=(1,)), r"signs \[1\]"),
    "one child that is split off": (lambda t: (node(0, children=(1,))(t), node(1, sign=0)(t)), "do not split"),
    "its own child": (node(0, children=(0, 2)), "later nodes"),
    "three children": (node(0, children=(1, 2, 2)), "later nodes"),
    "a child that is no number": (node(0, children=(1, "2")), "child '2' is not a whole number"),
    "a root with a parent": (node(0, parent=0), "not a root"),
    "a loop": (node(2, children=(1, 2)), "later nodes"),
    "another parent": (node(2, parent=1), "names another parent"),
    "the same side twice": (node(2, sign=1), r"signs \[1, 1\]"),
    "no sides": (both_sides(sign=0), r"signs \[0, 0\]"),
    "two units": (node(2, unit=1), "do not split"),
    "an unknown unit": (both_sides(unit=2), "do not split"),
    "a negative unit": (both_sides(unit=-1), "do not split"),
    "a unit that is no number": (both_sides(unit=0.0), "not a whole number"),
    "an unknown stage": (node(2, stage=1), "has stage 1"),
    "a negative stage": (node(0, stage=-1), "has stage -1"),
    "a stage before the parent's": (lambda t: (stage([-1.0], [1.0], 0.6)(t), node(0, stage=1)(t)), "has stage 0"),
    "a region that grows": (stage([-1.0], [1.1], 0.6), "not inside"),
    "a threshold that falls": (stage([-1.0], [1.0], 0.5), "threshold of stage 1 is below"),
    "a threshold that is no number": (stage([-1.0], [1.0], np.nan), "not a finite number|below"),
    "an infinite threshold": (stage([-1.0], [1.0], np.inf), "below"),
    "a region of another size": (stage([-1.0, 0.0], [1.0, 0.0], 0.6), "not inside"),
    "an unknown class": (lambda tree: setattr(tree, "target", 2), "target 2 is not a class"),
    "a class that is no number": (lambda tree: setattr(tree, "target", "1"), "target '1' is not a whole number"),
    "units of no ReLU": (units(Units(1, np.array([0, 1]))), "no ReLU node"),
    "units twice": (units(*[Units(2, np.array([0, 1]))] * 2), "no ReLU node"),
    "units out of order": (units(Units(2, np.array([1, 0]))), "do not ascend"),
    "unsigned units out of order": (units(Units(2, np.array([1, 0], np.uint8))), "do not ascend"),
    "unknown units": (units(Units(2, np.array([0, 2]))), "not all below 2"),
    "units that are no numbers": (units(Units(2, np.array([0.0, 1.0]))), "not an array of indices"),
    "a plane of an unknown unit": (plane(2, np.array([0]), np.ones(1)), "a plane is for unit 2"),
    "a plane of unknown entries": (plane(0, np.array([1]), np.ones(1)), "not all below 1"),
    "a plane of negative entries": (plane(0, np.array([-1]), np.ones(1)), "not all below 1"),
    "a plane's entry twice": (plane(0, np.array([0, 0]), np.ones(2)), "do not ascend"),
    "a plane of another length": (plane(0, np.array([0]), np.ones(2)), "coefficients of a plane"),
    "a plane of integers": (plane(0, np.array([0]), np.array([1])), "coefficients of a plane"),
    "alpha of another length": (multipliers(alpha=np.zeros(3)), "alpha"),
    "rho of another type": (multipliers(rho=np.zeros(2, np.float32)), "rho"),
    "rho that is none": (multipliers(rho=None), "rho"),
    "an unknown plane": (multipliers(planes=np.array([1])), "planes of a node"),
    "a negative plane": (multipliers(planes=np.array([-1])), "planes of a node"),
    "planes that are no array": (multipliers(planes=[0]), "planes of a node"),
    "weights of another length": (multipliers(weights=np.zeros(2)), "weights of planes"),
}


@pytest.mark.parametrize("name", SPOILS)
def test_a_malformed_tree_does_not_hold_and_the_report_says_why(name: str) -> None:
    spoil, message = SPOILS[name]
    proof = split_proof()
    assert replay(proof).holds
    spoil(proof.trees[0])
    report = replay(proof)
    assert not report.holds
    assert re.search(message, report.failure, re.IGNORECASE)


def test_the_same_is_an_error_for_a_single_tree() -> None:
    proof = split_proof()
    proof.trees[0].nodes[2].sign = 1
    with pytest.raises(ProofError, match="signs"):
        replay_tree(proof.network, proof.reference, proof.trees[0])


def test_gammas_of_another_shape() -> None:
    proof = split_proof()
    proof.trees[0].nodes[0].gammas = np.zeros((1, 2))
    proof.trees[0].stages[0] = replace(proof.trees[0].stages[0], threshold=0.4)  # so that the root stays open
    assert "gamma" in replay(proof).failure


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trees": ()}, "no trees"),
        ({"threshold": 0.59}, "below the last stage's"),
        ({"threshold": np.nan}, "not a finite number"),
        ({"threshold": np.inf}, "not a finite number"),
        ({"region": Bounds.of([-1.01], [1.0])}, "not inside"),
        ({"region": Bounds.of([0.0, 0.0], [1.0, 1.0])}, "not inside"),
        ({"reference": 2}, "reference 2 is not a class"),
        ({"reference": -1}, "reference -1 is not a class"),
    ],
)
def test_a_claim_that_its_trees_do_not_bear_out(changes: dict[str, Any], message: str) -> None:
    report = replay(replace(split_proof(), **changes))
    assert not report.holds and message in report.failure


def test_a_smaller_claim_holds() -> None:
    assert replay(replace(split_proof(), region=Bounds.of([-0.5], [0.5]), threshold=0.7)).holds


def test_an_unbounded_region() -> None:
    proof = split_proof()
    proof.trees[0].stages[0] = Stage(Bounds.of([-np.inf], [1.0]), 0.6)
    report = replay(proof)
    assert not report.holds and "unbounded" in report.failure


def test_nodes_that_do_not_hang_on_the_root_do_not_matter() -> None:
    """A search may take children away again."""
    proof = split_proof()
    tree = proof.trees[0]
    tree.nodes[0].children = ()
    tree.nodes[1].stage, tree.nodes[2].parent = 7, 9
    report = replay(proof)
    assert report.holds and report.nodes == 1
