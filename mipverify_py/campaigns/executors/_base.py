"""What every executor can do: take tasks, hand back what became of them, and stop."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from mipverify_py.campaigns._records import Completion, Task
from onnx_models.errors import MipverifyError


class ExecutorError(MipverifyError, RuntimeError):
    """The executor as a whole cannot go on: its scheduler is gone, or no worker can be started."""


@dataclass(frozen=True, slots=True, eq=False)
class Running:
    """A task that is being worked on.

    Attributes:
        task: what was asked.
        worker: which worker has it.
        seconds: since it was sent there.
        lower, upper: the bracket so far, absent ends None; that of the task itself, not of its companions.
    """

    task: Task
    worker: str
    seconds: float
    lower: float | None = None
    upper: float | None = None


def _ignore() -> None:
    """Does nothing."""


class Executor(ABC):
    """Workers that attempt tasks. One thread uses it; close it when done, or use it in a `with`.

    Every task that is submitted comes back as one completion, whatever happens to its worker, unless `interrupt` was
    called. What came of it may be a failure: whether to try again is for the caller to say.

    Attributes:
        on_news: an executor that attempts tasks in its caller's thread calls this when a bracket has changed; the
            others leave the caller free to look at `running`.
    """

    on_news: Callable[[], None] = staticmethod(_ignore)

    @property
    @abstractmethod
    def workers(self) -> int:
        """How many tasks can be worked on at once; may change while it runs."""

    @property
    def capacity(self) -> int:
        """How many tasks to have submitted at once: one for each worker, and one more that it can go on with."""
        return 2 * self.workers

    @property
    @abstractmethod
    def outstanding(self) -> int:
        """Number of tasks that were submitted and whose completion has not been handed back."""

    @abstractmethod
    def submit(self, task: Task) -> None:
        """Takes a task.

        Tasks are begun in the order in which they come, but for one that a worker has failed at: that goes to another
        worker if one is free.
        """

    @abstractmethod
    def completions(self, timeout: float) -> list[Completion]:
        """What has come to an end, waiting at most `timeout` seconds for the first.

        Raises:
            ExecutorError: nothing more will come.
        """

    @abstractmethod
    def running(self) -> list[Running]:
        """The tasks that are being worked on."""

    @abstractmethod
    def interrupt(self) -> None:
        """Has every running task answer with its bracket (stop_reason "interrupted"); drops tasks not begun.

        What comes after that comes through `completions`. No more tasks may be submitted.
        """

    @abstractmethod
    def close(self) -> None:
        """Ends all workers at once, and forgets what they were doing. May be called twice."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
