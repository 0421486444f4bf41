"""`counter-attack detect`: marks inputs that are not robust, by an attack's distance and a buffer."""

# No `from __future__ import annotations` here: typer reads the annotations of this class as objects.
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from counter_attack.cli import _options as options
from counter_attack.cli._app import new_app
from counter_attack.cli._inputs import InputArguments
from mipverify_py.cli import ExitCode, _parse

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from counter_attack.cli._inputs import Opened
    from counter_attack.detection import Detection
    from onnx_models import Array

EXACT = "exact"
"""The name of the exact search among attacks."""

COMPUTE = "compute"
"""What --exact may say instead of a file."""

SECONDS_BETWEEN_LINES = 1.0
"""Progress of the exact searches is told at most this often."""

_DETECTION = "The detector"
_TRUTH = "Exact distances to compare with"


@dataclass(frozen=True, slots=True)
class DetectArguments(InputArguments):
    """Mark inputs that are not robust: those with distance - buffer <= eps.

    counter-attack detect model.onnx --dataset digits --index 0:50 --eps 0.05 --buffer buffer.json --attacks pgd,fab

    The attacks look for the nearest input of another class than the model's own; --label is only shown.
    """

    eps: Annotated[
        float | None,
        typer.Option(
            metavar="E",
            parser=_parse.number("a radius that is at least 0, such as 0.1", lambda v: v >= 0),
            rich_help_panel=_DETECTION,
            help="The radius within which an input has to keep its class to be robust.",
        ),
    ] = None
    buffer: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            rich_help_panel=_DETECTION,
            help="A buffer made by counter-attack fit-buffer. Default: none, the attack's distance as it is.",
        ),
    ] = None
    attacks: options.Attacks = None
    parameters: options.Parameters = None
    norm: options.NormName = "linf"
    device: options.Device = "cpu"
    seed: options.Seed = 0
    timeout: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            parser=_parse.number("a number of seconds above 0", lambda v: v > 0),
            rich_help_panel=_TRUTH,
            help="Stop each exact search (--attacks exact, --exact compute) after this time. Default: no limit.",
        ),
    ] = None
    exact: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            rich_help_panel=_TRUTH,
            help="A .csv with the columns index and exact, or a table of distances with one network; or compute.",
        ),
    ] = None
    roc: Annotated[
        str | None,
        typer.Option(metavar="FILE.png", rich_help_panel=_TRUTH, help="Draw the ROC curve at --eps; needs --exact."),
    ] = None
    f1: Annotated[
        str | None,
        typer.Option(metavar="FILE.png", rich_help_panel=_TRUTH, help="Draw F1 against eps; needs --exact."),
    ] = None
    save_pairs: Annotated[
        str | None,
        typer.Option(
            metavar="FILE.csv",
            rich_help_panel=_TRUTH,
            help="Save index, heuristic and exact distance of each input, for fit-buffer; needs --exact.",
        ),
    ] = None
    json: options.Json = False
    quiet: options.Quiet = False

    def run(self) -> int:
        """Detects, compares, draws and shows; returns the exit code."""
        self._check()
        from counter_attack.cli import _detect_report as report
        from counter_attack.cli._tables import ProgressLine
        from counter_attack.detection import CounterAttack, LineBuffer, Zero, load_buffer, read_exact

        buffer = LineBuffer(Zero()) if self.buffer is None else load_buffer(self.buffer)
        known = None if self.exact in (None, COMPUTE) else read_exact(str(self.exact))
        line = ProgressLine(quiet=self.quiet)
        opened = self.open()
        assert self.eps is not None
        detector = CounterAttack(
            self._attack(opened, line.show),
            buffer,
            self.eps,
            model=opened.classifier(self.device),
            domain=opened.domain,
            seed=self.seed,
        )
        found = detector.detect(opened.x)
        truth, interrupted = self._truth(opened, found, known, line.show)
        line.clear()
        run = report.Run(self.eps, buffer, opened, found, truth, self._is_exact)
        (report.write_json if self.json else report.write_text)(run)
        # Pairs and pictures last: a curve that cannot be drawn costs nothing that was computed.
        if self.save_pairs is not None:
            report.save_pairs(run, self.save_pairs)
        if self.f1 is not None:
            report.draw_f1(run, self.f1)
        if self.roc is not None:
            report.draw_roc(run, self.roc)
        return ExitCode.INTERRUPTED if interrupted or found.interrupted else self._exit_code(found)

    @property
    def _is_exact(self) -> bool:
        return self.attacks is not None and self.attacks.values == (EXACT,)

    def _check(self) -> None:
        """Raises TyperException for what can be known to be wrong without reading anything."""
        self.check_inputs()
        if self.eps is None:
            raise typer.TyperException("Give the radius, such as --eps 0.05.")
        if self.attacks is not None and EXACT in self.attacks.values and not self._is_exact:
            raise typer.TyperException("--attacks exact stands alone: no other attack comes nearer.")
        if self._is_exact and self.parameters is not None:
            raise typer.TyperException("--parameters has no effect with --attacks exact.")
        if self.timeout is not None and not self._is_exact and self.exact != COMPUTE:
            raise typer.TyperException("--timeout limits exact searches, and there are none; see --exact compute.")
        for name in ("roc", "f1", "save-pairs"):
            path = getattr(self, name.replace("-", "_"))
            if path is not None and self.exact is None:
                raise typer.TyperException(f"--{name} needs exact distances; give --exact FILE or --exact compute.")
            if path is not None and not Path(path).parent.is_dir():
                raise typer.TyperException(f"{Path(path).parent}: there is no such folder to write {path} into.")

    def _attack(self, opened: "Opened", show: "Callable[[str], None]") -> "Any":
        from counter_attack.cli._inputs import named_attacks
        from counter_attack.detection import ExactAttack
        from counter_attack.pool import Pool, PoolProgress
        from mipverify_py import Norm, Options

        count = len(opened.x)
        if self._is_exact:
            show(f"exact distances of {count} inputs")
            return ExactAttack(Norm(self.norm), Options(time_limit=self.timeout, device=self.device))

        def tell(progress: PoolProgress) -> None:
            if progress.result is None:
                show(f"{progress.attack} on {count} inputs ({progress.position + 1} of {progress.total})")

        named = named_attacks(self.attacks, self.parameters, opened.data_set, norm=self.norm)
        return Pool(named, tell)

    def _truth(
        self,
        opened: "Opened",
        found: "Detection",
        known: "dict[int, float] | None",
        show: "Callable[[str], None]",
    ) -> "tuple[Array | None, bool]":
        """Exact distances, shape (N,), and whether Ctrl-C cut their search short.

        They are infinite where there is no example, NaN where they are not known, and None where nobody asked.
        """
        import numpy as np

        from counter_attack.attacks import AttackStop
        from counter_attack.detection import ExactAttack
        from mipverify_py import Norm, Options

        if self.exact is None:
            return None, False
        if known is not None:
            return np.array([known.get(index, np.nan) for index in opened.indices]), False
        truth = np.full(len(opened.x), np.nan)
        attack = ExactAttack(Norm(self.norm), Options(time_limit=self.timeout, device=self.device))
        told = -math.inf
        for row, index in enumerate(opened.indices):
            if found.interrupted:
                break
            if time.monotonic() - told >= SECONDS_BETWEEN_LINES:
                told = time.monotonic()
                show(f"exact distance of index {index} ({row + 1} of {len(truth)})")
            try:
                one = attack(opened.network, opened.x[row : row + 1], domain=opened.domain, seed=self.seed)
            except KeyboardInterrupt:  # between two searches
                return truth, True
            if one.exact[0]:
                truth[row] = one.upper[0]
            if one.stop_reason is AttackStop.INTERRUPTED:
                return truth, True
        return truth, False

    def _exit_code(self, found: "Detection") -> int:
        if self._is_exact and bool(found.undecided.any()):
            return ExitCode.UNKNOWN
        return ExitCode.ADVERSARIAL if bool(found.non_robust.any()) else ExitCode.ANSWERED


app = new_app()
app.command()(DetectArguments)
