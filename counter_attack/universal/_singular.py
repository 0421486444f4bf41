"""Universal perturbations from the Jacobian of a layer: its (p, q)-singular vectors, by the power method."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from counter_attack._subject import Subject
from counter_attack.attacks._contract import AttackStop
from counter_attack.detection._exact import network_of
from counter_attack.unified._closed_forms import steepest
from counter_attack.universal._perturbation import UniversalPerturbation, shortened, size
from mipverify_py import Norm
from onnx_models import Array, ReluNetwork
from onnx_models.errors import InputError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

STALLED = 1e-9
"""The power method ends when a step raises the value by less than this share."""


@dataclass(frozen=True, slots=True, eq=False)
class SingularVector:
    """What the power method ended at: a local maximum of |J v|_q over |v|_p <= 1, or the last step before its limit.

    Attributes:
        vector: v, shape (n,), of size 1 in p.
        value: |J v|_q there: no proof that no other v has a larger one.
        values: the value after each step of this start, never falling but for rounding.
        converged: whether the steps had stalled.
    """

    vector: Array
    value: float
    values: tuple[float, ...]
    converged: bool


def layer_nodes(network: ReluNetwork) -> tuple[int, ...]:
    """The node of each layer: what goes into the ReLUs, one after the other, and the logits as the last."""
    from onnx_models import Relu

    nodes = [network.nodes[index] for index in network.relu_indices]
    before = [node.input for node in nodes if isinstance(node, Relu)]
    return (*dict.fromkeys(before), len(network.nodes) - 1)


def singular_vector(
    subject: Subject, *, layer: int = 1, q: float = 10.0, starts: int = 3, steps: int = 200
) -> SingularVector:
    """A (p, q)-singular vector of a layer's Jacobian, by the power method of Boyd (1974).

    With J the Jacobians of the layer's value at all N inputs on top of one another, the method maximises the convex
    function |J v|_q over |v|_p <= 1, p the subject's norm (Khrulkov and Oseledets 2018, "Art of singular vectors and
    universal adversarial perturbations", section 3):

        v <- argmax of <g, v> over |v|_p <= 1,   g = J^T (|J v|^(q-1) sign(J v)).

    No step makes the value smaller, since a convex function lies above its tangents. For p = q = 2 it is the power
    method for the largest singular value. J is never formed: J v is a directional derivative, J^T u a gradient.

    Args:
        subject: the inputs; the model has to be a network.
        layer: 1 is the value that the first ReLUs get, the next ones follow, the last is the logits.
        q: norm of J v, finite and >= 1.
        starts: random vectors to start from, >= 1; the one that ends with the largest value counts. None but the first
            starts after the subject's deadline.
        steps: of each start at most, >= 1.

    Raises:
        InputError: a value out of range, a model that is no `ReluNetwork`, or a layer whose Jacobians vanish.
    """
    import torch

    nodes = layer_nodes(network_of(subject.classifier))
    if not 1 <= layer <= len(nodes):
        raise InputError(f"The network has the layers 1 to {len(nodes)}; got {layer}.")
    if not (1 <= q < np.inf) or starts < 1 or steps < 1:
        raise InputError(
            f"The power method needs 1 <= q < infinity, 1 start and 1 step at least; got {q}, {starts} and {steps}."
        )
    jacobian = _Jacobian(subject, nodes[layer - 1])
    generator = torch.Generator().manual_seed(subject.seed)
    found: list[SingularVector] = []
    for _ in range(starts):
        if found and subject.deadline is not None and time.monotonic() >= subject.deadline:
            break
        start = torch.randn(1, subject.x.shape[1], generator=generator, dtype=torch.float64)
        found.append(_powers(jacobian, steepest(start, subject.norm).to(jacobian.device), subject.norm, q, steps))
    best = max(found, key=lambda one: one.value)
    if best.value == 0:
        raise InputError(f"The Jacobians of layer {layer} vanish at all inputs; choose another layer or other inputs.")
    return best


def by_singular_vector(subject: Subject, eps: float, vector: SingularVector) -> UniversalPerturbation:
    """eps v or -eps v, whichever fools more of the subject's inputs: the sign of a singular vector is arbitrary.

    Raises:
        InputError: eps is not above 0.
    """
    if not eps > 0:
        raise InputError(f"A universal perturbation needs eps > 0; got {eps}.")
    scaled = shortened(eps * vector.vector, eps, subject.norm)
    stop = AttackStop.FINISHED if vector.converged else AttackStop.BUDGET
    both = [
        UniversalPerturbation("singular", subject.norm, eps, sign * scaled, vector.values, stop) for sign in (1.0, -1.0)
    ]
    return max(both, key=lambda one: one.fooling(subject).count)


class _Jacobian:
    """Jacobians of a node's value at all inputs, as a linear map and its transpose, by two reverse passes.

    J^T u is the gradient of <u, value>; it is linear in u, so J v is the gradient of <J^T u, v> with respect to u.
    """

    def __init__(self, subject: Subject, node: int) -> None:
        import torch

        self._x = torch.from_numpy(subject.x.copy()).to(subject.classifier.device).requires_grad_()
        value: Tensor = subject.classifier.module.activations(self._x)[node]  # type: ignore[operator]
        self._value = value + 0.0 * self._x.sum()  # a constant value has gradients, too: zeros
        self._u = torch.zeros_like(self._value, requires_grad=True)
        (self._pulled,) = torch.autograd.grad(self._value, self._x, self._u, create_graph=True)

    @property
    def device(self) -> torch.device:
        """Where it is computed."""
        return self._x.device

    def times(self, v: Tensor) -> Tensor:
        """J v for v of shape (1, n), shape (N, m)."""
        import torch

        return torch.autograd.grad(self._pulled, self._u, v.expand_as(self._x), retain_graph=True)[0]

    def transposed(self, u: Tensor) -> Tensor:
        """J^T u for u of shape (N, m), shape (1, n)."""
        import torch

        return torch.autograd.grad(self._value, self._x, u, retain_graph=True)[0].sum(dim=0, keepdim=True)


def _powers(jacobian: _Jacobian, v: Tensor, p: Norm, q: float, steps: int) -> SingularVector:
    image = jacobian.times(v)
    values = [_size(image, q)]
    converged = False
    for _ in range(steps):
        if values[-1] == 0:
            break
        scaled = image / image.abs().max()  # so that no power overflows
        gradient = jacobian.transposed(scaled.sign() * scaled.abs() ** (q - 1))
        v = steepest(gradient, p)
        image = jacobian.times(v)
        values.append(_size(image, q))
        if values[-1] <= values[-2] * (1 + STALLED):
            converged = True
            break
    vector = np.asarray(v[0].cpu().numpy())
    return SingularVector(
        vector / max(size(vector, p), np.finfo(np.float64).tiny), values[-1], tuple(values), converged
    )


def _size(image: Tensor, q: float) -> float:
    """|image|_q over all entries."""
    largest = float(image.abs().max())
    return largest * float(((image / largest).abs() ** q).sum()) ** (1 / q) if largest > 0 else 0.0
