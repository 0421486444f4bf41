"""Elementwise arithmetic with broadcasting; between constants it is carried out at load time, integers as integers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from onnx_models.importer._call import Call
from onnx_models.importer._lowering import combine, common_shape, negated
from onnx_models.importer._registry import constants_from, one_factor, operator
from onnx_models.importer._values import Constant, Tensor, Value


def _folded(call: Call, function: Callable[..., Any], values: Sequence[Value]) -> Constant | None:
    """`function` of the values if all are constants, otherwise None."""
    constants = [v for v in values if not isinstance(v, Tensor)]
    if len(constants) < len(values):
        return None
    if any(c.dtype == object for c in constants):
        call.refuse("computes with the size of the dynamic batch; export the model with a fixed batch of 1")
    if any(c.dtype == np.bool_ for c in constants):
        call.refuse("computes with truth values as if they were numbers")
    call.spend(common_shape(call, constants))
    with np.errstate(all="ignore"):
        result: Constant = np.asarray(function(*constants))
    if result.dtype.kind == "f":
        call.as_numbers(result)
    return result


@operator("Add")
def add(call: Call) -> Value:
    """y = a + b."""
    return _sum(call, call.values)


@operator("Sum")
def sum_(call: Call) -> Value:
    """y = sum of all inputs."""
    return _sum(call, call.values)


def _sum(call: Call, values: Sequence[Value]) -> Value:
    folded = _folded(call, lambda *parts: sum(parts[1:], parts[0]), values)
    return combine(call, [(v, 1.0) for v in values]) if folded is None else folded


@operator("Mean")
def mean(call: Call) -> Value:
    """y = mean of all inputs."""
    values = call.values
    return combine(call, [(v, 1.0 / len(values)) for v in values])


@operator("Sub")
def subtract(call: Call) -> Value:
    """y = a - b."""
    folded = _folded(call, np.subtract, call.values)
    return combine(call, [(call.value(0), 1.0), (call.value(1), -1.0)]) if folded is None else folded


@operator("Mul", rule=one_factor)
def multiply(call: Call) -> Value:
    """y = a * b, of which at least one is a constant."""
    first, second = call.value(0), call.value(1)
    folded = _folded(call, np.multiply, (first, second))
    if folded is not None:
        return folded
    if isinstance(first, Tensor):
        return combine(call, [(first, call.as_numbers(second))])
    return combine(call, [(second, call.as_numbers(first))])


@operator("Div", rule=constants_from(1))
def divide(call: Call) -> Value:
    """y = a / b for a constant b; integers are divided with rounding towards zero."""
    first, second = call.value(0), call.value(1)
    if not isinstance(second, Tensor) and second.dtype != object and not np.all(second):
        call.refuse("divides by zero")
    folded = _folded(call, _quotient, (first, second))
    return combine(call, [(first, 1.0 / call.as_numbers(second))]) if folded is None else folded


def _quotient(first: Constant, second: Constant) -> Constant:
    if first.dtype.kind == second.dtype.kind == "i":
        return np.asarray(np.sign(first) * np.sign(second) * (np.abs(first) // np.abs(second)))
    return np.asarray(first / second)


@operator("Neg")
def negate(call: Call) -> Value:
    """y = -x."""
    folded = _folded(call, np.negative, call.values)
    return negated(call, call.value(0)) if folded is None else folded
