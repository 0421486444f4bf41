"""What tasks that take one image after the other share: their images, and the first fields of their JSON objects."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from mipverify_py._query import Query
from mipverify_py.cli._arguments import Arguments
from mipverify_py.cli._inputs import Inputs, load_model, open_source, read_domain
from mipverify_py.cli._json import SCHEMA
from mipverify_py.cli._questions import Questions
from onnx_models import ReluNetwork


@dataclass(frozen=True, slots=True, eq=False)
class ImageLoop:
    """The images that a command line asks about, and its questions about them.

    Attributes:
        arguments: the command line.
        network: the model.
        questions: a query per index.
        indices: positions of the images, in the order asked for.
    """

    arguments: Arguments
    network: ReluNetwork
    questions: Questions
    indices: list[int]

    @classmethod
    def of(cls, a: Arguments) -> ImageLoop:
        """Reads model and inputs, and looks at every question; raises InputError for the first that makes no sense."""
        source = open_source(a)
        assert a.model is not None
        network = load_model(a.model)
        inputs = Inputs(source, network.input_shape, a.label)
        questions = Questions(network, inputs, a, read_domain(a.domain, network))
        indices = inputs.chosen(a)
        questions.places(indices)
        return cls(a, network, questions, indices)

    def record(self, kind: str, index: int, query: Query) -> dict[str, Any]:
        """The fields with which the JSON object about an image begins."""
        a = self.arguments
        return {
            "schema": SCHEMA,
            "kind": kind,
            "version": version("mipverify-py"),
            "model": a.model,
            "digest": self.network.digest,
            "input": self.questions.inputs.name,
            "index": index,
            "label": query.label,
            "predicted": query.predicted,
            "reference": query.reference,
            "targets": list(query.target_classes),
            "eps": a.eps,
            "margin": query.margin,
        }
