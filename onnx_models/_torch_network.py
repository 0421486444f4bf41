"""A `ReluNetwork` as a torch module. This module imports torch; it is itself imported only inside functions."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from onnx_models._network import Affine, Input, ReluNetwork
from onnx_models._torch_maps import torch_map
from onnx_models.errors import InputError


class TorchNetwork(nn.Module):
    """The same function as `network.forward_batch`, differentiable in its input.

    Weights are buffers: `to(device)` moves them, none of them requires a gradient, and training cannot change them. The
    derivative of a ReLU at 0 is taken as 0.

    Attributes:
        network: the network this was made from.
    """

    _kind: Tensor
    """An empty buffer that shows which type and device the module has been moved to."""

    def __init__(self, network: ReluNetwork, dtype: torch.dtype) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("_kind", torch.zeros(0, dtype=dtype), persistent=False)
        self._layers = nn.ModuleList(
            _TorchAffine(node, dtype) if isinstance(node, Affine) else nn.Identity() for node in network.nodes
        )
        self.eval()

    def forward(self, batch: Tensor) -> Tensor:
        """Logits, shape (N, output_size), of a batch of shape (N, input_size) or (N, *input_shape).

        A batch of another floating-point type is converted to the module's own; it must lie on the module's device.

        Raises:
            InputError: the batch has another shape.
        """
        return self.activations(batch)[-1]

    def activations(self, batch: Tensor) -> list[Tensor]:
        """Value of every node of `network`, each of shape (N, node size), for a batch as in `forward`."""
        values: list[Tensor] = []
        for node, layer in zip(self.network.nodes, self._layers, strict=True):
            if isinstance(node, Input):
                values.append(self._flatten(batch))
            elif isinstance(node, Affine):
                values.append(layer(values[0], [values[k] for k in node.inputs]))
            else:
                values.append(torch.relu(values[node.input]))
        return values

    def _flatten(self, batch: Tensor) -> Tensor:
        shape, size = self.network.input_shape, self.network.input_size
        if tuple(batch.shape[1:]) not in {tuple(shape), (size,)}:
            raise InputError(
                f"The batch has shape {tuple(batch.shape)}; the model expects (N, {', '.join(map(str, shape))}) "
                f"or (N, {size})."
            )
        return batch.reshape(len(batch), size).to(self._kind.dtype)


class _TorchAffine(nn.Module):
    """The sum of the node's maps and its bias."""

    bias: Tensor

    def __init__(self, node: Affine, dtype: torch.dtype) -> None:
        super().__init__()
        self.register_buffer("bias", torch.tensor(node.bias, dtype=dtype))
        self._maps = nn.ModuleList(torch_map(m, dtype) for m in node.maps)

    def forward(self, reference: Tensor, inputs: list[Tensor]) -> Tensor:
        """The node's value; `reference` is any batch of the right length, needed by nodes that read no other."""
        total = self.bias.expand(len(reference), -1)
        for linear_map, value in zip(self._maps, inputs, strict=True):
            total = total + linear_map(value)
        return total
