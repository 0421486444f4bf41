"""The parts of a worker that need no process: what it sends, and when it can be interrupted."""

from __future__ import annotations

import pickle
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mipverify_py import Bracket, Options, Query, verify
from mipverify_py._interruptions import Interruption
from mipverify_py.cli._messages import Failure, Setup, pack, unpack
from mipverify_py.cli._search_image import Found
from onnx_models import load_onnx
from onnx_models.errors import BackendLimitError, BackendMissingError, CrossCheckError, InputError, MipverifyError


@pytest.fixture
def interruption() -> Iterator[Interruption]:
    before, found = signal.getsignal(signal.SIGINT), Interruption()
    signal.signal(signal.SIGINT, found)
    yield found
    signal.signal(signal.SIGINT, before)


def press() -> None:
    signal.raise_signal(signal.SIGINT)


def test_outside_a_search_it_waits_for_one(interruption: Interruption) -> None:
    press()
    entered = False
    with pytest.raises(KeyboardInterrupt), interruption.allowed():
        entered = True
    assert not entered


def test_a_search_is_interrupted_once(interruption: Interruption) -> None:
    caught = 0
    with interruption.allowed():
        try:
            press()
        except KeyboardInterrupt:
            caught += 1
        press()
        with interruption.held():
            press()
    press()
    assert caught == 1


def test_a_message_is_not_cut_in_two(interruption: Interruption) -> None:
    sent = []

    def send() -> None:
        with interruption.allowed(), interruption.held():
            press()
            sent.append("all of it")

    with pytest.raises(KeyboardInterrupt):
        send()
    assert sent == ["all of it"]


def test_an_answer_crosses_without_its_network(workplace: Path) -> None:
    network, twin = load_onnx(workplace / "model.onnx"), load_onnx(workplace / "model.onnx")
    query = Query(network, np.load(workplace / "x.npy"))
    result = verify(query, Options(engine="mip"))
    assert result.witness is not None and result.witness.replay is not None
    data = pack(Found(result), network)
    weights = sum(m.to_sparse().data.nbytes for node in network.nodes for m in getattr(node, "maps", ()))
    assert network.source is not None and len(network.source.data) + weights > 2000
    assert network.source.data not in data
    back = unpack(data, twin).result
    assert back.witness.query.network is twin
    assert np.array_equal(back.witness.point, result.witness.point)
    assert np.array_equal(back.witness.logits, result.witness.logits)
    plain = {"witness": None, "point": None}
    assert repr(replace(back, **plain)) == repr(replace(result, **plain))
    assert back.statistics == result.statistics
    assert unpack(pack(Bracket(0.25, None), network), twin) == Bracket(0.25, None)


def test_a_network_in_use_can_be_sent(workplace: Path) -> None:
    """Its session of onnxruntime cannot."""
    network = load_onnx(workplace / "model.onnx")
    x = np.load(workplace / "x.npy")
    assert network.source is not None
    logits = network.source.logits(x[None])
    with pytest.raises(TypeError):
        pickle.dumps(network)
    setup = Setup.unpack(Setup(network, Options(seed=7), with_replay=True, with_progress=False).pack())
    assert (setup.options, setup.with_replay, setup.with_progress) == (Options(seed=7), True, False)
    assert setup.network.digest == network.digest
    assert setup.network.source is not None
    assert np.array_equal(setup.network.source.logits(x[None]), logits)


@pytest.mark.parametrize("kind", [BackendMissingError, BackendLimitError, InputError, CrossCheckError])
def test_an_error_for_the_user_crosses_as_it_is(workplace: Path, kind: Callable[[str], MipverifyError]) -> None:
    network = load_onnx(workplace / "model.onnx")
    back: Any = unpack(pack(Failure.of(kind("What to do next.")), network), network).as_exception()
    assert type(back) is kind
    assert str(back) == "What to do next."


def test_a_bug_crosses_with_its_traceback() -> None:
    try:
        _ = 1 / 0
    except ZeroDivisionError as error:
        found = Failure.of(error).as_exception()
    assert isinstance(found, RuntimeError)
    assert "ZeroDivisionError: division by zero" in str(found)
    assert "test_worker.py" in str(found)
