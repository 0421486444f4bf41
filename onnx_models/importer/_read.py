"""Reading an untrusted file into an ONNX protobuf message without allocating or opening what it merely claims."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from onnx_models.errors import ModelFileError
from onnx_models.importer._external import embed
from onnx_models.importer._limits import MAX_ENTRIES, MAX_FILE_BYTES, MAX_NODES
from onnx_models.importer._tensors import declared_entries, is_external


def read_bytes(path: Path) -> bytes:
    """The bytes of the regular file at `path`; raises ModelFileError if there is none, or it is too large."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ModelFileError(f"{path} is not a regular file; give the path of an .onnx file.")
        if status.st_size > MAX_FILE_BYTES:
            raise ModelFileError(f"{path} has {status.st_size} bytes; at most {MAX_FILE_BYTES} are read.")
        with path.open("rb") as file:
            return file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError as error:
        raise ModelFileError(f"There is no model file {path}.") from error
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read: {error.strerror}.") from error


def parse(data: bytes, name: str, folder: Path | None) -> onnx.ModelProto:
    """The model that `data` encodes, its external tensors embedded, every declared size checked.

    Args:
        data: a serialised ModelProto.
        name: what messages call the model.
        folder: the only folder from which external tensors may be read; None if they are not allowed.

    Raises:
        ModelFileError: not ONNX, truncated, larger than the limits, or external data outside the folder.
    """
    if not data:
        raise ModelFileError(f"{name} is empty.")
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError as error:
        raise ModelFileError(
            f"{name} is not an ONNX file, or it is truncated. Export the model to ONNX again, or copy it whole."
        ) from error
    _check_structure(model, name)
    if not all(isinstance(text, str) for text in _texts(model)):
        raise ModelFileError(f"{name} holds names that are not UTF-8 text; the file is damaged.")
    _drop_annotations(model)
    tensors = _tensors(model)
    if sum(declared_entries(tensor, name) for tensor in tensors) > MAX_ENTRIES:
        raise ModelFileError(f"{name} declares more than {MAX_ENTRIES} weights in total; the limit is {MAX_ENTRIES}.")
    embed([tensor for tensor in tensors if is_external(tensor)], name, folder)
    return model


def _check_structure(model: onnx.ModelProto, name: str) -> None:
    """What must hold before the graph is looked at; a file cut off between two fields fails here."""
    if not model.ir_version or not model.HasField("graph") or not model.graph.node:
        raise ModelFileError(f"{name} holds no ONNX graph: it is not an ONNX model, or it is truncated.")
    if len(model.graph.node) > MAX_NODES:
        raise ModelFileError(f"{name} has {len(model.graph.node)} nodes; at most {MAX_NODES} are read.")
    if model.functions:
        raise ModelFileError(f"{name} defines functions of its own; inline them first with onnx.inliner.")
    if model.graph.sparse_initializer:
        raise ModelFileError(f"{name} has sparse weights; store them as ordinary initializers.")


def _texts(model: onnx.ModelProto) -> Iterator[object]:
    """Every name in the model that is read. protobuf gives text that is not UTF-8 as bytes."""
    yield from (entry.domain for entry in model.opset_import)
    yield from (value.name for value in (*model.graph.input, *model.graph.output, *model.graph.initializer))
    for node in model.graph.node:
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        yield from (attribute.name for attribute in node.attribute)
    for tensor in _tensors(model):
        yield from (text for entry in tensor.external_data for text in (entry.key, entry.value))


def _drop_annotations(model: onnx.ModelProto) -> None:
    """Removes the shapes that exporters note for intermediate values and the output: optional, and sometimes wrong."""
    del model.graph.value_info[:]
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")
        value.type.tensor_type.shape.SetInParent()  # the ONNX checker wants one; what it says is not used


def _tensors(model: onnx.ModelProto) -> list[onnx.TensorProto]:
    """Every tensor stored in the graph: initializers and the tensor attributes of nodes."""
    found = list(model.graph.initializer)
    for node in model.graph.node:
        for attribute in node.attribute:
            found.extend([attribute.t] if attribute.HasField("t") else [])
            found.extend(attribute.tensors)
    return found
