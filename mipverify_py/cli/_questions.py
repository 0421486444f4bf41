"""The queries that a command line asks, one per image, and how they are to be searched."""

from __future__ import annotations

from dataclasses import dataclass

from bounds import Bounds
from mipverify_py._enums import Objective, Tightening
from mipverify_py._options import Options
from mipverify_py._perturbation import LinfBall, Unrestricted
from mipverify_py._query import Query, Targets
from mipverify_py.cli._arguments import Arguments
from mipverify_py.cli._inputs import Inputs
from onnx_models import ReluNetwork
from onnx_models.errors import InputError


@dataclass(frozen=True, slots=True, eq=False)
class Questions:
    """The query that the command line asks about each image."""

    network: ReluNetwork
    inputs: Inputs
    arguments: Arguments
    domain: Bounds | None

    def __getitem__(self, index: int) -> Query:
        """The query about image `index`; raises InputError, naming the image, if it makes no sense for it."""
        a = self.arguments
        try:
            return Query(
                self.network,
                self.inputs[index],
                perturbation=Unrestricted() if a.eps is None else LinfBall(a.eps),
                objective=Objective.CLOSEST if a.eps is None else Objective.FEASIBILITY,
                label=self.inputs.label_of(index),
                targets=_targets(a),
                margin=a.margin,
                domain=self.domain,
            )
        except InputError as error:
            if len(self.inputs) == 1:
                raise
            raise InputError(f"{self.inputs.name}, index {index}: {error}") from error


def _targets(a: Arguments) -> Targets:
    if a.target is not None:
        return Targets.only(a.target.values)
    return Targets() if a.not_target is None else Targets.excluding(a.not_target.values)


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
    )
