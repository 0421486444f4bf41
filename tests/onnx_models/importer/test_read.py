"""Files that must not be trusted: each is refused with a message that says what is wrong, before memory is claimed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from onnx_models import load_onnx
from onnx_models.errors import ModelError, ModelFileError
from onnx_models.importer import load_onnx_bytes
from tests.helpers.onnx_graphs import GraphBuilder, check, inputs_for, random_model, run, weights, without_raw

Change = Callable[[onnx.ModelProto], None]


def sound_model() -> onnx.ModelProto:
    """Gemm and Relu on 4 inputs, with weights "w0" (4 x 3) and "w1" (3)."""
    rng = np.random.default_rng(0)
    graph = GraphBuilder((4,))
    return graph.model(graph.node("Relu", graph.node("Gemm", "x", weights(rng, 4, 3), weights(rng, 3))))


def changed(change: Change) -> bytes:
    """The sound model after `change`."""
    model = sound_model()
    change(model)
    return model.SerializeToString()


def _dims(*dims: int) -> Change:
    def change(model: onnx.ModelProto) -> None:
        model.graph.initializer[0].dims[:] = dims

    return change


def _weight(value: float) -> Change:
    def change(model: onnx.ModelProto) -> None:
        model.graph.initializer[1].CopyFrom(numpy_helper.from_array(np.float32([0, value, 0]), "w1"))

    return change


def _input_shape(*dims: int | str) -> Change:
    def change(model: onnx.ModelProto) -> None:
        model.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", TensorProto.FLOAT, list(dims)))

    return change


def _element_type(kind: int) -> Change:
    def change(model: onnx.ModelProto) -> None:
        model.graph.input[0].type.tensor_type.elem_type = kind

    return change


def _opset(version: int) -> Change:
    def change(model: onnx.ModelProto) -> None:
        model.opset_import[0].version = version

    return change


def _external(**entries: str) -> Change:
    def change(model: onnx.ModelProto) -> None:
        tensor = model.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in entries.items():
            tensor.external_data.add(key=key, value=value)

    return change


def _then(*changes: Change) -> Change:
    def change(model: onnx.ModelProto) -> None:
        for each in changes:
            each(model)

    return change


def _do(method: str) -> Change:
    """A change given as an expression on the model `m`."""

    def change(model: onnx.ModelProto) -> None:
        exec(method, {"m": model, "helper": helper, "onnx": onnx, "np": np})

    return change


def _function(model: onnx.ModelProto) -> None:
    model.functions.append(
        helper.make_function("custom", "F", ["a"], ["b"], [helper.make_node("Relu", ["a"], ["b"])], model.opset_import)
    )


def _constant_attribute(model: onnx.ModelProto) -> None:
    """A Constant whose tensor claims more than it holds."""
    value = numpy_helper.from_array(np.float32([1, 2, 3]))
    value.dims[:] = [10**6]
    model.graph.node.insert(0, helper.make_node("Constant", [], ["c"], value=value))


HOSTILE: list[tuple[str, bytes, str]] = [
    ("empty file", b"", "bad.onnx is empty"),
    ("text", b"This is not a model, it is a sentence.", "not an ONNX file, or it is truncated"),
    ("zip archive", b"PK\x03\x04" + bytes(range(200)), "not an ONNX file, or it is truncated"),
    ("zeros", bytes(100), "not an ONNX file, or it is truncated"),
    ("truncated", sound_model().SerializeToString()[:-20], "truncated"),
    ("cut in half", sound_model().SerializeToString()[:90], "truncated"),
    ("no graph", changed(_do("m.ClearField('graph')")), "holds no ONNX graph"),
    ("no version", changed(_do("m.ClearField('ir_version')")), "holds no ONNX graph"),
    ("no nodes", changed(_do("del m.graph.node[:]")), "holds no ONNX graph"),
    ("no operator set", changed(_do("del m.opset_import[:]")), "does not say which operator set"),
    ("old operator set", changed(_opset(7)), "uses operator set 7; 8 to"),
    ("future operator set", changed(_opset(999)), "uses operator set 999; 8 to"),
    ("future file format", changed(_do("m.ir_version = 999")), "is not a sound ONNX model"),
    ("two inputs", changed(_do("m.graph.input.append(helper.make_tensor_value_info('z', 1, ['N', 4]))")),
     "has 2 inputs ('x', 'z'); exactly one is expected"),
    ("no input", changed(_do("del m.graph.input[:]")), "has 0 inputs (none)"),
    ("two outputs", changed(_do("m.graph.output.append(onnx.ValueInfoProto(name='v0'))")),
     "has 2 outputs ('v1', 'v0')"),
    ("no output", changed(_do("del m.graph.output[:]")), "has 0 outputs"),
    ("integer input", changed(_element_type(TensorProto.INT64)), "has element type INT64"),
    ("untyped input", changed(_do("m.graph.input[0].ClearField('type')")), "has element type UNDEFINED"),
    ("input without shape", changed(_do("m.graph.input[0].type.tensor_type.ClearField('shape')")), "has no shape"),
    ("scalar input", changed(_input_shape()), "has the shape scalar"),
    ("open dimension", changed(_input_shape("N", "features")), "has the shape Nxfeatures; only the first dimension"),
    ("input of length 0", changed(_input_shape("N", 0)), "has the shape Nx0"),
    ("batch of 8", changed(_input_shape(8, 4)), "a fixed batch of 8"),
    ("huge input", changed(_input_shape("N", 2**40)), "entries are accepted"),
    ("NaN weight", changed(_weight(float("nan"))), "tensor 'w1' holds 1 NaN or infinite values"),
    ("infinite weight", changed(_weight(float("-inf"))), "tensor 'w1' holds 1 NaN or infinite values"),
    ("weights missing", changed(_dims(4, 300)), "tensor 'w0' of shape 4x300 should hold 4800 bytes, it holds 48"),
    ("huge weight", changed(_dims(2**31, 2**31)), "tensor 'w0' declares 2147483648x2147483648 entries"),
    ("negative dimension", changed(_dims(-4, -3)), "which is not a sound shape"),
    ("many dimensions", changed(_dims(*[1] * 100)), "which is not a sound shape"),
    ("huge weights together",
     changed(_then(_external(location="w.bin"), _dims(2**25 + 1, 1),
                   _do("m.graph.initializer.append(m.graph.initializer[0]); m.graph.initializer[-1].name = 'more'"))),
     "declares more than"),
    ("strange element type", changed(_do("m.graph.initializer[0].data_type = 77")), "has element type unknown (77)"),
    ("text weights", changed(_do("m.graph.initializer[0].data_type = 8")), "STRING"),
    ("constant too short", changed(_constant_attribute), "should hold 4000000 bytes, it holds 12"),
    ("sparse weights", changed(_do("m.graph.sparse_initializer.add()")), "has sparse weights"),
    ("own functions", changed(_function), "defines functions of its own"),
    ("too many nodes", changed(_do("m.graph.node.extend([m.graph.node[1]] * 20_000)")), "has 20002 nodes; at most"),
    ("missing value", changed(_do("m.graph.node[1].input[0] = 'nowhere'")), "is not a sound ONNX model"),
    ("cycle", changed(_do("m.graph.node[0].input[0] = 'v1'")), "is not a sound ONNX model"),
    ("value defined twice", changed(_do("m.graph.node.append(m.graph.node[1])")), "is not a sound ONNX model"),
    ("too few inputs", changed(_do("del m.graph.node[0].input[1:]")), "is not a sound ONNX model"),
    ("attribute of the wrong type", changed(_do("m.graph.node[0].attribute.add(name='transB', type=1, f=1.0)")),
     "is not a sound ONNX model"),
    ("attribute without type", changed(_do("m.graph.node[0].attribute.add(name='transB')")),
     "is not a sound ONNX model"),
    ("attribute of a function", changed(_do("m.graph.node[0].attribute.add(name='transB', type=2, ref_attr_name='q')")),
     "attribute 'transB' is damaged"),
    ("names that are not text", changed(_do("m.graph.node[1].name = 'unusual'")).replace(b"unusual", b"\xff\xfe sual"),
     "names that are not UTF-8 text"),
    ("external from bytes", changed(_external(location="w.bin")), "a model given as bytes cannot refer to other files"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "message"), [c[1:] for c in HOSTILE], ids=[c[0] for c in HOSTILE])
def test_hostile_bytes(data: bytes, message: str) -> None:
    with pytest.raises(ModelFileError) as caught:
        load_onnx_bytes(data, "bad.onnx")
    assert message in str(caught.value)
    assert "bad.onnx" in str(caught.value)


def test_sound_model_loads() -> None:
    check(sound_model())


def test_weights_in_typed_fields() -> None:
    check(without_raw(sound_model()))
    damaged = without_raw(sound_model())
    del damaged.graph.initializer[0].float_data[0]
    with pytest.raises(ModelFileError, match="should hold 12 values, it holds 11"):
        load_onnx_bytes(damaged.SerializeToString(), "model.onnx")


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_precisions(kind: type) -> None:
    graph = GraphBuilder((4,), dtype=kind)
    rng = np.random.default_rng(0)
    value = graph.node("Relu", graph.node("Gemm", "x", weights(rng, 4, 3), weights(rng, 3)))
    model = graph.model(graph.node("MatMul", value, weights(rng, 3, 2)))
    network = check(model, tolerance=1e-2 if kind is np.float16 else 1e-5)
    assert network.source is not None
    assert network.source.logits(inputs_for(model)).dtype == kind


def test_weights_listed_as_inputs_are_weights() -> None:
    """Files before IR version 4 list every weight among the inputs."""
    model = sound_model()
    model.ir_version = 3
    model.graph.input.extend(
        helper.make_tensor_value_info(t.name, t.data_type, list(t.dims)) for t in model.graph.initializer
    )
    check(model)


def test_an_open_batch_dimension_may_be_written_in_several_ways() -> None:
    for change in ("dim_param = 'any name'", "dim_value = -1", "Clear()"):
        data = changed(_do(f"m.graph.input[0].type.tensor_type.shape.dim[0].{change}"))
        network = load_onnx_bytes(data, "model.onnx")
        batch = inputs_for(sound_model())
        assert network.source is not None
        np.testing.assert_allclose(network.source.logits(batch), run(sound_model(), batch), atol=1e-6)
        np.testing.assert_allclose(network.forward_batch(batch), run(sound_model(), batch), atol=1e-6)


def test_wrong_notes_on_intermediate_shapes_do_not_matter() -> None:
    model = sound_model()
    model.graph.value_info.append(helper.make_tensor_value_info("v0", TensorProto.FLOAT, [17]))
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("v1", TensorProto.FLOAT, ["M", 99]))
    check(model)


def test_what_the_output_does_not_need_may_be_unsupported() -> None:
    model = sound_model()
    model.graph.node.append(helper.make_node("Sigmoid", ["v0"], ["unused"]))
    model.graph.node.append(helper.make_node("Strange", ["x"], ["also unused"], domain="custom"))
    np.testing.assert_array_equal(
        load_onnx_bytes(model.SerializeToString(), "model.onnx").forward_batch(inputs_for(model)),
        load_onnx_bytes(sound_model().SerializeToString(), "model.onnx").forward_batch(inputs_for(model)),
    )


@settings(max_examples=150)
@given(data=st.data())
def test_damaged_files_are_refused_or_still_sound(data: st.DataObject) -> None:
    """Any one change of a byte, or cut, gives a ModelError or a network that passed its cross-check."""
    raw = bytearray(random_model(data.draw(st.integers(0, 5)), layers=3).SerializeToString())
    position = data.draw(st.integers(0, len(raw) - 1))
    if data.draw(st.booleans()):
        raw[position] = data.draw(st.integers(0, 255))
    else:
        del raw[position:]
    with contextlib.suppress(ModelError):
        load_onnx_bytes(bytes(raw), "damaged.onnx")


# ---------------------------------------------------------------------------------------------------------------- paths


def test_path_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="There is no model file"):
        load_onnx(tmp_path / "missing.onnx")


def test_path_of_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="is not a regular file"):
        load_onnx(tmp_path)


def test_path_of_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.onnx")
    with pytest.raises(ModelFileError, match="is not a regular file"):
        load_onnx(tmp_path / "pipe.onnx")


def test_path_through_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(ModelFileError, match="cannot be read"):
        load_onnx(tmp_path / "file" / "model.onnx")


def test_huge_file(tmp_path: Path) -> None:
    path = tmp_path / "huge.onnx"
    with path.open("wb") as file:
        file.truncate(2**30)  # sparse: takes no room on disk
    with pytest.raises(ModelFileError, match="has 1073741824 bytes; at most 268435456 are read"):
        load_onnx(path)


def test_path_as_text(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(sound_model().SerializeToString())
    assert load_onnx(str(path)).output_size == 3


# -------------------------------------------------------------------------------------------------------- external data


def save_external(folder: Path, **entries: str) -> Path:
    """The sound model with "w0" in `folder`/w.bin after 8 other bytes, unless `entries` say otherwise."""
    model = sound_model()
    weight = numpy_helper.to_array(model.graph.initializer[0])
    folder.mkdir(exist_ok=True)
    (folder / "w.bin").write_bytes(b"8 bytes." + weight.tobytes())
    _external(**{"location": "w.bin", "offset": "8", "length": str(weight.nbytes), **entries})(model)
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def test_external_data_is_embedded(tmp_path: Path) -> None:
    path = save_external(tmp_path)
    network = load_onnx(path)
    (tmp_path / "w.bin").unlink()
    model = sound_model()
    batch = inputs_for(model)
    np.testing.assert_allclose(network.forward_batch(batch), run(model, batch), atol=1e-6)
    assert network.source is not None
    np.testing.assert_array_equal(network.source.logits(batch), run(model, batch))


def test_external_data_as_onnx_writes_it(tmp_path: Path) -> None:
    model = random_model(1)
    batch = inputs_for(model)
    expected = run(model, batch)
    path = tmp_path / "model.onnx"
    onnx.save_model(model, path, save_as_external_data=True, location="weights.data", size_threshold=0)
    np.testing.assert_allclose(load_onnx(path).forward_batch(batch), expected, rtol=1e-4, atol=1e-4)


EXTERNAL: list[tuple[str, dict[str, str], str]] = [
    ("parent folder", {"location": "../w.bin"}, "leads out of the model's folder"),
    ("detour", {"location": "sub/../../model/../w.bin"}, "leads out of the model's folder"),
    ("absolute", {"location": "/etc/hostname"}, "is not a path relative to the model's folder"),
    ("drive", {"location": "C:\\w.bin"}, "is not a path relative to the model's folder"),
    ("share", {"location": "\\\\host\\w.bin"}, "is not a path relative to the model's folder"),
    ("no location", {"location": ""}, "is not a path relative to the model's folder"),
    ("null character", {"location": "w.bin\0"}, "is not a path relative to the model's folder"),
    ("missing", {"location": "gone.bin"}, "is missing from the model's folder"),
    ("the folder itself", {"location": "."}, "is not a regular file|cannot be read"),
    ("link out", {"location": "link.bin"}, "leads out of the model's folder"),
    ("linked folder", {"location": "out/secret.bin"}, "leads out of the model's folder"),
    ("pipe", {"location": "pipe.bin"}, "is not a regular file"),
    ("negative offset", {"offset": "-8"}, "offset '-8' is not a byte count"),
    ("no number", {"offset": "eight"}, "offset 'eight' is not a byte count"),
    ("late offset", {"offset": "20"}, "needs bytes 20 to 68 of 'w.bin', which has 56"),
    ("enormous offset", {"offset": "9" * 30}, "is not a byte count"),
    ("wrong length", {"length": "44"}, "should take 48 bytes, the file says 44"),
]


@pytest.mark.parametrize(("entries", "message"), [c[1:] for c in EXTERNAL], ids=[c[0] for c in EXTERNAL])
def test_external_data_stays_in_its_folder(tmp_path: Path, entries: dict[str, str], message: str) -> None:
    secret = tmp_path / "secret.bin"
    secret.write_bytes(bytes(100))
    folder = tmp_path / "model"
    path = save_external(folder, **entries)
    (folder / "link.bin").symlink_to(secret)
    (folder / "out").symlink_to(tmp_path)
    os.mkfifo(folder / "pipe.bin")
    with pytest.raises(ModelFileError, match=message):
        load_onnx(path)


def test_a_link_inside_the_folder_is_followed(tmp_path: Path) -> None:
    path = save_external(tmp_path, location="link.bin")
    (tmp_path / "link.bin").symlink_to("w.bin")
    assert load_onnx(path).output_size == 3
