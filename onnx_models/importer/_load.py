"""Loading an ONNX file: read safely, check the whole graph, lower, fuse, compare with onnxruntime."""

from __future__ import annotations

from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from onnx_models._network import ReluNetwork
from onnx_models._prune import prune
from onnx_models._source import OnnxSource

if TYPE_CHECKING:
    import onnx

    from onnx_models.importer._graph import Graph


def load_onnx(path: str | PathLike[str], *, cross_check: bool = True) -> ReluNetwork:
    """The network in an ONNX file, as affine maps and ReLUs.

    The file is treated as untrusted: sizes are checked before memory is allocated, and external data is read from the
    file's own folder only. The model must have one input, whose first dimension is the batch (dynamic, or fixed to 1),
    and one output. `network.source` holds the model for float32 replays in onnxruntime.

    Args:
        path: an .onnx file.
        cross_check: compare with onnxruntime, value by value, before returning.

    Raises:
        ModelFileError: no such file, not ONNX, damaged, too large, unsafe, NaN or infinite weights, or not exactly one
            input and output.
        UnsupportedModelError: nodes that cannot be lowered, all of them listed.
        CrossCheckError: onnxruntime computes something else; the message names the first node that differs.
    """
    from onnx_models.importer._read import read_bytes

    file = Path(path)
    return _import(read_bytes(file), file.name, file.parent, cross_check)


def load_onnx_bytes(data: bytes, name: str, *, cross_check: bool = True) -> ReluNetwork:
    """As `load_onnx`, for a serialised model in memory without external data; `name` is what messages call it."""
    return _import(data, name, None, cross_check)


def _import(data: bytes, name: str, folder: Path | None, check: bool) -> ReluNetwork:
    from onnx_models.importer._crosscheck import cross_check
    from onnx_models.importer._lower import lower
    from onnx_models.importer._runtime import prepare

    model, graph = _checked(data, name, folder)
    lowered = lower(graph)
    network = prune(lowered.builder.build(lowered.output.node))
    prepare(model, graph)
    if check:
        cross_check(lowered, network, model, graph)
    return replace(network, source=OnnxSource(name, model.SerializeToString()))


def _checked(data: bytes, name: str, folder: Path | None) -> tuple[onnx.ModelProto, Graph]:
    """The model, reduced to what its output needs, and its graph, both known to be sound and supported."""
    from onnx_models.importer._graph import read_graph
    from onnx_models.importer._read import parse
    from onnx_models.importer._runtime import keep_live
    from onnx_models.importer._soundness import check_sound
    from onnx_models.importer._validate import check_supported

    model = parse(data, name, folder)
    graph = read_graph(model, name)
    check_supported(graph)
    keep_live(model, graph)
    check_sound(model, name)
    return model, graph
