"""What the shape of a box says about a decision: the map of e2 - e1, and the features in the order of what they say.

Where e2 - e1 > 0 the class bears an increase of the feature better than a decrease: the value that is there speaks for
the class. Where it is below 0 the class bears a decrease better. For two classes with f_c - f_j = w x + b, features
with w_i > 0 are stopped below alone, those with w_i < 0 above alone.

The domain has a part in this. A box ends where the domain does, so a feature at its least value has e1 = 0 whatever the
network does, and one whose box covers all of its domain shows where x lies and nothing else. `FeatureSkew.free` says
which sides end with the domain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from counter_attack._figure import save_figure
from counter_attack.amoeba._box import UNIT, AsymmetricBox, Domain
from counter_attack.amoeba._guided import EQUAL, shares
from counter_attack.ug100._table import Column, Table
from onnx_models import Array
from onnx_models.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.colors import Colormap


def skew(box: AsymmetricBox) -> Array:
    """e2 - e1, shape (n,), in units of the input."""
    return box.e2 - box.e1


@dataclass(frozen=True, slots=True)
class FeatureSkew:
    """One feature of a box.

    Attributes:
        rank: 1 for the feature with the largest |e2 - e1|.
        feature: its number, from 0.
        place: its position in an input of the model's shape, such as (2, 5).
        value: x.
        e1, e2: how far the box reaches.
        skew: e2 - e1.
        free: the sides that end where the domain does: "", "below", "above" or "both".
    """

    rank: int
    feature: int
    place: tuple[int, ...]
    value: float
    e1: float
    e2: float
    skew: float
    free: str


def rank_features(
    box: AsymmetricBox, shape: Sequence[int] | None = None, *, domain: Domain = UNIT
) -> list[FeatureSkew]:
    """All features of a box by falling |e2 - e1|, among equals by number.

    Features that the box leaves free on both sides come last: the class does not depend on them within the box, and
    their e2 - e1 tells where x lies in the domain, nothing else.

    Args:
        box: the box.
        shape: of an input; None: flat.
        domain: valid inputs.

    Raises:
        InputError: a shape of another size, or a box outside the domain.
    """
    places = _shape(box, shape)
    down, up = (share >= 1 - EQUAL for share in shares(box, domain))
    skews = skew(box)
    order = np.lexsort((-np.abs(skews), down & up))  # the last key counts first; stable
    words = {(False, False): "", (True, False): "below", (False, True): "above", (True, True): "both"}
    return [
        FeatureSkew(
            rank=rank,
            feature=int(i),
            place=tuple(int(k) for k in np.unravel_index(i, places)),
            value=float(box.x[i]),
            e1=float(box.e1[i]),
            e2=float(box.e2[i]),
            skew=float(skews[i]),
            free=words[bool(down[i]), bool(up[i])],
        )
        for rank, i in enumerate(order, 1)
    ]


def feature_table(
    box: AsymmetricBox, title: str, name: str, shape: Sequence[int] | None = None, *, domain: Domain = UNIT
) -> Table:
    """`rank_features` as a table with a title and a name for files."""
    columns = (
        Column("rank", "rank", "count"),
        Column("place", "feature", "text"),
        Column("value", "value", "share"),
        Column("e1", "e1", "share"),
        Column("e2", "e2", "share"),
        Column("skew", "e2 - e1", "share"),
        Column("free", "ends with the\ndomain", "text"),
    )
    rows = tuple(
        {
            "rank": one.rank,
            "feature": one.feature,
            "place": ",".join(map(str, one.place)),
            "value": one.value,
            "e1": one.e1,
            "e2": one.e2,
            "skew": one.skew,
            "free": one.free,
        }
        for one in rank_features(box, shape, domain=domain)
    )
    return Table(name, title, columns, rows)


def map_skews(box: AsymmetricBox, shape: Sequence[int] | None = None) -> Array:
    """e2 - e1 in the shape of an input; raises InputError for a shape of another size."""
    return skew(box).reshape(_shape(box, shape))


def draw_maps(
    path: Path,
    boxes: Sequence[AsymmetricBox],
    titles: Sequence[str],
    shape: Sequence[int],
    *,
    domain: Domain = UNIT,
    columns: int = 5,
) -> None:
    """Draws each input and below it the map of e2 - e1 into a PNG file; brown is positive, blue negative, white zero.

    Grey are entries that the box leaves free from end to end of the domain: the class does not depend on them there.

    Args:
        path: the file.
        boxes: at least one.
        titles: one for each.
        shape: of an input: (height, width), (1, height, width), or (3, height, width), whose map is the mean over the
            channels.
        domain: valid inputs.
        columns: boxes side by side.

    Raises:
        InputError: inputs that are no images, or a file that cannot be written.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

    from counter_attack.report._pictures import pixels

    images = [pixels(box.x.reshape(_shape(box, shape))) for box in boxes]
    if not boxes or any(image is None for image in images):
        raise InputError(f"Inputs of shape {tuple(shape)} are no images; the list of features is what there is to see.")
    across, down = min(columns, len(boxes)), -(-len(boxes) // columns)
    figure = Figure(figsize=(1.7 * across + 1.0, 3.7 * down), layout="constrained")
    grid = figure.subplots(2 * down, across, squeeze=False)
    means = [_mean_skews(box, shape, domain) for box in boxes]
    largest = max(float(np.nan_to_num(np.abs(one)).max()) for one in means) or 1.0
    for number, (image, one, title) in enumerate(zip(images, means, titles, strict=True)):
        assert image is not None
        row, column = divmod(number, across)
        top, bottom = grid[2 * row][column], grid[2 * row + 1][column]
        top.imshow(image, cmap="gray")
        top.set_title(title, fontsize="small", parse_math=False)
        bottom.imshow(one, cmap=_colours(), vmin=-largest, vmax=largest)
    for axes in grid.ravel():
        axes.set_axis_off()
    scale = ScalarMappable(Normalize(-largest, largest), _colours())
    figure.colorbar(scale, ax=grid, label="e2 - e1", shrink=0.6)
    save_figure(figure, path)


def _mean_skews(box: AsymmetricBox, shape: Sequence[int], domain: Domain) -> Array:
    """e2 - e1 as an image, shape (height, width), the mean over the channels; NaN where all of these are free."""
    height, width = shape[-2:]
    free = np.logical_and(*(share >= 1 - EQUAL for share in shares(box, domain))).reshape(-1, height, width)
    return np.asarray(np.where(free.all(axis=0), np.nan, map_skews(box, (*free.shape,)).mean(axis=0)))


def _colours() -> Colormap:
    """Blue, white, brown: colours that people with any kind of colour vision tell apart."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("skew", ["#2166ac", "#f7f7f7", "#b35806"]).with_extremes(bad="#b0b0b0")


def _shape(box: AsymmetricBox, shape: Sequence[int] | None) -> tuple[int, ...]:
    if shape is None:
        return (box.size,)
    if int(np.prod(shape)) != box.size:
        raise InputError(f"The shape {tuple(shape)} does not fit a box of {box.size} features.")
    return tuple(shape)
