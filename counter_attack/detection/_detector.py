"""Counter-Attack: an input is non-robust if an attack, corrected by a buffer, finds the boundary within eps."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from counter_attack._classifier import Classifier
from counter_attack.attacks._contract import AttackStop, Budget
from counter_attack.detection._buffers import Buffer, BufferKind, LineBuffer, Zero
from counter_attack.detection._estimator import Estimator
from counter_attack.detection._exact import ExactResult
from counter_attack.detection._pairs import Pairs
from mipverify_py._arguments import real_number
from onnx_models import Array, ReluNetwork
from onnx_models.errors import InputError

if TYPE_CHECKING:
    from torch import nn

NON_ROBUST, ROBUST = -1, 1
"""What `CounterAttack.predict` gives; scikit-learn's words for outliers and inliers."""


class AttackLike(Protocol):
    """Whatever keeps the contract of `Attack`: an attack, a pool of them, an exact attack."""

    def __call__(
        self,
        network: Any,
        x: Any,
        label: Any = None,
        targets: Any = None,
        *,
        domain: Any = ...,
        seed: int = ...,
        budget: Any = ...,
    ) -> Any:
        """A result with `success`, `distance` and `adversarial`, as in `AttackResult`."""


@dataclass(frozen=True, slots=True, eq=False)
class Detection:
    """What was found about N inputs.

    Attributes:
        eps: the radius asked about.
        distance: d(x, a(x)), shape (N,); infinite where the attack found nothing.
        buffer: b(x, a(x)), shape (N,); NaN where the attack found nothing.
        estimate: d - b, the exact distance as estimated, shape (N,); infinite where the attack found nothing.
        non_robust: estimate <= eps, shape (N,).
        failed: inputs without any adversarial example found, shape (N,). They count as robust: an attack that finds
            nothing is an estimate of no boundary at all. Only an exact attack proves that there is none.
        predicted: the model's classes, shape (N,).
        lower: lower end of the exact distance, shape (N,): that of an exact attack, 0 with any other.
        interrupted: whether Ctrl-C cut the attack short. Its examples hold, but inputs may count as robust for
            want of time.
        seconds: wall-clock time.
    """

    eps: float
    distance: Array
    buffer: Array
    estimate: Array
    non_robust: NDArray[np.bool_]
    failed: NDArray[np.bool_]
    predicted: NDArray[np.int64]
    lower: Array
    interrupted: bool
    seconds: float

    @property
    def proved_non_robust(self) -> NDArray[np.bool_]:
        """Inputs with an adversarial example within eps in hand, whatever the buffer says."""
        return self.distance <= self.eps

    @property
    def proved_robust(self) -> NDArray[np.bool_]:
        """Inputs whose exact search reached beyond eps, whatever the buffer says."""
        return self.lower > self.eps

    @property
    def undecided(self) -> NDArray[np.bool_]:
        """Inputs of which neither is proved.

        With a heuristic attack these are all without an example within eps; with an exact one those whose search was
        cut short, or ended with eps inside its gap.
        """
        return ~(self.proved_non_robust | self.proved_robust)


class CounterAttack(Estimator):
    """Marks x as non-robust iff d(x, a(x)) - b(x, a(x)) <= eps (Marro and Lombardi 2023, arXiv 2306.14326).

    Let d* be the exact distance. With an exact attack and b = 0 that is an exact check: x is marked iff d* <= eps,
    unless its search was cut short or ended with eps within its gap, which `Detection.undecided` says. With a buffer of
    at most the excess d - d*, every marked input is non-robust; with one of at least the excess, every non-robust input
    is marked. An input on which the attack fails is not marked, and `Detection.failed` says so.

    In the manner of scikit-learn's outlier detectors: `predict`, `score_samples`, `decision_function`, and `fit`, which
    is needed for a buffer that is given as a kind. `detect` tells everything at once.

    Args:
        pool: the attack a, a pool of attacks or an exact attack; distances are measured in its norm.
        buffer: b, fitted or of your own; or a kind, such as `Quantile(0.01)`, that `fit` fits.
        eps: the radius, finite and >= 0, in the norm of the attack.
        model: a `ReluNetwork`, a torch module with logits and gradients, or a `Classifier`.
        domain: valid inputs, as for an attack.
        seed: of the attack's randomness.
        budget: of each call of the attack; None: without limit.

    Attributes:
        buffer_: the buffer in use, after `fit`.
    """

    _kind = "outlier_detector"

    def __init__(
        self,
        pool: AttackLike,
        buffer: Buffer | BufferKind = Zero(),  # noqa: B008 - frozen
        eps: float = 0.1,
        *,
        model: ReluNetwork | nn.Module | Classifier | None = None,
        domain: tuple[ArrayLike, ArrayLike] = (0.0, 1.0),
        seed: int = 0,
        budget: Budget | None = None,
    ) -> None:
        self.pool = pool
        self.buffer = buffer
        self.eps = eps
        self.model = model
        self.domain = domain
        self.seed = seed
        self.budget = budget

    def fit(self, X: ArrayLike, y: ArrayLike | None = None) -> Self:  # noqa: N803 - scikit-learn's names
        """Fits the buffer where it is given as a kind; nothing is to be learnt otherwise.

        Args:
            X: inputs, as for the attack.
            y: their exact distances, shape (N,); not needed for a buffer that needs no fitting. Inputs on which the
                attack fails, or without an adversarial example (y infinite), make no pair and are left out.

        Raises:
            InputError: no distances where some are needed, not one per input, or such as no buffer can be fitted on.
        """
        if isinstance(self.buffer, Buffer):
            self.buffer_ = self.buffer
        elif isinstance(self.buffer, Zero):
            self.buffer_ = LineBuffer(self.buffer)
        elif y is None:
            raise InputError(f"A buffer of kind {self.buffer.name} is fitted on exact distances; give them as y.")
        else:
            self.buffer_ = self.buffer.fit(self.pairs(X, y))
        return self

    def pairs(self, X: ArrayLike, y: ArrayLike) -> Pairs:  # noqa: N803
        """The attack's distances of inputs beside exact ones, y; inputs where either is infinite are left out."""
        exact = np.asarray(y, dtype=np.float64)
        heuristic = self._attack(X).distance
        if exact.shape != heuristic.shape:
            raise InputError(f"There are {len(heuristic)} inputs and exact distances of shape {exact.shape}.")
        there = np.isfinite(heuristic) & ~np.isposinf(exact)
        if not there.any():
            raise InputError("The attack failed on every input that has an adversarial example; use a stronger one.")
        return Pairs(heuristic[there], exact[there])

    def at(self, eps: float) -> CounterAttack:
        """The same detector, fitted if it is, for another eps."""
        other = self.__sklearn_clone__().set_params(eps=eps)
        if hasattr(self, "buffer_"):
            other.buffer_ = self.buffer_
        return other

    def detect(self, X: ArrayLike) -> Detection:  # noqa: N803
        """Everything about inputs, of shape (N, *shape) or (N, n).

        Raises:
            InputError: inputs that do not fit the model, a buffer that is not fitted, an eps out of range.
        """
        buffer, eps = self.fitted_buffer(), self._eps()
        found = self._attack(X)
        there = np.isfinite(found.distance)
        estimate, amount = found.distance.copy(), np.full(len(there), np.nan)
        if there.any():
            arguments = (found.x[there], found.adversarial[there], found.distance[there])
            amount[there], estimate[there] = buffer(*arguments), buffer.estimate(*arguments)
        if not np.all(np.isfinite(estimate[there])):
            raise InputError(f"The buffer {buffer!r} gives values that are not finite numbers.")
        return Detection(
            eps=eps,
            distance=found.distance,
            buffer=amount,
            estimate=estimate,
            non_robust=estimate <= eps,
            failed=~there,
            predicted=found.predicted,
            lower=found.lower,
            interrupted=found.interrupted,
            seconds=found.seconds,
        )

    def score_samples(self, X: ArrayLike) -> Array:  # noqa: N803
        """d - b, shape (N,): the lower, the less robust; infinite where the attack found nothing."""
        return self.detect(X).estimate

    def decision_function(self, X: ArrayLike) -> Array:  # noqa: N803
        """d - b - eps, shape (N,): at most 0 for inputs that are marked non-robust."""
        found = self.detect(X)
        return np.asarray(found.estimate - found.eps)

    def predict(self, X: ArrayLike) -> NDArray[np.int64]:  # noqa: N803
        """`NON_ROBUST` (-1) or `ROBUST` (1) for each input, shape (N,)."""
        return np.where(self.detect(X).non_robust, NON_ROBUST, ROBUST)

    def fit_predict(self, X: ArrayLike, y: ArrayLike | None = None) -> NDArray[np.int64]:  # noqa: N803
        """`fit`, then `predict`, on the same inputs."""
        return self.fit(X, y).predict(X)

    def classifier(self, X: ArrayLike) -> Classifier:  # noqa: N803
        """The model; for a torch module, the inputs tell the shape of one."""
        if self.model is None:
            raise InputError("The detector has no model; give one as CounterAttack(pool, buffer, eps, model=...).")
        return Classifier.of(self.model, shape=np.asarray(X).shape[1:])

    def fitted_buffer(self) -> Buffer:
        """The buffer in use; raises InputError where a kind is given and `fit` was not called."""
        if isinstance(self.buffer, Buffer):
            return self.buffer
        if isinstance(self.buffer, Zero):
            return LineBuffer(self.buffer)
        fitted: Buffer | None = getattr(self, "buffer_", None)
        if fitted is None:
            raise InputError(f"The buffer of kind {self.buffer.name} is not fitted; call fit with exact distances.")
        return fitted

    def _eps(self) -> float:
        eps = real_number(self.eps, "The radius (eps)")
        if not (np.isfinite(eps) and eps >= 0):
            raise InputError(f"The radius (eps) is {eps}; it must be a finite number that is at least 0.")
        return eps

    def _attack(self, inputs: ArrayLike) -> _Found:
        import torch

        started = time.monotonic()
        classifier = self.classifier(inputs)
        result = self.pool(classifier, inputs, domain=self.domain, seed=self.seed, budget=self.budget)
        x = np.asarray(inputs, dtype=np.float64).reshape(-1, classifier.size)
        with torch.no_grad():
            logits = classifier.logits(torch.from_numpy(x.copy()).to(classifier.device))
        there = np.asarray(result.success, dtype=bool)
        distance = np.where(there, np.asarray(result.distance, dtype=np.float64), np.inf)
        lower = np.zeros(len(x))
        for exact in _exact_results(result):
            lower = np.maximum(lower, exact.lower)
            # Its own example was checked exactly; torch may have needed one that is further by a hair.
            distance = np.minimum(distance, exact.upper)
        return _Found(
            x=x,
            adversarial=np.asarray(result.adversarial, dtype=np.float64).reshape(len(x), -1),
            distance=distance,
            predicted=logits.argmax(dim=1).cpu().numpy(),
            lower=lower,
            interrupted=_was_interrupted(result),
            seconds=time.monotonic() - started,
        )


def _exact_results(result: Any) -> list[ExactResult]:
    """The result itself, or those in a pool's, that are of exact searches."""
    every = [result, *getattr(result, "results", {}).values()]
    return [one for one in every if isinstance(one, ExactResult)]


def _was_interrupted(result: Any) -> bool:
    """An attack tells it by its stop reason, a pool by a field of its own."""
    stop = getattr(result, "stop_reason", None)
    return stop is AttackStop.INTERRUPTED or bool(getattr(result, "interrupted", False))


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    """What the attack found, with infinite distances where that is nothing; fields as in `Detection`."""

    x: Array
    adversarial: Array
    distance: Array
    predicted: NDArray[np.int64]
    lower: Array
    interrupted: bool
    seconds: float
