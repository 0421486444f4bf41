"""One answer: what is true, the bracket, the witness, what it rests on, and what it cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bounds import NetworkBounds
from mipverify_py._enums import Evidence, Objective, StopReason, Verdict
from mipverify_py._witness import Witness
from mipverify_py.proof import Proof
from onnx_models import Array, ReluNetwork

if TYPE_CHECKING:
    from mipverify_py.certificate import Certificate


@dataclass(frozen=True, slots=True)
class Bracket:
    """A running search's knowledge: lower <= value <= upper, absent ends None."""

    lower: float | None
    upper: float | None


@dataclass(frozen=True, slots=True)
class LayerStatistics:
    """The units of one ReLU node in the bounds that a search worked with.

    Attributes:
        node: index into `network.nodes`.
        name: the node's name, may be empty.
        active: units whose pre-activation is never negative: they pass it on.
        inactive: other units whose pre-activation is never positive: they give 0.
        unstable: units that can be on either side.
    """

    node: int
    name: str
    active: int
    inactive: int
    unstable: int

    @property
    def size(self) -> int:
        """Number of units."""
        return self.active + self.inactive + self.unstable


def layer_statistics(network: ReluNetwork, bounds: NetworkBounds) -> tuple[LayerStatistics, ...]:
    """The units of each ReLU node, in topological order."""
    layers = []
    for index in network.relu_indices:
        pre = bounds.pre_activation(network, index)
        unstable, active = int(pre.straddles_zero.sum()), int((pre.lower >= 0).sum())
        layers.append(LayerStatistics(index, network.nodes[index].name, active, pre.size - unstable - active, unstable))
    return tuple(layers)


@dataclass(frozen=True, slots=True)
class Statistics:
    """What a query took.

    Attributes:
        layers: units of each ReLU node, in topological order, in the bounds that the MIP was built from or, for a
            native engine, in those over its first region; empty if it did not come to that.
        columns, rows, binaries, nonzeros: size of the MIP, 0 if none was built.
        nodes: branch-and-bound nodes, of the MIP or of all trees of a native engine.
        iterations: simplex iterations of the MIP solver, or of a native engine's linear programs; 0 if not told.
        trees: target classes for which a native engine had to split, 0 where none did.
        rounds: how often a nearer witness made the radius of a native engine shrink.
        cuts: planes of units' convex hulls in the proofs of a native engine.
        open_targets: target classes that the bounds, or a native engine's proofs, could not exclude.
        bound_solves: LP and MIP solves spent on bounds, per stage name.
        bound_skips: units that were stable before a stage began, so that it had nothing to do for them, per stage name.
        bound_seconds: seconds per stage of bound tightening.
        solve_seconds: seconds in the MIP solver.
        phase_seconds: seconds of wall-clock time per phase: attack, bounds, search (all of an engine's time but its
            bounds), replay, the part of search spent on replaying proofs, added up over threads, and certificate, where
            one was tried.
    """

    layers: tuple[LayerStatistics, ...] = ()
    columns: int = 0
    rows: int = 0
    binaries: int = 0
    nonzeros: int = 0
    nodes: int = 0
    iterations: int = 0
    trees: int = 0
    rounds: int = 0
    cuts: int = 0
    open_targets: tuple[int, ...] = ()
    bound_solves: tuple[tuple[str, int], ...] = ()
    bound_skips: tuple[tuple[str, int], ...] = ()
    bound_seconds: tuple[tuple[str, float], ...] = ()
    solve_seconds: float = 0.0
    phase_seconds: tuple[tuple[str, float], ...] = ()

    @property
    def unstable(self) -> tuple[int, ...]:
        """Unstable units of each ReLU node, in topological order."""
        return tuple(layer.unstable for layer in self.layers)

    @property
    def stable(self) -> tuple[int, ...]:
        """The other units, likewise."""
        return tuple(layer.active + layer.inactive for layer in self.layers)


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """The answer to a query; every field is always there.

    Attributes:
        verdict: what is known about adversarial examples in the perturbation set.
        objective: what was asked, and so what `lower` and `upper` bracket: the distance (closest), the largest
            margin (worst); both are None for feasibility.
        lower: lower end of the bracket, None if none is known. For closest it is the proven end (see `evidence`), for
            worst the checked one: the margin at `point`, rounded down.
        upper: upper end, None if none is known. For closest it is the checked end, the distance of `witness`; for worst
            the proven one.
        witness: the checked adversarial example, for closest the nearest one found, for worst the one of largest
            margin; None if none is known.
        point: the input, shape (n,), that attains the checked end: the witness's own point, or for worst the maximiser,
            which need not be adversarial; None if none is known. For a parametric set the rounded image.
        parameters: for a parametric set the parameters of that image, shape (K,); otherwise None.
        evidence: what verdict and bracket rest on; None while the verdict is UNKNOWN and no end is known.
        evidence_detail: the same in words, with solver and tolerance where one is trusted.
        stop_reason: why the search ended.
        stop_detail: the same in words where there is more to say (which limit, which error); may be empty.
        predicted: the model's class for x0.
        reference: the class that the targets are compared with.
        engine, backend: what searched; backend is None where no solver was needed.
        seconds: wall-clock time of the whole query.
        attack_seconds: the part of it spent on the attack.
        statistics: sizes and counts.
        proof: what the proven end or the verdict ROBUST rests on where a native engine searched, for `replay`; None for
            engine `mip` and where no search was needed. It holds the network and every tree, so keep it only where it
            is of use.
        bounds: what every node can be over the box that the engine searched, `bounds.nodes[0]`; None where the engine
            did not come to bounds, and for a parametric set. As large as the network's values, so keep it only where it
            is of use.
        certificate: what `evidence` REPROVED rests on, for the checker; otherwise None.
    """

    verdict: Verdict
    objective: Objective
    lower: float | None
    upper: float | None
    witness: Witness | None
    point: Array | None
    evidence: Evidence | None
    evidence_detail: str
    stop_reason: StopReason
    stop_detail: str
    predicted: int
    reference: int
    engine: str
    backend: str | None
    seconds: float
    attack_seconds: float
    statistics: Statistics
    proof: Proof | None
    bounds: NetworkBounds | None = None
    parameters: Array | None = None
    certificate: Certificate | None = None

    def __repr__(self) -> str:
        ends = "" if self.objective is Objective.FEASIBILITY else f", [{self.lower}, {self.upper}]"
        rests = "" if self.evidence is None else f", {self.evidence.value}"
        return f"Result({self.verdict.value}{ends}{rests}, {self.stop_reason.value}, {self.seconds:.2f} s)"

    @property
    def gap(self) -> float | None:
        """upper - lower, None if an end is absent."""
        return None if self.lower is None or self.upper is None else max(self.upper - self.lower, 0.0)

    @property
    def relative_gap(self) -> float | None:
        """The gap as a share of |upper|, 0 where both ends are 0; None if an end is absent or upper alone is 0."""
        if self.gap is None or self.upper is None:
            return None
        if self.gap == 0.0:
            return 0.0
        return None if self.upper == 0.0 else self.gap / abs(self.upper)

    @property
    def target(self) -> int | None:
        """Class of the witness, None without one."""
        return None if self.witness is None else self.witness.target
