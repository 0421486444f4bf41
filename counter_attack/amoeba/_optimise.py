"""The largest boxes that bounds of the margins allow, by the augmented Lagrangian of the paper; torch, batched."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from counter_attack.amoeba._box import UNIT, AsymmetricBox, BoxShape, Domain
from counter_attack.amoeba._kinds import BoundKind
from onnx_models import Array, ReluNetwork
from onnx_models.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from counter_attack.amoeba._bounds import MarginBounds

LEAST = 1e-9
"""Least share of the room between x and the domain's end that e1 or e2 may shrink to, so that logarithms exist."""

HALVINGS = 50
"""Steps of the search for the uniform box."""

DECAYS = 80
"""How often a box may be shrunk by tau at the end of a round before it is given up; the best one so far remains."""


@dataclass(frozen=True, slots=True)
class BoxSettings:
    """How the optimiser works.

    Attributes:
        rounds: updates of the multipliers, >= 1.
        steps: gradient steps (Adam) between two of them, >= 1.
        step: size of the first gradient steps in log e, > 0; it falls to a twentieth.
        eta: first penalty, > 0, for margins as shares of the margin at x.
        growth: factor of eta from round to round, >= 1.
        tau: factor in (0, 1) by which a box that its bounds do not allow is shrunk until they do.
        time_limit: seconds after which the best boxes so far are taken, > 0, or None.
    """

    rounds: int = 25
    steps: int = 20
    step: float = 0.1
    eta: float = 1.0
    growth: float = 1.2
    tau: float = 0.99
    time_limit: float | None = None

    def __post_init__(self) -> None:
        fine = {
            "rounds": (self.rounds >= 1, "at least 1"),
            "steps": (self.steps >= 1, "at least 1"),
            "step": (self.step > 0, "above 0"),
            "eta": (self.eta > 0, "above 0"),
            "growth": (self.growth >= 1, "at least 1"),
            "tau": (0 < self.tau < 1, "between 0 and 1"),
            "time_limit": (self.time_limit is None or self.time_limit > 0, "above 0, or None"),
        }
        for name, (holds, expected) in fine.items():
            if not holds:
                raise InputError(f"{name} is {getattr(self, name)!r}; it must be {expected}.")


@dataclass(frozen=True, slots=True, eq=False)
class Optimised:
    """Boxes in which floats say that the class is kept. Nothing is certified yet.

    Attributes:
        boxes: one per input, N.
        classes: the class kept, shape (N,).
        margin: lower bound of the smallest margin over each box, in floats and above 0, shape (N,).
        rounds: how many rounds were done; less than asked for where the search was cut short.
        stopped: why it was, "time limit" or "interrupted"; None if it was not.
        seconds: wall-clock time.
    """

    boxes: tuple[AsymmetricBox, ...]
    classes: NDArray[np.int64]
    margin: Array
    rounds: int
    stopped: str | None
    seconds: float


def optimise_boxes(
    network: ReluNetwork,
    x: ArrayLike,
    classes: ArrayLike | None = None,
    *,
    shape: BoxShape = BoxShape.ASYMMETRIC,
    kind: BoundKind = BoundKind.CROWN,
    domain: Domain = UNIT,
    settings: BoxSettings | None = None,
) -> Optimised:
    """For each input a large box that keeps its class according to bounds of the margins.

    With v_j the lower bound of f_c - f_j over the box (over the margin at x, so that all networks have one scale):

        maximise  mean over i of log(e1_i + e2_i)   subject to  v_j >= 0 for all j,

    with slacks c_j >= 0 for v_j - c_j = 0. Rounds of gradient steps in log e1 and log e2 minimise

        - mean log(e1 + e2) + sum of lambda_j (v_j - c_j) + eta / 2 (v_j - c_j)^2,  where c = max(0, v + lambda / eta)

    is the best slack in closed form; after each round lambda grows by eta (v - c) and eta by its factor. A box whose
    bounds are not all above 0 is shrunk by tau until they are, and the largest that was found is kept. The uniform
    box has one parameter and is found by bisection; the others start from it. (Li et al., and Liu, Tomioka, Cevher
    2019 for the non-uniform box.) This is a local search: nothing says that there is no larger box.

    Args:
        network: the classifier.
        x: inputs, shape (N, n), in the domain.
        classes: the classes to keep, shape (N,); None: those that the model predicts.
        shape: which boxes are considered.
        kind: INTERVAL or CROWN.
        domain: least and largest valid input; each feature must have room.
        settings: how to search; None means `BoxSettings()`.

    Raises:
        InputError: inputs of another shape or outside the domain, or one whose class is not the one to keep.
    """
    import torch

    from counter_attack.amoeba._bounds import MarginBounds

    began, chosen = time.monotonic(), settings or BoxSettings()
    points, low, high = checked_inputs(network, x, domain)
    kept = _kept(network, points, classes)
    problem = _Problem(
        MarginBounds(network, kind),
        torch.tensor(points),
        torch.tensor(points - low),
        torch.tensor(high - points),
        torch.tensor(kept),
        shape,
    )
    deadline = None if chosen.time_limit is None else began + chosen.time_limit
    search = _Search(problem, chosen, lambda: deadline is not None and time.monotonic() > deadline)
    rounds, stopped = search.run()
    e1, e2 = (part.numpy() for part in problem.reaches(search.best))
    boxes = tuple(AsymmetricBox.clipped(*rows, (low, high)) for rows in zip(points, e1, e2, strict=True))
    return Optimised(boxes, kept, search.margin.numpy(), rounds, stopped, time.monotonic() - began)


def checked_inputs(network: ReluNetwork, x: ArrayLike, domain: Domain) -> tuple[Array, Array, Array]:
    """Inputs as rows, shape (N, n), and both ends of the domain, shape (n,).

    Raises:
        InputError: they do not fit the network or the domain, or some feature has only one valid value.
    """
    points = np.array(x, dtype=np.float64)
    points = points.reshape(len(points), -1) if points.ndim > 1 else points[None]
    size = network.input_size
    if points.shape[1] != size or not len(points) or not np.all(np.isfinite(points)):
        raise InputError(
            f"The inputs have shape {points.shape}; expected rows of {size} finite numbers, as the model takes."
        )
    low, high = (np.broadcast_to(np.asarray(end, dtype=np.float64), (size,)) for end in domain)
    if not (np.all(np.isfinite(low)) and np.all(np.isfinite(high)) and np.all(low < high)):
        raise InputError("The domain must be finite, its least value below its largest one in every feature.")
    if np.any(points < low) or np.any(points > high):
        raise InputError("Some inputs lie outside the domain; scale them, or give the model's own domain.")
    return points, low, high


def _kept(network: ReluNetwork, points: Array, classes: ArrayLike | None) -> NDArray[np.int64]:
    kept = network.forward_batch(points).argmax(axis=1) if classes is None else np.asarray(classes)
    if kept.shape != (len(points),) or np.any(kept < 0) or np.any(kept >= network.output_size):
        raise InputError(f"Expected one class below {network.output_size} per input.")
    chosen = np.asarray(kept, dtype=np.int64)
    wrong = np.flatnonzero(~has_margin(network, points, chosen))
    if len(wrong):
        raise InputError(
            f"Input {wrong[0]} is not classified as {chosen[wrong[0]]}, or as another class just as much; "
            "there is no box around it. Leave it out."
        )
    return chosen


def has_margin(network: ReluNetwork, points: Array, classes: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which points, shape (N, n), floats see on the inside of their class, so that a box around them can be sought.

    Raises:
        InputError: a model with one output.
    """
    import torch

    from counter_attack.amoeba._bounds import MarginBounds

    if network.output_size < 2:
        raise InputError("The model has a single output; a class is kept against others, so it takes at least two.")
    x = torch.tensor(points)
    margins = MarginBounds(network, BoundKind.INTERVAL).margins(x, x, torch.tensor(classes)).numpy()
    return np.asarray((margins > 0).all(axis=1))


@dataclass(frozen=True, eq=False)
class _Problem:
    """Boxes as rows of parameters t, and their margins.

    t is log(e / room): of shape (B, 2 n) for e1 and e2, (B, n) for e1 = e2 and (B, 1) for a radius, `room` being what
    the domain leaves. Uniform and non-uniform boxes are cut off at the domain's ends.
    """

    bounds: MarginBounds
    x: Tensor
    room1: Tensor
    room2: Tensor
    classes: Tensor
    shape: BoxShape

    def reaches(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """e1 and e2, shape (B, n)."""
        import torch

        share, n = t.exp(), self.x.shape[1]
        if self.shape is BoxShape.ASYMMETRIC:
            return self.room1 * share[:, :n], self.room2 * share[:, n:]
        room = torch.maximum(self.room1, self.room2)
        radius = share * (room.amax(1, keepdim=True) if self.shape is BoxShape.UNIFORM else room)
        return torch.minimum(radius, self.room1), torch.minimum(radius, self.room2)

    def log_sides(self, t: Tensor) -> Tensor:
        """mean of log(e1 + e2), shape (B,)."""
        e1, e2 = self.reaches(t)
        return (e1 + e2).log().mean(1)

    def margins(self, t: Tensor) -> Tensor:
        """Bounds of the margins over the boxes, shape (B, classes - 1)."""
        e1, e2 = self.reaches(t)
        return self.bounds.margins(self.x - e1, self.x + e2, self.classes)

    def scale(self) -> Tensor:
        """The smallest margin at x, shape (B, 1)."""
        return self.bounds.margins(self.x, self.x, self.classes).amin(1, keepdim=True)

    def spread(self, radius: Tensor) -> Tensor:
        """The parameters of the boxes of this shape that are balls of these radii, shape (B, 1), cut off."""
        import torch

        if self.shape is BoxShape.ASYMMETRIC:
            reach, room = radius.expand(-1, 2 * self.x.shape[1]), torch.cat([self.room1, self.room2], 1)
        else:
            room = torch.maximum(self.room1, self.room2)
            reach = radius.expand_as(room)
        ones = torch.ones_like(room)
        return (reach / torch.where(room > 0, room, ones)).clamp(LEAST, 1.0).log()


class _Search:
    """The best boxes so far, and the way to better ones."""

    def __init__(self, problem: _Problem, settings: BoxSettings, is_over: Callable[[], bool]) -> None:
        self._problem, self._settings, self._is_over = problem, settings, is_over
        self.best, self.margin = self._shrunk(self._uniform(), None)

    def _margin(self, t: Tensor) -> Tensor:
        import torch

        with torch.no_grad():
            return self._problem.margins(t).amin(1)

    def _uniform(self) -> Tensor:
        """Balls whose bounds are all above 0, and nearly the largest ones, as parameters of the shape asked for."""
        import torch

        p = self._problem
        ball = _Problem(p.bounds, p.x, p.room1, p.room2, p.classes, BoxShape.UNIFORM)
        whole = torch.maximum(p.room1, p.room2).amax(1, keepdim=True)
        good, bad = torch.full_like(whole, LEAST), torch.ones_like(whole)
        with torch.no_grad():
            everything = ball.margins(bad.log()).amin(1, keepdim=True) > 0
            for _ in range(HALVINGS):
                share = (good * bad).sqrt()
                fine = ball.margins(share.log()).amin(1, keepdim=True) > 0
                good, bad = torch.where(fine, share, good), torch.where(fine, bad, share)
        good = torch.where(everything, torch.ones_like(good), good)
        return good.log() if p.shape is BoxShape.UNIFORM else p.spread(good * whole)

    def run(self) -> tuple[int, str | None]:
        """Improves the boxes; how many rounds were done, and why not all of them if so."""
        if self._problem.shape is BoxShape.UNIFORM:
            return 0, None
        done = 0
        try:
            for done, t in enumerate(self._rounds(), 1):
                self._keep(t)
                if self._is_over() and done < self._settings.rounds:
                    return done, "time limit"
        except KeyboardInterrupt:
            return done, "interrupted"
        return done, None

    def _rounds(self) -> Iterator[Tensor]:
        """The parameters after each round."""
        import torch

        s, p = self._settings, self._problem
        scale, eta = p.scale(), s.eta
        t = self.best.clone().requires_grad_()
        optimiser = torch.optim.Adam([t], lr=s.step)
        falling = torch.optim.lr_scheduler.ExponentialLR(optimiser, gamma=0.05 ** (1.0 / (s.rounds * s.steps)))
        multipliers = torch.zeros_like(p.margins(self.best))
        for _ in range(s.rounds):
            for _ in range(s.steps):
                optimiser.zero_grad()
                v = p.margins(t) / scale
                short = v - (v + multipliers / eta).clamp(min=0.0).detach()
                loss = -p.log_sides(t) + (multipliers * short + 0.5 * eta * short**2).sum(1)
                loss.sum().backward()  # type: ignore[no-untyped-call]
                optimiser.step()
                falling.step()
                with torch.no_grad():
                    t.clamp_(min=float(np.log(LEAST)), max=0.0)
            with torch.no_grad():
                v = p.margins(t) / scale
                multipliers = multipliers + eta * (v - (v + multipliers / eta).clamp(min=0.0))
            eta *= s.growth
            yield t.detach().clone()

    def _keep(self, t: Tensor) -> None:
        """Shrinks boxes until their bounds are above 0, and keeps those that are larger than the best."""
        import torch

        with torch.no_grad():
            t, margin = self._shrunk(t, DECAYS)
            better = (margin > 0) & (self._problem.log_sides(t) > self._problem.log_sides(self.best))
            self.best = torch.where(better[:, None], t, self.best)
            self.margin = torch.where(better, margin, self.margin)

    def _shrunk(self, t: Tensor, most: int | None) -> tuple[Tensor, Tensor]:
        """Boxes shrunk by tau until their bounds are above 0, at most so many times, and their smallest margins."""
        import torch

        margin, done = self._margin(t), 0
        while not bool((margin > 0).all()) and (most is None or done < most):
            t = torch.where((margin > 0)[:, None], t, t + float(np.log(self._settings.tau)))
            margin, done = self._margin(t), done + 1
        return t, margin
