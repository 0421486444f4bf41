"""Replays in onnxruntime: batches of any length and shape, fixed batches, precision, failures."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_models._source import OnnxSource
from onnx_models.errors import ModelFileError
from tests.helpers.onnx_graphs import GraphBuilder, run, weights


def source(batch: str | int | None = "N", dtype: type = np.float32) -> OnnxSource:
    """Two outputs from inputs of shape (3, 2), or from a vector of 3 without batch."""
    rng = np.random.default_rng(0)
    graph = GraphBuilder((3,) if batch is None else (3, 2), batch=batch, dtype=dtype)
    value = "x" if batch is None else graph.node("Flatten", "x")
    value = graph.node("MatMul", value, weights(rng, 3 if batch is None else 6, 2))
    return OnnxSource("model.onnx", graph.model(graph.node("Relu", value)).SerializeToString())


@pytest.mark.parametrize("batch", ["N", 1])
@pytest.mark.parametrize("rows", [1, 2, 300])
def test_rows_do_not_depend_on_their_company(batch: str | int, rows: int) -> None:
    replay = source(batch)
    inputs = np.random.default_rng(1).normal(size=(rows, 3, 2)).astype(np.float32)
    outputs = replay.logits(inputs)
    assert outputs.shape == (rows, 2)
    assert outputs.dtype == np.float32
    alone = np.concatenate([replay.logits(row[None]) for row in inputs])
    np.testing.assert_allclose(outputs, alone, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(replay.logits(inputs.reshape(rows, 6)), outputs)


def test_models_without_batch() -> None:
    inputs = np.random.default_rng(1).normal(size=(4, 3)).astype(np.float32)
    assert source(None).logits(inputs).shape == (4, 2)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_inputs_are_rounded_to_the_models_type(dtype: type) -> None:
    outputs = source(dtype=dtype).logits(np.random.default_rng(1).normal(size=(4, 3, 2)))
    assert outputs.dtype == dtype


def test_agrees_with_a_plain_session() -> None:
    replay = source()
    import onnx

    inputs = np.random.default_rng(1).normal(size=(4, 3, 2)).astype(np.float32)
    np.testing.assert_array_equal(replay.logits(inputs), run(onnx.load_from_string(replay.data), inputs))


def test_the_session_has_one_thread() -> None:
    assert source().session.get_session_options().intra_op_num_threads == 1


def test_failures_are_named(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ModelFileError, match=r"onnxruntime .* cannot load broken.onnx"):
        _ = OnnxSource("broken.onnx", b"nothing").session
    graph = GraphBuilder((3,))
    reshaped = graph.node("Reshape", "x", np.array([1, 3]))  # fails for more than one input
    with pytest.raises(ModelFileError, match=r"onnxruntime .* cannot run stubborn.onnx"):
        OnnxSource("stubborn.onnx", graph.model(reshaped).SerializeToString()).logits(np.zeros((2, 3)))
    assert capfd.readouterr().err == ""
