"""The queries that a command line asks, one per image, and how they are to be searched."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

from bounds import Bounds
from mipverify_py._bisect import TOLERANCE
from mipverify_py._enums import Norm, Objective, Tightening
from mipverify_py._options import Options
from mipverify_py._perturbation import PerturbationSet
from mipverify_py._query import Query, Targets
from mipverify_py.cli._arguments import Arguments
from mipverify_py.cli._inputs import Inputs
from mipverify_py.cli._perturbations import perturbation_of
from onnx_models import ReluNetwork
from onnx_models.errors import InputError


@dataclass(frozen=True, slots=True)
class ClassOf:
    """One target class of one image, for --all-targets."""

    index: int
    target: int

    def __str__(self) -> str:
        return f"{self.index}, class {self.target}"


Place = int | ClassOf
"""What a query is about: an image, or one target class of it."""


def index_of(place: Place) -> int:
    """The image that a place belongs to."""
    return place.index if isinstance(place, ClassOf) else place


@dataclass(frozen=True, eq=False)
class Questions:
    """The queries that the command line asks about each image: one, or with --all-targets one per class."""

    network: ReluNetwork
    inputs: Inputs
    arguments: Arguments
    domain: Bounds | None

    def places(self, indices: list[int]) -> list[Place]:
        """What to ask about; raises InputError if some question makes no sense for its image.

        So the last image's mistake does not come to light after hours spent on the others.
        """
        found: list[Place] = []
        for index in indices:
            query = self[index]
            found += [ClassOf(index, j) for j in query.target_classes] if self.arguments.all_targets else [index]
        return found

    @cached_property
    def perturbation(self) -> PerturbationSet:
        """The set that the command line names; raises InputError where the files of a box cannot be used."""
        return perturbation_of(self.arguments, self.inputs)

    def __getitem__(self, place: Place) -> Query:
        """The query about one place; raises InputError, naming the image, if it makes no sense for it."""
        if isinstance(place, ClassOf):
            return replace(self[place.index], targets=Targets.only(place.target, winning=self.arguments.target_wins))
        a, index = self.arguments, place
        try:
            return Query(
                self.network,
                self.inputs[index],
                perturbation=self.perturbation,
                objective=Objective.CLOSEST if a.eps is None else Objective.FEASIBILITY,
                label=self.inputs.label_of(index),
                targets=_targets(a),
                margin=a.margin,
                norm=Norm(a.norm),
                domain=self.domain,
            )
        except InputError as error:
            if len(self.inputs) == 1:
                raise
            raise InputError(f"{self.inputs.name}, index {index}: {error}") from error


def _targets(a: Arguments) -> Targets:
    if a.target is not None:
        return Targets.only(a.target.values, winning=a.target_wins)
    if a.not_target is not None:
        return Targets.excluding(a.not_target.values, winning=a.target_wins)
    return Targets()


def tolerance_of(a: Arguments) -> float | None:
    """The tolerance with which distances are bisected; None where they are searched directly."""
    if a.method != "bisect":
        return None
    return TOLERANCE if a.tolerance is None else a.tolerance


def options_of(a: Arguments, *, jobs: int) -> Options:
    """The options of the search for one image, `jobs` of whose targets are searched at the same time."""
    return Options(
        engine=a.engine,
        backend=a.backend,
        time_limit=a.timeout,
        gap_relative=a.gap,
        threads=a.threads,
        jobs=jobs,
        device=a.device,
        seed=a.seed,
        tightening=Tightening(a.tightening),
        certify="never" if a.certificate is not None else a.certify,  # a file's certificate is made beside the search
    )
