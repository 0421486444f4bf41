"""Operators that only move entries about: each is the numpy operation of the same meaning, applied to indices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate

import numpy as np

from onnx_models.importer._call import Call
from onnx_models.importer._lowering import common_shape, rearrange
from onnx_models.importer._registry import ANY, constant_at, constants_from, operator
from onnx_models.importer._values import BATCH, Padding, Tensor, Value

_WHOLE = 2**31 - 1
"""Exporters write "to the end" as the largest integer of 32 or 64 bits."""


@operator("Transpose", attributes={"perm": ANY})
def transpose(call: Call) -> Value:
    """y = x with its axes permuted, reversed by default."""
    value = call.value(0)
    rank = len(value.shape)
    order = [int(axis) for axis in call.attribute("perm", range(rank)[::-1])]
    if sorted(order) != list(range(rank)):
        call.refuse(f"has the permutation {order} for {rank} dimensions")
    if call.batched and isinstance(value, Tensor) and order[0] != 0:
        call.refuse_batch()
    return rearrange(call, [value], lambda array: array.transpose(order))


@operator("Concat", attributes={"axis": ANY})
def concat(call: Call) -> Value:
    """y = the inputs one after the other along an axis."""
    values = call.values
    axis = _axis(call, values, int(call.attribute("axis", 1)))
    sizes = [v.shape[:axis] + v.shape[axis + 1 :] for v in values]
    if len({len(v.shape) for v in values}) > 1 or len(set(sizes)) > 1:
        call.refuse(f"joins shapes that do not fit together: {', '.join(str(v.shape) for v in values)}")
    return rearrange(call, values, lambda *arrays: np.concatenate(arrays, axis))


@operator("Split", attributes={"axis": ANY, "split": ANY, "num_outputs": ANY}, rule=constants_from(1), outputs=None)
def split(call: Call) -> Sequence[Value]:
    """The input cut into consecutive parts along an axis: of given lengths, or equal (the last may be shorter)."""
    value, count = call.value(0), len(call.node.outputs)
    axis = _axis(call, [value], int(call.attribute("axis", 0)))
    length = value.shape[axis]
    part = -(-length // count)
    lengths = call.optional_integers(1, "split") or [min(part, length - k * part) for k in range(count)]
    if len(lengths) != count or min(lengths) < 0 or sum(lengths) != length:
        call.refuse(f"cuts {length} entries into parts of {lengths} for {count} outputs")
    ends = list(accumulate(lengths))
    return [
        rearrange(call, [value], lambda array, a=end - n, b=end: np.take(array, range(a, b), axis))
        for n, end in zip(lengths, ends, strict=True)
    ]


@operator("Gather", attributes={"axis": ANY}, rule=constants_from(1))
def gather(call: Call) -> Value:
    """y = the entries at constant positions along an axis."""
    value, positions = call.value(0), np.asarray(call.value(1))
    axis = _axis(call, [value], int(call.attribute("axis", 0)))
    length = value.shape[axis]
    if positions.dtype == object or not np.all((-length <= positions) & (positions < length)):
        call.refuse(f"reads positions outside its {length} entries along axis {axis}")
    call.spend((*value.shape[:axis], *positions.shape, *value.shape[axis + 1 :]))
    where = positions.astype(np.int64) % max(length, 1)
    return rearrange(call, [value], lambda array: np.take(array, where, axis))


@operator("Slice", attributes={"starts": ANY, "ends": ANY, "axes": ANY}, rule=constants_from(1))
def slice_(call: Call) -> Value:
    """y = every step-th entry from start to end along some axes. Attributes before opset 10, then inputs."""
    value = call.value(0)
    starts, ends = call.optional_integers(1, "starts"), call.optional_integers(2, "ends")
    if starts is None or ends is None:
        call.refuse("lacks its starts or ends")
    axes = call.optional_integers(3, "axes") or list(range(len(starts)))
    steps = call.optional_integers(4, "steps") or [1] * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps:
        call.refuse(f"has starts {starts}, ends {ends}, axes {axes} and steps {steps}")
    selections = []
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        whole = start == 0 and end >= _WHOLE and step == 1
        index = _axis(call, [value], axis, batch_allowed=whole)
        selections.append((index, range(*slice(start, end, step).indices(value.shape[index]))))
    for index, chosen in selections:
        value = rearrange(call, [value], lambda array, a=index, c=chosen: np.take(array, np.array(c, np.int64), a))
    return value


@operator("Expand", rule=constants_from(1))
def expand(call: Call) -> Value:
    """y = x broadcast with a constant shape."""
    value, entries = call.value(0), call.entries(1)
    if BATCH in entries[1:]:
        call.refuse_batch()
    shape = common_shape(call, [value], [1 if entry is BATCH else entry for entry in entries])
    call.spend(shape)
    return rearrange(call, [value], lambda array: np.broadcast_to(array, shape))


@operator("Where", rule=constant_at(0))
def where(call: Call) -> Value:
    """y = a where a constant mask holds, otherwise b. ReLU units that no mask lets through are dropped later."""
    mask = np.asarray(call.value(0)).astype(np.bool_)
    first, second = call.value(1), call.value(2)
    shape = common_shape(call, [mask, first, second])
    call.spend(shape)
    return rearrange(call, [first, second], lambda a, b: np.asarray(np.where(mask, a, b)))


@operator(
    "Pad",
    attributes={"mode": ("constant", "edge", "reflect", "wrap"), "pads": ANY, "value": ANY},
    rule=constants_from(1),
)
def pad(call: Call) -> Value:
    """y = x with entries added at both ends of some axes: a constant, or copies of its own. Negative pads cut off."""
    value, mode = call.value(0), call.attribute("mode", "constant")
    before, after = _pads(call, len(value.shape))
    fill = np.asarray(call.number(2) if call.given(2) else float(call.attribute("value", 0.0)))
    if call.batched and isinstance(value, Tensor) and (before[0] or after[0]):
        call.refuse_batch()
    added = [(max(b, 0), max(a, 0)) for b, a in zip(before, after, strict=True)]
    kept = tuple(slice(max(-b, 0), d - max(-a, 0)) for b, a, d in zip(before, after, value.shape, strict=True))
    call.spend([d + sum(pair) for d, pair in zip(value.shape, added, strict=True)])
    if any(part.start > part.stop for part in kept):
        call.refuse(f"cuts more off the shape {value.shape} than it has: pads {before} before and {after} after")
    if mode != "constant":
        if min([*before, *after], default=0) < 0:
            call.refuse(f"has negative pads in mode {mode}; they are supported in mode constant")
        return rearrange(call, [value], lambda array: np.pad(array, added, mode=mode))
    result = rearrange(
        call, [value, fill], lambda array, f: np.pad(array[kept], added, mode="constant", constant_values=f)
    )
    if isinstance(result, Tensor) and isinstance(value, Tensor) and not fill and min([*before, *after]) >= 0:
        return replace(result, padding=Padding(value, tuple(before), tuple(after)))
    return result


def _pads(call: Call, rank: int) -> tuple[list[int], list[int]]:
    """Entries to add before and after each axis."""
    pads = call.optional_integers(1, "pads") or []
    axes = call.integers(3) if call.given(3) else list(range(rank))
    if len(pads) != 2 * len(axes) or any(not -rank <= axis < rank for axis in axes):
        call.refuse(f"has pads {pads} for axes {axes} of {rank} dimensions")
    before, after = [0] * rank, [0] * rank
    for k, axis in enumerate(axes):
        before[axis], after[axis] = pads[k], pads[len(axes) + k]
    return before, after


def _axis(call: Call, values: Sequence[Value], axis: int, *, batch_allowed: bool = False) -> int:
    """`axis` from the front; axis 0 of a dynamic batch only for constants, and where the caller allows it."""
    constant = not any(isinstance(v, Tensor) for v in values)
    return call.axis(axis, len(values[0].shape), batch_allowed=batch_allowed or constant)
