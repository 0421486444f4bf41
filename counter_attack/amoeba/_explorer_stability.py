"""The stability picture: boxes as points of the plane, near to each other where their shapes are alike."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from numpy.typing import ArrayLike

from counter_attack._figure import save_figure
from counter_attack.amoeba._box import AsymmetricBox
from onnx_models import Array
from onnx_models.errors import InputError

if TYPE_CHECKING:
    pass

Method = Literal["pca", "tsne"]

METHODS: Final = ("pca", "tsne")
"""Ways to the plane: linear, and t-distributed stochastic neighbour embedding."""

PERPLEXITY = 30.0
"""Neighbours that t-SNE keeps near, as in scikit-learn; fewer where there are few boxes."""


def shape_vectors(boxes: Sequence[AsymmetricBox]) -> Array:
    """(e1, e2) of each box divided by its L2 norm, shape (N, 2 n): the shape without the size.

    Squared distances between rows are 2 - 2 cos of the angle between the boxes' shapes.

    Raises:
        InputError: no box, boxes of different numbers of features, or a box that is a single point.
    """
    if not boxes or len({box.size for box in boxes}) > 1:
        raise InputError("The picture needs boxes over the same features, at least one.")
    sides = np.stack([np.concatenate([box.e1, box.e2]) for box in boxes])
    length = np.linalg.norm(sides, axis=1, keepdims=True)
    if not np.all(length > 0):
        raise InputError(f"Box {int(np.argmin(length))} is a single point and has no shape; leave it out.")
    return np.asarray(sides / length)


def embed_shapes(boxes: Sequence[AsymmetricBox], *, method: Method = "pca", seed: int = 0) -> Array:
    """A point of the plane for each box, shape (N, 2).

    Args:
        boxes: at least 3.
        method: "pca": the two directions of largest variance. "tsne": t-SNE from there, which keeps neighbours near;
            how far apart it puts groups means nothing.
        seed: of t-SNE and of the solver of PCA.

    Raises:
        InputError: as `shape_vectors`, too few boxes, or another method.
    """
    vectors = shape_vectors(boxes)
    if len(boxes) < 3:
        raise InputError(f"A picture of shapes needs at least 3 boxes; got {len(boxes)}.")
    if method == "pca":
        from sklearn.decomposition import PCA

        return np.asarray(PCA(2, random_state=seed).fit_transform(vectors))
    if method == "tsne":
        from sklearn.manifold import TSNE

        perplexity = min(PERPLEXITY, (len(boxes) - 1) / 3)
        return np.asarray(TSNE(2, perplexity=perplexity, init="pca", random_state=seed).fit_transform(vectors))
    raise InputError(f"There is no method {method!r}; there are {', '.join(METHODS)}.")


def draw_stability(
    path: Path, points: Array, classes: ArrayLike, boxes: Sequence[AsymmetricBox], *, title: str = ""
) -> None:
    """Draws the points twice into one PNG file, coloured by class and by size, the geometric mean of the sides.

    Args:
        path: the file.
        points: of `embed_shapes`, shape (N, 2).
        classes: of the inputs, shape (N,).
        boxes: N of them.
        title: above both.

    Raises:
        InputError: numbers that do not agree, or a file that cannot be written.
    """
    from matplotlib.figure import Figure

    kinds = np.asarray(classes)
    if points.shape != (len(boxes), 2) or kinds.shape != (len(boxes),):
        raise InputError(f"{len(boxes)} boxes need as many points and classes; got {points.shape} and {kinds.shape}.")
    figure = Figure(figsize=(8.4, 4.0), layout="constrained")
    if title:
        figure.suptitle(title, fontsize="medium", parse_math=False)
    by_class, by_size = figure.subplots(1, 2)
    _by_class(by_class, points, kinds)
    drawn = by_size.scatter(*points.T, c=[box.geometric_mean for box in boxes], s=22, cmap="cividis")
    figure.colorbar(drawn, ax=by_size, label="geometric mean of the sides")
    by_size.set_title("by size", fontsize="medium")
    for axes in (by_class, by_size):
        axes.set(xticks=[], yticks=[])
    save_figure(figure, path)


def _by_class(axes: Any, points: Array, kinds: Any) -> None:
    names = np.unique(kinds)
    markers = "osD^v<>P*X"
    for number, name in enumerate(names):
        chosen = points[kinds == name]
        axes.scatter(*chosen.T, s=22, color=f"C{number % 10}", marker=markers[number % 10], label=str(name))
    axes.set_title("by class", fontsize="medium")
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize="small", frameon=False)
