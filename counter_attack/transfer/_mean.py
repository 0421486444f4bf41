"""Several models as one, by the mean of what they give. This module imports torch; it is imported inside functions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from counter_attack._classifier import Classifier


class MeanLogits(nn.Module):
    """The mean of the models' logits."""

    def __init__(self, models: Sequence[Classifier]) -> None:
        super().__init__()
        self._models = nn.ModuleList(model.module for model in models)

    def forward(self, batch: Tensor) -> Tensor:
        """Mean logits, shape (N, classes)."""
        return torch.stack([model(batch) for model in self._models]).mean(dim=0)


class MeanProbabilities(MeanLogits):
    """log of the mean of the models' softmax probabilities, which are the probabilities that its softmax gives."""

    def forward(self, batch: Tensor) -> Tensor:
        """Logits of the mean probabilities, shape (N, classes)."""
        each = torch.stack([torch.log_softmax(model(batch), dim=1) for model in self._models])
        return torch.logsumexp(each, dim=0) - torch.log(torch.tensor(float(len(self._models)), dtype=each.dtype))
