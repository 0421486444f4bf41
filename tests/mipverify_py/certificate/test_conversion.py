"""Refined bounds survive their conversion, and leaves that do not close in exact arithmetic are repaired."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from bounds import Bounds
from mipverify_py import Options, Query, Result, StopReason, Verdict, verify
from mipverify_py._reprove import certified
from mipverify_py.certificate import CertificateError, _write, certify
from mipverify_py.certificate._document import GRID, Work
from mipverify_py.certificate._encode import network_section
from mipverify_py.certificate._fast_network import FastNetwork
from mipverify_py.certificate._region import tree_regions
from mipverify_py.certificate._rules import Region
from mipverify_py.certificate._tree import Tally
from mipverify_py.certificate.checker import ends, prove
from mipverify_py.engines._limits import Effort, branched_limits
from mipverify_py.engines._refine import refine
from mipverify_py.proof import Multipliers, Proof, ProofNode, RefinedUnits, Stage, Tree
from mipverify_py.proof._refinement import refined_bounds
from onnx_models import ReluNetwork
from tests.helpers.certificates import query_about
from tests.helpers.proofs import exact_values, samples
from tests.helpers.queries import hard_question

MARGIN = 1000.0


def refined(method: str) -> tuple[ReluNetwork, Bounds, tuple[RefinedUnits, ...]]:
    """A network of three hidden layers, a box, and refinements over it."""
    network, x0 = hard_question()
    box = Bounds(np.clip(x0 - 0.15, 0, 1), np.clip(x0 + 0.15, 0, 1))
    if method == "slopes":
        return network, box, refine(network, box)[0]
    return network, box, branched_limits(network, box, effort=Effort(0, 24, 1e9))[0]


@pytest.mark.parametrize("method", ["slopes", "trees"])
def test_steps_give_the_bounds_of_refinements(method: str) -> None:
    network, box, refinements = refined(method)
    assert any(found.trees for found in refinements) == (method == "trees")
    nothing = np.zeros(0)
    root = ProofNode(-1, -1, 0, multipliers=Multipliers(nothing, nothing, np.zeros(0, np.intp), nothing))
    tree = Tree(1, (), [Stage(box, MARGIN, refinements)], [], [root])
    exact = FastNetwork(network_section(network))
    cube = ends(box.lower.tolist(), box.upper.tolist(), [0.0] * box.size, None)
    (section,) = tree_regions(network, exact, cube, (0, Fraction(MARGIN)), (tree,), Tally())
    assert any((step["below"] is not None) == (method == "trees") for step in section["steps"])
    prove(exact, Work(2**50), cube, (0, [1], Fraction(MARGIN)), [section])
    region = Region(exact, Work(2**50), cube, section["units"])
    region.derive(section["steps"])
    plain = Region(exact, Work(2**50), cube, [])
    plain.derive([])
    floats = refined_bounds(network, box, refinements)
    for relu in network.relu_indices:
        p = exact.nodes[relu]
        assert isinstance(p, int)
        low, high = (np.array([float(Fraction(v, 1 << GRID)) for v in end[p]]) for end in (region.low, region.high))
        unstable = floats.nodes[p].straddles_zero
        assert np.all(low[unstable] >= floats.nodes[p].lower[unstable] - 0.02)
        assert np.all(high[unstable] <= floats.nodes[p].upper[unstable] + 0.02)
        assert all(a >= b for a, b in zip(region.low[p], plain.low[p], strict=True))
    for x in samples(np.random.default_rng(0), box, 3):
        for node, values in enumerate(exact_values(network, x)):
            for low_end, value, high_end in zip(region.low[node], values, region.high[node], strict=True):
                assert low_end <= value * (1 << GRID) <= high_end


def spoiled(result: Result, share: float) -> Result:
    """The answer with multipliers that are a share of what they were."""
    assert result.proof is not None
    trees = []
    for tree in result.proof.trees:
        nodes = [replace(node) for node in tree.nodes]
        for node in nodes:
            if node.multipliers is not None:
                node.multipliers = replace(node.multipliers, rho=share * node.multipliers.rho)
        trees.append(replace(tree, nodes=nodes))
    return replace(result, proof=replace(result.proof, trees=tuple(trees)))


@pytest.fixture(scope="module")
def answered() -> tuple[Query, Result]:
    query = query_about("digits_conv_standard", 0)
    return query, verify(query)


def test_what_exact_arithmetic_does_not_confirm_is_proved_again(answered: tuple[Query, Result]) -> None:
    query, result = answered
    honest, made = certify(query, result), certify(query, spoiled(result, 0.0))
    assert not honest.again and made.again
    assert made.statement.radius is not None and result.upper is not None
    assert float(made.statement.radius) == pytest.approx(result.upper, rel=1e-4)


@pytest.mark.slow
def test_leaves_at_the_limit_get_all_bits_or_a_smaller_radius(answered: tuple[Query, Result]) -> None:
    query, result = answered
    low, high, fine, shrunk = 0.0, 4e-4, False, False
    for _ in range(20):  # towards the margin that the proof's multipliers only just do for
        middle = 0.5 * (low + high)
        try:
            made = certify(replace(query, margin=-middle), result, Options(node_limit=1))
        except CertificateError:
            high = middle
            continue
        fine, shrunk = fine or made.fine, shrunk or made.shrunk > 0
        low, high = (low, middle) if made.again or made.shrunk > 0 else (middle, high)
    assert fine and shrunk


@pytest.mark.slow
def test_an_answer_that_is_wrong_gets_no_certificate_for_what_is_wrong(answered: tuple[Query, Result]) -> None:
    query, result = answered
    assert result.lower is not None and result.upper is not None and result.proof is not None
    made = certify(query, replace(result, lower=1.05 * result.lower))
    assert made.again and made.statement.radius is not None and made.statement.radius < Fraction(result.upper)
    with pytest.raises(CertificateError):
        certify(query, replace(result, lower=1.05 * result.lower), Options(time_limit=1e-6))
    fewer = Proof(query.network, query.reference, result.proof.region, query.margin, result.proof.trees[1:])
    with pytest.raises(CertificateError, match="not proved"):
        certify(query, replace(result, proof=fewer))


def test_ctrl_c_while_an_answer_is_proved_again_is_for_all_of_it(
    answered: tuple[Query, Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine takes the signal and only says so; a loop over many answers has to hear of it."""
    query, result = answered
    halted = replace(result, verdict=Verdict.UNKNOWN, proof=None, stop_reason=StopReason.INTERRUPTED)
    monkeypatch.setattr(_write, "verify", lambda *_: halted)
    found, why = certified(query, replace(result, proof=None, certificate=None), Options(certify="always"))
    assert found.stop_reason is StopReason.INTERRUPTED and "interrupted" in why
    assert (found.lower, found.upper, found.certificate) == (result.lower, result.upper, None)
