"""VNN-LIB properties: which inputs and outputs of a network would be a counterexample, read exactly from text.

>>> from onnx_models.vnnlib import read_vnnlib
>>> prop = read_vnnlib("prop_1.vnnlib")                    # doctest: +SKIP
>>> prop.inputs, prop.outputs, len(prop.cases)             # doctest: +SKIP
"""

from onnx_models.vnnlib._parse import parse_vnnlib
from onnx_models.vnnlib._property import Case, Constraint, Interval, Property, Tensor
from onnx_models.vnnlib._read import read_vnnlib

__all__ = ["Case", "Constraint", "Interval", "Property", "Tensor", "parse_vnnlib", "read_vnnlib"]
