"""Buffers in files: exact round trips and files that are none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from counter_attack.detection import (
    KINDS,
    Avoid,
    ChanceConstrained,
    FunctionBuffer,
    LineBuffer,
    Quantile,
    load_buffer,
    save_buffer,
)
from onnx_models.errors import InputError

FINITE = st.floats(allow_nan=False, allow_infinity=False)
SOUND = {
    "format": "counter-attack buffer",
    "version": 1,
    "kind": "quantile",
    "parameters": {"tau": 0.01},
    "slope": 0.9,
    "intercept": -1e-4,
    "pairs": 10,
}


@settings(max_examples=50, deadline=None)
@given(slope=FINITE, intercept=FINITE, tau=st.floats(0, 1, exclude_min=True, exclude_max=True))
def test_floats_come_back_to_the_last_bit(tmp_path_factory: Any, slope: float, intercept: float, tau: float) -> None:
    path = tmp_path_factory.mktemp("buffer") / "buffer.json"
    buffer = LineBuffer(Quantile(tau), slope, intercept, 7)
    save_buffer(buffer, path)
    found = load_buffer(path)
    assert found == buffer
    assert (found.slope.hex(), found.intercept.hex()) == (slope.hex(), intercept.hex())


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_comes_back(name: str, tmp_path: Path) -> None:
    buffer = LineBuffer(KINDS[name](), 0.5, 0.25, 3)
    save_buffer(buffer, tmp_path / "b.json")
    assert load_buffer(tmp_path / "b.json") == buffer


def test_parameters_come_back(tmp_path: Path) -> None:
    buffer = LineBuffer(ChanceConstrained(0.2, Avoid.FALSE_POSITIVES), 0.5, 0.25, 3)
    save_buffer(buffer, tmp_path / "b.json")
    assert load_buffer(tmp_path / "b.json") == buffer
    assert json.loads((tmp_path / "b.json").read_text())["parameters"] == {"delta": 0.2, "avoid": "false-positives"}


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"format": "something else"}, "is no buffer"),
        ({"version": 2}, "version 2; this program reads 1"),
        ({"version": None}, "version None"),
        ({"kind": "cubic"}, "no buffer of kind 'cubic'"),
        ({"kind": 3}, "'kind' is 3; expected a text"),
        ({"parameters": {"delta": 0.1}}, "has no parameter 'delta'"),
        ({"parameters": {"tau": 2}}, "tau of a quantile buffer is 2"),
        ({"parameters": []}, "'parameters' is []; expected an object"),
        ({"slope": "0.9"}, "'slope' is '0.9'; expected a number"),
        ({"slope": True}, "'slope' is True"),
        ({"intercept": None}, "'intercept' is None"),
        ({"intercept": float("nan")}, "intercept is nan"),
        ({"pairs": -1}, "'pairs' is -1"),
        ({"pairs": 1.5}, "'pairs' is 1.5"),
        ({"slope": 10**400}, "too large"),
        ({"parameters": {"tau": 10**400}}, "too large"),
        ({"parameters": {"name": "zero"}}, "has no parameter 'name'"),
    ],
)
def test_what_makes_no_sense_is_named(change: dict[str, Any], part: str, tmp_path: Path) -> None:
    path = tmp_path / "b.json"
    path.write_text(json.dumps(SOUND | change))
    with pytest.raises(InputError) as error:
        load_buffer(path)
    assert str(path) in str(error.value) and part in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["", "[1, 2]", "slope: 1", "\x00\xff", "[" * 200_000])
def test_files_of_another_kind_are_named(text: str, tmp_path: Path) -> None:
    path = tmp_path / "b.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match="b.json"):
        load_buffer(path)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        load_buffer(tmp_path / "none.json")
    with pytest.raises(InputError, match="cannot be written"):
        save_buffer(LineBuffer(Quantile(0.5)), tmp_path / "none" / "b.json")


def test_a_function_cannot_be_saved(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="FunctionBuffer cannot be saved"):
        save_buffer(FunctionBuffer(np.subtract), tmp_path / "b.json")
