"""`verify MODEL --vnnlib FILE`: one property, its verdict and counterexample in the format of VNN-COMP."""

from __future__ import annotations

import gzip
import sys
import time
import zlib
from dataclasses import replace
from pathlib import Path

from mipverify_py._counterexample import Counterexample
from mipverify_py._enums import StopReason
from mipverify_py._property import PropertyResult, PropertyStatus, verify_property
from mipverify_py.cli._arguments import Arguments
from mipverify_py.cli._check_properties import file_or_packed
from mipverify_py.cli._complain import complain
from mipverify_py.cli._exit import ExitCode
from mipverify_py.cli._numbers import seconds
from mipverify_py.cli._questions import options_of
from mipverify_py.cli._text import EVIDENCE_WORDS
from mipverify_py.cli._verify_images import check_device, check_solvers
from onnx_models import ReluNetwork, load_onnx
from onnx_models.errors import InputError, ModelFileError
from onnx_models.importer._limits import MAX_FILE_BYTES
from onnx_models.importer._load import load_onnx_bytes
from onnx_models.vnnlib import Property, Tensor, read_vnnlib

LEAST_SECONDS = 0.01
"""What a search gets if reading the files took all the time: the bounds alone may do."""


def verify_vnnlib(a: Arguments) -> ExitCode:
    """Answers the property; `--timeout` counts from here on, so that it covers reading model and property."""
    began = time.monotonic()
    check_solvers(a)
    check_device(a)
    assert a.model is not None and a.vnnlib is not None
    prop = read_vnnlib(file_or_packed(Path(a.vnnlib)))
    network = read_model(Path(a.model))
    options = options_of(a, jobs=a.jobs)
    if options.time_limit is not None:
        left = options.time_limit - (time.monotonic() - began)
        options = replace(options, time_limit=max(left, LEAST_SECONDS))
    result = verify_property(network, prop, options)
    text = answer_text(prop, result)
    sys.stdout.write(text)
    if a.results is not None:
        _save(text, Path(a.results))
    if not a.quiet:
        complain(account(result))
    for remark in remarks(result):
        complain(remark)
    return exit_code(result)


def read_model(path: Path) -> ReluNetwork:
    """The network in an .onnx file, or in one that gzip compressed; errors as in `load_onnx`."""
    file = file_or_packed(path)
    if file.suffix != ".gz":
        return load_onnx(file)
    try:
        with gzip.open(file) as stream:
            data = stream.read(MAX_FILE_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ModelFileError(f"{file} cannot be unpacked: {error}.") from error
    if len(data) > MAX_FILE_BYTES:
        raise ModelFileError(f"{file} unpacks to more than {MAX_FILE_BYTES} bytes, the most that is read.")
    return load_onnx_bytes(data, file.stem)


def verdict(result: PropertyResult) -> str:
    """One of the competition's words: sat, unsat, unknown, timeout."""
    timed_out = result.status is PropertyStatus.UNKNOWN and result.stop_reason is StopReason.TIME_LIMIT
    return "timeout" if timed_out else result.status.value


def answer_text(prop: Property, result: PropertyResult) -> str:
    """The verdict, and on the lines after it the counterexample, in the format that belongs to the property's version.

    VNN-LIB 1.0: `((X_0 0.5) ... (Y_0 1.0) ...)`; 2.0: for each tensor its name, type and shape, then one value a line.
    Values are written so that they read back as the same float64.
    """
    lines = [verdict(result)]
    found = result.counterexample
    if found is not None:
        lines += _pairs(found) if prop.tensors is None else _values(found, prop.tensors)
    return "".join(f"{line}\n" for line in lines)


def _pairs(found: Counterexample) -> list[str]:
    pairs = [f"(X_{i} {value!r})" for i, value in enumerate(found.point.tolist())]
    pairs += [f"(Y_{i} {value!r})" for i, value in enumerate(_outputs(found))]
    pairs[0], pairs[-1] = f"({pairs[0]}", f"{pairs[-1]})"
    return pairs


def _values(found: Counterexample, tensors: tuple[Tensor, Tensor]) -> list[str]:
    lines = []
    for tensor, values in zip(tensors, (found.point.tolist(), _outputs(found)), strict=True):
        shape = ", ".join(map(str, tensor.shape))
        lines += [f"{tensor.name} {tensor.element} [{shape}]", *map(repr, values)]
    return lines


def _outputs(found: Counterexample) -> list[float]:
    """What onnxruntime computes, where it was asked: the competition compares with that."""
    outputs: list[float] = (found.outputs if found.replay is None else found.replay.outputs).tolist()
    return outputs


def account(result: PropertyResult) -> str:
    """One line: verdict, time, what it rests on or why it is open."""
    line = f"{verdict(result)} after {seconds(result.seconds)}"
    if result.evidence is not None:
        return f"{line}; {EVIDENCE_WORDS[result.evidence]}: {result.evidence_detail}"
    reason = result.stop_reason.value.replace("_", " ")
    undecided = sum(case is None or case.status is PropertyStatus.UNKNOWN for case in result.cases)
    detail = f" ({result.stop_detail})" if result.stop_detail else ""
    return f"{line}; {reason}{detail}, {undecided} of {len(result.cases)} cases open"


def remarks(result: PropertyResult) -> list[str]:
    """What the user should know of a counterexample that onnxruntime does not confirm."""
    found = result.counterexample
    if found is None or found.replay is None:
        return []
    said = []
    if not found.replay.reached:
        said.append("the counterexample holds exactly, but onnxruntime's rounded outputs miss the property")
    if not found.replay.inside:
        said.append("the counterexample lies in the box, but rounded to the model's own type it does not")
    return said


def exit_code(result: PropertyResult) -> ExitCode:
    """The exit code of one answer."""
    if result.stop_reason is StopReason.INTERRUPTED:
        return ExitCode.INTERRUPTED
    codes = {PropertyStatus.UNSAT: ExitCode.ANSWERED, PropertyStatus.SAT: ExitCode.ADVERSARIAL}
    return codes.get(result.status, ExitCode.UNKNOWN)


def _save(text: str, path: Path) -> None:
    try:
        path.write_text(text, "utf-8")
    except OSError as error:
        raise InputError(f"--results {path}: cannot be written: {error.strerror}.") from error
