"""The network of a reduction as an ONNX file, with the input to attack beside it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from counter_attack.hardness._reduction import Reduction
from onnx_models import Affine, DenseMap
from onnx_models.errors import InputError

CORNERS = 16
"""Random corners of the cube on which the file and the network are compared."""


def export_reduction(reduction: Reduction, path: str | Path) -> Path:
    """Writes the network as float32 ONNX, and x0 as a .npy file beside it, whose path is returned.

    All weights are whole numbers or halves that float32 holds exactly, so the file has the network's own weights.

    Args:
        reduction: the network and its input.
        path: of the .onnx file.

    Raises:
        InputError: a file cannot be written.
        CrossCheckError: the file, read back, does not give the network's logits.
    """
    import torch
    from torch import nn

    from counter_attack.training._export import export

    layers: list[nn.Module] = []
    for node in reduction.network.nodes[1:]:
        if isinstance(node, Affine):
            (linear_map,) = node.maps
            assert isinstance(linear_map, DenseMap)
            layer = nn.Linear(linear_map.input_size, linear_map.output_size)
            with torch.no_grad():
                layer.weight.copy_(torch.from_numpy(linear_map.weight))
                layer.bias.copy_(torch.from_numpy(node.bias))
            layers.append(layer)
        else:
            layers.append(nn.ReLU())
    rng = np.random.default_rng(0)
    corners = torch.from_numpy(rng.integers(0, 2, size=(CORNERS, len(reduction.x0))).astype(np.float32))
    description = f"satisfiability of {reduction.formula!r} as an attack within 1/2 of (1/2, ..., 1/2), label 0"
    data, _ = export(nn.Sequential(*layers), corners, "hardness", description)
    target = Path(path)
    beside = target.with_suffix(".npy")
    try:
        target.write_bytes(data)
        np.save(beside, reduction.x0)
    except OSError as error:
        raise InputError(f"{error.filename or target}: cannot be written ({error.strerror or error}).") from error
    return beside
