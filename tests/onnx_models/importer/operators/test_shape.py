"""Reshape, Flatten, Squeeze, Unsqueeze, and the chains of Shape nodes with which exporters compute their targets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onnx_models.errors import UnsupportedModelError
from tests.helpers.onnx_graphs import GraphBuilder, check, single


def integers(*values: int) -> Any:
    """An int64 vector."""
    return np.array(values, np.int64)


CASES: list[tuple[str, str, tuple[int, ...], list[Any], dict[str, Any], int]] = [
    ("flatten", "Flatten", (2, 3), [], {}, 8),
    ("flatten, axis", "Flatten", (1, 2, 3), [], {"axis": 2}, 9),
    ("flatten, negative axis", "Flatten", (2, 3), [], {"axis": -2}, 11),
    ("reshape, batch left open", "Reshape", (2, 3), [integers(-1, 6)], {}, 8),
    ("reshape, batch copied", "Reshape", (2, 3), [integers(0, -1)], {}, 13),
    ("reshape, copies", "Reshape", (2, 3), [integers(0, 0, 1, 3)], {}, 13),
    ("reshape, to more", "Reshape", (6,), [integers(-1, 1, 2, 3)], {}, 14),
    ("reshape, to batch alone", "Reshape", (1, 1), [integers(-1)], {}, 13),
    ("squeeze, attribute", "Squeeze", (1, 2, 1), [], {"axes": [1, 3]}, 8),
    ("squeeze, input", "Squeeze", (1, 2, 1), [integers(-1)], {}, 13),
    ("unsqueeze, attribute", "Unsqueeze", (2, 3), [], {"axes": [1, 4]}, 11),
    ("unsqueeze, input", "Unsqueeze", (2, 3), [integers(-1, 1)], {}, 13),
]


@pytest.mark.parametrize(
    ("operator", "shape", "inputs", "attributes", "opset"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
@pytest.mark.parametrize("batch", ["N", 1])
def test_agrees(operator: str, shape: Any, inputs: Any, attributes: Any, opset: int, batch: str | int) -> None:
    check(single(operator, shape, *inputs, opset=opset, batch=batch, **attributes))


@pytest.mark.parametrize(
    ("operator", "shape", "inputs", "attributes", "opset"),
    [
        ("Flatten", (2, 3), [], {"axis": 0}, 13),
        ("Flatten", (2, 3), [], {"axis": 2}, 13),
        ("Reshape", (2, 3), [integers(6)], {}, 13),
        ("Reshape", (2, 3), [integers(3, -1)], {}, 13),
        ("Reshape", (2, 3), [integers(1, 6)], {}, 14),
        ("Squeeze", (1, 3), [], {}, 13),
        ("Squeeze", (1, 3), [integers()], {}, 13),
        ("Squeeze", (2, 3), [integers(0)], {}, 13),
        ("Unsqueeze", (2, 3), [integers(0)], {}, 13),
    ],
)
def test_a_fixed_batch_of_one_may_be_reshaped_at_will(
    operator: str, shape: Any, inputs: Any, attributes: Any, opset: int
) -> None:
    check(single(operator, shape, *inputs, opset=opset, batch=1, **attributes))


REFUSALS: list[tuple[str, str, tuple[int, ...], list[Any], dict[str, Any], str]] = [
    ("flatten, batch joined", "Flatten", (2, 3), [], {"axis": 2}, "mixes, moves or drops the batch"),
    ("flatten, all", "Flatten", (2, 3), [], {"axis": 0}, "mixes, moves or drops the batch"),
    ("flatten, axis", "Flatten", (2, 3), [], {"axis": 4}, "has axis 4, out of range"),
    ("reshape, batch fixed", "Reshape", (2, 3), [integers(1, 6)], {}, "mixes, moves or drops the batch"),
    ("reshape, batch dropped", "Reshape", (2, 3), [integers(-1)], {}, "cannot give"),
    ("reshape, batch mixed", "Reshape", (2, 3), [integers(-1, 3)], {}, "cannot give"),
    ("reshape, two open", "Reshape", (2, 3), [integers(0, -1, -1)], {}, "cannot give"),
    ("reshape, copies nothing", "Reshape", (2,), [integers(0, 2, 0)], {}, "copies dimension 2"),
    ("reshape, zero", "Reshape", (2, 3), [integers(-1, 0, 6)], {"allowzero": 1}, "cannot give"),
    ("reshape, variable", "Reshape", (2, 3), ["x"], {}, "its input 1 .* must be a constant"),
    ("squeeze, unnamed", "Squeeze", (1, 3), [], {}, "names no axes"),
    ("squeeze, empty list", "Squeeze", (1, 3), [integers()], {}, "names no axes"),
    ("squeeze, batch", "Squeeze", (1, 3), [integers(0)], {}, "mixes, moves or drops the batch"),
    ("squeeze, too long", "Squeeze", (2, 3), [integers(1)], {}, "only axes of length 1"),
    ("unsqueeze, batch", "Unsqueeze", (2, 3), [integers(0)], {}, "mixes, moves or drops the batch"),
    ("unsqueeze, twice", "Unsqueeze", (2, 3), [integers(1, 1)], {}, "inserts an axis twice"),
]


@pytest.mark.parametrize(
    ("operator", "shape", "inputs", "attributes", "message"), [c[1:] for c in REFUSALS], ids=[c[0] for c in REFUSALS]
)
def test_what_they_refuse(operator: str, shape: Any, inputs: Any, attributes: Any, message: str) -> None:
    opset = 14 if "allowzero" in attributes else 13
    with pytest.raises(UnsupportedModelError, match=message):
        check(single(operator, shape, *inputs, opset=opset, **attributes))


class TestComputedShapes:
    """Targets of Reshape and Expand computed from the shape of a value whose batch is dynamic."""

    @pytest.mark.parametrize("batch", ["N", 1])
    def test_view_of_the_batch_and_the_rest(self, batch: str | int) -> None:
        """x.view(x.size(0), -1) as the old exporter writes it."""
        graph = GraphBuilder((2, 3), batch=batch)
        size = graph.node("Gather", graph.node("Shape", "x"), np.array(0), axis=0)
        target = graph.node("Concat", graph.node("Unsqueeze", size, integers(0)), integers(-1), axis=0)
        check(graph.model(graph.node("Reshape", "x", target)))

    @pytest.mark.parametrize("batch", ["N", 1])
    def test_view_with_a_product_of_dimensions(self, batch: str | int) -> None:
        """x.view(-1, x.size(1) * x.size(2)), through Cast and Slice."""
        graph = GraphBuilder((2, 3), batch=batch)
        shape = graph.node("Cast", graph.node("Shape", "x"), to=7)
        rest = graph.node("Slice", shape, integers(1), integers(3), integers(0))
        target = graph.node("Concat", integers(-1), graph.node("ReduceProd", rest), axis=0)
        check(graph.model(graph.node("Reshape", "x", target)))

    def test_part_of_a_shape(self) -> None:
        graph = GraphBuilder((2, 3), opset=15)
        target = graph.node(
            "Concat", integers(0), graph.node("Shape", "x", start=2), graph.node("Shape", "x", start=1, end=2), axis=0
        )
        check(graph.model(graph.node("Reshape", "x", target)))

    def test_expand_as_the_exporter_writes_it(self) -> None:
        """x.expand(n, 2, 3): ones where the target is -1, chosen by Equal and Where."""
        graph = GraphBuilder((1, 3))
        size = graph.node("Gather", graph.node("Shape", "x"), integers(0), axis=0)
        wanted = graph.node("Concat", size, integers(2, -1), axis=0)
        ones = graph.node("ConstantOfShape", integers(3), value=_tensor(integers(1)))
        unknown = graph.node("Equal", wanted, graph.node("Mul", ones, np.array(-1)))
        check(graph.model(graph.node("Expand", "x", graph.node("Where", unknown, ones, wanted))))

    def test_constant_of_the_batch_size(self) -> None:
        """Zeros as many as there are inputs, joined to each."""
        graph = GraphBuilder((3,))
        size = graph.node("Slice", graph.node("Shape", "x"), integers(0), integers(1), integers(0))
        zeros = graph.node("ConstantOfShape", graph.node("Concat", size, integers(2), axis=0))
        check(graph.model(graph.node("Concat", "x", zeros, axis=1)))

    @pytest.mark.parametrize("operator", ["Mul", "Add", "Greater", "Sqrt"])
    def test_computing_with_the_batch_size_is_refused(self, operator: str) -> None:
        graph = GraphBuilder((2, 3))
        size = graph.node("Gather", graph.node("Shape", "x"), integers(0), axis=0)
        more = graph.node(operator, size, *([integers(2)] if operator != "Sqrt" else []))
        target = graph.node("Concat", graph.node("Cast", more, to=7), integers(3), axis=0)
        with pytest.raises(UnsupportedModelError, match="computes with the size of the dynamic batch"):
            check(graph.model(graph.node("Reshape", "x", target)))

    def test_batch_size_away_from_the_front_is_refused(self) -> None:
        graph = GraphBuilder((2, 3))
        size = graph.node("Gather", graph.node("Shape", "x"), integers(0), axis=0)
        with pytest.raises(UnsupportedModelError, match="mixes, moves or drops the batch"):
            check(graph.model(graph.node("Reshape", "x", graph.node("Concat", integers(6), size, axis=0))))


def _tensor(array: Any) -> Any:
    from onnx import numpy_helper

    return numpy_helper.from_array(array)
