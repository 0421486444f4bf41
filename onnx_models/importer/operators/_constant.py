"""Operators whose result is known at load time: Constant, Shape, Size, ConstantOfShape."""

from __future__ import annotations

import numpy as np

from onnx_models.importer._call import Call
from onnx_models.importer._registry import ANY, Role, constants_only, operator
from onnx_models.importer._values import BATCH, Constant, Tensor, simplified


@operator(
    "Constant",
    attributes={"value": ANY, "value_float": ANY, "value_floats": ANY, "value_int": ANY, "value_ints": ANY},
)
def constant(call: Call) -> Constant:
    """The stored value."""
    if len(call.node.attributes) != 1:
        call.refuse("holds no value, or several")
    name, value = next(iter(call.node.attributes.items()))
    array = np.asarray(value)
    return array if name == "value" else array.astype(np.float64 if "float" in name else np.int64)


@operator("Shape", attributes={"start": ANY, "end": ANY}, role=Role.MEASURES)
def shape(call: Call) -> Constant:
    """The input's shape, part of it from opset 15 on; a dynamic batch stays a symbol in it."""
    value = call.value(0)
    lengths: list[object] = list(value.shape)
    if call.batched and isinstance(value, Tensor):
        lengths[0] = BATCH
    part = lengths[call.attribute("start", 0) : call.attribute("end", None)]
    return simplified(np.array(part, object))


@operator("ConstantOfShape", attributes={"value": ANY}, rule=constants_only)
def constant_of_shape(call: Call) -> Constant:
    """A constant array of one repeated value; a dynamic batch dimension has length 1, as in every value here."""
    entries = call.entries(0)
    if BATCH in entries[1:]:
        call.refuse_batch()
    lengths = [1 if entry is BATCH else entry for entry in entries]
    if any(length < 0 for length in lengths):
        call.refuse(f"is asked for the shape {lengths}")
    call.spend(lengths)
    value = np.asarray(call.attribute("value", np.zeros(1))).reshape(-1)
    if value.size != 1:
        call.refuse(f"repeats {value.size} values; exactly one is expected")
    return np.full(lengths, value[0])
