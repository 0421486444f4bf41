"""Progressive bound tightening: interval, linear, LP, MIP; each stage only for units that still straddle zero."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bounds import (
    Bounds,
    Formulation,
    LpTightening,
    MipModel,
    NetworkBounds,
    interval_bounds,
    linear_bounds,
    refined,
    sweep,
)
from mipverify_py._assumed import AssumedBounds
from mipverify_py._enums import Tightening
from mipverify_py._options import Options
from mipverify_py._tolerances import CLAIM_PADDING
from mipverify_py.backends import SolveLimits, SolveStatus, solve_isolated
from onnx_models import ReluNetwork

SUPPLIED = "supplied"
"""Name of the stage in which bounds supplied by the user come in, after the last one that needs no solver."""

MIP_SECONDS_PER_UNIT = 5.0
"""Longest MIP solve for one end of one unit's bounds; MIPVerify's default is of the same order."""


@dataclass(frozen=True, slots=True, eq=False)
class Tightened:
    """Bounds over a box, what they cost, and whether they rest on a solver's word.

    Attributes:
        bounds: bounds of every node.
        claimed: whether some bound is a MIP solver's claim (the MIP stage).
        assumed: whether bounds supplied by the user came in. All bounds that neither claimed nor assumed ones led to
            are re-proved.
        solves: LP and MIP solves per stage name.
        skips: units that were stable before the stage began, per stage name.
        seconds: seconds per stage name.
    """

    bounds: NetworkBounds
    claimed: bool
    assumed: bool
    solves: tuple[tuple[str, int], ...]
    skips: tuple[tuple[str, int], ...]
    seconds: tuple[tuple[str, float], ...]


def tighten(
    network: ReluNetwork,
    region: Bounds,
    options: Options,
    *,
    deadline: float | None = None,
    settled: Callable[[NetworkBounds], bool] | None = None,
    assumed: AssumedBounds | None = None,
    narrowed: Callable[[NetworkBounds], NetworkBounds] | None = None,
) -> Tightened:
    """Bounds of every node over the box `region` by the stages up to `options.tightening`.

    `deadline` is a value of `time.monotonic()`: the LP and MIP stages then keep what they have. Stages after one whose
    bounds make `settled` true are left out. `assumed` bounds come in after the last stage that needs no solver, so that
    our own bounds show what contradicts them. `narrowed` takes in what is known of a set inside the region, for which
    alone the bounds then hold. Errors as in `bounds.sweep` and `AssumedBounds.meet`; BackendMissingError
    if a stage needs a solver that is not installed.
    """
    bounds: NetworkBounds | None = None
    solves: dict[str, int] = {}
    skips: dict[str, int] = {}
    seconds: dict[str, float] = {}
    for stage in _stages(options.tightening, assumed):
        began = time.monotonic()
        count = 0
        skips[stage] = 0 if bounds is None else network.relu_count - sum(bounds.unstable_counts(network))
        if bounds is None:  # the first stage is always the interval one
            bounds = interval_bounds(network, region)
            bounds = bounds if narrowed is None else narrowed(bounds)
        elif stage == SUPPLIED:
            assert assumed is not None
            bounds = linear_bounds(network, region, start=assumed.meet(bounds))
        elif stage == Tightening.LINEAR.value:
            bounds = linear_bounds(network, region, start=bounds)
        elif stage == Tightening.LP.value:
            lp = LpTightening(network, deadline)
            bounds, count = lp.run(region, bounds), lp.solves
        else:
            mip = _MipTightening(network, options, deadline)
            bounds, count = sweep(network, region, mip.refine, start=bounds), mip.solves
        solves[stage], seconds[stage] = count, time.monotonic() - began
        if settled is not None and settled(bounds):
            break
    assert bounds is not None
    return Tightened(
        bounds,
        claimed=solves.get(Tightening.MIP.value, 0) > 0,
        assumed=SUPPLIED in solves,
        solves=tuple(solves.items()),
        skips=tuple(skips.items()),
        seconds=tuple(seconds.items()),
    )


def _stages(last: Tightening, assumed: AssumedBounds | None) -> list[str]:
    """The names of the stages up to `last`, and where supplied bounds come in."""
    names = [stage.value for stage in last.stages]
    if assumed is not None:
        place = names.index(Tightening.LINEAR.value) if Tightening.LINEAR.value in names else 0
        names.insert(place + 1, SUPPLIED)
    return names


class _MipTightening:
    """Bounds of single units from MIPs over the nodes before them; a dual bound is taken as the solver's claim."""

    def __init__(self, network: ReluNetwork, options: Options, deadline: float | None) -> None:
        self._network, self._options, self._deadline = network, options, deadline
        self.solves = 0

    def refine(self, known: NetworkBounds, index: int, units: NDArray[np.intp]) -> Bounds:
        form = Formulation(self._network, known, integral=True, last=index)
        if not form.relus:
            return known.nodes[index]
        value, model = form.value(index), form.builder.build()
        upper, lower = np.full(len(units), np.inf), np.full(len(units), -np.inf)
        for k, unit in enumerate(units):
            row, constant = value.matrix[[unit]].toarray()[0], float(value.constant[unit])
            upper[k] = constant - self._claimed_minimum(replace(model, cost=-row))
            if upper[k] > 0:  # the other end no longer matters once the unit is off
                lower[k] = constant + self._claimed_minimum(replace(model, cost=row))
        return refined(self._network, known, index, units, np.concatenate([upper, -lower]))

    def _claimed_minimum(self, model: MipModel) -> float:
        """The solver's dual bound, padded by what its tolerances can hide; -inf if it has none."""
        left = np.inf if self._deadline is None else self._deadline - time.monotonic()
        if left <= 0:
            return -np.inf
        options = self._options
        limits = SolveLimits(
            seconds=min(left, MIP_SECONDS_PER_UNIT),
            gap_absolute=0.0,
            gap_relative=CLAIM_PADDING,
            threads=options.threads,
            seed=options.seed,
        )
        solution = solve_isolated(options.backend, model, limits)
        if solution.status is SolveStatus.INTERRUPTED:  # a Ctrl-C means the whole query, not this one solve
            raise KeyboardInterrupt
        self.solves += 1
        claim = solution.dual_bound
        return -np.inf if claim is None else claim - CLAIM_PADDING * (1.0 + abs(claim))
