"""Boxes in the plane: the synthetic data of the paper's Figure 2, a network for them, and a picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from counter_attack._figure import save_figure
from counter_attack.amoeba._box import AsymmetricBox
from onnx_models import Array, ReluNetwork, from_torch
from onnx_models.errors import InputError

PLANE = (-1.0, 1.0)
"""The domain, in both directions."""

CLASSES = 10

_TRAINING_POINTS, _TRAINING_STEPS, _GRID = 2000, 1500, 401

COLOURS = {"uniform": "tab:blue", "non-uniform": "tab:green", "asymmetric": "tab:red", "exact": "black"}
"""Edge of each box by the first word of its name; other names take colours in turn."""


@dataclass(frozen=True, slots=True, eq=False)
class PlaneData:
    """Ten random seeds in [-1, 1]^2; the label of a point is its nearest seed.

    Attributes:
        seeds: shape (10, 2).
    """

    seeds: Array

    @classmethod
    def random(cls, seed: int) -> PlaneData:
        """Uniformly random ones."""
        return cls(np.random.default_rng(seed).uniform(*PLANE, size=(CLASSES, 2)))

    def labels(self, points: ArrayLike) -> NDArray[np.int64]:
        """Labels of points, shape (N, 2); shape (N,)."""
        values = np.asarray(points, dtype=np.float64)
        distance = np.linalg.norm(values[:, None] - self.seeds[None], axis=2)
        return np.asarray(distance.argmin(axis=1), dtype=np.int64)


def train_plane(data: PlaneData, hidden: int = 32, *, seed: int = 0) -> ReluNetwork:
    """A network with one layer of `hidden` ReLUs, trained on 2000 labelled points; the same for the same arguments.

    Raises:
        InputError: no hidden unit.
    """
    import torch
    from torch import nn

    if hidden < 1:
        raise InputError(f"The number of hidden units is {hidden}; it must be at least 1.")
    points = np.random.default_rng(seed + 1).uniform(*PLANE, size=(_TRAINING_POINTS, 2))
    x, y = torch.tensor(points, dtype=torch.float32), torch.tensor(data.labels(points))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = nn.Sequential(nn.Linear(2, hidden), nn.ReLU(), nn.Linear(hidden, CLASSES))
        optimiser = torch.optim.Adam(module.parameters(), lr=0.02)
        for _ in range(_TRAINING_STEPS):
            optimiser.zero_grad()
            loss = nn.functional.cross_entropy(module(x), y)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    return from_torch(module, (2,))


def draw_plane(path: Path, network: ReluNetwork, data: PlaneData, boxes: Mapping[str, AsymmetricBox]) -> None:
    """Draws the decision regions, the seeds and boxes around one point into a PNG file.

    Raises:
        InputError: the file cannot be written.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    axis = np.linspace(*PLANE, _GRID)
    grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    regions = network.forward_batch(grid).argmax(axis=1).reshape(_GRID, _GRID)
    figure = Figure(figsize=(4.8, 5.5), layout="constrained")
    axes = figure.subplots()
    extent = (*PLANE, *PLANE)
    axes.imshow(regions, origin="lower", extent=extent, cmap="tab10", alpha=0.35, vmin=0, vmax=CLASSES - 1)
    axes.plot(*data.seeds.T, "k^", markersize=5, label="seeds of the classes")
    for name, box in boxes.items():
        width, height = box.sides
        edge = COLOURS.get(name.split()[0])
        rectangle = Rectangle(
            (float(box.lower[0]), float(box.lower[1])), width, height, fill=False, linewidth=1.8, edgecolor=edge
        )
        rectangle.set_linestyle("--" if name.startswith("exact") else "-")
        rectangle.set_label(f"{name}: {box.geometric_mean:.3f}")
        axes.add_patch(rectangle)
    centre = next(iter(boxes.values())).x
    axes.plot(*centre, "o", color="black", markersize=5, label="x")
    axes.set(xlim=PLANE, ylim=PLANE, xlabel="feature 0", ylabel="feature 1")
    figure.legend(
        loc="outside lower center", ncols=2, fontsize=8, title="geometric mean of the sides", title_fontsize=8
    )
    save_figure(figure, path)
