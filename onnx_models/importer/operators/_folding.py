"""Operators evaluated on constants only; exported models compute masks, shapes and scales with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from onnx_models.importer._call import Call
from onnx_models.importer._lowering import broadcast
from onnx_models.importer._registry import ANY, constants_only, operator
from onnx_models.importer._values import Constant

_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "And": np.logical_and,
    "Equal": np.equal,
    "Greater": np.greater,
    "GreaterOrEqual": np.greater_equal,
    "Less": np.less,
    "LessOrEqual": np.less_equal,
    "Not": np.logical_not,
    "Or": np.logical_or,
    "Reciprocal": np.reciprocal,
    "Sqrt": np.sqrt,
    "Xor": np.logical_xor,
}


def _fold(call: Call) -> Constant:
    """The numpy function of the same name; a symbolic batch size is unequal to every number, and not ordered."""
    constants = [np.asarray(value) for value in call.values]
    if any(c.dtype == object for c in constants) and call.node.operator != "Equal":
        call.refuse("computes with the size of the dynamic batch; export the model with a fixed batch of 1")
    call.spend(broadcast(call, *(c.shape for c in constants)))
    with np.errstate(all="ignore"):
        result = np.asarray(_FUNCTIONS[call.node.operator](*constants))
    if result.dtype == object:
        return result.astype(np.bool_)
    return result if result.dtype == np.bool_ else call.as_numbers(result)


for _name in _FUNCTIONS:
    operator(_name, rule=constants_only)(_fold)


@operator("ReduceProd", attributes={"axes": ANY, "keepdims": ANY, "noop_with_empty_axes": (0,)}, rule=constants_only)
def reduce_product(call: Call) -> Constant:
    """Product of a constant over the given axes, all of them by default; exporters multiply dimensions with it."""
    value = np.asarray(call.value(0))
    if value.dtype == object:
        call.refuse("computes with the size of the dynamic batch; export the model with a fixed batch of 1")
    axes = call.optional_integers(1, "axes") or range(value.ndim)
    over = tuple(call.axis(axis, value.ndim, batch_allowed=True) for axis in axes)
    return np.asarray(np.prod(value, axis=over, keepdims=bool(call.attribute("keepdims", 1))))
