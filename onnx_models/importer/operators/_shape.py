"""Operators that change a value's shape and leave the order of its entries: Reshape, Flatten, Squeeze, Unsqueeze."""

from __future__ import annotations

import math
from typing import Any

from onnx_models.importer._call import Call
from onnx_models.importer._lowering import reshaped
from onnx_models.importer._registry import ANY, Role, constants_from, operator
from onnx_models.importer._values import BATCH, Tensor, Value


@operator("Flatten", attributes={"axis": ANY}, role=Role.KEEPS_ENTRIES)
def flatten(call: Call) -> Value:
    """y = x as a matrix: axes before `axis` form its rows, the others its columns."""
    value, axis = call.value(0), int(call.attribute("axis", 1))
    rank = len(value.shape)
    if not -rank <= axis <= rank:
        call.refuse(f"has axis {axis}, out of range for {rank} dimensions")
    axis = axis + rank if axis < 0 else axis
    rows, columns = math.prod(value.shape[:axis]), math.prod(value.shape[axis:])
    if call.batched and isinstance(value, Tensor) and (axis == 0 or rows != 1):
        call.refuse_batch()
    return reshaped(call, value, (rows, columns))


@operator("Reshape", attributes={"allowzero": ANY}, rule=constants_from(1), role=Role.KEEPS_ENTRIES)
def reshape(call: Call) -> Value:
    """y = x in the given shape; 0 copies a length (unless allowzero is set), -1 stands for what is left over."""
    value, target = call.value(0), call.entries(1)
    if not (call.batched and isinstance(value, Tensor)):
        return reshaped(call, value, _resolved(call, value.shape, value.shape, target))
    front, rest = target[:1], target[1:]
    copies = front == [0] and not call.attribute("allowzero", 0)
    if not (front in ([BATCH], [-1]) or copies) or (front == [-1] and -1 in rest):
        call.refuse_batch()
    return reshaped(call, value, (1, *_resolved(call, value.shape, value.shape[1:], rest)))


def _resolved(call: Call, shape: tuple[int, ...], entries: tuple[int, ...], target: list[Any]) -> tuple[int, ...]:
    """`target` without 0 and -1, for the lengths `entries` at the end of `shape`."""
    if BATCH in target:
        call.refuse_batch()
    skipped, lengths = len(shape) - len(entries), []
    for k, length in enumerate(target, start=skipped):
        copied = length == 0 and not call.attribute("allowzero", 0)
        if copied and k >= len(shape):
            call.refuse(f"copies dimension {k} of the shape {shape}, which has none")
        lengths.append(shape[k] if copied else length)
    known, total = math.prod(d for d in lengths if d != -1), math.prod(entries)
    if lengths.count(-1) == 1 and known > 0 and total % known == 0:
        lengths[lengths.index(-1)] = total // known
    if min(lengths, default=0) < 0 or math.prod(lengths) != total:
        call.refuse(f"cannot give {shape} the shape {target}")
    return tuple(lengths)


@operator("Squeeze", attributes={"axes": ANY}, rule=constants_from(1), role=Role.KEEPS_ENTRIES)
def squeeze(call: Call) -> Value:
    """y = x without the given axes, all of length 1."""
    value = call.value(0)
    axes, rank = call.optional_integers(1, "axes"), len(value.shape)
    if not axes:  # none named, or an empty list: onnxruntime treats both alike
        if call.batched and isinstance(value, Tensor):
            call.refuse("names no axes, so it would also drop a batch of one; give it axes")
        axes = [k for k, d in enumerate(value.shape) if d == 1]
    dropped = {call.axis(axis, rank, batch_allowed=not isinstance(value, Tensor)) for axis in axes}
    if any(value.shape[k] != 1 for k in dropped):
        call.refuse(f"drops axes {axes} of the shape {value.shape}; only axes of length 1 can be dropped")
    return reshaped(call, value, tuple(d for k, d in enumerate(value.shape) if k not in dropped))


@operator("Unsqueeze", attributes={"axes": ANY}, rule=constants_from(1), role=Role.KEEPS_ENTRIES)
def unsqueeze(call: Call) -> Value:
    """y = x with axes of length 1 inserted, at these positions of the result."""
    value, axes = call.value(0), call.optional_integers(1, "axes") or []
    rank = len(value.shape) + len(axes)
    added = {call.axis(axis, rank, batch_allowed=not isinstance(value, Tensor)) for axis in axes}
    if len(added) != len(axes):
        call.refuse(f"inserts an axis twice: {axes}")
    call.spend((1,) * rank)
    lengths = iter(value.shape)
    return reshaped(call, value, tuple(1 if k in added else next(lengths) for k in range(rank)))
