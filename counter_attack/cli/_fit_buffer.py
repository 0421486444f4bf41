"""`counter-attack fit-buffer`: a buffer for the detector, from pairs of heuristic and exact distances."""

# No `from __future__ import annotations` here: typer reads the annotations of this class as objects.
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from counter_attack.cli import _options as options
from counter_attack.cli._app import new_app
from mipverify_py.cli import ExitCode, _parse
from mipverify_py.cli._parse import Names

if TYPE_CHECKING:
    from counter_attack.detection import BufferKind, LineBuffer, PairsFile, Validation

KINDS = ("zero", "least-squares", "quantile", "chance-constrained", "multiplicative")
SIDES = ("false-negatives", "false-positives")
RULES = ("converged", "published")
FOLDS = 5
# The first three repeat names that live where they are used: importing those places takes too long for `--help`. A test
# compares them.

_PAIRS, _BUFFER = "The pairs", "The buffer"


def _share(help_text: str, *, zero: bool) -> Any:
    least = "at least 0" if zero else "above 0"
    parser = _parse.number(f"{least} and below 1", lambda v: (v >= 0 if zero else v > 0) and v < 1)
    return typer.Option(metavar="SHARE", parser=parser, rich_help_panel=_BUFFER, help=help_text)


@dataclass(frozen=True, slots=True)
class FitBufferArguments:
    """Fit a buffer on pairs of heuristic and exact distances, and validate it on folds.

    counter-attack fit-buffer pairs.csv --kind quantile --tau 0.01 --out buffer.json
    """

    pairs: Annotated[
        str,
        typer.Argument(
            metavar="PAIRS",
            help="A .csv with the columns heuristic and exact; or a folder like UG100's, or a .csv or .parquet table "
            "with a row per input and attack (configuration, index, attack_set, attack, distance, lower, upper).",
        ),
    ]
    heuristic_column: Annotated[
        str, typer.Option(metavar="NAME", rich_help_panel=_PAIRS, help="The attack's distances in a .csv of pairs.")
    ] = "heuristic"
    exact_column: Annotated[
        str, typer.Option(metavar="NAME", rich_help_panel=_PAIRS, help="The exact distances in a .csv of pairs.")
    ] = "exact"
    configuration: Annotated[
        str | None,
        typer.Option(metavar="NAME", rich_help_panel=_PAIRS, help="The network, in a table with several."),
    ] = None
    attack_set: Annotated[
        str | None,
        typer.Option(metavar="NAME", rich_help_panel=_PAIRS, help="The attacks' parameters, in a table with several."),
    ] = None
    attacks: Annotated[
        Names | None,
        typer.Option(
            metavar="NAMES",
            parser=_parse.names,
            rich_help_panel=_PAIRS,
            help="The attacks whose least distance counts, a comma list. Default: all in the table.",
        ),
    ] = None
    rule: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            parser=_parse.choice(RULES),
            rich_help_panel=_PAIRS,
            help="Which inputs of such a table count: converged, or published (every upper end is taken for exact).",
        ),
    ] = "converged"

    kind: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            parser=_parse.choice(KINDS),
            rich_help_panel=_BUFFER,
            help="zero, least-squares, quantile, chance-constrained or multiplicative.",
        ),
    ] = "quantile"
    tau: Annotated[
        float | None,
        _share(
            "Kind quantile: the share of exact distances at or below their estimate. Small: few non-robust inputs are "
            "missed; large: few robust ones are marked. Default: 0.01.",
            zero=False,
        ),
    ] = None
    delta: Annotated[
        float | None,
        _share("Kind chance-constrained: the share of pairs that may be mistaken. Default: 0.01.", zero=True),
    ] = None
    avoid: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            parser=_parse.choice(SIDES),
            rich_help_panel=_BUFFER,
            help="Kind chance-constrained: the mistake, false-negatives (default) or false-positives.",
        ),
    ] = None
    folds: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            parser=_parse.whole("0 (no validation), or at least 2", lambda v: v == 0 or v >= 2),
            rich_help_panel=_BUFFER,
            help="Validate on N folds, each held out once; 0: not at all. Default: 5, if there are 10 pairs.",
        ),
    ] = None
    seed: Annotated[
        int,
        typer.Option(
            metavar="N",
            parser=_parse.whole("at least 0 and below 2147483648", lambda v: 0 <= v < 2**31),
            rich_help_panel=_BUFFER,
            help="Seed of the folds.",
        ),
    ] = 0

    out: Annotated[
        str | None, typer.Option(metavar="FILE", rich_help_panel=options.OUTPUT, help="Save the buffer, as JSON.")
    ] = None
    json: Annotated[
        bool, typer.Option("--json", rich_help_panel=options.OUTPUT, help="One JSON object on stdout, nothing else.")
    ] = False

    def run(self) -> int:
        """Fits, validates, saves and shows; returns the exit code."""
        self._check()
        from counter_attack.detection import Choice, read_pairs, save_buffer, validate

        kind = self._kind()
        attacks = None if self.attacks is None else self.attacks.values
        found = read_pairs(
            self.pairs,
            heuristic=self.heuristic_column,
            exact=self.exact_column,
            choice=Choice(self.configuration, self.attack_set, attacks, self.rule),
        )
        folds = self.folds if self.folds is not None else (FOLDS if len(found.pairs) >= 2 * FOLDS else 0)
        validation = validate(kind, found.pairs, folds=folds, seed=self.seed) if folds else None
        buffer = kind.fit(found.pairs)
        if self.out is not None:
            save_buffer(buffer, self.out)
        if self.json:
            from mipverify_py.cli._json import write_line

            write_line(_record(self, found, buffer, validation))
        else:
            _show(self, found, buffer, validation)
        return ExitCode.ANSWERED

    def _check(self) -> None:
        """Raises TyperException for what can be known to be wrong without reading anything."""
        for name, kind in (("tau", "quantile"), ("delta", "chance-constrained"), ("avoid", "chance-constrained")):
            if getattr(self, name) is not None and self.kind != kind:
                raise typer.TyperException(f"--{name} has no effect with --kind {self.kind}; it is for {kind}.")
        if self.out is not None and not Path(self.out).parent.is_dir():
            raise typer.TyperException(f"{Path(self.out).parent}: there is no such folder to write the buffer into.")

    def _kind(self) -> "BufferKind":
        from counter_attack.detection import buffer_kind

        given = {name: getattr(self, name) for name in ("tau", "delta", "avoid")}
        return buffer_kind(self.kind, **{name: value for name, value in given.items() if value is not None})


def kind_words(kind: "BufferKind") -> str:
    """A kind with its parameters, as people read them: quantile (tau 0.01)."""
    parameters = ", ".join(f"{name} {value}" for name, value in kind.parameters.items())
    return f"{kind.name} ({parameters})" if parameters else kind.name


def line_words(buffer: "LineBuffer") -> str:
    """The line that estimates the exact distance, as people read it."""
    shift = "" if not buffer.intercept else f" {'+' if buffer.intercept > 0 else '-'} {abs(buffer.intercept):.4g}"
    return f"{buffer.slope:.6g} * distance{shift}"


def _record(
    a: FitBufferArguments, found: "PairsFile", buffer: "LineBuffer", validation: "Validation | None"
) -> dict[str, Any]:
    from dataclasses import asdict
    from importlib.metadata import version

    from counter_attack.detection._buffer_file import buffer_record
    from mipverify_py.cli._json import SCHEMA

    return {
        "schema": SCHEMA,
        "kind": "fit-buffer",
        "version": version("mipverify-py"),
        "input": a.pairs,
        "buffer": buffer_record(buffer),
        "attack_failed": found.failed,
        "exact_unknown": found.unknown,
        "contradictions": found.pairs.contradictions,
        "folds": [] if validation is None else [asdict(fold) for fold in validation.folds],
        "file": a.out,
    }


def _show(a: FitBufferArguments, found: "PairsFile", buffer: "LineBuffer", validation: "Validation | None") -> None:
    from mipverify_py.cli._output import Output
    from mipverify_py.cli._printable import printable

    out = Output()
    left = [
        f"{count:,} left out: {why}"
        for count, why in ((found.failed, "attack failed"), (found.unknown, "exact distance missing or open"))
        if count
    ]
    out.line(f"{printable(a.pairs)}: " + "; ".join([f"{len(found.pairs):,} pairs of distances", *left]))
    out.fact("buffer", kind_words(buffer.kind))
    out.fact("estimate", line_words(buffer))
    if found.pairs.contradictions:
        out.fact(
            "note",
            f"in {found.pairs.contradictions:,} pairs the attack is nearer than the exact distance, so one of the two "
            "is wrong",
            "yellow",
        )
    if validation is None:
        out.fact("folds", "not validated" if a.folds == 0 else f"too few pairs for {FOLDS} folds, so not validated")
    else:
        _show_validation(out, validation)
    if a.out is not None:
        out.fact("saved", printable(a.out))


def _show_validation(out: Any, validation: "Validation") -> None:
    def spread(score: str, form: str) -> str:
        mean, deviation = validation.mean(score), validation.deviation(score)
        return "-" if mean is None or deviation is None else f"{mean:{form}} ± {deviation:{form}}"

    out.fact("folds", f"{len(validation.folds)}; on the pairs held out (mean ± standard deviation over folds):")
    out.fact("", f"exact <= estimate   {spread('coverage', '.2%')}")
    out.fact("", f"R2                  {spread('r2', '.4f')}")
    out.fact("", f"mean abs. error     {spread('mean_absolute_error', '.3g')}")
    out.fact("", f"root mean square    {spread('root_mean_squared_error', '.3g')}")


app = new_app()
app.command()(FitBufferArguments)
