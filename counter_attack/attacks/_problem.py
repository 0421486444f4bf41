"""The one place where attacks meet the model: it counts calls, keeps the closest success, and checks it in the end."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from counter_attack._classifier import Classifier
from counter_attack._distances import distances, tensor_distances
from counter_attack.attacks._draws import Draws
from mipverify_py import Norm
from onnx_models import Array, ReluNetwork
from onnx_models.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from counter_attack.attacks._contract import Budget


FURTHEST = 1e-9
"""Share of its distance by which a point on the boundary may be moved on to stay adversarial; see `check`."""


class SpentError(Exception):
    """The budget is used up; caught by `Attack.__call__`."""

    def __init__(self, reason: Literal["budget", "time"]) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True, eq=False)
class Check:
    """The closest successes after the last test; see `AttackResult`, whose fields these are."""

    success: NDArray[np.bool_]
    tie: NDArray[np.bool_]
    distance: Array
    adversarial: Array
    reference: NDArray[np.int64]
    found: NDArray[np.int64]


class AttackProblem:
    """N inputs to be attacked, on the classifier's device, all in float64.

    Rows are numbered 0 to N - 1. Most methods take `rows`, the numbers of the inputs that their points belong to, shape
    (K,); several points may belong to one input. None means all N in order.

    Attributes:
        classifier: the model.
        norm: how distance is measured.
        x: the inputs, shape (N, n).
        lower, upper: the domain, shape (n,).
        reference: the classes c, shape (N,).
        is_target: which classes count as wrong, shape (N, classes).
        best: the closest success so far, shape (N, n); rows without one hold x.
        best_distance: its distance, shape (N,); infinite without one.
        settled: inputs that are adversarial themselves, for which nothing is left to do, shape (N,).
        calls: points that the model was evaluated on, per input, shape (N,).
        rows: the numbers of all inputs, 0 to N - 1, shape (N,).
        seed: of the draws, see `uniform` and `normal`.
    """

    def __init__(
        self,
        model: ReluNetwork | nn.Module | Classifier,
        x: ArrayLike,
        label: ArrayLike | None = None,
        targets: Any = None,
        *,
        domain: tuple[ArrayLike, ArrayLike] = (0.0, 1.0),
        seed: int = 0,
        norm: Norm = Norm.LINF,
    ) -> None:
        import torch

        points = read_inputs(model, x)
        self.classifier = Classifier.of(model, shape=points.shape[1:])
        self.norm, self.seed = norm, _seed(seed)
        device = self.classifier.device
        rows = points.reshape(len(points), -1)
        low, high = read_domain(domain, rows)
        self.x, self.lower, self.upper = (torch.from_numpy(a.copy()).to(device) for a in (rows, low, high))
        self.rows = torch.arange(len(rows), device=device)
        logits = _first_logits(self.classifier, self.x)
        self._first = logits
        self.reference = _labels(label, logits)
        self.is_target = _targets(targets, self.reference, logits.shape[1])
        self.best, self.best_distance = self.x.clone(), self.x.new_full((len(rows),), torch.inf)
        self.settled = torch.zeros(len(rows), dtype=torch.bool, device=device)
        self.calls = torch.zeros(len(rows), dtype=torch.int64, device=device)
        self._made = 0
        self._most: int | None = None
        self._deadline: float | None = None

    def __len__(self) -> int:
        return len(self.x)

    def limit(self, budget: Budget, started: float) -> None:
        """Sets the budget; `started` is when it began to count, as `time.monotonic` has it."""
        self._most = budget.calls
        self._deadline = None if budget.seconds is None else started + budget.seconds

    @property
    def deadline(self) -> float | None:
        """Value of `time.monotonic()` at which the time is used up, or None."""
        return self._deadline

    def start(self) -> None:
        """Looks at the inputs themselves: those that the model gets wrong have distance 0."""
        self._made += 1
        self.calls += 1
        self.record(self.x, self._first)
        self.settled = self.best_distance == 0

    def logits(self, points: Tensor, rows: Tensor | None = None) -> Tensor:
        """Logits of points, shape (K, classes), differentiable; counts the call and keeps closest successes.

        Points outside the domain are evaluated as they are but kept only after they were moved into it, if they are
        adversarial there too: an attack that clips its points pays for no second look.

        Raises:
            SpentError: the budget is used up.
        """
        import torch

        if self._most is not None and self._made >= self._most:
            raise SpentError("budget")
        if self._deadline is not None and time.monotonic() >= self._deadline:
            raise SpentError("time")
        self._made += 1
        self._count(rows)
        logits = self.classifier.logits(points)
        with torch.no_grad():
            self.record(points.detach(), logits.detach(), rows)
        return logits

    def gradient(self, points: Tensor, loss: Any, rows: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Logits of points and the gradient, shape (K, n), of the sum of `loss(logits)`, which has shape (K,)."""
        import torch

        leaf = points.detach().clone()
        leaf.requires_grad = True
        with torch.enable_grad():
            logits = self.logits(leaf, rows)
            (slope,) = torch.autograd.grad(loss(logits).sum(), leaf)
        return logits.detach(), slope

    def margin(self, logits: Tensor, rows: Tensor | None = None) -> Tensor:
        """max over targets j of f_j - f_c, shape (K,): at least 0 exactly for adversarial points; differentiable."""
        reference = self.reference if rows is None else self.reference[rows]
        allowed = self.is_target if rows is None else self.is_target[rows]
        others = logits.masked_fill(~allowed, -float("inf")).amax(dim=1)
        return others - logits.gather(1, reference[:, None])[:, 0]

    def distance(self, points: Tensor, rows: Tensor | None = None) -> Tensor:
        """Distance of points to their inputs in `norm`, shape (K,)."""
        return tensor_distances(points, self.x if rows is None else self.x[rows], self.norm)

    def clip(self, points: Tensor) -> Tensor:
        """The points moved into the domain."""
        import torch

        return torch.minimum(torch.maximum(points, self.lower), self.upper)

    def record(self, points: Tensor, logits: Tensor, rows: Tensor | None = None) -> Tensor:
        """Keeps the closest success per input; returns which points are adversarial, shape (K,)."""
        adversarial = self.margin(logits, rows) >= 0
        if not bool(adversarial.any()):
            return adversarial
        found = adversarial.nonzero()[:, 0]
        owner = found if rows is None else rows[found]
        inside = self.clip(points[found])
        moved = (inside != points[found]).any(dim=1)
        distance = tensor_distances(inside, self.x[owner], self.norm)
        nearer = distance < self.best_distance[owner]
        if bool((moved & nearer).any()):
            again = (moved & nearer).nonzero()[:, 0]
            self._count(owner[again])
            still = self.margin(self.classifier.logits(inside[again]), owner[again]) >= 0
            nearer[again] = still
        if bool(nearer.any()):
            self._keep(inside[nearer], distance[nearer], owner[nearer])
        return adversarial

    @cached_property
    def _draws(self) -> Draws:
        return Draws(self.seed, self.x)  # only for attacks that draw: it hashes every input

    def uniform(self, rows: Tensor, *shape: int) -> Tensor:
        """Uniform draws from [0, 1) for the inputs `rows`, shape (K, *shape); each input has its own stream."""
        return self._draws.uniform(rows, shape)

    def normal(self, rows: Tensor, *shape: int) -> Tensor:
        """Standard normal draws likewise."""
        return self._draws.normal(rows, shape)

    def check(self) -> Check:
        """Tests the closest successes anew, side by side, and measures them with numpy.

        A point on the boundary may lose by rounding when it is evaluated beside other points than before. It is then
        moved away from its input, by shares of its distance that double up to `FURTHEST`, until it is adversarial.
        """
        import torch

        kept = torch.isfinite(self.best_distance)
        points, share = self.clip(self.best), torch.finfo(torch.float64).eps
        while True:
            with torch.no_grad():
                logits = self.classifier.logits(points)
                margin = self.margin(logits)
            lost = kept & ~(margin >= 0)
            if share > FURTHEST or not bool(lost.any()):
                break
            further = self.clip(self.best + share * (self.best - self.x))
            points, share = torch.where(lost[:, None], further, points), 2 * share
        success = (kept & ~lost).cpu().numpy()
        rows = points.cpu().numpy()
        distance = distances(rows, self.x.cpu().numpy(), self.norm)
        return Check(
            success=success,
            tie=success & (margin == 0).cpu().numpy(),
            distance=np.where(success, distance, np.nan),
            adversarial=np.where(success[:, None], rows, np.nan),
            reference=self.reference.cpu().numpy().copy(),
            found=np.where(success, logits.argmax(dim=1).cpu().numpy(), -1),
        )

    def _count(self, rows: Tensor | None) -> None:
        import torch

        if rows is None:
            self.calls += 1
        else:
            self.calls += torch.bincount(rows, minlength=len(self))

    def _keep(self, points: Tensor, distance: Tensor, owner: Tensor) -> None:
        """The nearest of the points for each input that occurs in `owner`; among equals the first."""
        import torch

        order = torch.argsort(distance, stable=True)
        order = order[torch.argsort(owner[order], stable=True)]
        sorted_owner = owner[order]
        first = torch.ones_like(sorted_owner, dtype=torch.bool)
        first[1:] = sorted_owner[1:] != sorted_owner[:-1]
        chosen = order[first]
        self.best[owner[chosen]] = points[chosen]
        self.best_distance[owner[chosen]] = distance[chosen]


def read_inputs(model: Any, x: ArrayLike) -> Array:
    """x as a batch of shape (N, *shape), float64."""
    try:
        points = np.asarray(x, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"The inputs have to be an array of numbers; got {type(x).__name__}.") from None
    shape: tuple[int, ...] | None = getattr(model, "shape", None) or getattr(model, "input_shape", None)
    if isinstance(shape, tuple):
        size = int(np.prod(shape))
        if points.size == 0 or points.size % size or points.shape not in _shapes(points.size // size, shape):
            raise InputError(
                f"The inputs have shape {points.shape}; expected (N, {size}) or (N, {', '.join(map(str, shape))})."
            )
        points = points.reshape(-1, *shape)
    elif points.ndim < 2 or points.size == 0:
        raise InputError(f"The inputs have shape {points.shape}; expected a batch: (N, ...) with N >= 1.")
    if not np.all(np.isfinite(points)):
        raise InputError("The inputs hold values that are not finite numbers.")
    return points


def _shapes(count: int, shape: tuple[int, ...]) -> set[tuple[int, ...]]:
    size = int(np.prod(shape))
    batches = {(count, size), (count, *shape)}
    return batches | ({(size,), shape} if count == 1 else set())


def read_domain(domain: tuple[ArrayLike, ArrayLike], rows: Array) -> tuple[Array, Array]:
    try:
        low, high = (np.broadcast_to(np.asarray(end, dtype=np.float64).ravel(), rows.shape[1:]) for end in domain)
    except (TypeError, ValueError):
        raise InputError(f"The domain needs two numbers, or two arrays of {rows.shape[1]} entries.") from None
    if not (np.all(np.isfinite(low)) and np.all(np.isfinite(high)) and np.all(low <= high)):
        raise InputError("The domain has to have finite ends, the lower ones at most the upper ones.")
    outside = (rows < low) | (rows > high)
    if outside.any():
        row, entry = np.argwhere(outside)[0]
        raise InputError(
            f"Input {row} has {rows[row, entry]:.6g} at entry {entry}, outside the domain "
            f"[{low[entry]:.6g}, {high[entry]:.6g}]; scale the inputs or give their domain."
        )
    return np.array(low), np.array(high)


def _seed(seed: Any) -> int:
    if not isinstance(seed, int | np.integer) or not -(2**63) <= seed < 2**63:
        raise InputError(f"The seed has to be a whole number of 64 bits; got {seed!r}.")
    return int(seed)


def _first_logits(classifier: Classifier, x: Tensor) -> Tensor:
    """Logits of the inputs; what comes from the model is looked at here, once."""
    import torch

    try:
        with torch.no_grad():
            logits: Any = classifier.logits(x)
    except RuntimeError as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"The model does not take inputs of shape {(len(x), *classifier.shape)}: {reason}") from error
    if not isinstance(logits, torch.Tensor) or logits.ndim != 2 or len(logits) != len(x) or logits.shape[1] < 2:
        given = f"shape {tuple(logits.shape)}" if isinstance(logits, torch.Tensor) else f"a {type(logits).__name__}"
        raise InputError(f"The model gives {given} for {len(x)} inputs; expected logits ({len(x)}, classes).")
    if not bool(torch.isfinite(logits).all()):
        raise InputError("The model gives logits that are not finite numbers for these inputs.")
    found: Tensor = logits
    return found


def _labels(label: ArrayLike | None, logits: Tensor) -> Tensor:
    """The classes c: those given, or the predicted ones."""
    import torch

    count, classes = logits.shape
    if label is None:
        return logits.argmax(dim=1)
    given = np.asarray(label)
    if given.dtype.kind not in "iu" or given.shape not in ((), (count,)):
        raise InputError(f"Labels have to be {count} whole numbers, or one; got {given.dtype} of shape {given.shape}.")
    if given.min() < 0 or given.max() >= classes:
        raise InputError(f"Labels run from 0 to {classes - 1}; got {given.min()} to {given.max()}.")
    return torch.from_numpy(np.array(np.broadcast_to(given, (count,)), dtype=np.int64)).to(logits.device)


def _targets(targets: Any, reference: Tensor, classes: int) -> Tensor:
    """Which classes count as wrong, shape (N, classes)."""
    import torch

    count, device = len(reference), reference.device
    own = torch.zeros(count, classes, dtype=torch.bool, device=device)
    own[torch.arange(count, device=device), reference] = True
    if targets is None:
        return ~own
    given = np.asarray(targets)
    if given.dtype.kind not in "iu" or given.size == 0:
        raise InputError("Targets are class numbers: one, several, or an array of shape (N, 1).")
    if given.min() < 0 or given.max() >= classes:
        raise InputError(f"Targets run from 0 to {classes - 1}; got {given.min()} to {given.max()}.")
    mask = np.zeros((count, classes), dtype=bool)
    if given.ndim == 2 and given.shape == (count, 1):
        mask[np.arange(count), given[:, 0]] = True
    elif given.ndim <= 1:
        mask[:, np.unique(given)] = True
    else:
        raise InputError(f"Targets have shape {given.shape}; expected one class, a list, or shape ({count}, 1).")
    wanted = torch.from_numpy(mask).to(device)
    if bool((wanted & own).any()):
        row = int((wanted & own).any(dim=1).nonzero()[0])
        raise InputError(f"Input {row} has class {int(reference[row])} already; name other classes as its targets.")
    return wanted
