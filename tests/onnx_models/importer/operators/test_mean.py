"""ReduceSum, ReduceMean and GlobalAveragePool against onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onnx_models.errors import UnsupportedModelError
from tests.helpers.onnx_graphs import check, single

CASES: list[tuple[str, str, list[Any], dict[str, Any], int]] = [
    ("mean, attribute", "ReduceMean", [], {"axes": [2, 3]}, 8),
    ("mean, negative axis", "ReduceMean", [], {"axes": [-1], "keepdims": 0}, 11),
    ("mean, attribute at 13", "ReduceMean", [], {"axes": [1, 3], "keepdims": 0}, 13),
    ("mean, input", "ReduceMean", [np.array([2, 3])], {"keepdims": 0}, 18),
    ("mean, nothing", "ReduceMean", [], {"noop_with_empty_axes": 1}, 18),
    ("sum, attribute", "ReduceSum", [], {"axes": [1], "keepdims": 0}, 11),
    ("sum, input", "ReduceSum", [np.array([-1])], {}, 13),
    ("sum, all but batch", "ReduceSum", [np.array([1, 2, 3])], {"keepdims": 0}, 13),
    ("sum, nothing", "ReduceSum", [np.array([], np.int64)], {"noop_with_empty_axes": 1}, 13),
    ("global", "GlobalAveragePool", [], {}, 8),
    ("global, newest", "GlobalAveragePool", [], {}, 22),
]


@pytest.mark.parametrize(
    ("operator", "inputs", "attributes", "opset"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
@pytest.mark.parametrize("batch", ["N", 1])
def test_agrees(operator: str, inputs: list[Any], attributes: dict[str, Any], opset: int, batch: str | int) -> None:
    check(single(operator, (2, 3, 4), *inputs, opset=opset, batch=batch, **attributes))


@pytest.mark.parametrize(
    ("inputs", "attributes", "message"),
    [
        ([np.array([0])], {}, "mixes, moves or drops the batch dimension"),
        ([], {}, "mixes, moves or drops the batch dimension"),
        ([np.array([4])], {}, "has axis 4, out of range for 4 dimensions"),
    ],
)
def test_what_they_refuse(inputs: list[Any], attributes: dict[str, Any], message: str) -> None:
    with pytest.raises(UnsupportedModelError, match=f"ReduceSum node 'ReduceSum_0' {message}"):
        check(single("ReduceSum", (2, 3, 4), *inputs, **attributes))


def test_everything_with_a_batch_of_one() -> None:
    check(single("ReduceSum", (2, 3), batch=1, keepdims=1))
