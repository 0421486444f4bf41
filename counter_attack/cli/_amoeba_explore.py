"""`counter-attack amoeba map` and `attack`: what boxes say about decisions, and attacks that follow them."""

# No `from __future__ import annotations` here: typer reads the annotations of these classes as objects.
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from counter_attack.cli import _options as options
from counter_attack.cli._pool_run import check_place
from mipverify_py.cli import ExitCode, _parse
from mipverify_py.cli._parse import Names

if TYPE_CHECKING:
    from bounds import Bounds
    from counter_attack.amoeba import GuidedAttack, GuidedRun
    from counter_attack.amoeba._box import Domain
    from counter_attack.amoeba._explorer_stability import Method
    from counter_attack.attacks import Attack
    from counter_attack.cli._amoeba_files import SavedBoxes
    from onnx_models import ReluNetwork

ATTACKS = ("fgsm", "bim", "pgd", "cw")
"""Attacks that can be guided here; cw stands for the attack of Carlini and Wagner in either norm."""

NORMS = ("linf", "l2")
SIGNS = ("on", "off")
_BOXES, _PICTURES = "The boxes", "Pictures"


@dataclass(frozen=True, slots=True)
class SavedBoxArguments:
    """The options that choose a model and boxes found for it."""

    model: Annotated[str, typer.Argument(metavar="MODEL", help="An .onnx file, or zoo:NAME for a bundled model.")]
    boxes: Annotated[str, typer.Argument(metavar="BOXES.npz", help="What `amoeba box --save` has written.")]
    index: options.Index = None
    shape: Annotated[
        str | None,
        typer.Option(metavar="NAME", rich_help_panel=_BOXES, help="Boxes of this shape, where the file has several."),
    ] = None
    bounds: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", rich_help_panel=_BOXES, help="Boxes found with these bounds, where the file has several."
        ),
    ] = None
    domain: options.DomainOfInputs = None

    def open(self) -> "tuple[ReluNetwork, SavedBoxes, Domain]":
        """The model, the boxes and the valid inputs; raises InputError for what cannot be read or does not fit."""
        from counter_attack.amoeba import UNIT
        from counter_attack.cli._amoeba_files import read_boxes
        from mipverify_py.cli._inputs import load_model, read_domain

        network = load_model(self.model)
        saved = read_boxes(Path(self.boxes), network, shape=self.shape, bounds=self.bounds, index=self.index)
        box: Bounds | None = read_domain(self.domain, network)
        return network, saved, UNIT if box is None else (box.lower, box.upper)


@dataclass(frozen=True, slots=True)
class MapArguments(SavedBoxArguments):
    """What the boxes say about decisions: features by |e2 - e1|, the map of e2 - e1, and how alike the boxes are.

    counter-attack amoeba map model.onnx boxes.npz --maps maps.png --stability stability.png
    """

    rows: Annotated[
        int,
        typer.Option(
            metavar="N",
            parser=_parse.whole("at least 0", lambda v: v >= 0),
            rich_help_panel=options.OUTPUT,
            help="Show so many features of each box; --json and --out have all.",
        ),
    ] = 5
    maps: Annotated[
        str | None,
        typer.Option(metavar="FILE.png", rich_help_panel=_PICTURES, help="Draw each image and its map of e2 - e1."),
    ] = None
    stability: Annotated[
        str | None,
        typer.Option(
            metavar="FILE.png", rich_help_panel=_PICTURES, help="Draw the boxes as points, near where alike in shape."
        ),
    ] = None
    method: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            parser=_parse.choice(("pca", "tsne")),
            rich_help_panel=_PICTURES,
            help="How --stability gets to the plane: pca or tsne.",
        ),
    ] = "pca"
    seed: options.Seed = 0
    out: Annotated[
        str | None, typer.Option(metavar="DIR", rich_help_panel=options.OUTPUT, help="Save DIR/features-INDEX.csv.")
    ] = None
    json: options.Json = False
    quiet: options.Quiet = False

    def run(self) -> int:
        """Shows the features and draws the pictures; returns the exit code."""
        for option, path in (("--maps", self.maps), ("--stability", self.stability)):
            check_place(option, path, ".png")
        from counter_attack.amoeba import draw_maps, feature_table
        from counter_attack.cli._tables import ProgressLine, TableWriter

        network, saved, domain = self.open()
        writer = TableWriter(as_json=self.json, folder=None if self.out is None else Path(self.out))
        titles = [f"{i}: class {c}" for i, c in zip(saved.indices, saved.classes, strict=True)]
        for i, title, box in zip(saved.indices, titles, saved.boxes, strict=True):
            heading = f"Input {title}, by |e2 - e1| ({saved.kind})"
            table = feature_table(box, heading, f"features-{i}", network.input_shape, domain=domain)
            writer.add(table, rows=self.rows)
        line = ProgressLine(quiet=self.quiet)
        if self.maps is not None:
            line.show(f"drawing {self.maps}")
            draw_maps(Path(self.maps), saved.boxes, titles, network.input_shape, domain=domain)
        if self.stability is not None:
            line.show(f"drawing {self.stability}")
            self._draw_stability(saved)
        line.clear()
        return ExitCode.ANSWERED

    def _draw_stability(self, saved: "SavedBoxes") -> None:
        from counter_attack.amoeba import draw_stability, embed_shapes

        assert self.stability is not None
        method: Method = "tsne" if self.method == "tsne" else "pca"
        points = embed_shapes(saved.boxes, method=method, seed=self.seed)
        name = "t-SNE" if method == "tsne" else "PCA"
        title = f"shapes of {len(saved.boxes)} boxes ({saved.kind}), {name}"
        draw_stability(Path(self.stability), points, saved.classes, saved.boxes, title=title)


@dataclass(frozen=True, slots=True)
class GuidedArguments(SavedBoxArguments):
    """Attacks that change only the most constrained features of each box, beside the same attacks without a guide.

    counter-attack amoeba attack model.onnx boxes.npz --attacks fgsm,pgd --percent 10,25 --eps 0.2 --exact

    Each attack is run unguided first, then with the features of least e1 + e2 alone. With signs on, a feature may only
    go in the direction in which its box ends first. Every example is evaluated anew and checked.
    """

    attacks: Annotated[
        Names | None,
        typer.Option(
            metavar="NAMES",
            parser=_parse.names,
            rich_help_panel=options.ATTACKS,
            help=f"A comma list of {', '.join(ATTACKS)}. Default: fgsm,pgd,cw.",
        ),
    ] = None
    norm: Annotated[
        Names | None,
        typer.Option(
            metavar="NAMES",
            parser=_parse.names,
            rich_help_panel=options.ATTACKS,
            help="A comma list of linf, l2. Default: linf.",
        ),
    ] = None
    percent: Annotated[
        Names | None,
        typer.Option(
            metavar="NUMBERS",
            parser=_parse.names,
            rich_help_panel=options.ATTACKS,
            help="How many percent of the features may change, a comma list. Default: 10,25,50.",
        ),
    ] = None
    signs: Annotated[
        Names | None,
        typer.Option(
            metavar="NAMES",
            parser=_parse.names,
            rich_help_panel=options.ATTACKS,
            help="on, off or on,off: whether a feature may only go in the direction in which its box ends first. "
            "Default: on.",
        ),
    ] = None
    eps: Annotated[
        float | None,
        typer.Option(
            metavar="E",
            parser=_parse.number("a radius above 0, such as 0.1", lambda v: v > 0),
            rich_help_panel=options.ATTACKS,
            help="Count examples within this radius, in the attack's norm. Default: look for the nearest.",
        ),
    ] = None
    parameters: options.Parameters = None
    exact: Annotated[
        bool,
        typer.Option(
            "--exact",
            rich_help_panel=options.ATTACKS,
            help="Also the exact search of each input under its masks: what no attack can exceed.",
        ),
    ] = False
    timeout: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            parser=_parse.number("a number of seconds above 0", lambda v: v > 0),
            rich_help_panel=options.ATTACKS,
            help="Stop each exact search after this time. Default: no limit.",
        ),
    ] = None
    seed: options.Seed = 0
    out: Annotated[
        str | None, typer.Option(metavar="FILE.csv", rich_help_panel=options.OUTPUT, help="Save the table.")
    ] = None
    json: options.Json = False
    quiet: options.Quiet = False

    def run(self) -> int:
        """Attacks, shows and saves the table; returns the exit code."""
        percents = self._check()
        from counter_attack.amoeba import compare_guided, guided_table
        from counter_attack.cli._tables import ProgressLine, TableWriter
        from counter_attack.training._files import write_whole

        network, saved, domain = self.open()
        guidance = [(percent, sign == "on") for percent in percents for sign in _values(self.signs, ("on",))]
        attacks = self._attacks()
        line = ProgressLine(quiet=self.quiet)
        total, runs = len(attacks) * (1 + len(guidance)), list["GuidedRun"]()

        def tell(how: "GuidedAttack") -> None:
            words = f"{how.attack.name} in {how.attack.norm.value}, {how.percent:g} %"
            line.show(f"{words} ({len(runs) + 1} of {total})")

        found = compare_guided(
            network,
            saved.boxes,
            attacks,
            guidance,
            eps=self.eps,
            progress=tell,
            label=saved.classes,
            domain=domain,
            seed=self.seed,
        )
        for run in found:
            runs.append(run)
        line.clear()
        table = guided_table(runs)
        TableWriter(as_json=self.json, folder=None).add(table)
        if self.out is not None:
            write_whole(Path(self.out), table.csv().encode())
        if len(runs) < total or any(run.interrupted for run in runs):
            return ExitCode.INTERRUPTED
        is_open = any(bool(run.open.any()) for run in runs if run.open is not None)
        return ExitCode.UNKNOWN if is_open else ExitCode.ANSWERED

    def _check(self) -> list[float]:
        """The percentages; raises TyperException for the first option that is wrong."""
        check_place("--out", self.out, ".csv")
        for option, given, known in (
            ("--attacks", self.attacks, ATTACKS),
            ("--norm", self.norm, NORMS),
            ("--signs", self.signs, SIGNS),
        ):
            for name in _values(given, ()):
                if name not in known:
                    raise typer.TyperException(f"{option} {name}: is unknown; choose from {', '.join(known)}.")
        if self.timeout is not None and not self.exact:
            raise typer.TyperException("--timeout limits exact searches, and there are none; add --exact.")
        parse = _parse.number("above 0 and at most 100", lambda v: 0 < v <= 100)
        try:
            return [parse(one) for one in _values(self.percent, ("10", "25", "50"))]
        except typer.BadParameter as error:
            raise typer.TyperException(f"--percent: {error}") from error

    def _attacks(self) -> "list[Attack]":
        from dataclasses import replace

        from counter_attack.cli._inputs import named_attacks
        from counter_attack.detection import ExactAttack
        from mipverify_py import Norm, Options

        found: list[Attack] = []
        for norm in map(Norm, _values(self.norm, ("linf",))):
            for name in _values(self.attacks, ("fgsm", "pgd", "cw")):
                own = Names(("cw-l2" if name == "cw" and norm is Norm.L2 else name,))
                found += [replace(one, norm=norm) for one in named_attacks(own, self.parameters, None).values()]
            if self.exact:
                found.append(ExactAttack(norm, Options(time_limit=self.timeout)))
        return found


def _values(given: Names | None, default: tuple[str, ...]) -> tuple[str, ...]:
    return default if given is None else given.values
