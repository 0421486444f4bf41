"""Networks with MIPVerify's masked ReLUs, from the ONNX file to the distance, against brute force.

A unit with mask -1 gives 0, one with mask 0 is a ReLU, one with mask +1 passes its value on.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy.optimize import linprog

from mipverify_py import LinfBall, Objective, Options, Query, Verdict, verify
from onnx_models import Array, ReluNetwork
from onnx_models.importer import load_onnx_bytes
from tests.helpers.onnx_graphs import GraphBuilder
from tests.helpers.queries import assert_matches

INPUTS, UNITS, CLASSES = 4, 7, 3
MASKS = {
    "mixed": np.array([-1, 0, 1, 0, 1, -1, 0]),
    "all ReLU": np.zeros(UNITS, int),
    "all linear": np.ones(UNITS, int),
    "all off but one": np.array([-1, -1, -1, 0, -1, -1, -1]),
}


def _by_where(graph: GraphBuilder, z: str, mask: Array) -> str:
    inner = graph.node("Where", mask == 1, z, graph.node("Relu", z))
    return graph.node("Where", mask == -1, np.zeros(1), inner)


def _by_computed_conditions(graph: GraphBuilder, z: str, mask: Array) -> str:
    """As exported from code that compares the mask on the way."""
    positive = graph.node("Greater", mask.astype(np.float64), np.zeros(1))
    negative = graph.node("Less", mask.astype(np.float64), np.zeros(1))
    return graph.node("Where", negative, np.zeros(1), graph.node("Where", positive, z, graph.node("Relu", z)))


def _by_products(graph: GraphBuilder, z: str, mask: Array) -> str:
    rectified = graph.node("Mul", graph.node("Relu", z), (mask == 0).astype(np.float64))
    return graph.node("Add", rectified, graph.node("Mul", z, (mask == 1).astype(np.float64)))


def _by_slopes(graph: GraphBuilder, z: str, mask: Array) -> str:
    """A slope of 1 below zero is the identity; units that are off are multiplied by 0."""
    slopes = graph.node("PRelu", z, (mask == 1).astype(np.float64))
    return graph.node("Mul", slopes, (mask != -1).astype(np.float64))


FORMS = {
    "Where": _by_where,
    "Where with computed masks": _by_computed_conditions,
    "products": _by_products,
    "slopes": _by_slopes,
}


class _Masked:
    """The weights, all of them float32 numbers, and the answer by trying both states of every masked ReLU."""

    def __init__(self, seed: int, mask: Array) -> None:
        rng = np.random.default_rng(seed)
        draws = [rng.normal(size=size) for size in ((UNITS, INPUTS), UNITS, (CLASSES, UNITS), CLASSES)]
        self.w1, self.b1, self.w2, self.b2 = (d.astype(np.float32).astype(np.float64) for d in draws)
        self.mask, self.x0 = mask, rng.random(INPUTS)

    def imported(self, form: str) -> ReluNetwork:
        graph = GraphBuilder((INPUTS,))
        z = graph.node("Gemm", "x", self.w1.T, self.b1)
        masked = FORMS[form](graph, z, self.mask)
        model = graph.model(graph.node("Gemm", masked, self.w2.T, self.b2))
        return load_onnx_bytes(model.SerializeToString(), "masked.onnx")

    def nearest(self, reference: int) -> float | None:
        free, best = np.flatnonzero(self.mask == 0), None
        for states in product((0.0, 1.0), repeat=len(free)):
            gain = (self.mask == 1).astype(np.float64)
            gain[free] = states
            sign = np.where(gain[free] == 1.0, -1.0, 1.0)[:, None]  # on: -z <= 0, off: z <= 0
            logits, constant = self.w2 @ (gain[:, None] * self.w1), self.w2 @ (gain * self.b1) + self.b2
            for target in set(range(CLASSES)) - {reference}:
                found = self._minimum(
                    np.vstack([sign * self.w1[free], (logits[reference] - logits[target])[None]]),
                    np.append(-sign[:, 0] * self.b1[free], constant[target] - constant[reference]),
                )
                best = found if best is None else best if found is None else min(best, found)
        return best

    def _minimum(self, rows: Array, right: Array) -> float | None:
        ones = np.ones((INPUTS, 1))
        ball = np.block([[np.eye(INPUTS), -ones], [-np.eye(INPUTS), -ones]])
        left = np.vstack([np.hstack([rows, np.zeros((len(rows), 1))]), ball])
        limits = [*[(0.0, 1.0)] * INPUTS, (0.0, None)]
        cost = np.append(np.zeros(INPUTS), 1.0)
        answer = linprog(cost, A_ub=left, b_ub=np.concatenate([right, self.x0, -self.x0]), bounds=limits)
        return float(answer.fun) if answer.status == 0 else None


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("seed", [0, 1])
def test_the_distance_of_an_imported_masked_network_is_exact(form: str, mask: str, seed: int) -> None:
    masked = _Masked(seed, MASKS[mask])
    network = masked.imported(form)
    query = Query(network, masked.x0)
    truth = masked.nearest(query.reference)
    for engine in ("auto", "mip"):
        assert_matches(verify(query, Options(engine=engine)), truth)
    if truth is not None:
        for factor, verdict in ((0.99, Verdict.ROBUST), (1.01, Verdict.ADVERSARIAL)):
            ball = Query(network, masked.x0, LinfBall(factor * truth), Objective.FEASIBILITY)
            assert verify(ball).verdict is verdict


@pytest.mark.parametrize("mask", MASKS)
def test_only_units_with_mask_zero_cost_a_relu(mask: str) -> None:
    for form in ("Where", "Where with computed masks"):
        assert _Masked(0, MASKS[mask]).imported(form).relu_count == int((MASKS[mask] == 0).sum())
