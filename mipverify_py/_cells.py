"""Exact local search over activation cells: from an attack's point to one that no neighbouring cell can better."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bounds import Bounds
from mipverify_py._attack import ball, passed
from mipverify_py._cell_model import CellModel, Optimum
from mipverify_py._gradients import Climb, Gradients
from mipverify_py._options import Options
from mipverify_py._query import Query
from onnx_models import Array

AIM = 1e-9
"""How far beyond the margin the LP aims, as a share of what the margin gains over the ball: its own tolerances then do
not decide whether a point is adversarial, and the distance grows by no larger a share."""

AIMS = 6
"""How often the aim may be raised, 4 times each, when a point misses the margin all the same."""

NEWTON_STEPS = 60
"""Most radii that one descent tries; on MNIST and digits networks it tries 1 to 3."""

BISECTIONS = 12
"""Most radii of one descent that Newton's method does not choose, where the margin does not grow with the radius."""

DESCENTS = 100
"""Most descents of one search, each from a nearer point than the last; on MNIST and digits networks 1 to 9."""

BACK = 1e-6
"""The search for other minima looks for points that are nearer by this share of the distance."""

KICKS = 32
"""Kicked points that climb at a time."""

KICK_STEPS = 20
"""Gradient steps after a kick."""

KICK_SHARE = 0.25
"""Largest share of the inputs that a kick moves: all of a small receptive field, a dense unit's largest weights."""

PROMISING = 1e-3
"""A kicked point is worth an LP if its margin misses the goal by at most this share of what the margin gains over the
box: the LP adds less than that to where the gradient steps end."""

LPS = 4
"""Most kicked points of a batch, or dives, that go on to the LP."""

RIVAL = 0.02
"""Another target is searched as well if, by its slope, its boundary is at most this share of the radius further away:
the most that kicks have been seen to gain."""


@dataclass(slots=True, eq=False)
class _Task:
    """Where a search looks, for what, and until when.

    Attributes:
        model: the cells.
        box: the points looked at.
        goal: margin at which the search ends.
        until: value of `time.monotonic()`, or None.
    """

    model: CellModel
    box: Bounds
    goal: float
    until: float | None


class CellSearch:
    """Finds points that reach the margin, from points at hand. It proves nothing; see `GradientAttack`.

    Three means, each deterministic but for the clock:
    the LP of a cell (`CellModel`), whose duals name the neighbouring cell to go to;
    Newton's method on the largest margin M(r) over cell and ball of radius r, which is concave and increasing in r and
    has the LP's duals as derivative;
    and, from a local minimum on, kicks: inputs that matter to one unit are set to the side of the ball that flips it,
    all inputs climb again by gradient steps, and what comes near the margin goes back to the LP. That is iterated local
    search (Lourenço et al., 2003) whose moves are as small as the network's own parts.

    Where the LP would be too large (`_cell_model.LARGEST`) there is none: `dive` is left with its gradient steps, and
    the other methods with what they were given.

    Args:
        query: the question.
        options: the seed is used.

    Raises:
        BackendMissingError: from every method, if highspy is not installed.
    """

    def __init__(self, query: Query, options: Options) -> None:
        self._query, self._options = query, options
        self._gradients = Gradients.of(query.network)
        self._known: CellModel | None = None

    def descend(self, point: Array, budget: float | None = None, deadline: float | None = None) -> Array | None:
        """A point that reaches the margin and is nearer to x0 than `point`, or None.

        Args:
            point: shape (n,), in the query's box, reaching the margin.
            budget: seconds, or None to go on until every kick has failed.
            deadline: value of `time.monotonic()`.
        """
        until = _end(budget, deadline)
        model = self._model(ball(self._query, self._distance(point)))
        if model is None or passed(until):
            return None
        best, aim = self._newton(model, point, until)
        for _ in range(DESCENTS):
            if passed(until):
                break
            radius = self._distance(best) * (1.0 - BACK)
            task = _Task(model, ball(self._query, radius), self._query.margin + aim, until)
            found = self._nearer(task, best)
            if found is None:
                break
            settled, aim = self._newton(model, found, until)
            if self._distance(settled) >= self._distance(best):
                break
            best = settled
        return best if self._distance(best) < self._distance(point) else None

    def settle(self, point: Array, deadline: float | None = None) -> Array | None:
        """What `descend` gives without kicks: the nearest point that the LPs of neighbouring cells lead to, or None."""
        model = self._model(ball(self._query, self._distance(point)))
        if model is None or passed(deadline):
            return None
        best, _ = self._newton(model, point, deadline)
        return best if self._distance(best) < self._distance(point) else None

    def dive(
        self, points: Array, radius: float, target: int | None = None, deadline: float | None = None
    ) -> Array | None:
        """A point that reaches the margin within `radius` of x0 and within the query's box, or None.

        Args:
            points: where to start, shape (k, n); they are moved into the ball first.
            radius: the distance from x0.
            target: the class to climb for; None means the target class with the largest logit at each point.
            deadline: value of `time.monotonic()`.
        """
        query, box = self._query, ball(self._query, radius)
        if not len(points):
            return None
        columns = np.clip(points, box.lower, box.upper).T
        if target is None:
            logits = self._gradients.values(columns)[-1]
            targets = np.argmax(logits[list(query.target_classes)], axis=0)
        else:
            targets = np.full(len(points), query.target_classes.index(target))
        climb = Climb(query, columns, targets)
        climb.run(box, KICK_STEPS, KICK_SHARE, stop=lambda: climb.best()[1] >= query.margin or passed(deadline))
        point, _ = climb.best()
        if self._margin(point) >= query.margin:
            return point
        model = None if passed(deadline) else self._model(box)
        if model is None:
            return None
        model.restrict(box)
        patterns = model.patterns(climb.values)
        for k in np.argsort(-climb.margins, kind="stable")[:LPS]:
            model.aim(int(targets[k]))
            model.enter(patterns[:, k])
            found = model.climb(deadline)
            if found is not None and self._margin(found.point) >= query.margin:
                return found.point
        return None

    def ascend(
        self, point: Array, budget: float | None = None, deadline: float | None = None, *, enough: float = np.inf
    ) -> Array:
        """A point of the query's box whose margin is at least that of `point`, shape (n,), and as large as can be had.

        `budget` and `deadline` as in `descend`. The search ends once a point of margin `enough` is met; by the LP's
        tolerance that point may miss it.
        """
        until, query = _end(budget, deadline), self._query
        model = self._model(query.box)
        if model is None or passed(until):
            return point
        best, value, own = point, self._margin(point), self._leader(point)
        task = _Task(model, query.box, enough, until)
        for target, start in ((own, point), *self._rivals(task, point, own, value)):
            if value >= enough:
                break
            found, _ = self._raised(task, start, target)
            if self._margin(found) > value:
                best, value = found, self._margin(found)
        return best

    def _newton(self, model: CellModel, point: Array, until: float | None) -> tuple[Array, float]:
        """The nearest local minimum by LPs from `point`, which reaches the margin, and the aim in logit units.

        Newton's method on M(r): from above one step leads to or below the root, from below every step stays there. As
        M belongs to whatever cells the climb passes, a step may leave the radii between which the root is known to be,
        which are then halved. Where a ball misses the cell, the climb starts from the best point moved into that ball.
        """
        query, best = self._query, point
        reached = radius = self._distance(point)
        low = self._distance(np.clip(query.x0, query.box.lower, query.box.upper))
        found = self._enter(_Task(model, ball(query, radius), np.inf, until), point, self._leader(point))
        aim, raises, halves = AIM * (0.0 if found is None else found.slope * radius), AIMS, BISECTIONS
        for _ in range(NEWTON_STEPS):
            if found is None:
                break
            if found.margin >= query.margin + 0.5 * aim and self._distance(found.point) < reached:
                if self._margin(found.point) >= query.margin:
                    best, reached = found.point, self._distance(found.point)
                elif raises:
                    aim, raises = 4.0 * aim, raises - 1
            short = query.margin + aim - found.margin
            if abs(short) <= 0.25 * aim and found.slope > 0:
                break
            low = radius if short > 0 else low
            radius = radius + short / found.slope if found.slope > 0 else low
            if not low < radius < reached:
                halves, radius = halves - 1, 0.5 * (low + reached)
            if halves < 0 or not low < radius < reached:
                break
            box = ball(query, radius)
            model.restrict(box)
            found = model.climb(until)
            if found is None and not passed(until):
                found = self._enter(_Task(model, box, np.inf, until), best, self._leader(best))
        return best, aim

    def _nearer(self, task: _Task, best: Array) -> Array | None:
        """A point of the box that reaches the goal, by kicks from `best`, for its target first, then for its rivals."""
        own = self._leader(best)
        point, value = self._raised(task, best, own)
        if value >= task.goal and self._margin(point) >= self._query.margin:
            return point
        for target, start in self._rivals(task, best, own, task.goal):
            point, value = self._raised(task, start, target)
            if value >= task.goal and self._margin(point) >= self._query.margin:
                return point
        return None

    def _raised(self, task: _Task, start: Array, target: int) -> tuple[Array, float]:
        """The point of the box with the largest margin for one target that kicks from `start` lead to, and the margin.

        It ends at the goal, or once a kick of every unit has failed.
        """
        model, rng = task.model, np.random.default_rng(self._options.seed)
        best = np.clip(start, task.box.lower, task.box.upper)
        value, tried = self._margin_of(best, target), set[bytes]()
        found = self._enter(task, best, target)
        if found is not None and found.margin > value:
            best, value = found.point, found.margin
        stale, batches = 0, _batches(model.units, rng)
        while value < task.goal and stale < model.units and not passed(task.until):
            units = next(batches)
            climb = Climb(self._query, self._kicked(task, best, units), np.full(len(units), target))
            climb.run(task.box, KICK_STEPS, 1.0, stop=lambda: passed(task.until))
            better = self._first_better(task, climb, value, tried)
            if better is None:
                stale += len(units)
            else:
                best, value, stale = better.point, better.margin, 0
        return best, value

    def _first_better(self, task: _Task, climb: Climb, value: float, tried: set[bytes]) -> Optimum | None:
        """The first of the most promising points from whose cell LPs lead beyond `value`; adds the cells to `tried`."""
        patterns, left = task.model.patterns(climb.values), LPS
        for k in np.argsort(-climb.margins, kind="stable"):
            if left == 0 or climb.margins[k] < value - PROMISING * climb.reaches[k] or passed(task.until):
                return None
            key = patterns[:, k].tobytes()
            if key in tried:
                continue
            tried.add(key)
            left -= 1
            task.model.enter(patterns[:, k])
            found = task.model.climb(task.until)
            if found is not None and found.margin > value + AIM * climb.reaches[k]:
                return found
        return None

    def _kicked(self, task: _Task, best: Array, units: NDArray[np.intp]) -> Array:
        """`best` with one unit of each column driven to its other side by the inputs that matter most to it."""
        values = self._gradients.values(best[:, None])
        slopes = task.model.unit_gradients(values, units)
        signs = np.where(task.model.pre_activations(values)[units, 0] > 0, -1.0, 1.0)
        count = max(1, int(KICK_SHARE * len(best)))
        least = np.partition(np.abs(slopes), len(best) - count, axis=0)[len(best) - count]
        moved = (np.abs(slopes) >= least) & (slopes != 0)
        side = np.where(slopes * signs > 0, task.box.upper[:, None], task.box.lower[:, None])
        result: Array = np.where(moved, side, best[:, None])
        return result

    def _rivals(self, task: _Task, best: Array, own: int, goal: float) -> Iterator[tuple[int, Array]]:
        """The other targets whose boundaries may be as near, the most promising first, each with a point to start from.

        They climb from `best` and from x0.
        """
        query = self._query
        others = np.array([j for j in range(len(query.target_classes)) if j != own], np.intp)
        starts = np.clip(np.stack([best, query.x0], axis=1), task.box.lower[:, None], task.box.upper[:, None])
        climb = Climb(query, np.repeat(starts, len(others), axis=1), np.tile(others, 2))
        climb.run(task.box, KICK_STEPS, 1.0, stop=lambda: passed(task.until))
        seen: set[int] = set()
        for k in np.argsort(-climb.margins, kind="stable"):
            target = int(climb.targets[k])
            if target not in seen and climb.margins[k] >= goal - RIVAL * climb.reaches[k]:
                seen.add(target)
                yield target, climb.points[:, k]

    def _enter(self, task: _Task, point: Array, target: int) -> Optimum | None:
        """The climb by LPs for `target` from the cell of `point`, moved into the box."""
        inside = np.clip(point, task.box.lower, task.box.upper)
        task.model.aim(target)
        task.model.restrict(task.box)
        task.model.enter(task.model.patterns(self._gradients.values(inside[:, None]))[:, 0])
        return task.model.climb(task.until)

    def _model(self, box: Bounds) -> CellModel | None:
        """The cells over a box that contains `box`; the last one as long as it does."""
        known = self._known
        if known is None or not (known.box.contains(box.lower) and known.box.contains(box.upper)):
            self._known = CellModel.over(self._query, box)
        return self._known

    def _leader(self, point: Array) -> int:
        """Position of the target with the largest logit at `point`."""
        logits = self._gradients.values(point[:, None])[-1][:, 0]
        return int(np.argmax(logits[list(self._query.target_classes)]))

    def _margin(self, point: Array) -> float:
        """max over targets of f_j - f_c in float64, by the network itself."""
        return float(self._query.margin_at(self._query.network.forward_batch(point[None]))[0])

    def _margin_of(self, point: Array, target: int) -> float:
        """f_j - f_c for the target at that position."""
        logits = self._gradients.values(point[:, None])[-1][:, 0]
        return float(logits[self._query.target_classes[target]] - logits[self._query.reference])

    def _distance(self, point: Array) -> float:
        return float(np.abs(point - self._query.x0).max())


def _batches(units: int, rng: np.random.Generator) -> Iterator[NDArray[np.intp]]:
    """All units in random order, `KICKS` at a time, then all again in another order, without end."""
    while True:
        order = rng.permutation(units)
        for first in range(0, units, KICKS):
            yield order[first : first + KICKS]


def _end(budget: float | None, deadline: float | None) -> float | None:
    """The earlier of `budget` seconds from now and the deadline; None for neither."""
    ends = [] if deadline is None else [deadline]
    if budget is not None:
        ends.append(time.monotonic() + budget)
    return min(ends, default=None)
