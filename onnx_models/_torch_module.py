"""From a network to a torch module, without importing torch before it is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnx_models._network import ReluNetwork

if TYPE_CHECKING:
    import torch

    from onnx_models._torch_network import TorchNetwork


def to_torch(
    network: ReluNetwork, *, device: torch.device | str = "cpu", dtype: torch.dtype | None = None
) -> TorchNetwork:
    """The network as a `torch.nn.Module` on `device`, for gradient attacks and batched bounds.

    It takes batches of shape (N, input_size) or (N, *input_shape), gives logits of shape (N, output_size), and is
    differentiable in its input. Convolutions stay convolutions. With the default `dtype`, torch.float64, it agrees with
    `network.forward_batch` up to the rounding of a different summation order; torch.float32 is faster on a GPU, and its
    logits are then those of single precision.
    """
    import torch

    from onnx_models._torch_network import TorchNetwork

    return TorchNetwork(network, dtype or torch.float64).to(device)
