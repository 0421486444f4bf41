"""The two theorems, without the engine: on the line in fractions, and on finite spaces by enumeration."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from counter_attack.reductions import REJECTED, FiniteSpace
from onnx_models.errors import InputError
from tests.counter_attack.reductions.line import LineClassifier, LineDetector, random_line

SEEDS = st.integers(0, 2**32 - 1)
POINTS = [Fraction(k, 8) for k in range(9)]
RADII = st.sampled_from([Fraction(k, 16) for k in range(7)])


@settings(max_examples=15)
@given(SEEDS, RADII)
def test_on_the_line_the_classifier_fails_only_where_the_detector_does(seed: int, eps: Fraction) -> None:
    line = LineDetector(random_line(seed, outputs=3))
    for x in POINTS:
        for label in (0, 1):
            assert line.fails(x, label, eps) or not line.decoder_fails(x, label, eps)


def test_on_the_line_the_detector_can_fail_where_the_classifier_does_not() -> None:
    lines = [LineDetector(random_line(seed, outputs=3)) for seed in range(20)]
    strict = [
        line
        for line in lines
        if any(line.fails(x, 0, Fraction(1, 4)) and not line.decoder_fails(x, 0, Fraction(1, 4)) for x in POINTS)
    ]
    assert strict


@settings(max_examples=15)
@given(SEEDS, RADII)
def test_on_the_line_the_detector_of_a_classifier_fails_exactly_where_that_fails(seed: int, eps: Fraction) -> None:
    line = LineClassifier(random_line(seed, outputs=3))
    for x in POINTS[::2]:
        for label in (0, 1, 2):
            assert line.detector_fails(x, label, eps) == line.is_fooled(x, label, eps / 2)


@st.composite
def finite_spaces(draw: st.DrawFn) -> FiniteSpace:
    """A metric space of up to 7 points: shortest paths between them."""
    size = draw(st.integers(1, 7))
    steps = np.array(draw(st.lists(st.integers(1, 9), min_size=size * size, max_size=size * size)))
    table = steps.reshape(size, size)
    table = np.minimum(table, table.T)
    np.fill_diagonal(table, 0)
    for k in range(size):
        table = np.minimum(table, table[:, [k]] + table[[k]])
    return FiniteSpace(table)


@given(finite_spaces(), st.integers(0, 12), st.data())
def test_detection_gives_classification_on_every_finite_space(
    space: FiniteSpace, eps: int, data: st.DataObject
) -> None:
    size = len(space.distances)
    g = np.array(data.draw(st.lists(st.integers(REJECTED, 2), min_size=size, max_size=size)))
    y = np.array(data.draw(st.lists(st.integers(0, 2), min_size=size, max_size=size)))
    h = space.classifier(g, eps)
    assert space.robust_risk(h, y, Fraction(eps, 2)) <= space.detection_risk(g, y, eps)


@given(st.sampled_from([(7,), (3, 3), (2, 4)]), st.sampled_from([0, 2, 4]), st.data())
def test_classification_gives_detection_on_grids_with_midpoints(shape: tuple, eps: int, data: st.DataObject) -> None:
    space = FiniteSpace.grid(shape)
    assert space.has_midpoints(eps)
    size = len(space.distances)
    f, y = (np.array(data.draw(st.lists(st.integers(0, 2), min_size=size, max_size=size))) for _ in range(2))
    assert space.detection_risk(space.detector(f, eps), y, eps) == space.robust_risk(f, y, Fraction(eps, 2))


@pytest.mark.parametrize("eps", [1, 3])
def test_classification_does_not_give_detection_without_midpoints(eps: int) -> None:
    space = FiniteSpace.grid((8,))
    f = np.arange(8) >= 4
    labels = f.astype(int)
    assert not space.has_midpoints(eps)
    g = space.detector(labels, eps)
    assert space.detection_risk(g, labels, eps) > space.robust_risk(labels, labels, Fraction(eps, 2))


@given(finite_spaces(), st.integers(0, 12), st.data())
def test_finite_spaces_are_as_defined(space: FiniteSpace, eps: int, data: st.DataObject) -> None:
    """Against loops that follow the definitions."""
    d, points = space.distances, range(len(space.distances))
    f = np.array(data.draw(st.lists(st.integers(REJECTED, 2), min_size=len(d), max_size=len(d))))
    y = np.array(data.draw(st.lists(st.integers(0, 2), min_size=len(d), max_size=len(d))))
    near = [[z for z in points if 2 * d[x, z] <= eps] for x in points]
    detected = [f[x] if all(f[z] == f[x] for z in near[x]) else REJECTED for x in points]
    assert space.detector(f, eps).tolist() == detected
    for x, label in zip(points, space.classifier(f, eps), strict=True):
        accepted = [z for z in near[x] if f[z] != REJECTED]
        least = min((d[x, z] for z in accepted), default=None)
        assert label == next((f[z] for z in accepted if d[x, z] == least), REJECTED)
    wrong = [any(f[z] != y[x] for z in points if d[x, z] <= eps) for x in points]
    assert space.robust_risk(f, y, eps) == Fraction(sum(wrong), len(d))
    failed = [f[x] == REJECTED or any(f[z] not in {y[x], REJECTED} for z in points if d[x, z] <= eps) for x in points]
    assert space.detection_risk(f, y, eps) == Fraction(sum(failed), len(d))
    middle = [any(2 * max(d[x, m], d[m, z]) <= eps for m in points) for x in points for z in points if d[x, z] <= eps]
    assert space.has_midpoints(eps) == all(middle)


def test_a_grid_has_its_distances_in_steps() -> None:
    space = FiniteSpace.grid((2, 3))
    assert space.distances[0].tolist() == [0, 1, 2, 1, 1, 2]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ([[0, 1], [2, 0]], "symmetric"),
        ([[0.0]], "whole numbers"),
        ([[1]], "diagonal"),
        ([[0, -1], [-1, 0]], "at least 0"),
        (np.zeros((0, 0), int), "symmetric"),
    ],
)
def test_a_table_that_is_none_of_distances_is_refused(table: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        FiniteSpace(np.array(table))


def test_classes_are_one_for_each_point() -> None:
    with pytest.raises(InputError, match="2 points"):
        FiniteSpace.grid((2,)).detector([0], 1)


def test_the_line_has_ties_and_rejections_to_decide_about() -> None:
    """What the theorems are tried on is not trivial."""
    lines = [LineDetector(random_line(seed, outputs=3)) for seed in range(20)]
    assert any(line.rejects(x) for line in lines for x in POINTS)
    assert any(len(line.decode(z, Fraction(1, 2))) == 2 for line in lines for z in line.critical)
    assert any(not line.decode(z, Fraction(1, 8)) for line in lines for z in POINTS)
