"""A network as torch maps in both directions, for linear bounds of any node by gradient steps; nothing is densified."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from onnx_models import Affine, ReluNetwork
from onnx_models._convolution import ConvolutionMap
from onnx_models._maps import DenseMap, LinearMap, SparseMap

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Map = Callable[["Tensor"], "Tensor"]


class TorchGraph:
    """The affine nodes of a network on a device, in float64.

    Attributes:
        network: the network.
        device: where its arrays are.
        forward: for each affine node its sources and maps M, batches of rows x to rows M x.
        backward: the same sources with the transposed maps, rows y to rows M^T y.
        bias: of each affine node, shape (size,).
    """

    def __init__(self, network: ReluNetwork, device: str = "cpu") -> None:
        import torch

        from onnx_models._torch_maps import torch_map

        self.network, self.device = network, torch.device(device)
        self.forward: dict[int, list[tuple[int, Map]]] = {}
        self.backward: dict[int, list[tuple[int, Map]]] = {}
        self.bias: dict[int, Tensor] = {}
        for index, node in enumerate(network.nodes):
            if isinstance(node, Affine):
                pairs = list(zip(node.inputs, node.maps, strict=True))
                self.forward[index] = [(k, torch_map(m, torch.float64).to(self.device)) for k, m in pairs]
                self.backward[index] = [(k, _transposed(m, self.device)) for k, m in pairs]
                self.bias[index] = torch.from_numpy(node.bias.copy()).to(self.device)

    def tensor(self, array: np.ndarray) -> Tensor:
        """A copy of the array on the device."""
        import torch

        return torch.from_numpy(np.array(array)).to(self.device)


def _transposed(linear_map: LinearMap, device: torch.device) -> Map:
    import torch

    if isinstance(linear_map, DenseMap):
        weight = torch.from_numpy(linear_map.weight.copy()).to(device)
        return lambda rows: rows @ weight
    if isinstance(linear_map, ConvolutionMap):
        return _TransposedConvolution(linear_map, device)
    assert isinstance(linear_map, SparseMap)
    if linear_map.is_identity:
        return lambda rows: rows
    matrix = linear_map.matrix.T.tocoo()
    index = torch.from_numpy(np.stack([matrix.row, matrix.col]).astype(np.int64))
    coo = torch.sparse_coo_tensor(index, torch.from_numpy(matrix.data.copy()), matrix.shape, check_invariants=True)
    sparse = coo.coalesce().to(device)

    def product(rows: Tensor) -> Tensor:
        found: Tensor = torch.sparse.mm(sparse, rows.T).T
        return found

    return product


class _TransposedConvolution:
    """The gradient of a convolution with respect to its input; what falls on the padding is dropped."""

    def __init__(self, linear_map: ConvolutionMap, device: torch.device) -> None:
        import torch

        self._kernel = torch.from_numpy(linear_map.kernel.copy()).to(device)
        self._map = linear_map

    def __call__(self, rows: Tensor) -> Tensor:
        from torch.nn.grad import conv2d_input

        linear_map = self._map
        (channels, height, width), (top, left, bottom, right) = linear_map.input_shape, linear_map.pads
        image = rows.reshape(-1, *linear_map.output_shape)
        found: Tensor = conv2d_input(  # type: ignore[no-untyped-call]
            (len(image), channels, height + top + bottom, width + left + right),
            self._kernel,
            image,
            stride=linear_map.strides,
            dilation=linear_map.dilations,
            groups=linear_map.groups,
        )
        return found[:, :, top : top + height, left : left + width].flatten(1)
