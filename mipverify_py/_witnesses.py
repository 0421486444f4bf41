"""Several adversarial examples that differ from each other."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from bounds import Bounds, MipModel
from mipverify_py._arguments import instance, real_number, whole_number
from mipverify_py._attack import GradientAttack
from mipverify_py._distance import difference_up
from mipverify_py._encode import Encoding, encode, margin_bounds
from mipverify_py._enums import Evidence, Objective, StopReason
from mipverify_py._options import Options
from mipverify_py._parameter_query import searched
from mipverify_py._parametric import ParametricSet
from mipverify_py._query import Query
from mipverify_py._search import REPLAYED_DETAIL
from mipverify_py._tighten import tighten
from mipverify_py._tolerances import SOLVER_FEASIBILITY
from mipverify_py._witness import NotAdversarialError, Witness
from mipverify_py.backends import SolveLimits, SolveStatus, get_backend, solve_isolated
from mipverify_py.engines._mixed import check_engine
from onnx_models import Array
from onnx_models.errors import BackendError, BackendLimitError, BackendMissingError, InputError

ATTEMPTS = 8
"""Attacks, each in another part of the set, before the MIP solver is asked for a next example."""

CLEARANCE = 1e-6
"""What the MIP solver is first asked for beyond the margin (in logits) and the distance between examples: a point that
clears both survives its check."""

_STOPS = {
    SolveStatus.TIME_LIMIT: StopReason.TIME_LIMIT,
    SolveStatus.NODE_LIMIT: StopReason.NODE_LIMIT,
    SolveStatus.INTERRUPTED: StopReason.INTERRUPTED,
}


@dataclass(frozen=True, slots=True, eq=False)
class WitnessList:
    """Adversarial examples that are pairwise apart, and whether there is room for another.

    Attributes:
        witnesses: the examples, in the order in which they were found; any two are at least `min_distance` apart in
            L-infinity, decided exactly.
        min_distance: that distance.
        exhausted: whether every adversarial example of the set lies less than `min_distance` from one of these.
        evidence, evidence_detail: what `exhausted` rests on, as in `Result`; None and empty if it is False.
        stop_reason, stop_detail: why the search ended; SOLVED if there are as many as asked for, or it is exhausted.
        seconds: wall-clock time.
    """

    witnesses: tuple[Witness, ...]
    min_distance: float
    exhausted: bool
    evidence: Evidence | None
    evidence_detail: str
    stop_reason: StopReason
    stop_detail: str
    seconds: float


def witnesses(query: Query, count: int, min_distance: float, options: Options | None = None) -> WitnessList:
    """Up to `count` adversarial examples in the query's perturbation set, pairwise at least `min_distance` apart.

    They are chosen one after the other, so another choice of the first might leave room for more; when fewer are
    found and nothing stopped the search, no example at least `min_distance` from all of them is left. Each is sought
    by attacks in parts of the set away from those before, then by a MIP solver (`options.backend`) over the set without
    the balls around them; "none is left" is that solver's claim, unless bounds show it.

    Args:
        query: the question; its objective does not matter.
        count: how many, at least 1.
        min_distance: how far apart, in L-infinity, above 0.
        options: limits, seed, backend and tightening; the engine does not matter.

    Raises:
        InputError: `count` or `min_distance` is out of range, or the set is parametric.
        BackendAbilityError: the solver does not take the program of such a set.
        BackendMissingError, BackendLimitError: as in `verify`, where the solver is needed.
    """
    instance(Query, query, "The query")
    chosen = Options() if options is None else options
    instance(Options, chosen, "The options argument")
    wanted, apart = whole_number(count, "The count"), real_number(min_distance, "The distance between examples")
    if wanted < 1:
        raise InputError(f"The count is {wanted}; it must be at least 1.")
    if not 0 < apart < np.inf:
        raise InputError(f"The distance between examples is {apart!r}; it must be a finite number above 0.")
    if isinstance(query.perturbation, ParametricSet):
        raise InputError("Several examples are sought in sets of inputs, not in a set of images given by parameters.")
    check_engine(searched(query), replace(chosen, engine="mip"))
    hunt = _Hunt(replace(query, objective=Objective.FEASIBILITY), wanted, apart, chosen)
    try:
        hunt.run()
    except KeyboardInterrupt:
        hunt.stop_reason = StopReason.INTERRUPTED
    except (BackendMissingError, BackendLimitError):
        raise
    except BackendError as error:
        hunt.stop_reason, hunt.stop_detail = StopReason.SOLVER_FAILED, str(error)
    return hunt.result()


@dataclass(eq=False)
class _Hunt:
    """The state of `witnesses`."""

    query: Query
    count: int
    apart: float
    options: Options
    started: float = field(default_factory=time.monotonic)
    found: list[Witness] = field(default_factory=list)
    evidence: Evidence | None = None
    detail: str = ""
    stop_reason: StopReason = StopReason.SOLVED
    stop_detail: str = ""
    encoding: Encoding | None = None

    @property
    def deadline(self) -> float | None:
        return None if self.options.time_limit is None else self.started + self.options.time_limit

    def run(self) -> None:
        random = np.random.default_rng(self.options.seed)
        self.offer(self.query.x0)
        while len(self.found) < self.count and self.stop_reason is StopReason.SOLVED and self.evidence is None:
            if any(not _faces(self.query.box, w.point, self.apart) for w in self.found):
                self.evidence, self.detail = Evidence.REPLAYED, REPLAYED_DETAIL
            elif not self._attack(random):
                self._solve()

    def result(self) -> WitnessList:
        return WitnessList(
            witnesses=tuple(self.found),
            min_distance=self.apart,
            exhausted=self.evidence is not None,
            evidence=self.evidence,
            evidence_detail=self.detail,
            stop_reason=self.stop_reason,
            stop_detail=self.stop_detail,
            seconds=time.monotonic() - self.started,
        )

    def offer(self, point: Array) -> bool:
        """Takes the point if it is an adversarial example and far enough from all others."""
        query = self.query
        inside = query.perturbation.project(point, query.x0, query.input_domain)
        if not all(at_least(self.apart, inside, w.point) for w in self.found):
            return False
        try:
            self.found.append(Witness(query, inside))
        except NotAdversarialError:
            return False
        return True

    def _attack(self, random: np.random.Generator) -> bool:
        """Tries attacks in boxes that lie beyond a face of the ball around each example."""
        for attempt in range(ATTEMPTS):
            if self.deadline is not None and time.monotonic() >= self.deadline:
                self.stop_reason = StopReason.TIME_LIMIT
                return True
            box: Bounds | None = self.query.box
            for witness in self.found:
                box = _beyond(box, witness.point, self.apart, random) if box is not None else None
            if box is None:
                continue
            options = replace(self.options, seed=(self.options.seed + attempt) % 2**31)
            point = GradientAttack(self.query, options).within(box, self.deadline)
            if point is not None and self.offer(point):
                return True
        return False

    def _solve(self) -> None:
        """Asks the MIP solver for an example outside all balls, first for one that is so by more than rounding."""
        if self.encoding is None and not self._encode():
            return
        assert self.encoding is not None
        centres = [w.point for w in self.found]
        seen = False
        for extra in (CLEARANCE, 0.0):
            model, faces = _without_balls(self.encoding, self.query.box, centres, self.apart, extra)
            left = None if self.deadline is None else max(0.0, self.deadline - time.monotonic())
            limits = SolveLimits(
                seconds=left, nodes=self.options.node_limit, threads=self.options.threads, seed=self.options.seed
            )
            solution = solve_isolated(self.options.backend, model, limits)
            if solution.point is not None and self.offer(faces.outside(solution.point, self.encoding.inputs)):
                return
            if solution.status in _STOPS:
                self.stop_reason = _STOPS[solution.status]
                return
            seen = seen or solution.status is SolveStatus.OPTIMAL
            if not seen and not solution.status.proves_infeasible:
                self.stop_reason = StopReason.SOLVER_FAILED
                self.stop_detail = f"{self.options.backend} ended with: {solution.status.value}"
                return
        if seen:
            self.stop_reason = StopReason.NUMERICAL
            self.stop_detail = "the solver's point does not survive its check"
            return
        version = get_backend(self.options.backend).version()
        self.evidence = Evidence.SOLVER_CLAIM
        self.detail = f"{self.options.backend} {version} claims it, with rows kept to {SOLVER_FEASIBILITY:g}"

    def _encode(self) -> bool:
        """Builds the MIP of the query; False if bounds show that there is no example at all."""
        query = searched(self.query)  # over the same inputs
        tightened = tighten(query.network, query.box, self.options, deadline=self.deadline)
        limits = margin_bounds(query, tightened.bounds, query.target_classes)
        targets = tuple(j for j, u in zip(query.target_classes, limits.upper, strict=True) if u >= query.margin)
        if not targets and not tightened.claimed:
            self.evidence, self.detail = Evidence.REPLAYED, REPLAYED_DETAIL
            return False
        self.encoding = encode(query, tightened.bounds, targets=targets or None)
        return True


def at_least(distance: float, first: Array, second: Array) -> bool:
    """Whether two points are at least `distance` apart in L-infinity, decided exactly."""
    near = np.flatnonzero(difference_up(first, second) >= distance)  # rounded up, so no other entry can be
    pairs = zip(first[near].tolist(), second[near].tolist(), strict=True)
    return any(abs(Fraction(a) - Fraction(b)) >= Fraction(distance) for a, b in pairs)


@dataclass(frozen=True, slots=True, eq=False)
class _Faces:
    """The half-spaces of which a point has to be in at least one per ball: x[entry] >= end, or <= end.

    Attributes:
        columns: the model's column of each, 1 where the point has to be in it.
        entry: entry of the input, one per face.
        upward: whether the half-space is x[entry] >= end.
        end: where it begins.
    """

    columns: NDArray[np.intp]
    entry: NDArray[np.intp]
    upward: NDArray[np.bool_]
    end: Array

    def outside(self, point: Array, inputs: NDArray[np.intp]) -> Array:
        """The input of a model's point, moved by what the solver's tolerance left of the way out of the balls."""
        x = point[inputs].copy()
        for k in np.flatnonzero(point[self.columns] > 0.5):
            i = self.entry[k]
            x[i] = max(x[i], self.end[k]) if self.upward[k] else min(x[i], self.end[k])
        return x


def _faces(box: Bounds, centre: Array, apart: float) -> list[tuple[int, bool, float]]:
    """Entry, direction and end of each half-space beyond the open ball around `centre` that meets the box.

    An end is the first float at least `apart` from the centre, so there is no half-space in the list only if every
    float in the box is nearer than that.
    """
    above, below = _sum_up(centre, apart), -_sum_up(-centre, apart)
    up = [(int(i), True, float(above[i])) for i in np.flatnonzero(above <= box.upper)]
    return up + [(int(i), False, float(below[i])) for i in np.flatnonzero(below >= box.lower)]


def _sum_up(x: Array, distance: float) -> Array:
    """x + distance elementwise, each the smallest float64 that is at least the exact value (see `difference_up`)."""
    total = x + distance
    back = total - x
    error = (x - (total - back)) + (distance - back)
    rounded: Array = np.where(error > 0, np.nextafter(total, np.inf), total)
    return rounded


def _beyond(box: Bounds, centre: Array, apart: float, random: np.random.Generator) -> Bounds | None:
    """The part of the box beyond a random face of the ball around `centre`; None if there is none."""
    faces = _faces(box, centre, apart)
    if not faces:
        return None
    entry, upward, end = faces[int(random.integers(len(faces)))]
    lower, upper = box.lower.copy(), box.upper.copy()
    (lower if upward else upper)[entry] = end
    return Bounds(lower, upper)


def _without_balls(
    encoding: Encoding, box: Bounds, centres: list[Array], apart: float, extra: float
) -> tuple[MipModel, _Faces]:
    """The model with margin and distance raised by `extra` and, per centre, one binary b per face and the rows

    sum b >= 1,   x_i >= lower_i + (end - lower_i) b   or   x_i <= upper_i - (upper_i - end) b.
    """
    model = encoding.model
    groups = [_faces(box, centre, apart + extra) for centre in centres]
    entry = np.array([i for group in groups for i, _, _ in group], np.intp)
    upward = np.array([up for group in groups for _, up, _ in group], bool)
    end = np.array([e for group in groups for _, _, e in group], np.float64)
    count = len(entry)
    new = model.columns + np.arange(count)
    edge = np.where(upward, box.lower[entry], box.upper[entry])
    rows = np.tile(np.arange(count), 2)
    columns, values = np.concatenate([encoding.inputs[entry], new]), np.concatenate([np.ones(count), edge - end])
    width = model.columns + count
    sides = sparse.csr_array((values, (rows, columns)), shape=(count, width))
    owner = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    choose = sparse.csr_array((np.ones(count), (owner, new)), shape=(len(groups), width))
    old = sparse.csr_array((model.matrix.data, model.matrix.indices, model.matrix.indptr), shape=(model.rows, width))
    row_lower = model.row_lower.copy()
    row_lower[encoding.margin_rows] += extra
    full = replace(
        model,
        matrix=sparse.csr_array(sparse.vstack([old, sides, choose], format="csr")),
        row_lower=np.concatenate([row_lower, np.where(upward, edge, -np.inf), np.ones(len(groups))]),
        row_upper=np.concatenate([model.row_upper, np.where(upward, np.inf, edge), np.full(len(groups), np.inf)]),
        column_lower=np.concatenate([model.column_lower, np.zeros(count)]),
        column_upper=np.concatenate([model.column_upper, np.ones(count)]),
        cost=np.concatenate([model.cost, np.zeros(count)]),
        integer=np.concatenate([model.integer, np.ones(count, bool)]),
        names=(*model.names, *(f"away_{k}" for k in range(count))),
    )
    return full, _Faces(new, entry, upward, end)
