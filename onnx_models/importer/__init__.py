"""From ONNX files to networks of affine maps and ReLUs.

    _read, _tensors, _external     bytes to a protobuf message, safely
    _graph, _node, _soundness      the message as plain data
    _registry, _validate           what is supported, and the check of the whole graph
    _lower, _call, _lowering       conversion, node by node, in terms of a few primitives
    operators/                     one function per ONNX operator
    _runtime, _crosscheck          the comparison with onnxruntime

Importing this package imports neither onnx nor onnxruntime.
"""

from onnx_models.importer._load import load_onnx, load_onnx_bytes
from onnx_models.importer.operators import supported_operators

__all__ = ["load_onnx", "load_onnx_bytes", "supported_operators"]
