"""What a report of answers is: it begins, takes one answer at a time, and ends."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from mipverify_py.cli._answer import Answer
from mipverify_py.cli._arguments import Arguments
from mipverify_py.cli._questions import Place
from onnx_models import ReluNetwork


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """What all answers of one command have in common.

    Attributes:
        model: the model as named on the command line.
        network: what it was read as.
        inputs: name of the data set or file.
        places: what is asked about, in the order of the answers: images, or with --all-targets classes of them.
        arguments: the command line.
    """

    model: str
    network: ReluNetwork
    inputs: str
    places: list[Place]
    arguments: Arguments

    @property
    def asks_for_accuracy(self) -> bool:
        """Whether every answer says if an image keeps its label within the radius, whatever the wrong class."""
        a = self.arguments
        return a.eps is not None and a.target is None and a.not_target is None and not a.margin and not a.all_targets


class Report(ABC):
    """Writes answers to stdout, each as soon as it is there."""

    def __init__(self, run: Run) -> None:
        self.run = run

    @abstractmethod
    def begin(self) -> None:
        """Called once, before the first image is looked at."""

    @abstractmethod
    def add(self, answer: Answer) -> None:
        """Writes one answer, down to the last buffer."""

    @abstractmethod
    def end(self) -> None:
        """Called once, also after an interruption."""
