"""Bounds in and out: what a file holds, and what an answer that rests on supplied bounds says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bounds import Bounds, NetworkBounds, lp_bounds
from mipverify_py import (
    Brightness,
    Evidence,
    LinfBall,
    Objective,
    Options,
    Query,
    StopReason,
    Tightening,
    Verdict,
    load_bounds,
    save_bounds,
    verify,
)
from mipverify_py._assumed import ASSUMED_DETAIL, AssumedBounds
from onnx_models import ReluNetwork
from onnx_models.errors import InputError, InvalidBoundsError
from tests.helpers.networks import networks, random_network
from tests.helpers.queries import assert_matches, exact_distance, line_classifier, random_query

MIP = Options(engine="mip", tightening=Tightening.LINEAR)
UNIT = Bounds(np.zeros(1), np.ones(1))


def changed(bounds: NetworkBounds, node: int, lower: float, upper: float) -> NetworkBounds:
    nodes = list(bounds.nodes)
    size = nodes[node].size
    nodes[node] = Bounds(np.full(size, lower), np.full(size, upper))
    return NetworkBounds(tuple(nodes))


def boundary() -> tuple[ReluNetwork, Query]:
    """f_1 - f_0 = relu(x) - 0.5 at x0 = 0.1; node 1 is x, node 2 its ReLU, node 3 the output."""
    network = line_classifier()
    return network, Query(network, np.array([0.1]))


def test_what_is_saved_is_loaded_bit_for_bit(tmp_path: Path) -> None:
    network = random_network(np.random.default_rng(1))
    known = lp_bounds(network, Bounds(np.zeros(network.input_size), np.ones(network.input_size)))
    save_bounds(tmp_path / "b.npz", network, known)
    found = load_bounds(tmp_path / "b.npz", network)
    for a, b in zip(known.nodes, found.nodes, strict=True):
        assert a.lower.tobytes() == b.lower.tobytes() and a.upper.tobytes() == b.upper.tobytes()
    assert [path.name for path in tmp_path.iterdir()] == ["b.npz"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.pop("format"), "no file of bounds"),
        (lambda a: a.update(version=np.array(2)), "version 2 of the format is unknown"),
        (lambda a: a.update(digest=np.array("0" * 64)), "about another network"),
        (lambda a: a.pop("upper_2"), "bounds of node 2 are missing"),
        (lambda a: a.update(lower_1=np.zeros(1, np.float32)), r"layer 'hidden' \(node 1\) are missing, or are not"),
        (lambda a: a.update(lower_1=np.zeros(2), upper_1=np.ones(2)), "have 2 entries; it has 1"),
        (lambda a: a.update(lower_1=np.full(1, np.nan)), "make no sense"),
        (lambda a: a.update(lower_1=np.full(1, 2.0)), "make no sense"),
        (lambda a: a.update(lower_0=np.full(1, -np.inf)), "unbounded box"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, change: Callable[[dict[str, Any]], object], message: str) -> None:
    network, _ = boundary()
    save_bounds(tmp_path / "b.npz", network, lp_bounds(network, UNIT))
    with np.load(tmp_path / "b.npz") as archive:
        arrays = dict(archive)
    change(arrays)
    np.savez(tmp_path / "b.npz", **arrays)
    with pytest.raises(InputError, match=message):
        load_bounds(tmp_path / "b.npz", network)


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04junk", b"0.5", b"\x80\x04."])
def test_what_is_no_archive_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "b.npz").write_bytes(data)
    with pytest.raises(InputError, match=r"no \.npz file of bounds"):
        load_bounds(tmp_path / "b.npz", boundary()[0])


def test_one_array_alone_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "b.npz").open("wb") as stream:
        np.save(stream, np.zeros(3))
    with pytest.raises(InputError, match=r"no \.npz file"):
        load_bounds(tmp_path / "b.npz", boundary()[0])


def test_a_missing_file_and_a_missing_folder_are_refused(tmp_path: Path) -> None:
    network, _ = boundary()
    with pytest.raises(InputError, match="cannot be read"):
        load_bounds(tmp_path / "b.npz", network)
    with pytest.raises(InputError, match="cannot be written"):
        save_bounds(tmp_path / "none" / "b.npz", network, lp_bounds(network, UNIT))


@settings(max_examples=15, deadline=None)
@given(networks(max_relus=6), st.integers(0, 2**32 - 1))
def test_true_bounds_change_no_answer_and_are_never_called_proved(network: ReluNetwork, seed: int) -> None:
    query = random_query(network, seed)
    supplied = lp_bounds(network, query.box)
    result = verify(query, MIP, bounds=supplied)
    assert_matches(result, exact_distance(query))
    if result.evidence is Evidence.SOLVER_CLAIM:
        assert ASSUMED_DETAIL in result.evidence_detail


def test_bounds_that_settle_the_question_are_named_as_what_it_rests_on() -> None:
    network, _ = boundary()
    query = Query(network, np.array([0.1]), LinfBall(0.6), Objective.FEASIBILITY, margin=0.1)  # true: f_1 - f_0 <= 0.2
    own = lp_bounds(network, query.box)
    assert verify(query, MIP).verdict is Verdict.ADVERSARIAL
    lies = changed(changed(own, 1, 0.0, 0.55), 2, 0.0, 0.55)
    tight = Query(network, np.array([0.1]), LinfBall(0.6), Objective.WORST)
    result = verify(tight, MIP, bounds=changed(changed(own, 1, 0.0, 0.7), 2, 0.0, 0.7))
    assert result.evidence is Evidence.SOLVER_CLAIM and ASSUMED_DETAIL in result.evidence_detail
    with pytest.raises(InvalidBoundsError, match="at an input that was evaluated"):
        verify(tight, MIP, bounds=lies)


def test_bounds_that_exclude_our_own_are_wrong() -> None:
    network, query = boundary()
    lies = changed(lp_bounds(network, UNIT), 1, 2.0, 3.0)
    with pytest.raises(InvalidBoundsError, match=r"unit 0 of layer 'hidden' \(node 1\) is said to be in \[2.0, 3.0\]"):
        AssumedBounds(network, lies).meet(lp_bounds(network, UNIT))
    with pytest.raises(InvalidBoundsError, match="unit 0 of layer 'hidden'"):
        verify(query, MIP, bounds=lies)


def test_bounds_that_exclude_an_evaluated_point_are_wrong() -> None:
    network, query = boundary()
    with pytest.raises(InvalidBoundsError, match=r"unit 0 of node 2 is said to be in \[0.2, 1.0\]"):
        verify(query, MIP, bounds=changed(lp_bounds(network, UNIT), 2, 0.2, 1.0))
    assumed = AssumedBounds(network, changed(lp_bounds(network, Bounds(np.zeros(1), np.full(1, 0.5))), 2, 0.2, 1.0))
    assumed.confront(np.array([0.75]))  # beyond the region, so it says nothing
    assumed.confront(np.array([0.2]))
    with pytest.raises(InvalidBoundsError):
        assumed.confront(np.array([0.19]))


def test_bounds_may_leave_units_open_but_not_the_region() -> None:
    network, query = boundary()
    result = verify(query, MIP, bounds=changed(lp_bounds(network, UNIT), 1, -np.inf, np.inf))
    assert result.stop_reason is StopReason.SOLVED and result.upper == pytest.approx(0.4, abs=1e-6)
    small = lp_bounds(network, Bounds(np.zeros(1), np.full(1, 0.3)))
    with pytest.raises(InputError, match=r"hold for inputs whose entry 0 is in \[0.0, 0.3\]"):
        verify(query, MIP, bounds=small)
    with pytest.raises(InputError, match="unbounded box"):
        verify(query, MIP, bounds=changed(small, 0, -np.inf, np.inf))


def test_other_engines_and_other_networks_are_refused() -> None:
    network, query = boundary()
    known = lp_bounds(network, UNIT)
    with pytest.raises(InputError, match="Engine 'auto' proves everything itself"):
        verify(query, bounds=known)
    with pytest.raises(InputError, match="are for 2 nodes; the network has 4"):
        verify(query, MIP, bounds=NetworkBounds(known.nodes[:2]))


def test_sets_of_images_given_by_parameters_take_no_bounds() -> None:
    network, _ = boundary()
    query = Query(network, np.array([0.1]), Brightness(-0.1, 0.1), Objective.FEASIBILITY)
    with pytest.raises(InputError, match="not for images given by parameters"):
        verify(query, MIP, bounds=lp_bounds(network, UNIT))
    assert verify(query, MIP).bounds is None


def test_the_bounds_of_a_search_serve_the_same_question_again(tmp_path: Path) -> None:
    network = random_network(np.random.default_rng(2))
    query = Query(network, np.random.default_rng(2).random(network.input_size))
    options = Options(engine="mip")
    first = verify(query, options)
    assert first.bounds is not None
    save_bounds(tmp_path / "b.npz", network, first.bounds)
    again = verify(query, options, bounds=load_bounds(tmp_path / "b.npz", network))
    assert again.upper == first.upper and again.lower == pytest.approx(first.lower, abs=1e-6)
    assert dict(again.statistics.bound_solves).get("supplied") == 0
