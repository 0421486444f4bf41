"""What points add up to: the paper's table, two networks side by side, and the phases that change."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from counter_attack.ground_truth._points import Point
from mipverify_py import Norm
from onnx_models.errors import InputError


@dataclass(frozen=True, slots=True)
class Means:
    """Mean distances over the points that have both an attack's example and a nearest one.

    Attributes:
        points: how many count.
        attack: mean distance of the attack's examples; None without points.
        truth: mean distance of the nearest examples known; None without points.
    """

    points: int
    attack: float | None
    truth: float | None

    @classmethod
    def of(cls, points: Iterable[Point]) -> Means:
        """The means over those of the points that have both distances."""
        pairs = [(p.attack, p.upper) for p in points if p.attack is not None and p.upper is not None]
        if not pairs:
            return cls(0, None, None)
        attack, truth = np.mean(pairs, axis=0)
        return cls(len(pairs), float(attack), float(truth))

    @property
    def improvement(self) -> float | None:
        """By how much the truth is below the attack, in percent of the attack: 100 (attack - truth) / attack."""
        if self.attack is None or self.truth is None or self.attack == 0.0:
            return None
        return 100.0 * (self.attack - self.truth) / self.attack


@dataclass(frozen=True, slots=True)
class Summary:
    """One row of the paper's table.

    Attributes:
        network, norm: what it is about.
        points: how many there are.
        terminated: exact searches that ended by themselves.
        without_example: of these, the proofs that no input of the domain reaches the target.
        attack_failed: points with an example that the attack did not find, which no mean counts.
        over_all: means over all points, where a search that a limit ended counts with the nearest example known: the
            truth may be lower.
        over_terminated: means over the points whose search ended by itself.
    """

    network: str
    norm: Norm
    points: int
    terminated: int
    without_example: int
    attack_failed: int
    over_all: Means
    over_terminated: Means


def summaries(points: Sequence[Point]) -> list[Summary]:
    """A row for each network and norm, in the order of the points."""
    rows = []
    for network, norm in dict.fromkeys((p.network, p.norm) for p in points):
        chosen = [p for p in points if (p.network, p.norm) == (network, norm)]
        ended = [p for p in chosen if p.terminated]
        rows.append(
            Summary(
                network=network,
                norm=norm,
                points=len(chosen),
                terminated=len(ended),
                without_example=sum(p.upper is None for p in ended),
                attack_failed=sum(p.attack is None and p.upper is not None for p in chosen),
                over_all=Means.of(chosen),
                over_terminated=Means.of(ended),
            )
        )
    return rows


@dataclass(frozen=True, slots=True)
class Comparison:
    """Least distances of two networks, on the inputs and targets for which both are known.

    Attributes:
        standard, hardened: names of the networks.
        norm: how distances are measured.
        points: how many are common.
        standard_mean, hardened_mean: mean least distances; None without points.
        better, worse: points whose distance in the hardened network is larger, or smaller, for certain: the brackets
            do not overlap. This rests on what the larger one's lower end rests on, see `Point.evidence`.
        losses: by how much the distance of each point that got worse has fallen, as a share of what it was, in (0, 1].
    """

    standard: str
    hardened: str
    norm: Norm
    points: int
    standard_mean: float | None
    hardened_mean: float | None
    better: int
    worse: int
    losses: tuple[float, ...]

    @property
    def ratio(self) -> float | None:
        """hardened_mean / standard_mean; None without points, or where the standard mean is 0."""
        if self.hardened_mean is None or not self.standard_mean:
            return None
        return self.hardened_mean / self.standard_mean


def comparison(points: Sequence[Point], standard: str, hardened: str, norm: Norm) -> Comparison:
    """Two of the networks side by side.

    Raises:
        InputError: the points hold an experiment of one of the two networks twice.
    """
    before, after = (_exact(points, name, norm) for name in (standard, hardened))
    common = [(before[key], after[key]) for key in before if key in after]
    ends = np.array([(a.upper, b.upper) for a, b in common], np.float64).reshape(len(common), 2)
    means = ends.mean(axis=0) if common else None
    worse = [(a, b) for a, b in common if _below(b, a)]
    return Comparison(
        standard=standard,
        hardened=hardened,
        norm=norm,
        points=len(common),
        standard_mean=None if means is None else float(means[0]),
        hardened_mean=None if means is None else float(means[1]),
        better=sum(_below(a, b) for a, b in common),
        worse=len(worse),
        losses=tuple(1.0 - b.upper / a.upper for a, b in worse if a.upper and b.upper is not None),
    )


@dataclass(frozen=True, slots=True)
class PhaseCounts:
    """How many units of a ReLU node change their phase on the way to the nearest example.

    Attributes:
        network, norm: what it is about.
        layer: number of the ReLU node, from 0; None for all of them together.
        units: units it has.
        points: least distances that count.
        mean: mean number of changed units over these; None without points.
        largest: the largest number; None without points.
    """

    network: str
    norm: Norm
    layer: int | None
    units: int
    points: int
    mean: float | None
    largest: int | None


def phase_counts(points: Sequence[Point], network: str, norm: Norm, units: Sequence[int]) -> list[PhaseCounts]:
    """A row for each ReLU node and, where there are several, one for all.

    Args:
        points: of which those of this network and norm whose least distance is known count.
        network: name of the network.
        norm: how distances are measured.
        units: sizes of the network's ReLU nodes, in topological order.

    Raises:
        InputError: the points are about another number of nodes.
    """
    found = [p.changed for p in points if (p.network, p.norm) == (network, norm) and p.is_exact]
    if any(len(changed) != len(units) for changed in found):
        raise InputError(f"The points of {network} do not count changes in {len(units)} ReLU nodes.")
    changed = np.array(found, np.int64).reshape(len(found), len(units))
    columns: list[tuple[int | None, int, np.ndarray[tuple[int], np.dtype[np.int64]]]] = [
        (layer, size, changed[:, layer]) for layer, size in enumerate(units)
    ]
    if len(units) > 1:
        columns.append((None, sum(units), changed.sum(axis=1)))
    return [
        PhaseCounts(
            network=network,
            norm=norm,
            layer=layer,
            units=size,
            points=len(found),
            mean=float(values.mean()) if found else None,
            largest=int(values.max()) if found else None,
        )
        for layer, size, values in columns
    ]


def _exact(points: Sequence[Point], network: str, norm: Norm) -> dict[tuple[Norm, int, int, int], Point]:
    chosen = [p for p in points if (p.network, p.norm) == (network, norm) and p.is_exact]
    found = {p.key: p for p in chosen}
    if len(found) < len(chosen):
        raise InputError(f"The points have the same input and target of {network} twice; give each once.")
    return found


def _below(a: Point, b: Point) -> bool:
    """Whether a's bracket lies below that of b."""
    return a.upper is not None and b.lower is not None and a.upper < b.lower
