"""Weights as stored in a file, checked against their declared size and turned into numpy arrays."""

from __future__ import annotations

import math

import numpy as np
from onnx import TensorProto, numpy_helper

from onnx_models.errors import ModelFileError
from onnx_models.importer._limits import MAX_ENTRIES, MAX_RANK
from onnx_models.importer._values import Constant
from onnx_models.importer._words import dimensions, quoted

_STORAGE: dict[int, tuple[str, int]] = {
    TensorProto.FLOAT: ("float_data", 4),
    TensorProto.DOUBLE: ("double_data", 8),
    TensorProto.FLOAT16: ("int32_data", 2),
    TensorProto.BOOL: ("int32_data", 1),
    TensorProto.INT8: ("int32_data", 1),
    TensorProto.INT16: ("int32_data", 2),
    TensorProto.INT32: ("int32_data", 4),
    TensorProto.INT64: ("int64_data", 8),
    TensorProto.UINT8: ("int32_data", 1),
    TensorProto.UINT16: ("int32_data", 2),
    TensorProto.UINT32: ("uint64_data", 4),
}
"""For each element type that is read: the repeated field that may hold it, and bytes per entry in raw form."""


def is_external(tensor: TensorProto) -> bool:
    """Whether the tensor's values lie in another file."""
    return tensor.data_location == TensorProto.EXTERNAL


def declared_entries(tensor: TensorProto, model: str) -> int:
    """Number of entries the tensor's shape declares; raises ModelFileError if that is absurd or not what is stored."""
    label = f"{model}: tensor {quoted(tensor.name)}"
    if len(tensor.dims) > MAX_RANK or any(d < 0 for d in tensor.dims):
        raise ModelFileError(f"{label} has the shape {dimensions(tensor.dims[:MAX_RANK])}, which is not a sound shape.")
    entries = math.prod(int(d) for d in tensor.dims)
    if entries > MAX_ENTRIES:
        raise ModelFileError(f"{label} declares {dimensions(tensor.dims)} entries; at most {MAX_ENTRIES} are read.")
    if tensor.data_type in _STORAGE and not is_external(tensor):
        field, width = _STORAGE[tensor.data_type]
        if tensor.HasField("raw_data"):
            stored, expected, unit = len(tensor.raw_data), entries * width, "bytes"
        else:
            stored, expected, unit = len(getattr(tensor, field)), entries, "values"
        if stored != expected:
            raise ModelFileError(
                f"{label} of shape {dimensions(tensor.dims)} should hold {expected} {unit}, it holds {stored}: "
                "the file is damaged."
            )
    return entries


def stored_bytes(tensor: TensorProto, model: str) -> int:
    """Bytes that the raw form of the tensor takes."""
    return declared_entries(tensor, model) * _storage(tensor, model)[1]


def to_array(tensor: TensorProto, model: str) -> Constant:
    """The tensor as an array: real numbers as float64 (exactly), integers as int64, truth values as bool.

    Raises:
        ModelFileError: an element type that is not read, or NaN or infinite values.
    """
    _storage(tensor, model)
    array = numpy_helper.to_array(tensor)
    if array.dtype == np.bool_:
        return array
    if array.dtype.kind in "iu":
        return array.astype(np.int64)
    with np.errstate(invalid="ignore"):  # signalling NaNs; counted next
        values = array.astype(np.float64)
    bad = values.size - np.count_nonzero(np.isfinite(values))
    if bad:
        raise ModelFileError(
            f"{model}: tensor {quoted(tensor.name)} holds {bad} NaN or infinite values; every weight must be finite."
        )
    return values


def type_name(number: int) -> str:
    """What ONNX calls the element type of that number."""
    known = {int(value): str(name) for name, value in TensorProto.DataType.items()}
    return f"{known.get(number, 'unknown')} ({number})"


def _storage(tensor: TensorProto, model: str) -> tuple[str, int]:
    storage = _STORAGE.get(tensor.data_type)
    if storage is None:
        raise ModelFileError(
            f"{model}: tensor {quoted(tensor.name)} has element type {type_name(tensor.data_type)}; "
            "float16, float32, float64, integers and bool are read."
        )
    return storage
