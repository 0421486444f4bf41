"""A campaign as a value: which models are asked what about which inputs, and how it runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from typing import Any, Final

from mipverify_py.campaigns._judging import MAX_FAILURES
from mipverify_py.campaigns._records import Certificates, InputRecord, Limits, ModelRecord, QueryRecord
from mipverify_py.campaigns._rounds import SHARES
from mipverify_py.campaigns._spec_data import DataSource
from mipverify_py.campaigns._spec_models import OpenModel, open_model
from mipverify_py.campaigns._spec_questions import Question, Variant
from onnx_models.errors import InputError, MipverifyError

EXECUTORS: Final = ("inline", "processes", "dask")
"""Where the work is done: in this process, in worker processes, or on workers of Dask distributed."""

KEPT: Final = tuple(kept.value for kept in Certificates)
"""What may be kept of certificates."""


@dataclass(frozen=True, slots=True)
class RunSettings:
    """How a campaign runs; nothing here changes an answer.

    Attributes:
        executor: one of `EXECUTORS`.
        workers: how many tasks at a time, >= 1; None: as many as there are cores.
        memory_limit: bytes that a worker process may take, None for no limit.
        scheduler: address of a Dask scheduler, which has its own workers; None: a local cluster. Only for executor
            "dask".
        certificates: of which answers, and what is kept of them; the value of one of `Certificates`.
        tls: files of the authority's certificate, our certificate and its key, for Dask; None: no encryption.
        max_failures: attempts without an answer (killed, out of memory, ...) after which a query is given up, >= 1.
        rounds: shares of the time limit for the attempts at a query, ascending, in (0, 1], the last one 1.

    Raises:
        InputError: a value out of range.
    """

    executor: str = "processes"
    workers: int | None = None
    memory_limit: int | None = None
    scheduler: str | None = None
    max_failures: int = MAX_FAILURES
    rounds: tuple[float, ...] = SHARES
    tls: tuple[str, str, str] | None = None
    certificates: str = Certificates.HASH.value

    def __post_init__(self) -> None:
        rounds = tuple(float(share) for share in self.rounds)
        object.__setattr__(self, "rounds", rounds)
        for wrong, message in (
            (self.executor not in EXECUTORS, f"executor {self.executor!r} is unknown; choose {', '.join(EXECUTORS)}."),
            (self.workers is not None and self.workers < 1, f"workers is {self.workers}; it must be at least 1."),
            (
                self.workers not in (None, 1) and self.executor == "inline",
                f"executor 'inline' is one worker; workers = {self.workers} is for 'processes' and 'dask'.",
            ),
            (
                self.memory_limit is not None and self.memory_limit < 1,
                f"memory_limit is {self.memory_limit}; it must be a number of bytes of at least 1.",
            ),
            (
                self.memory_limit is not None and self.executor == "inline",
                "memory_limit is for worker processes; executor 'inline' has none.",
            ),
            (
                self.scheduler is not None and self.executor != "dask",
                "scheduler is the address of a Dask scheduler; add executor = 'dask'.",
            ),
            (
                self.scheduler is not None and self.workers is not None,
                "the scheduler has its own workers; leave out their number.",
            ),
            (
                self.tls is not None and (self.executor != "dask" or len(self.tls) != 3),
                "tls is three files for executor 'dask': the authority's certificate, our own, and its key.",
            ),
            (
                self.certificates not in KEPT,
                f"certificates is {self.certificates!r}; choose one of {', '.join(KEPT)}.",
            ),
            (self.max_failures < 1, f"max_failures is {self.max_failures}; it must be at least 1."),
            (
                not rounds or rounds[-1] != 1.0 or rounds[0] <= 0 or list(rounds) != sorted(set(rounds)),
                f"rounds is {list(rounds)}; it must be ascending shares of the time limit that end with 1.",
            ),
        ):
            if wrong:
                raise InputError(message)


@dataclass(frozen=True)
class Group:
    """Models, inputs, and what is asked about each pair of them.

    Attributes:
        models: configuration -> path of an .onnx file, or zoo:NAME.
        data: the inputs.
        questions: what is asked.

    Raises:
        InputError: one of the three is missing.
    """

    models: Mapping[str, str]
    data: DataSource
    questions: tuple[Question, ...]

    def __post_init__(self) -> None:
        if not self.models or not self.questions:
            raise InputError("A group needs at least one model and at least one question.")


@dataclass(frozen=True)
class CampaignSpec:
    """Everything that a campaign asks, and how it runs.

        >>> digits = DataSource("digits", indices="0:50")
        >>> asked = (DistanceQuestion(), VerifyQuestion(eps=(0.05, 0.1)))
        >>> spec = CampaignSpec((Group({"small": "zoo:digits_small_standard"}, digits, asked),), Limits(60.0))

    Attributes:
        groups: at least one.
        limits: of every query.
        run: where and how it is computed.
        seed: of attacks and solvers, 0 <= seed < 2**31.

    Raises:
        InputError: no group, a seed out of range, or one configuration with two models.
    """

    groups: tuple[Group, ...]
    limits: Limits = field(default_factory=Limits)
    run: RunSettings = field(default_factory=RunSettings)
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.groups:
            raise InputError("A campaign needs at least one group of models, data and questions.")
        if not 0 <= self.seed < 2**31:
            raise InputError(f"The seed is {self.seed}; it must be at least 0 and below 2**31.")
        for configuration, place in self._places():
            if self._models[configuration] != place:
                raise InputError(
                    f"The configuration {configuration!r} is {self._models[configuration]} in one group and {place} in "
                    "another; give them two names."
                )

    def models(self) -> list[ModelRecord]:
        """The models, each once.

        Raises:
            ModelError: a file cannot be used.
            InputError: two configurations with the same model: one of them would never get an answer of its own.
        """
        return [model.record for model in self._opened.values()]

    def queries(self) -> list[QueryRecord]:
        """All queries: every configuration and question for one input, then for the next.

        Whatever makes no sense comes to light here, not after hours spent on other queries.

        Raises:
            MipverifyError: a model or the data cannot be used, a query makes no sense for its input, or is there twice.
        """
        return self._queries

    @cached_property
    def _queries(self) -> list[QueryRecord]:
        known: dict[str, str] = {}
        found: list[QueryRecord] = []
        for number, group in enumerate(self.groups, start=1):
            for query in self._queries_of(group):
                what = f"{query.configuration}, {query.input.dataset} {query.input.index}, {query.kind.value}"
                if query.key in known:
                    raise InputError(
                        f"The spec asks the same twice: {what} (group {number}) and {known[query.key]}. "
                        "Leave one of them out."
                    )
                known[query.key] = f"{what} (group {number})"
                found.append(query)
        return found

    def _queries_of(self, group: Group) -> Iterator[QueryRecord]:
        inputs = {name: group.data.inputs(self._opened[name].network.input_shape) for name in group.models}
        asked = [(question, list(question.variants(group.data.dataset))) for question in group.questions]
        for position in range(len(next(iter(inputs.values())))):
            for configuration, found in inputs.items():
                yield from self._queries_about(configuration, found[position], asked)

    def record(self) -> dict[str, Any]:
        """The spec as JSON, without paths: a store keeps it, and is shown to others."""
        return {
            "seed": self.seed,
            "limits": asdict(self.limits),
            "run": {key: value for key, value in asdict(self.run).items() if key != "tls"},
            "groups": [
                {
                    "configurations": list(group.models),
                    "data": group.data.record(),
                    "queries": [
                        {"kind": variant.kind.value, **variant.question, "label": question.label, **variant.options}
                        for question in group.questions
                        for variant in question.variants(group.data.dataset)
                    ],
                }
                for group in self.groups
            ],
        }

    def _places(self) -> Iterator[tuple[str, str]]:
        for group in self.groups:
            yield from group.models.items()

    @cached_property
    def _models(self) -> dict[str, str]:
        """Configuration -> place."""
        return dict(self._places())

    @cached_property
    def _opened(self) -> dict[str, OpenModel]:
        """Configuration -> model."""
        opened = {configuration: open_model(configuration, place) for configuration, place in self._models.items()}
        names: dict[str, str] = {}
        for configuration, model in opened.items():
            other = names.setdefault(model.record.digest, configuration)
            if other != configuration:
                raise InputError(
                    f"The configurations {other!r} and {configuration!r} are the same model (the same weights); "
                    "leave one of them out."
                )
        return opened

    def _queries_about(
        self, configuration: str, about: InputRecord, asked: list[tuple[Question, list[Variant]]]
    ) -> Iterator[QueryRecord]:
        model = self._opened[configuration]
        for question, variants in asked:
            label = about.label if question.label == "true" else None
            for variant in variants:
                query = QueryRecord(
                    configuration=configuration,
                    model=model.record.digest,
                    input=about,
                    kind=variant.kind,
                    question={**variant.question, "label": label},
                    options=variant.options,
                    seed=self.seed,
                )
                try:
                    question.check(query, model.network)
                except MipverifyError as error:
                    place = f"{configuration}, {about.dataset} {about.index}, {variant.kind.value}"
                    raise InputError(f"{place}: {error}") from error
                yield query


def settings_of(record: Mapping[str, Any]) -> tuple[Limits, RunSettings]:
    """Limits and settings of a spec's record, as a store keeps it; what is missing there is at its default."""
    limits, run = record.get("limits", {}), record.get("run", {})
    return Limits(**_known(Limits, limits)), RunSettings(**_known(RunSettings, run))


def _known(kind: type, values: Mapping[str, Any]) -> dict[str, Any]:
    names = {entry.name for entry in fields(kind)}
    return {name: value for name, value in values.items() if name in names}
