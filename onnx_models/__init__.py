"""The model as data: ONNX import, lowering to affine maps and ReLUs, evaluation, and a zoo of small trained models."""

from onnx_models._builder import NetworkBuilder
from onnx_models._convolution import ConvolutionMap
from onnx_models._exact import exact_logits
from onnx_models._maps import Array, DenseMap, LinearMap, SparseMap
from onnx_models._network import Affine, Input, Node, Relu, ReluNetwork
from onnx_models._torch_export import from_torch
from onnx_models._torch_module import to_torch
from onnx_models.importer import load_onnx, supported_operators

__all__ = [
    "Affine",
    "Array",
    "ConvolutionMap",
    "DenseMap",
    "Input",
    "LinearMap",
    "NetworkBuilder",
    "Node",
    "Relu",
    "ReluNetwork",
    "SparseMap",
    "exact_logits",
    "from_torch",
    "load_onnx",
    "supported_operators",
    "to_torch",
]
