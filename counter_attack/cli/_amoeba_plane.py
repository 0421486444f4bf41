"""What `counter-attack amoeba plane` computes, shows and draws."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from counter_attack.amoeba import (
    PLANE,
    AsymmetricBox,
    BoundKind,
    BoxShape,
    FindSettings,
    FoundBox,
    GrowSettings,
    PlaneData,
    draw_plane,
    find_boxes,
    train_plane,
)
from counter_attack.cli._amoeba_report import known
from counter_attack.cli._tables import TableWriter
from counter_attack.training._files import write_whole
from counter_attack.ug100 import Column, Table
from mipverify_py.cli._json import SCHEMA, write_line
from mipverify_py.cli._output import Output
from onnx_models import Array, ReluNetwork
from onnx_models.errors import InputError

COLUMNS = (
    Column("name", "box", "text"),
    Column("e1", "e1", "text"),
    Column("e2", "e2", "text"),
    Column("size", "geometric\nmean side", "precise"),
    Column("seconds", "seconds", "distance"),
    Column("known", "what is known", "text"),
)


@dataclass(eq=False)
class Plane:
    """A network over the plane, a point, and the boxes around it.

    Attributes:
        data: the seeds.
        network: trained on them.
        accuracy: its share of right answers on a grid.
        point: shape (1, 2).
        found: boxes by name.
        interrupted: whether Ctrl-C left anything out.
    """

    data: PlaneData
    network: ReluNetwork
    accuracy: float
    point: Array
    found: dict[str, FoundBox] = field(default_factory=dict)
    interrupted: bool = False

    @classmethod
    def trained(cls, hidden: int, seed: int, at: str | None) -> Plane:
        """Seeds, a network for them, and the point that `at` names."""
        given, data = None if at is None else _point(at), PlaneData.random(seed)
        network = train_plane(data, hidden, seed=seed)
        axis = np.linspace(*PLANE, 101)
        grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
        accuracy = float(np.mean(network.forward_batch(grid).argmax(axis=1) == data.labels(grid)))
        middle = data.seeds[np.argmin(np.linalg.norm(data.seeds, axis=1))]
        return cls(data, network, accuracy, (middle if given is None else given)[None])

    @property
    def certified(self) -> dict[str, AsymmetricBox]:
        """The certified boxes by name."""
        return {name: one.box for name, one in self.found.items() if one.certified}

    @property
    def is_settled(self) -> bool:
        """Whether all boxes are certified and the exact one cannot be made larger."""
        return all(one.certified and (one.maximal is None or one.maximal.is_maximal) for one in self.found.values())

    def find(self, bounds: str, step: float, show: Callable[[str], None]) -> None:
        """Finds the three boxes and the exact one."""
        kinds = [(shape.value, FindSettings(shape, BoundKind(bounds))) for shape in BoxShape]
        exact = FindSettings(BoxShape.ASYMMETRIC, BoundKind.EXACT, grow=GrowSettings(step=step))
        for name, settings in [*kinds, ("exact asymmetric", exact)]:
            try:
                (one,) = find_boxes(self.network, self.point, domain=PLANE, settings=settings, progress=show)
            except KeyboardInterrupt:
                self.interrupted = True
                return
            self.found[name] = one
            if one.stopped == "interrupted":
                self.interrupted = True
                return

    def table(self) -> Table:
        """One row per box."""
        rows = tuple(
            {
                "name": name,
                "e1": ", ".join(f"{value:.4f}" for value in one.box.e1),
                "e2": ", ".join(f"{value:.4f}" for value in one.box.e2),
                "size": one.box.geometric_mean if one.certified else None,
                "seconds": one.seconds,
                "known": known(one),
            }
            for name, one in self.found.items()
        )
        x, y = self.point[0]
        return Table("amoeba-plane", f"Boxes around ({x:.4f}, {y:.4f})", COLUMNS, rows)

    def write(self, *, as_json: bool) -> None:
        """Shows the table."""
        if as_json:
            head = {"schema": SCHEMA, "kind": "amoeba-plane", "version": version("mipverify-py")}
            record: dict[str, Any] = {"hidden": self.network.relu_count, "accuracy": self.accuracy}
            write_line({**head, **record, "point": self.point[0].tolist(), "seeds": self.data.seeds.tolist()})
        else:
            Output().line(
                f"10 seeds in [-1, 1]^2, {self.network.relu_count} hidden units: "
                f"{self.accuracy:.1%} of a grid as its nearest seed"
            )
        TableWriter(as_json=as_json, folder=None).add(self.table())

    def save_table(self, path: Path) -> None:
        """Writes one line per box."""
        write_whole(path, self.table().csv().encode())

    def draw(self, path: Path) -> None:
        """Draws the certified boxes; raises InputError where there is none or the file cannot be written."""
        if not self.certified:
            raise InputError(f"--plot {path}: there is no certified box to draw.")
        draw_plane(path, self.network, self.data, self.certified)


def _point(text: str) -> Array:
    try:
        values = np.array([float(part) for part in text.split(",")])
    except ValueError:
        values = np.zeros(0)
    if values.shape != (2,) or not np.all((values >= PLANE[0]) & (values <= PLANE[1])):
        raise InputError(f"--point {text}: must be two numbers from -1 to 1, such as 0.2,-0.3.")
    return values
