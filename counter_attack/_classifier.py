"""A differentiable classifier over flat float64 rows, from a network of ours or any torch module."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from onnx_models import ReluNetwork, to_torch
from onnx_models.errors import InputError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


@dataclass(frozen=True, eq=False)
class Classifier:
    """What attacks see of a model: rows of inputs in, rows of logits out, gradients by torch.

    Everything is float64: an attack's steps near a decision boundary are smaller than what float32 resolves.

    Attributes:
        module: takes (N, *shape) in float64 and gives logits (N, classes); in evaluation mode, without gradients for
            its parameters.
        shape: shape of one input.
        device: where the module is.
    """

    module: nn.Module
    shape: tuple[int, ...]
    device: torch.device

    @classmethod
    def of(
        cls,
        model: ReluNetwork | nn.Module | Classifier,
        *,
        shape: Sequence[int] | None = None,
        device: torch.device | str = "cpu",
    ) -> Classifier:
        """A classifier over a network or a copy of a torch module.

        Args:
            model: a network, a torch module that gives logits, or a classifier, which is returned as it is.
            shape: shape of one input; needed for a torch module, ignored otherwise.
            device: "cpu", "cuda", "cuda:1", ...

        Raises:
            InputError: something else, or a torch module without a shape.
        """
        import torch
        from torch import nn

        if isinstance(model, Classifier):
            return model
        place = torch.device(device)
        if isinstance(model, ReluNetwork):
            return cls(to_torch(model, device=place), model.input_shape, place)
        if not isinstance(model, nn.Module):
            raise InputError(f"Expected a ReluNetwork, a torch module or a Classifier, got {type(model).__name__}.")
        if shape is None:
            raise InputError("A torch module does not tell the shape of its input; give it as `shape`.")
        # Networks that modules were made from are immutable, so they are shared; their ONNX sources have no copies.
        parts = [getattr(part, "network", None) for part in model.modules()]
        networks: dict[int, Any] = {id(part): part for part in parts if isinstance(part, ReluNetwork)}
        module = copy.deepcopy(model, networks).double().to(place).eval().requires_grad_(requires_grad=False)
        return cls(module, tuple(int(s) for s in shape), place)

    @property
    def size(self) -> int:
        """Entries of one input."""
        return math.prod(self.shape)

    def logits(self, rows: Tensor) -> Tensor:
        """Logits, shape (N, classes), of float64 rows of shape (N, size); differentiable."""
        found: Tensor = self.module(rows.reshape(-1, *self.shape))
        if rows.requires_grad and not found.requires_grad:  # a network that ignores its input has gradients, too: zeros
            return found + (0.0 * rows).sum(dim=1, keepdim=True)
        return found
