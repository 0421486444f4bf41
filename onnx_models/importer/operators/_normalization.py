"""BatchNormalization at inference: an affine function of each channel."""

from __future__ import annotations

import numpy as np

from onnx_models.importer._call import Call
from onnx_models.importer._lowering import combine
from onnx_models.importer._registry import ANY, constants_from, operator
from onnx_models.importer._values import Value


@operator(
    "BatchNormalization",
    attributes={"epsilon": ANY, "momentum": ANY, "spatial": (1,), "training_mode": (0,)},
    rule=constants_from(1),
)
def batch_normalization(call: Call) -> Value:
    """y = scale (x - mean) / sqrt(variance + epsilon) + bias, with stored statistics of each channel (axis 1)."""
    tensor = call.tensor()
    channels = tensor.shape[1] if len(tensor.shape) > 1 else 0
    parameters = [call.numbers(k) for k in range(1, 5)]
    if any(p.shape != (channels,) for p in parameters):
        call.refuse(f"has parameters of shapes {[p.shape for p in parameters]} for {channels} channels")
    scale, bias, mean, variance = (p.reshape(-1, *[1] * (len(tensor.shape) - 2)) for p in parameters)
    with np.errstate(invalid="ignore", divide="ignore"):
        factor = scale / np.sqrt(variance + call.attribute("epsilon", 1e-5))
    # Two steps, so that the cross-check sees the size of the intermediate value; building the network fuses them.
    centred = combine(call, [(tensor, 1.0)], -mean)
    return combine(call, [(centred, factor)], bias)
