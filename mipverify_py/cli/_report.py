"""What a report of answers is: it begins, takes one answer at a time, and ends."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from mipverify_py.cli._answer import Answer
from mipverify_py.cli._arguments import Arguments
from onnx_models import ReluNetwork


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """What all answers of one command have in common.

    Attributes:
        model: the model as named on the command line.
        network: what it was read as.
        inputs: name of the data set or file.
        indices: positions of the images, in the order in which they are answered.
        arguments: the command line.
    """

    model: str
    network: ReluNetwork
    inputs: str
    indices: list[int]
    arguments: Arguments


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
