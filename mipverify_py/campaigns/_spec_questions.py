"""What a campaign asks about every input: distances, and whether there is an example within a radius."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from mipverify_py._enums import Norm, Tightening
from mipverify_py._options import ENGINES
from mipverify_py._query import Query, Targets
from mipverify_py.backends import BACKEND_NAMES
from mipverify_py.campaigns._answer import domain_box, exact_options, exact_query
from mipverify_py.campaigns._records import Limits, QueryKind, QueryRecord
from mipverify_py.campaigns._spec_table import SpecError, Table, is_whole
from mipverify_py.engines._mixed import check_engine
from onnx_models import ReluNetwork
from onnx_models.errors import InputError

NORMS: Final = tuple(norm.value for norm in Norm)
LABELS: Final = ("true", "predicted")
COMMON_KEYS: Final = ("norms", "label", "targets", "domain", "device")
EXACT_KEYS: Final = ("margin", "engine", "backend", "tightening", "restarts")


@dataclass(frozen=True, slots=True)
class Variant:
    """One of the queries that a question stands for, without its input.

    Attributes:
        kind: what is asked.
        question: as in `QueryRecord`, but for the label.
        options: as in `QueryRecord`.
    """

    kind: QueryKind
    question: Mapping[str, Any]
    options: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Question(ABC):
    """Something that is asked about every input, in every norm listed.

    Attributes:
        norms: "linf", "l1", "l2".
        label: "true": the label of the data is the class to keep, so that an input that the model gets wrong has
            distance 0 (without a label, the predicted class); "predicted": always the model's own class.
        targets: the wrong classes that count; None: all.
        domain: least and largest value of an entry of an input.
        device: where attacks and the engines `duals` and `boxes` compute: "cpu", "cuda", "cuda:1", ...

    Raises:
        InputError: a value out of range.
    """

    kind: ClassVar[QueryKind]

    norms: tuple[str, ...] = ("linf",)
    label: str = "true"
    targets: tuple[int, ...] | None = None
    domain: tuple[float, float] = (0.0, 1.0)
    device: str = "cpu"

    def __post_init__(self) -> None:
        unknown = [norm for norm in self.norms if norm not in NORMS]
        if unknown or not self.norms:
            raise InputError(f"The norms are {self.norms}; name one or more of {', '.join(NORMS)}.")
        if self.label not in LABELS:
            raise InputError(f"The label to keep is {self.label!r}; it must be one of {', '.join(LABELS)}.")
        if not self.domain[0] < self.domain[1]:
            raise InputError(f"The domain is {self.domain}; the first number must be below the second.")
        exact_options({**_PLAIN, "device": self.device}, Limits(), 0)  # which knows what a device is

    @abstractmethod
    def variants(self, dataset: str | None) -> Iterator[Variant]:
        """The queries that this stands for; `dataset` is the known data set that the inputs are from."""

    def check(self, record: QueryRecord, network: ReluNetwork) -> None:
        """Raises InputError if one of the queries makes no sense for the network."""
        question = record.question
        targets = question["targets"]
        Query(
            network,
            record.input.values,
            label=question["label"],
            targets=Targets() if targets is None else Targets.only(targets),
            domain=domain_box(question["domain"], network),
        )

    def _common(self, norm: str) -> dict[str, Any]:
        return {
            "norm": norm,
            "targets": None if self.targets is None else sorted(self.targets),
            "domain": [float(end) for end in self.domain],
        }


_PLAIN: Final = {"engine": "auto", "backend": "highs", "tightening": "lp", "restarts": 4, "device": "cpu"}


@dataclass(frozen=True, kw_only=True)
class ExactQuestion(Question):
    """A question for the exact search.

    Attributes:
        margin: by how much the output of another class must reach that of the class to keep.
        engine, backend, tightening, restarts: as in `Options`; backend and tightening are for engine "mip".
    """

    margin: float = 0.0
    engine: str = "auto"
    backend: str = "highs"
    tightening: str = "lp"
    restarts: int = 4

    def __post_init__(self) -> None:
        Question.__post_init__(self)
        if self.backend not in BACKEND_NAMES:
            raise InputError(f"Backend {self.backend!r} is unknown; choose one of {', '.join(BACKEND_NAMES)}.")
        for name, plain in (("backend", "highs"), ("tightening", "lp")):
            if self.engine != "mip" and getattr(self, name) != plain:
                raise InputError(f"{name} {getattr(self, name)!r} is for engine 'mip'; add that.")
        exact_options(self.options, Limits(), 0)

    @property
    def options(self) -> dict[str, Any]:
        """As in `QueryRecord`."""
        return {name: getattr(self, name) for name in _PLAIN}

    def check(self, record: QueryRecord, network: ReluNetwork) -> None:
        """See `Question`."""
        check_engine(exact_query(record, network), exact_options(record.options, Limits(), record.seed))

    def _common(self, norm: str) -> dict[str, Any]:
        return {**Question._common(self, norm), "margin": self.margin}


@dataclass(frozen=True, kw_only=True)
class DistanceQuestion(ExactQuestion):
    """How far the nearest adversarial example is."""

    kind: ClassVar[QueryKind] = QueryKind.DISTANCE

    def variants(self, dataset: str | None) -> Iterator[Variant]:
        """See `Question`."""
        for norm in self.norms:
            yield Variant(self.kind, self._common(norm), self.options)


@dataclass(frozen=True, kw_only=True)
class VerifyQuestion(ExactQuestion):
    """Whether there is an adversarial example within a radius.

    Attributes:
        eps: the radii, >= 0, one query for each.
    """

    kind: ClassVar[QueryKind] = QueryKind.VERIFY

    eps: tuple[float, ...]

    def __post_init__(self) -> None:
        ExactQuestion.__post_init__(self)
        if not self.eps or not all(0 <= radius < float("inf") for radius in self.eps):
            raise InputError(f"The radii eps are {self.eps}; give one or more finite numbers of at least 0.")

    def variants(self, dataset: str | None) -> Iterator[Variant]:
        """See `Question`."""
        for norm in self.norms:
            for radius in self.eps:
                yield Variant(self.kind, {**self._common(norm), "eps": float(radius)}, self.options)


def common_values(table: Table) -> dict[str, Any]:
    """The fields of `Question` that a table names."""
    found: dict[str, Any] = {}
    if "norms" in table:
        found["norms"] = table.texts("norms", among=NORMS)
    if "label" in table:
        found["label"] = table.text("label", among=LABELS)
    if "device" in table:
        found["device"] = table.text("device")
    if "targets" in table:
        targets = table["targets"]
        if not isinstance(targets, list) or not targets or not all(is_whole(j) and j >= 0 for j in targets):
            raise table.wrong("targets", "a list of classes, such as [0, 7]")
        found["targets"] = tuple(targets)
    if "domain" in table:
        ends = table.numbers("domain", "two numbers, such as [-1, 1]")
        if len(ends) != 2 or not ends[0] < ends[1]:
            raise table.wrong("domain", "two numbers, the smaller one first, such as [-1, 1]")
        found["domain"] = ends
    return found


def read_distance(table: Table) -> DistanceQuestion:
    """A [[query]] of kind distance; raises InputError for a wrong key or value."""
    return DistanceQuestion(**_exact_values(table))


def read_verify(table: Table) -> VerifyQuestion:
    """A [[query]] of kind verify; raises InputError for a wrong key or value."""
    if "eps" not in table:
        raise SpecError(f"{table.place}: eps is missing; give a radius or a list of them.")
    return VerifyQuestion(eps=table.numbers("eps", "a number of at least 0", lambda v: v >= 0), **_exact_values(table))


def _exact_values(table: Table) -> dict[str, Any]:
    found = common_values(table)
    for name, among in (
        ("engine", ENGINES),
        ("backend", BACKEND_NAMES),
        ("tightening", tuple(stage.value for stage in Tightening)),
    ):
        if name in table:
            found[name] = table.text(name, among=among)
    if "margin" in table:
        found["margin"] = table.number("margin", 0.0, "a number")
    if "restarts" in table:
        found["restarts"] = table.whole("restarts", 4, "a whole number of at least 1", lambda v: v >= 1)
    return found
