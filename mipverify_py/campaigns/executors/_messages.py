"""What an executor and its worker processes send each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mipverify_py.campaigns._records import Answer, Failure


@dataclass(frozen=True, slots=True)
class Setup:
    """The first message to a worker; models and tasks follow as `ModelRecord` and `Task`.

    Attributes:
        answerer: what answers tasks, "package.module:function".
        path: where the executor's process finds modules, absolute.
    """

    answerer: str
    path: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ready:
    """A worker's first message.

    Attributes:
        host: class of its machine, as in `Completion`.
    """

    host: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Began:
    """The worker has loaded the model and begins its task; it can be interrupted from now on."""


@dataclass(frozen=True, slots=True)
class Told:
    """The bracket of the task at hand."""

    lower: float | None
    upper: float | None


@dataclass(frozen=True, slots=True, eq=False)
class Done:
    """What came of the task at hand.

    Attributes:
        outcome, versions: as in `Completion`.
    """

    outcome: Answer | Failure
    versions: Mapping[str, str]
