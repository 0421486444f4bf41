"""Attacks on the detector: inputs near x that the model takes for another class and the detector for robust."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from counter_attack._distances import distances
from counter_attack.attacks._problem import AttackProblem
from counter_attack.detection._detector import CounterAttack
from mipverify_py import Norm
from onnx_models import Array
from onnx_models.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

UNIFORM = "uniform"
"""Name of the baseline among the methods of a `FoolingResult`."""


@dataclass(frozen=True, slots=True, eq=False)
class FoolingResult:
    """What was found against the detector, for each of N inputs.

    Attributes:
        radius: how far an input may be moved, in L-infinity.
        eps: the detector's.
        methods: what was tried, in order: "lambda=10000", ..., "uniform".
        success: shape (methods, N): whether the method met a point within the radius that the model gives one of the
            target classes and the detector does not mark.
        adversarial: the points, shape (methods, N, n); NaN without success.
        estimate: d - b there, above eps, shape (methods, N); NaN without success. Infinite where the inner attack found
            nothing, which counts as robust.
        queries: points on which the detector's attack was run, shape (methods,).
    """

    radius: float
    eps: float
    methods: tuple[str, ...]
    success: NDArray[np.bool_]
    adversarial: Array
    estimate: Array
    queries: NDArray[np.int64]

    @property
    def rates(self) -> dict[str, float]:
        """Share of the inputs on which each method succeeded, and under "any" that of all together."""
        shares = {name: float(row.mean()) for name, row in zip(self.methods, self.success, strict=True)}
        return {**shares, "any": float(self.success.any(axis=0).mean())}


@dataclass(frozen=True)
class FoolingAttack:
    """The attack on Counter-Attack by its authors (Marro and Lombardi 2023; the experiment is described in the thesis).

    From a random point of the ball, signed steps climb

        CE(f(x'), c) + lambda * (d(x', a(x')) - b(x', a(x'))),    c the model's class of x,

    within radius and domain, once for each lambda; an input stops at its first success. The first term pushes the model
    off c, the second makes the boundary look far away. The gradient of the second goes through an attack and is
    estimated by natural evolution strategies (Wierstra et al. 2014; Ilyas et al. 2018): with u_1, ..., u_m standard
    normal,

        g = 1/m * sum_j (D(x' + sigma u_j) - D(x' - sigma u_j)) / (2 sigma) * u_j,

    where the points are first moved into the domain, and a pair with an end on which the inner attack fails is left
    out. The baseline, "uniform", draws points of the ball uniformly. Every point of the climb is tried.

    Attributes:
        lambdas: weights of the second term; the published ones by default.
        steps: steps for each lambda, >= 1.
        step_size: of each entry, > 0.
        samples: m, >= 1: the inner attack runs on 2 m points for each input and step.
        sigma: > 0.
        draws: of the baseline, for each input, >= 0.

    Raises:
        InputError: a value out of range.
    """

    lambdas: tuple[float, ...] = (1e4, 1e2, 1e0, 1e-2, 1e-4)
    steps: int = 400
    step_size: float = 1e-3
    samples: int = 200
    sigma: float = 1e-4
    draws: int = 1000

    def __post_init__(self) -> None:
        least = {"steps": 1, "samples": 1, "draws": 0}
        for name, bound in least.items():
            if getattr(self, name) < bound:
                raise InputError(f"The fooling attack's {name} is {getattr(self, name)}; it must be at least {bound}.")
        positive = {"step_size": self.step_size, "sigma": self.sigma, "lambda": min(self.lambdas, default=1.0)}
        for name, value in positive.items():
            if not (np.isfinite(value) and value > 0):
                raise InputError(f"The fooling attack's {name} is {value}; it must be finite and above 0.")

    def __call__(
        self,
        detector: CounterAttack,
        x: ArrayLike,
        *,
        radius: float | None = None,
        targets: int | Sequence[int] | None = None,
        seed: int = 0,
    ) -> FoolingResult:
        """Attacks the detector around each input, shape (N, *shape) or (N, n).

        Args:
            detector: what to fool; its model, domain and eps hold.
            x: the inputs, in the domain.
            radius: how far they may be moved, > 0; None: the detector's eps.
            targets: the classes C that count; None: all but the model's own class of x.
            seed: of all randomness but the inner attack's, which is the detector's.

        Raises:
            InputError: an argument that does not fit.
        """
        reach = float(detector.eps if radius is None else radius)
        if not (np.isfinite(reach) and reach > 0):
            raise InputError(f"The radius is {reach}; it must be finite and above 0.")
        problem = AttackProblem(
            detector.classifier(x), x, None, targets, domain=detector.domain, seed=seed, norm=Norm.LINF
        )
        hunts = [self._climb(_Hunt(detector, problem, reach), weight) for weight in self.lambdas]
        if self.draws:
            hunts.append(self._draw(_Hunt(detector, problem, reach)))
        names = [f"lambda={weight:g}" for weight in self.lambdas] + [UNIFORM] * bool(self.draws)
        return FoolingResult(
            radius=reach,
            eps=float(detector.eps),
            methods=tuple(names),
            success=np.array([hunt.success for hunt in hunts]).reshape(len(hunts), len(problem)),
            adversarial=np.array([hunt.adversarial for hunt in hunts]),
            estimate=np.array([hunt.estimate for hunt in hunts]),
            queries=np.array([hunt.queries for hunt in hunts], dtype=np.int64),
        )

    def _climb(self, hunt: _Hunt, weight: float) -> _Hunt:
        import torch

        points = hunt.random_points()
        for _ in range(self.steps):
            rows = hunt.try_points(points)
            if not len(rows):
                break
            here = points[rows]
            slope = hunt.class_slope(here, rows) + weight * self._distance_slope(hunt, here, rows)
            points[rows] = hunt.inside(here + self.step_size * torch.sign(slope), rows)
        else:
            hunt.try_points(points)
        return hunt

    def _distance_slope(self, hunt: _Hunt, points: Tensor, rows: Tensor) -> Tensor:
        """g at points, shape (K, n)."""
        import torch

        count, n = points.shape
        noise = hunt.problem.normal(rows, self.samples, n).transpose(0, 1)
        around = torch.cat([points + self.sigma * noise, points - self.sigma * noise])
        values = hunt.scores(hunt.problem.clip(around.reshape(-1, n))).reshape(2, self.samples, count)
        change = values[0] - values[1]
        change = torch.where(torch.isfinite(values).all(dim=0), change, torch.zeros_like(change))
        return (change[:, :, None] * noise).mean(dim=0) / (2 * self.sigma)

    def _draw(self, hunt: _Hunt) -> _Hunt:
        for _ in range(self.draws):
            if not len(hunt.try_points(hunt.random_points())):
                break
        return hunt


class _Hunt:
    """One method at work: points in, successes kept."""

    def __init__(self, detector: CounterAttack, problem: AttackProblem, radius: float) -> None:
        self.detector, self.problem, self.radius = detector, problem, radius
        count, n = problem.x.shape
        self.success = np.zeros(count, dtype=bool)
        self.adversarial = np.full((count, n), np.nan)
        self.estimate = np.full(count, np.nan)
        self.queries = 0

    def scores(self, points: Tensor) -> Tensor:
        """d - b at points, shape (K,)."""
        import torch

        self.queries += len(points)
        shaped = points.cpu().numpy().reshape(-1, *self.problem.classifier.shape)
        return torch.from_numpy(self.detector.score_samples(shaped).copy()).to(points.device)

    def try_points(self, points: Tensor) -> Tensor:
        """Looks at one point per input; returns the rows without success so far.

        The detector judges only points that the model gives a target class.
        """
        import torch

        problem = self.problem
        with torch.no_grad():
            found = problem.classifier.logits(points).argmax(dim=1)
        aimed = problem.is_target.gather(1, found[:, None])[:, 0].cpu().numpy()
        within = distances(points.cpu().numpy(), problem.x.cpu().numpy(), Norm.LINF) <= self.radius
        rows = np.flatnonzero(aimed & within & ~self.success)
        if len(rows):
            kept = points[torch.from_numpy(rows).to(points.device)]
            values = self.scores(kept).cpu().numpy()
            fooled = values > float(self.detector.eps)
            self.success[rows[fooled]] = True
            self.adversarial[rows[fooled]] = kept.cpu().numpy()[fooled]
            self.estimate[rows[fooled]] = values[fooled]
        return torch.from_numpy(np.flatnonzero(~self.success)).to(points.device)

    def class_slope(self, points: Tensor, rows: Tensor) -> Tensor:
        """Gradient of CE = log(1 + exp(L)), L = log sum over targets of exp f_t - f_c, shape (K, n)."""
        import torch

        reference, allowed = self.problem.reference[rows], self.problem.is_target[rows]
        leaf = points.detach().clone()
        leaf.requires_grad = True
        with torch.enable_grad():
            logits = self.problem.classifier.logits(leaf)
            odds = torch.logsumexp(logits.masked_fill(~allowed, -float("inf")), dim=1)
            odds = odds - logits.gather(1, reference[:, None])[:, 0]
            (slope,) = torch.autograd.grad(torch.nn.functional.softplus(odds).sum(), leaf)
        return slope

    def random_points(self) -> Tensor:
        """Uniform draws from the balls, moved into the domain."""
        x = self.problem.x
        return self.inside(x + self.radius * (2 * self.problem.uniform(self.problem.rows, x.shape[1]) - 1), None)

    def inside(self, points: Tensor, rows: Tensor | None) -> Tensor:
        """The points moved into ball and domain; strictly within the radius also after rounding."""
        import torch

        x = self.problem.x if rows is None else self.problem.x[rows]
        moved = self.problem.clip(x + (points - x).clamp(-self.radius, self.radius))
        for _ in range(2):  # x + radius may be an ulp too far
            far = (moved - x).abs() > self.radius
            moved = torch.where(far, torch.nextafter(moved, x), moved)
        return moved


def fooling_rates(
    attack: FoolingAttack,
    detector: CounterAttack,
    x: ArrayLike,
    eps: Sequence[float],
    *,
    correction: float = 1.0,
    seed: int = 0,
) -> dict[float, FoolingResult]:
    """The attack's results for each eps of the detector, with a radius of `correction` * eps.

    The thesis looks at 0.025, 0.05, 0.1 on MNIST and 2/255, 4/255, 8/255 on CIFAR10. `FoolingResult.rates` has the
    success rates.
    """
    results = {}
    for value in eps:
        results[float(value)] = attack(detector.at(value), x, radius=correction * value, seed=seed)
    return results
