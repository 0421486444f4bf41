"""The explorer: maps and lists of e2 - e1, and the picture of shapes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from counter_attack.amoeba import (
    AsymmetricBox,
    compare_shapes,
    draw_maps,
    draw_stability,
    embed_shapes,
    feature_table,
    map_skews,
    rank_features,
    shape_vectors,
    skew,
)
from onnx_models.errors import InputError

BOX = AsymmetricBox([0.5, 0.0, 0.25, 0.5], [0.1, 0.0, 0.25, 0.5], [0.4, 0.2, 0.05, 0.5])


def boxes_of(count: int, size: int = 16, seed: int = 0) -> list[AsymmetricBox]:
    rng = np.random.default_rng(seed)
    return [
        AsymmetricBox.clipped(rng.uniform(0.2, 0.8, size), *rng.uniform(0.01, 0.2, (2, size))) for _ in range(count)
    ]


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def test_features_by_skew_with_what_the_domain_has_to_do_with_them() -> None:
    found = rank_features(BOX, (1, 2, 2))
    assert [(one.rank, one.feature, one.place, one.free) for one in found] == [
        (1, 0, (0, 0, 0), ""),
        (2, 1, (0, 0, 1), "below"),
        (3, 2, (0, 1, 0), "below"),
        (4, 3, (0, 1, 1), "both"),
    ]
    assert [one.skew for one in found] == pytest.approx([0.3, 0.2, -0.2, 0.0])


def test_features_free_on_both_sides_come_last_however_skew() -> None:
    box = AsymmetricBox([0.0, 0.5], [0.0, 0.2], [1.0, 0.25])
    assert [one.feature for one in rank_features(box)] == [1, 0]


def test_on_a_linear_classifier_the_sign_of_the_skew_is_that_of_the_weight() -> None:
    w = np.array([1.0, -2.0, 0.5])
    stopped = 0.1 / np.abs(w)
    box = AsymmetricBox(np.full(3, 0.5), np.where(w > 0, stopped, 0.5), np.where(w > 0, 0.5, stopped))
    assert np.array_equal(np.sign(skew(box)), np.sign(w))
    assert [one.feature for one in rank_features(box)] == [1, 0, 2]  # the heaviest feature speaks loudest


def test_the_map_and_the_table_hold_the_same_figures() -> None:
    image = map_skews(BOX, (2, 2))
    table = feature_table(BOX, "title", "name", (2, 2))
    for row in table.rows:
        i, j = map(int, row["place"].split(","))
        assert image[i, j] == row["skew"] == row["e2"] - row["e1"]


@pytest.mark.parametrize("shape", [(4, 4), (1, 4, 4), (3, 4, 4)])
def test_maps_are_drawn(shape: tuple[int, ...], tmp_path: Path) -> None:
    boxes = boxes_of(7, size=int(np.prod(shape)))
    few, many = tmp_path / "few.png", tmp_path / "many.png"
    draw_maps(few, boxes[:2], ["a", "b"], shape)
    draw_maps(many, boxes, list("abcdefg"), shape)
    assert pixels(many).shape[0] > pixels(few).shape[0]


def test_the_colours_of_a_map_tell_sign_and_freedom(tmp_path: Path) -> None:
    x = np.full(4, 0.5)
    box = AsymmetricBox(x, [0.1, 0.4, 0.2, 0.5], [0.4, 0.1, 0.2, 0.5])
    path = tmp_path / "map.png"
    draw_maps(path, [box], ["x"], (2, 2))
    colours = {tuple(pixel) for pixel in pixels(path).reshape(-1, 3).tolist()}
    assert {(179, 88, 6), (33, 102, 172), (176, 176, 176)} <= colours


def test_shape_vectors_know_the_angle_and_not_the_size() -> None:
    first, second = boxes_of(2)
    vectors = shape_vectors([first, second, first.scaled(0.3)])
    np.testing.assert_allclose(vectors[0], vectors[2])
    sides = [np.concatenate([box.e1, box.e2]) for box in (first, second)]
    cosine = sides[0] @ sides[1] / np.linalg.norm(sides[0]) / np.linalg.norm(sides[1])
    assert np.sum((vectors[0] - vectors[1]) ** 2) == pytest.approx(2 - 2 * cosine)
    assert compare_shapes(first, first.scaled(0.3)).cosine_width == pytest.approx(1)


def test_pca_is_the_projection_with_the_largest_variance() -> None:
    boxes = boxes_of(12)
    points = embed_shapes(boxes)
    vectors = shape_vectors(boxes)
    values = np.linalg.svd(vectors - vectors.mean(axis=0), compute_uv=False)
    np.testing.assert_allclose(np.linalg.norm(points, axis=0), values[:2])


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_groups_of_alike_shapes_lie_apart_and_a_seed_repeats_itself(method: str) -> None:
    rng = np.random.default_rng(1)
    kinds = [rng.uniform(0.05, 0.3, (2, 16)) for _ in range(2)]
    boxes = [AsymmetricBox(np.full(16, 0.5), *(kinds[i % 2] * rng.uniform(0.95, 1.05))) for i in range(12)]
    boxes = [AsymmetricBox(box.x, box.e1 * rng.uniform(0.97, 1.03, 16), box.e2) for box in boxes]
    points = embed_shapes(boxes, method=method, seed=4)  # type: ignore[arg-type]
    assert np.array_equal(points, embed_shapes(boxes, method=method, seed=4))  # type: ignore[arg-type]
    gap = np.linalg.norm(points[:, None] - points[None], axis=2) + np.diag(np.full(12, np.inf))
    assert np.array_equal(gap.argmin(axis=1) % 2, np.arange(12) % 2)


def test_the_stability_picture_is_drawn(tmp_path: Path) -> None:
    boxes = boxes_of(8)
    path = tmp_path / "stability.png"
    draw_stability(path, embed_shapes(boxes), np.arange(8) % 3, boxes, title="shapes $")
    assert pixels(path).shape[1] > 500


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda path: draw_maps(path, boxes_of(1), ["a"], (16,)), "no images"),
        (lambda path: draw_maps(path, boxes_of(1), ["a"], (3, 3)), "does not fit a box of 16"),
        (lambda path: draw_maps(path / "no" / "a.png", boxes_of(1), ["a"], (4, 4)), "cannot be written"),
        (lambda _: embed_shapes(boxes_of(2)), "at least 3 boxes"),
        (lambda _: embed_shapes(boxes_of(3), method="umap"), "no method 'umap'"),
        (lambda _: embed_shapes([*boxes_of(3), *boxes_of(1, 4)]), "same features"),
        (lambda _: shape_vectors([BOX.scaled(0.0)]), "single point"),
        (lambda path: draw_stability(path, np.zeros((2, 2)), [0], boxes_of(2)), "as many points"),
    ],
)
def test_mistakes_are_named(call: object, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        call(tmp_path)  # type: ignore[operator]
