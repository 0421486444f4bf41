"""Operators that give their input back: Identity, Dropout at inference, Cast between real types, a final Softmax."""

from __future__ import annotations

import numpy as np

from onnx_models.importer._call import Call
from onnx_models.importer._registry import ANY, Role, constants_from, operator
from onnx_models.importer._values import Tensor, Value

# Element types as numbered by ONNX (TensorProto.DataType).
_REAL = {1: np.float32, 10: np.float16, 11: np.float64}
_INTEGER = {2, 3, 4, 5, 6, 7, 12}
_BOOL = 9


@operator("Identity", role=Role.KEEPS_ENTRIES)
def identity(call: Call) -> Value:
    """y = x."""
    return call.value(0)


@operator("Dropout", attributes={"ratio": ANY, "seed": ANY}, rule=constants_from(1), role=Role.KEEPS_ENTRIES)
def dropout(call: Call) -> Value:
    """y = x: dropout does nothing at inference. From opset 12 on, an input may ask for training instead."""
    if call.given(2) and call.numbers(2).any():
        call.refuse("is in training mode; export the model after model.eval()")
    return call.value(0)


@operator(
    "Cast",
    attributes={"to": (*_REAL, *sorted(_INTEGER), _BOOL), "saturate": ANY, "round_mode": ANY},
    role=Role.KEEPS_ENTRIES,
)
def cast(call: Call) -> Value:
    """y = x for real types, whose rounding of variable values is not part of the model; constants are rounded."""
    value, target = call.value(0), call.attribute("to", 1)
    if isinstance(value, Tensor):
        if target not in _REAL:
            call.refuse("rounds a value that depends on the network's input to integers, which is not piecewise linear")
        return value
    if value.dtype == object:
        return value
    if target in _REAL:
        with np.errstate(over="ignore"):
            return call.as_numbers(value.astype(_REAL[target]).astype(np.float64))
    return value.astype(np.bool_ if target == _BOOL else np.int64)


@operator("Softmax", attributes={"axis": ANY}, role=Role.FINAL)
def softmax(call: Call) -> Value:
    """y = x, with a note: at the end of a network it changes neither the order of the outputs nor any distance."""
    tensor = call.tensor()
    coerced = call.opset < 13
    axis = call.axis(int(call.attribute("axis", 1 if coerced else -1)), len(tensor.shape))
    together = tensor.shape[axis:] if coerced else tensor.shape[axis : axis + 1]
    if np.prod(together) != tensor.size:
        call.refuse(f"normalises only part of its input (shape {tensor.shape}), so it cannot be left out")
    call.builder.notes.append(
        f"The final {call.node.label} was left out: the values before it have the same order; margins refer to them."
    )
    return tensor


@operator("LogSoftmax", attributes={"axis": ANY}, role=Role.FINAL)
def log_softmax(call: Call) -> Value:
    """As Softmax."""
    return softmax(call)
