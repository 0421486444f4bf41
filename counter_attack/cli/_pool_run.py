"""What `attack` and `compare` share: the options of a pool of attacks, and running it batch by batch."""

# No `from __future__ import annotations` here: typer reads the annotations of these classes as objects.
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from counter_attack.cli import _options as options
from counter_attack.cli._inputs import InputArguments
from mipverify_py.cli import _parse

if TYPE_CHECKING:
    from counter_attack._classifier import Classifier
    from counter_attack.attacks import Attack
    from counter_attack.cli._inputs import Opened
    from counter_attack.pool import DistanceTable, PoolResult


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Some of the inputs, and what the pool found for them.

    Attributes:
        rows: their positions among the inputs asked for.
        names: the attacks of the pool, those that did not run included.
        found: the pool's result.
    """

    rows: range
    names: tuple[str, ...]
    found: "PoolResult"

    @property
    def is_complete(self) -> bool:
        """Whether every attack did all it had to."""
        return not self.found.interrupted


@dataclass(frozen=True, slots=True)
class PoolArguments(InputArguments):
    """The options that choose a pool and how it runs, beside model and inputs."""

    attacks: options.Attacks = None
    parameters: options.Parameters = None
    finish: Annotated[
        bool,
        typer.Option(
            "--finish",
            rich_help_panel=options.ATTACKS,
            help="Exact local search from the closest example of the attacks, as one more attack, 'finish'.",
        ),
    ] = False
    norm: options.NormName = "linf"
    attack_timeout: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            parser=_parse.number("a number of seconds above 0", lambda v: v > 0),
            rich_help_panel=options.ATTACKS,
            help="Stop each attack on a batch after this time; the closest examples so far count. Default: no limit.",
        ),
    ] = None
    batch_size: Annotated[
        int,
        typer.Option(
            metavar="N",
            parser=_parse.whole("at least 1", lambda v: v >= 1),
            rich_help_panel=options.ATTACKS,
            help="Inputs attacked side by side; what is random in an attack depends on it.",
        ),
    ] = 100
    device: options.Device = "cpu"
    seed: options.Seed = 0

    def batches(self, opened: "Opened", show: Callable[[str], None]) -> Iterator[Batch]:
        """The pool on one batch of inputs after the other; after Ctrl-C the last batch may be partial, or missing.

        Args:
            opened: model and inputs.
            show: told what is being done.

        Raises:
            InputError: attacks that there are not, or that do not work here.
        """
        from counter_attack.cli._inputs import named_attacks

        named = named_attacks(self.attacks, self.parameters, opened.data_set, norm=self.norm)
        return self._batches(opened, named, opened.classifier(self.device), show)

    def _batches(
        self, opened: "Opened", named: "dict[str, Attack]", classifier: "Classifier", show: Callable[[str], None]
    ) -> Iterator[Batch]:
        from counter_attack.attacks import Budget
        from counter_attack.pool import Pool, PoolProgress

        count = len(opened.x)
        for start in range(0, count, self.batch_size):
            rows = range(start, min(start + self.batch_size, count))

            def tell(progress: PoolProgress, rows: range = rows) -> None:
                if progress.result is None:
                    work = f"{progress.attack} ({progress.position + 1} of {progress.total})"
                    show(f"{work} on inputs {rows.start + 1} to {rows.stop} of {count}")

            pool = Pool(named, tell, finish=self.finish)
            chosen = slice(rows.start, rows.stop)
            try:
                found = pool(
                    classifier,
                    opened.x[chosen],
                    None if opened.labels is None else opened.labels[chosen],
                    domain=opened.domain,
                    seed=self.seed,
                    budget=Budget(seconds=self.attack_timeout),
                )
            except KeyboardInterrupt:
                return
            yield Batch(rows, pool.names, found)
            if found.interrupted:
                return


def joined(batches: "list[Batch]") -> "DistanceTable | None":
    """The distances of the complete batches as one table; None without any."""
    import numpy as np

    from counter_attack.pool import DistanceTable

    tables = [batch.found.table for batch in batches if batch.is_complete]
    if not tables:
        return None
    return DistanceTable(tables[0].attacks, np.concatenate([table.distance for table in tables]))


def check_place(option: str, path: str | None, suffix: str) -> None:
    """Raises TyperException for a file that cannot be written: this has to be known before hours are spent on it."""
    if path is None:
        return
    if Path(path).suffix.lower() != suffix:
        raise typer.TyperException(f"{option} {path}: must end in {suffix}.")
    if not Path(path).parent.is_dir():
        raise typer.TyperException(f"{Path(path).parent}: there is no such folder to write {path} into.")
    if Path(path).is_dir():
        raise typer.TyperException(f"{option} {path} is a folder; name a file in it.")
