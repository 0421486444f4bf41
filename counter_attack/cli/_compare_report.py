"""What `counter-attack compare` computes, shows and saves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from counter_attack.cli._inputs import Opened
from counter_attack.cli._tables import TableWriter
from counter_attack.detection import ExactResult
from counter_attack.pool import LARGEST_POOL, DistanceTable, best_by_size, drop_one, every_subset, quality, wins
from counter_attack.ug100 import Column, Table, write_distances
from counter_attack.ug100._figures import columns_of_one_rule, figures
from counter_attack.ug100._plots import scatter_plot
from mipverify_py.cli._check import ZOO_PREFIX
from mipverify_py.cli._json import SCHEMA, write_line
from mipverify_py.cli._output import Output
from mipverify_py.cli._printable import printable
from onnx_models import Array

if TYPE_CHECKING:
    import pandas as pd

ROUNDING = 1e-9
"""Share of a proven lower end by which a distance may fall short of it: the attacks' float64 is not exact."""


@dataclass(slots=True, eq=False)
class Brackets:
    """Exact distances as they become known.

    Attributes:
        lower: lower ends, shape (N,); NaN where nothing is known, infinite where there is no example.
        upper: upper ends, shape (N,); NaN without one.
        settled: which are known, shape (N,): the bracket is closed, or there is no example.
        interrupted: whether Ctrl-C cut the searches short.
    """

    lower: Array
    upper: Array
    settled: NDArray[np.bool_]
    interrupted: bool = False

    @classmethod
    def unknown(cls, count: int) -> Brackets:
        """Nothing is known of any input."""
        return cls(np.full(count, np.nan), np.full(count, np.nan), np.zeros(count, dtype=bool))

    @property
    def exact(self) -> NDArray[np.bool_]:
        """Which inputs have an exact distance, shape (N,)."""
        return self.settled & np.isfinite(self.upper)

    def set(self, row: int, result: ExactResult) -> None:
        """What a search of one input found."""
        upper = float(result.upper[0])
        self.lower[row], self.upper[row] = result.lower[0], upper if np.isfinite(upper) else np.nan
        self.settled[row] = result.exact[0]

    def fill(self, indices: Sequence[int], known: Mapping[int, float]) -> None:
        """Exact distances by index, infinite where there is no example."""
        for row in range(len(self.lower)):
            if indices[row] in known:
                exact = known[indices[row]]
                self.lower[row], self.upper[row] = exact, exact if np.isfinite(exact) else np.nan
                self.settled[row] = True


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """What was found, input by input.

    Attributes:
        opened: model and inputs.
        configuration: name of the network in tables.
        attack_set: name of the attacks' parameters.
        found: distances by attack, of the first N inputs.
        brackets: exact distances of these.
        interrupted: whether Ctrl-C left anything out.
    """

    opened: Opened
    configuration: str
    attack_set: str
    found: DistanceTable
    brackets: Brackets
    interrupted: bool

    def frame(self) -> pd.DataFrame:
        """All of it as a tidy table, see `counter_attack.ug100.COLUMNS`."""
        import pandas as pd

        count, k = self.found.distance.shape
        return pd.DataFrame(
            {
                "configuration": self.configuration,
                "index": np.repeat(self.opened.indices[:count], k),
                "attack_set": self.attack_set,
                "attack": list(self.found.attacks) * count,
                "distance": self.found.distance.ravel(),
                "lower": np.repeat(self.brackets.lower, k),
                "upper": np.repeat(self.brackets.upper, k),
            }
        )


def configuration(model: str) -> str:
    """A network's name from its file's, in the form of UG100's: digits_conv_standard.onnx is digits-conv-standard."""
    stem = model.removeprefix(ZOO_PREFIX) if model.startswith(ZOO_PREFIX) else Path(model).stem
    return stem.replace("_", "-")


def save_table(comparison: Comparison, path: Path) -> None:
    """Writes the tidy table as .csv."""
    write_distances(comparison.frame(), path)


def draw(comparison: Comparison, path: Path) -> None:
    """Draws the pool's distances against the exact ones."""
    scatter_plot(comparison.frame(), path)


def write(comparison: Comparison, *, as_json: bool) -> None:
    """The tables, then what else there is to know."""
    opened, out = comparison.opened, Output()
    if not as_json:
        size, classes = f"{opened.network.input_size:,} inputs", f"{opened.network.output_size} classes"
        out.line(f"{printable(opened.model)}: {size}, {classes}; {printable(opened.source)}")
        out.line("")
        out.flush()
    writer = TableWriter(as_json=as_json, folder=None)
    for table in _tables(comparison):
        writer.add(table)
    counts = _counts(comparison)
    if not as_json:
        out.line("")
        for text in _sentences(counts, interrupted=comparison.interrupted):
            out.line(text)
        return
    write_line(
        {
            "schema": SCHEMA,
            "kind": "compare-summary",
            "version": version("mipverify-py"),
            "model": opened.model,
            "digest": opened.network.digest,
            "input": opened.source,
            "configuration": comparison.configuration,
            "attack_set": comparison.attack_set,
            **counts,
            "interrupted": comparison.interrupted,
        }
    )


def _counts(comparison: Comparison) -> dict[str, int]:
    """How many inputs there are of each kind, and how many distances contradict a proof."""
    brackets = comparison.brackets
    proved = (1 - ROUNDING) * np.where(np.isnan(brackets.lower), 0.0, brackets.lower)
    return {
        "asked": len(comparison.opened.x),
        "attacked": len(comparison.found),
        "exact": int(brackets.exact.sum()),
        "no_example": int((brackets.settled & ~brackets.exact).sum()),
        "open": int((~brackets.settled).sum()),
        "below_lower": int((comparison.found.distance < proved[:, None]).sum()),
    }


def _sentences(counts: Mapping[str, int], *, interrupted: bool) -> list[str]:
    texts = [f"{counts['exact']:,} of {counts['asked']:,} inputs have an exact distance and count"]
    if counts["no_example"]:
        texts.append(f"{counts['no_example']:,} have no adversarial example")
    if counts["open"]:
        texts.append(f"of {counts['open']:,} the exact distance is not known")
    if counts["below_lower"]:
        texts.append(
            f"{counts['below_lower']:,} distances by attacks are below a lower end, so one of the two is wrong"
        )
    if interrupted:
        texts.append(f"interrupted: {counts['attacked']:,} inputs were attacked; what was found by then is kept")
    return texts


def _tables(comparison: Comparison) -> list[Table]:
    """The pool and each attack, one left out, the best pool of each size, and one against one."""
    exact = comparison.brackets.exact
    found, t = comparison.found.rows(exact), comparison.brackets.upper[exact]
    inputs = f"{len(t):,} {'input' if len(t) == 1 else 'inputs'}"
    tables = [_alone(found, t, inputs)]
    if len(found.attacks) > 1:
        tables += [_dropped(found, t, inputs), _pools(found, t, inputs), _wins(found, inputs)]
    return tables


def _alone(found: DistanceTable, t: Array, inputs: str) -> Table:
    rows = [{"attack": "pool", **figures([quality(found.closest().distance, t)])}] if len(found.attacks) > 1 else []
    rows += [{"attack": a, **figures([quality(found.only([a]).distance[:, 0], t)])} for a in found.attacks]
    return Table(
        name="attacks",
        title=f"The pool and each attack against exact distances: {inputs}",
        columns=(Column("attack", "attack", "text"), *columns_of_one_rule()),
        rows=tuple(rows),
        note="The figures of an attack are over the inputs on which it succeeded.",
    )


def _dropped(found: DistanceTable, t: Array, inputs: str) -> Table:
    rows: list[dict[str, Any]] = []
    for one in drop_one(found, t):
        assert one.quality is not None  # there are two attacks or more
        rows.append({"dropped": one.attack or "none", "alone": one.alone, **figures([one.quality])})
    return Table(
        name="drop-one",
        title=f"The pool without one attack: {inputs}",
        columns=(
            Column("dropped", "dropped", "text"),
            *columns_of_one_rule(),
            Column("alone", "nearest\nalone on", "count"),
        ),
        rows=tuple(rows),
    )


def _pools(found: DistanceTable, t: Array, inputs: str) -> Table:
    subsets = every_subset(found, t) if len(found.attacks) <= LARGEST_POOL else []
    rows = [
        {
            "size": len(best.attacks),
            "pool": ", ".join(best.attacks),
            "equals": best.equals,
            **figures([best.quality]),
        }
        for best in best_by_size(subsets)
    ]
    note = "Best: highest success rate, then largest R2."
    if not subsets:
        note = f"Not computed: {len(found.attacks)} attacks have too many subsets; at most {LARGEST_POOL} do."
    return Table(
        name="pools",
        title=f"The best pool of each size: {inputs}",
        columns=(
            Column("size", "size", "count"),
            Column("pool", "pool", "text"),
            *columns_of_one_rule(),
            Column("equals", "others\nas good", "count"),
        ),
        rows=tuple(rows),
        note=note,
    )


def _wins(found: DistanceTable, inputs: str) -> Table:
    duels = wins(found)
    rows = [
        {"attack": name, **{other: int(duels.wins[i, j]) for j, other in enumerate(duels.attacks) if j != i}}
        for i, name in enumerate(duels.attacks)
    ]
    return Table(
        name="wins",
        title=f"One against one, how often the row's attack is nearer: {inputs}",
        columns=(Column("attack", "attack", "text"), *(Column(name, name, "count") for name in duels.attacks)),
        rows=tuple(rows),
    )
