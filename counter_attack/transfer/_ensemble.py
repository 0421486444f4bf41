"""Several models attacked as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from counter_attack._classifier import Classifier
from onnx_models.errors import InputError

Mean = Literal["probabilities", "logits"]


def ensemble(models: Sequence[Classifier], of: Mean = "probabilities") -> Classifier:
    """One model that gives the mean of what several give, to make examples on that fool all of them.

    With `of="probabilities"` its cross-entropy is -log(1/K sum_k p_k), the objective of Liu, Chen, Liu and Song 2017
    ("Delving into transferable adversarial examples and black-box attacks", section 5) with equal weights and without
    its distance term. The mean of logits weighs sure models more.

    Args:
        models: at least one, all for inputs of one shape, on one device.
        of: what the mean is taken of.

    Raises:
        InputError: no models, or models for inputs of different shapes.
    """
    from counter_attack.transfer._mean import MeanLogits, MeanProbabilities

    shapes = {model.shape for model in models}
    if len(shapes) != 1:
        raise InputError(f"An ensemble needs models for inputs of one shape; got {sorted(shapes) or 'none'}.")
    if of not in ("probabilities", "logits"):
        raise InputError(f"The mean is taken of 'probabilities' or 'logits'; got {of!r}.")
    kind = MeanProbabilities if of == "probabilities" else MeanLogits
    return Classifier(kind(models).eval(), models[0].shape, models[0].device)
