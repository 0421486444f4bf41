"""One attempt after another in this process: models are loaded once, and whatever goes wrong becomes a failure."""

from __future__ import annotations

import importlib
import importlib.util
import traceback
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager

from mipverify_py.campaigns._records import Answer, Failure, FailureReason, ModelRecord, Task
from onnx_models import ReluNetwork
from onnx_models.errors import InputError

Tell = Callable[[float | None, float | None], None]
"""What an answerer calls with its bracket (lower, upper), absent ends None; as often as it likes."""

Answerer = Callable[[Task, ReluNetwork, Tell], Answer]

LAST_LINES = 6
"""So many lines of a traceback are kept: the error, and where it was raised."""


class Answering:
    """Answers tasks with the function that `answerer` names, "package.module:function".

    Args:
        answerer: the function; it is imported with the first task.
    """

    def __init__(self, answerer: str) -> None:
        self._name = answerer
        self._function: Answerer | None = None
        self._models: dict[str, ModelRecord] = {}
        self._networks: dict[str, ReluNetwork] = {}

    def add(self, models: Iterable[ModelRecord]) -> None:
        """Takes models; each is loaded with the first task that needs it, and kept."""
        self._models.update((model.digest, model) for model in models)

    def prepare(self, task: Task) -> Failure | None:
        """Loads what the task needs; None if that worked."""
        try:
            self._answerer()
            self._network(task.record.model)
        except Exception as error:  # noqa: BLE001 - a worker outlives every task
            return failure_of(error)
        return None

    def answer(self, task: Task, tell: Tell, allowed: Callable[[], AbstractContextManager[None]]) -> Answer | Failure:
        """What comes of the task; within `allowed()` KeyboardInterrupt may be raised."""
        try:
            answerer, network = self._answerer(), self._network(task.record.model)
            with allowed():
                answer: object = answerer(task, network, tell)
        except KeyboardInterrupt:
            return Failure(FailureReason.KILLED, "interrupted before anything was found out")
        except Exception as error:  # noqa: BLE001 - a worker outlives every task
            return failure_of(error)
        if not isinstance(answer, Answer):
            kind = type(answer).__name__
            return Failure(FailureReason.ERROR, f"{self._name} returned {kind} where an Answer was expected")
        return answer

    def _answerer(self) -> Answerer:
        if self._function is None:
            module, _, name = self._name.partition(":")
            self._function = getattr(importlib.import_module(module), name)
        assert self._function is not None
        return self._function

    def _network(self, digest: str) -> ReluNetwork:
        from onnx_models.importer._load import load_onnx_bytes

        if digest not in self._networks:
            model = self._models[digest]
            network = load_onnx_bytes(model.onnx, model.name)
            if network.digest != digest:
                raise InputError(f"Model {model.name} has digest {network.digest} here, where {digest} was expected.")
            self._networks[digest] = network
        return self._networks[digest]


def failure_of(error: BaseException) -> Failure:
    """The failure that an exception is, with the last lines of its traceback."""
    reason = FailureReason.MEMORY if _means_memory(error) else FailureReason.ERROR
    lines = "".join(traceback.format_exception(error)).strip().splitlines()
    return Failure(reason, "\n".join(lines[-LAST_LINES:]))


def _means_memory(error: BaseException) -> bool:
    """Whether memory ran out: torch says so with a RuntimeError."""
    words = ("not enough memory", "can't allocate memory", "out of memory")
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(word in str(error).lower() for word in words)
    )


def check_answerer(answerer: str) -> None:
    """Raises InputError unless this can be the name of a function; the function's own module is not imported."""
    module, colon, name = answerer.partition(":")
    try:
        found = bool(colon) and name.isidentifier() and importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        found = False
    if not found:
        raise InputError(f"Answerer {answerer!r} cannot be found; name a function as 'package.module:function'.")


def models_by_digest(models: Iterable[ModelRecord]) -> dict[str, ModelRecord]:
    """The models by their digests."""
    return {model.digest: model for model in models}


def check_model(models: Mapping[str, ModelRecord], task: Task) -> None:
    """Raises InputError if the task's model is not among them."""
    if task.record.model not in models:
        raise InputError(
            f"Query {task.query} asks about model {task.record.model}, which the executor was not given; "
            "give it every model of the store."
        )
