"""Piecewise-linear activations and their lowering to as few ReLU units as each needs."""

from __future__ import annotations

import numpy as np

from onnx_models.importer._call import Call
from onnx_models.importer._lowering import at_least, at_most, broadcast, combine, relu
from onnx_models.importer._registry import ANY, constants_from, operator
from onnx_models.importer._values import Value

_UNBOUNDED = float(np.finfo(np.float32).max)
"""Exporters write "no bound" of a Clip as the largest float32; a bound that no float32 value reaches is none."""


@operator("Relu")
def rectify(call: Call) -> Value:
    """y = max(x, 0)."""
    return relu(call, call.tensor())


@operator("LeakyRelu", attributes={"alpha": ANY})
def leaky_relu(call: Call) -> Value:
    """y = x for x >= 0, alpha x below: (1 - alpha) relu(x) + alpha x, one unit."""
    return _two_slopes(call, np.float64(call.attribute("alpha", 0.01)))


@operator("PRelu", rule=constants_from(1))
def parametric_relu(call: Call) -> Value:
    """As LeakyRelu, with a slope for every entry or channel."""
    return _two_slopes(call, call.numbers(1))


def _two_slopes(call: Call, slope: np.float64 | np.typing.NDArray[np.float64]) -> Value:
    tensor = call.tensor()
    if broadcast(call, tensor.shape, np.shape(slope)) != tensor.shape:
        call.refuse(f"has slopes of shape {np.shape(slope)} for an input of shape {tensor.shape}")
    return combine(call, [(relu(call, tensor), 1.0 - slope), (tensor, slope)])


@operator("Abs")
def absolute(call: Call) -> Value:
    """y = |x| = 2 relu(x) - x: one unit, with the same linear relaxation as relu(x) + relu(-x)."""
    tensor = call.tensor()
    return combine(call, [(relu(call, tensor), 2.0), (tensor, -1.0)])


@operator("Clip", attributes={"min": ANY, "max": ANY}, rule=constants_from(1))
def clip(call: Call) -> Value:
    """y = min(max(x, low), high); either bound may be absent. They are attributes before opset 11, then inputs.

    The upper bound is applied to the result of the lower one, so that interval bounds stay within [low, high].
    """
    return clipped(call, call.value(0), _bound(call, 1, "min"), _bound(call, 2, "max"))


def clipped(call: Call, value: Value, low: float | None, high: float | None) -> Value:
    """min(max(value, low), high), a bound of None left out."""
    above = value if low is None else at_least(call, value, low)
    return above if high is None else at_most(call, above, high)


def _bound(call: Call, position: int, attribute: str) -> float | None:
    bound = call.number(position) if call.given(position) else call.attribute(attribute, None)
    return None if bound is None or abs(bound) >= _UNBOUNDED else float(bound)


@operator("HardSigmoid", attributes={"alpha": ANY, "beta": ANY})
def hard_sigmoid(call: Call) -> Value:
    """y = min(max(alpha x + beta, 0), 1)."""
    alpha, beta = call.attribute("alpha", 0.2), call.attribute("beta", 0.5)
    return clipped(call, combine(call, [(call.tensor(), alpha)], beta), 0.0, 1.0)
