"""A data set of exact distances from nothing but images: trained models, a campaign about them, and the files.

Three steps, each of which takes up what is there: the models in FOLDER/models, the campaign in FOLDER/campaign.sqlite,
and the data set, which is written anew from the campaign. So an interrupted build goes on when it is asked for again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from counter_attack.campaigns import AttackQuestion, run_spec
from counter_attack.training import METHODS, TrainingInterruptedError, read_training_data
from counter_attack.ug100._build_models import Grid, TrainingWatch, train_grid
from counter_attack.ug100._dataset import UG100Data
from counter_attack.ug100._dataset_files import MODELS, STORE
from counter_attack.ug100._dataset_write import write_ug100
from mipverify_py.campaigns._errors import StoreBusyError
from mipverify_py.campaigns._lock import WriterLock
from mipverify_py.campaigns._policies import Policy
from mipverify_py.campaigns._records import Limits
from mipverify_py.campaigns._run import Progress
from mipverify_py.campaigns._spec import CampaignSpec, Group, RunSettings
from mipverify_py.campaigns._spec_data import DataSource, Indices
from mipverify_py.campaigns._spec_questions import DistanceQuestion
from onnx_models.errors import InputError

if TYPE_CHECKING:
    from counter_attack.training import TrainingData

DATA: Final = ("digits", "mnist", "cifar10")
"""The data sets that can be built on."""

POOLS: Final = ("strong", "balanced")
"""The published parameters of the attacks."""

INDICES: Final = MappingProxyType({"digits": "0:30", "mnist": "250:2500", "cifar10": "250:2500"})
"""Rows measured unless told otherwise; UG100 has about as many, and none of the first 250 either."""

TIME_LIMITS: Final = MappingProxyType({"digits": 600.0, "mnist": 3600.0, "cifar10": 3600.0})
"""Seconds for one query unless told otherwise."""


class BuildInterruptedError(Exception):
    """The build was asked to stop; what was done by then is in the folder, and the same build goes on with it."""


@dataclass(frozen=True, slots=True)
class BuildPlan:
    """What a data set is built from.

    Attributes:
        data: one of `DATA`.
        path: where the files of MNIST or CIFAR-10 lie; None for the digits.
        split: rows [first, stop) of the test files to learn from, where there are no training files.
        architectures, trainings: the grid, see `ARCHITECTURES` and `METHODS`.
        epochs, quick: see `Grid`.
        indices: which rows of the test images are measured, such as "0:10,17"; None: `INDICES`.
        pool: one of `POOLS`. The digits are attacked with the parameters for MNIST.
        finish: whether exact local search from the nearest example is one more attack.
        limits: of each query; a time limit of None: none.
        seed: of training, attacks and solvers.

    Raises:
        InputError: an unknown name.
    """

    data: str = "digits"
    path: Path | None = None
    split: tuple[int, int] | None = None
    architectures: tuple[str, ...] = ("A", "B", "C")
    trainings: tuple[str, ...] = METHODS
    epochs: int | None = None
    quick: bool = False
    indices: str | None = None
    pool: str = "balanced"
    finish: bool = False
    limits: Limits = field(default_factory=Limits)
    seed: int = 0

    def __post_init__(self) -> None:
        for kind, given, known in (("Data set", self.data, DATA), ("Pool", self.pool, POOLS)):
            if given not in known:
                raise InputError(f"{kind} {given!r} is unknown; choose one of {', '.join(known)}.")

    def grid(self) -> Grid:
        """The models, with the data that they learn from.

        Raises:
            InputError: the data cannot be read, a name is unknown, there are no test rows, or rows to be measured are
                learned from.
        """
        data = read_training_data(self.data, self.path, split=self.split)
        self._check_rows(data)
        return Grid(data, self.architectures, self.trainings, self.epochs, self.quick, self.seed, self.split)

    def spec(self, models: dict[str, Path], settings: RunSettings) -> CampaignSpec:
        """The campaign about these models: for every image an exact distance, and what the pool finds."""
        source = DataSource(self.data, folder=self.path, indices=self._indices)
        family = "mnist" if self.data == "digits" else self.data
        pool = AttackQuestion(sets=(f"{self.pool}-{family}",), name=self.pool, finish=self.finish, label="predicted")
        places = {name: str(path) for name, path in models.items()}
        group = Group(places, source, (DistanceQuestion(label="predicted"), pool))
        return CampaignSpec((group,), self.limits, settings, self.seed)

    @property
    def _indices(self) -> Indices:
        return Indices.of(INDICES[self.data] if self.indices is None else self.indices)

    def _check_rows(self, data: TrainingData) -> None:
        """Rows that are learned from, or that there are not, come to light before anything is trained."""
        if self.split is not None:
            count = sum(len(part) for part in (data.train, data.validation) if part is not None)
        elif data.test is not None:
            count = len(data.test)
        else:
            raise InputError(f"{self.path}: has no test files of {self.data}, so there is nothing to measure.")
        rows = self._indices.resolve(count, f"the test images of {self.data}")
        first, stop = self.split or (0, 0)
        both = [row for row in rows if first <= row < stop]
        if both:
            raise InputError(
                f"{len(both)} rows are to be measured and learned from, the first of them {both[0]}; leave them out of "
                "the indices or of the split."
            )


def build_ug100(
    plan: BuildPlan,
    folder: Path | str,
    *,
    settings: RunSettings | None = None,
    training: TrainingWatch | None = None,
    watch: Callable[[Progress], None] | None = None,
    stop: threading.Event | None = None,
) -> UG100Data:
    """Trains, measures and writes a data set; what is in the folder already is not computed again.

    Args:
        plan: what to build.
        folder: where everything goes; made if it is not there.
        settings: how the campaign runs; default worker processes, one for each core.
        training: who is told about the training, and asked whether to end.
        watch: told about the campaign now and then.
        stop: ends the campaign when set; Ctrl-C does likewise.

    Raises:
        BuildInterruptedError: training or campaign were asked to stop.
        MipverifyError: the plan makes no sense or belongs to another build than the one in the folder, another build is
            at work there, or something cannot be read or written.
    """
    folder = Path(folder)
    grid = plan.grid()
    with _alone(folder):
        try:
            models = train_grid(grid, folder / MODELS, training)
        except TrainingInterruptedError as error:
            raise BuildInterruptedError("training was interrupted") from error
        if training is not None and training.stop():
            raise BuildInterruptedError("all models are trained")
        spec = plan.spec(models, settings or RunSettings())
        report = run_spec(spec, folder / STORE, policy=Policy.SKIP, watch=watch, stop=stop)
        if report.stopped:
            raise BuildInterruptedError(f"{report.decided} of {report.total} queries were decided")
        return write_ug100(folder / STORE, folder)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """The only build in the folder, which is made if it is not there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be made ({error.strerror or error}).") from error
    try:
        lock = WriterLock(folder / "build", datetime.now(UTC).isoformat(timespec="seconds"))
    except StoreBusyError as error:
        raise InputError(f"{folder}: another build is at work there; wait for it, or name another folder.") from error
    try:
        yield
    finally:
        lock.release()
