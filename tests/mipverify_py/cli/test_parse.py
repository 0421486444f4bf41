"""Index ranges mean what Python slices mean; names repeated for speed are the ones they repeat."""

from __future__ import annotations

import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st

from mipverify_py import Norm, Tightening
from mipverify_py._options import ENGINES as REAL_ENGINES
from mipverify_py._options import Options
from mipverify_py.backends import BACKEND_NAMES
from mipverify_py.backends._registry import backend_class
from mipverify_py.cli._arguments import BACKENDS, ENGINES, NORMS, QUADRATIC_BACKENDS, TIGHTENINGS, Arguments
from mipverify_py.cli._check import split_location, zoo_names
from mipverify_py.cli._parse import INPUT_SUFFIXES, classes, domain, indices
from mipverify_py.data._files import SUFFIXES
from onnx_models.zoo import zoo_models

COUNT = 20
ends = st.none() | st.integers(0, COUNT)


@settings(max_examples=60)
@given(st.lists(st.integers(0, COUNT - 1) | st.tuples(ends, ends), min_size=1, max_size=5))
def test_indices_are_python_slices_without_repetition(parts: list[int | tuple[int | None, int | None]]) -> None:
    expected: list[int] = []
    words = []
    for part in parts:
        if isinstance(part, int):
            words.append(str(part))
            chosen = [part]
        else:
            words.append(":".join("" if end is None else str(end) for end in part))
            chosen = list(range(COUNT))[slice(*part)]
        if not chosen:
            with pytest.raises(typer.TyperException):
                indices(",".join(words)).resolve(COUNT, "x")
            return
        expected += [index for index in chosen if index not in expected]
    assert indices(",".join(words)).resolve(COUNT, "x") == expected


@pytest.mark.parametrize("text", ["20", "0:21", "20:", "25:30", "0,3:999999999999"])
def test_indices_beyond_the_last_image_are_refused_at_once(text: str) -> None:
    with pytest.raises(typer.TyperException, match="is out of range: x has images 0 to 19"):
        indices(text).resolve(COUNT, "x")


@pytest.mark.parametrize("text", ["1:2:3", "a", "-1", "1,,2", "1_0", "1.0", "+1", "९", " "])
def test_other_words_are_no_indices(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="is not a list of indices"):
        indices(text)


def test_classes_and_domains() -> None:
    assert classes("3").values == (3,)
    assert classes("0,2,7").values == (0, 2, 7)
    assert (domain("-1,2.5").low, domain("-1,2.5").high) == (-1.0, 2.5)
    assert domain("d.NPZ").file == "d.NPZ"


def test_an_array_of_an_archive_is_named_after_a_colon() -> None:
    assert [str(part) for part in split_location("a/b.npz:x")] == ["a/b.npz", "x"]
    assert split_location("C:x.npy")[1] is None
    assert split_location("b.npz")[1] is None


def test_repeated_names_and_defaults_are_the_real_ones() -> None:
    options, arguments = Options(), Arguments()
    assert BACKENDS == BACKEND_NAMES
    assert ENGINES == REAL_ENGINES
    assert tuple(norm.value for norm in Norm) == NORMS
    able = [name for name in BACKENDS if backend_class(name).capabilities.quadratic_integer]
    assert list(QUADRATIC_BACKENDS) == able
    assert arguments.norm == Norm.LINF.value
    assert tuple(stage.value for stage in Tightening) == TIGHTENINGS
    assert INPUT_SUFFIXES == SUFFIXES
    assert set(zoo_names()) == set(zoo_models())
    assert arguments.backend == options.backend
    assert arguments.engine == options.engine
    assert arguments.tightening == options.tightening.value
    assert arguments.gap == options.gap_relative
    for name in ("threads", "jobs", "device", "seed"):
        assert getattr(arguments, name) == getattr(options, name)
    assert arguments.timeout == options.time_limit
