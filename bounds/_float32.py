"""How far any float32 evaluation of a model can be from the network of real numbers, over a box of inputs.

The error bound is the classical one for sums of products in any order of summation (Higham, Accuracy and Stability of
Numerical Algorithms, 2nd ed., sections 3.1 and 2.8), carried forward through the operators of the file. Between two
nonlinear operators a value is a sum over paths: products of coefficients, and of the value (an anchor) in which the
path begins. With unit roundoff u, a path that takes part in R operations ends up as itself times a factor within
gamma(R) = R u / (1 - R u) of 1, however sums are ordered, whether or not multiplications and additions are fused,
and also where an evaluator merges neighbouring linear operators. So with

    P   sum over paths of |coefficients| * error of the anchor
    S   sum over paths of |coefficients| * largest |float value| of the anchor
    s   at least the sum over paths of the products of max(1, |factor|)

a value is wrong by at most  P + gamma(R) S + 6 R t s,  where t bounds what underflow takes from an operand or a
result: all of a number below the smallest normal one, for processors that flush those to zero.
docs/explanation/float32.md tells the whole argument.
"""

from __future__ import annotations

import numpy as np

from bounds._bounds import Bounds
from bounds._float32_backward import carried_back
from bounds._float32_state import FLOAT32, SLACK, Format, State, anchor, up
from bounds._interval import check_region, node_interval
from onnx_models import Affine, Array, LinearMap, Relu, ReluNetwork
from onnx_models.errors import UnsupportedModelError
from onnx_models.importer._steps import Step, Steps, float32_steps

LARGEST = 2.0**125
"""Where no product or sum on any path reaches this, nothing overflows: the largest float32 is almost 2**128."""

LONGEST = 2**20
"""More operations than this on one path are refused: gamma would be no small number any more."""

_FUSING = Format(2.0**-51, 2.0**-1022)
"""Fusing the nodes of a network into the one that answers are about: at most four float64 roundings where an evaluation
has one, and in every node."""


def float32_errors(network: ReluNetwork, region: Bounds, rows: Array | None = None) -> Array:
    """Bounds of |row . (y - f(x))| for each of `rows`, over all float32 vectors x in the box `region`.

    y is the result of any float32 evaluation of the ONNX model that `network` came from, f the network itself.

    Args:
        network: as `onnx_models.load_onnx` gives it.
        region: a finite box of inputs, entries flat.
        rows: what to sum the outputs' errors with, shape (K, outputs); None takes every output by itself.

    Returns:
        Shape (K,).

    Raises:
        InputError: `region` does not fit the network; or the network came from no ONNX model.
        UnsupportedModelError: the model does not compute in float32, has an operator whose errors are not known, or
            could overflow over the box; the message names the operator.
    """
    check_region(network, region)
    steps = float32_steps(network)
    factors = np.eye(network.output_size) if rows is None else rows
    with np.errstate(over="ignore"):  # refused as too large
        ranges, states, fusing = _evaluated(network, steps, region)
    fused = fusing[steps.output].error(_FUSING)
    forward = up(np.abs(factors) @ states[steps.output].error(FLOAT32))
    backward = carried_back(steps, states, ranges, factors)
    return up(np.minimum(forward, backward) + up(np.abs(factors) @ fused))


def _evaluated(network: ReluNetwork, steps: Steps, region: Bounds) -> tuple[list[Bounds], list[State], list[State]]:
    """For every node the range of its real value, and the states of its float32 value and of its value after fusing."""
    ranges = [region]
    states = [anchor(np.zeros(region.size), region.magnitude)]
    fusing = list(states)
    for step in steps.steps:
        for index in step.nodes:
            ranges.append(node_interval(steps.nodes[index], ranges))
        states += _moved(steps, step, states) if step.moves else _rounded(steps, step, states, ranges, FLOAT32)
        fusing += _rounded(steps, step, fusing, ranges, _FUSING)
        _check_size(network, step, states)
    return ranges, states, fusing


def _check_size(network: ReluNetwork, step: Step, states: list[State]) -> None:
    for index in step.nodes:
        state = states[index]
        name = "" if network.source is None else f"{network.source.name}: "
        if not state.spread < LARGEST:
            raise UnsupportedModelError(
                f"{name}{step.label} could overflow in float32 over this box (its terms may reach {state.spread:.3g}), "
                "so there is no bound of its rounding errors; take a smaller radius or domain."
            )
        if state.operations > LONGEST:
            raise UnsupportedModelError(
                f"{name}{step.label} sums {state.operations:,} terms, and float32 keeps too few of their digits."
            )


def _rounded(steps: Steps, step: Step, states: list[State], ranges: list[Bounds], form: Format) -> list[State]:
    """The states of the step's nodes where sums are rounded and ReLUs are exact."""
    known = list(states)
    before = [state.operations for state in states]  # what a path took part in before the step, or since a ReLU in it
    terms = [1] * len(states)
    for index in step.nodes:
        node = steps.nodes[index]
        if isinstance(node, Relu):
            known.append(_rectified(known[node.input].error(form), ranges[node.input], form))
            before.append(0)
            terms.append(1)
        else:
            assert isinstance(node, Affine)
            before.append(max((before[k] for k in node.inputs), default=0))
            terms.append(1 + sum(_summed(m, known[k]) * terms[k] for k, m in zip(node.inputs, node.maps, strict=True)))
            known.append(_affine(node, known, before[index] + terms[index] + step.extra, step.spread))
    return known[len(states) :]


def _summed(linear_map: LinearMap, source: State) -> int:
    """Terms of one sum that can differ from zero; to add a zero is exact. Only anchors are known to be zero."""
    return linear_map.fan_in if source.operations else min(linear_map.fan_in, int(np.count_nonzero(source.size)))


def _affine(node: Affine, known: list[State], operations: int, spread: float) -> State:
    """P, S and s of sums of products."""
    propagated, size = np.zeros(node.size), np.abs(node.bias)
    reach = 1.0 + float(size.max(initial=0.0))
    for source, linear_map in zip(node.inputs, node.maps, strict=True):
        state = known[source]
        rows = linear_map.absolute().apply(np.stack([state.propagated, state.size, np.ones_like(state.size)]))
        propagated, size = propagated + rows[0], size + rows[1]
        reach += (float(rows[2].max(initial=0.0)) + linear_map.fan_in) * state.spread
    return State(up(propagated), up(size), operations, reach * spread * SLACK)


def _moved(steps: Steps, step: Step, states: list[State]) -> list[State]:
    """The states of the step's nodes where entries are only moved: each as it was."""
    known = list(states)
    for index in step.nodes:
        node = steps.nodes[index]
        assert isinstance(node, Affine)
        operations = max((known[k].operations for k in node.inputs), default=0)
        spread = max([1.0 + float(np.abs(node.bias).max(initial=0.0)), *(known[k].spread for k in node.inputs)])
        moved = _affine(node, known, operations, 1.0)
        known.append(State(moved.propagated, moved.size, operations, spread))
    return known[len(states) :]


def _rectified(error: Array, before: Bounds, form: Format) -> State:
    """max(z, 0): never wronger than z, exact where neither value of z is positive."""
    highest = before.upper + error  # the sign of a float sum is that of the exact one
    kept = np.where(highest <= 0.0, 0.0, np.minimum(up(error + 4.0 * form.flushed), up(highest)))
    return anchor(kept, np.maximum(before.upper, 0.0))
