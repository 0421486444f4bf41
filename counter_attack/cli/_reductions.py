"""`counter-attack reductions`: detectors of classifiers, classifiers of detectors, risks, and what a claim implies."""

# No `from __future__ import annotations` here: typer reads the annotations of these classes as objects.
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Annotated

import typer

from counter_attack.cli import _options as options
from counter_attack.cli._app import new_app
from counter_attack.cli._inputs import InputArguments
from counter_attack.cli._pool_run import check_place
from mipverify_py.cli import ExitCode, _parse

if TYPE_CHECKING:
    from counter_attack.cli._inputs import Opened
    from counter_attack.reductions import RejectNetwork, RiskProgress, Setting

_MOST_DIGITS = 307
"""Before or behind the point: what has more may be no float64, and would take long to read as a fraction."""

_REDUCTION, _CLAIM = "The reduction", "The claim"

_HELP = (  # one line per paragraph: typer would keep line breaks
    "Detectors from classifiers and classifiers from detectors, with the risks that the two reductions relate "
    "(Tramer 2022).\n\n"
    "A detector for attacks within eps and a classifier that is robust within eps/2 can be made of each other."
)

app = new_app(help=_HELP)


@app.callback(invoke_without_command=True)
def _choose(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        raise typer.TyperException("reductions needs a command: detector, classifier, risk or claim.")


def _fraction(expected: str, accepts: Callable[[Fraction], bool]) -> Callable[[str | Fraction], Fraction]:
    """A parser of decimals and fractions such as 8/255 that `accepts` likes."""

    def parse(text: str | Fraction) -> Fraction:  # typer sends default values through here, too
        try:
            parts = [Decimal(part) for part in str(text).split("/")]
            long = any(not part.is_finite() or abs(part.adjusted()) > _MOST_DIGITS for part in parts)
            value = Fraction(0 if long else text)
        except (ValueError, ArithmeticError):
            raise typer.BadParameter(f"{text!r} is not a number; it must be {expected}.") from None
        if long or not accepts(value):
            raise typer.BadParameter(f"{text} is not allowed; it must be {expected}.")
        return value

    return parse


@dataclass(frozen=True, slots=True)
class Radii:
    """Different radii, ascending, at least one."""

    values: tuple[Fraction, ...]


_radius = _fraction("a radius that is at least 0, such as 0.1 or 16/255", lambda v: v >= 0)
_share = _fraction("a share between 0 and 1, such as 0.05", lambda v: 0 <= v <= 1)


def _radii(text: str) -> Radii:
    return Radii(tuple(sorted({_radius(part.strip()) for part in text.split(",")})))


_Eps = Annotated[
    Fraction | None,
    typer.Option(
        metavar="E",
        parser=_radius,
        rich_help_panel=_REDUCTION,
        help="The radius of the attacks that the detector is to withstand, such as 0.1 or 16/255.",
    ),
]
_Threshold = Annotated[
    float | None,
    typer.Option(
        metavar="T",
        parser=_parse.number("a number", lambda _: True),
        rich_help_panel=_REDUCTION,
        help="MODEL is a classifier; the detector rejects where all of its logits are below this.",
    ),
]
_Reject = Annotated[
    int | None,
    typer.Option(
        metavar="OUTPUT",
        parser=_parse.whole("a zero-based output", lambda v: v >= 0),
        rich_help_panel=_REDUCTION,
        help="MODEL is a detector with this output for rejection. Default, without --threshold: the last.",
    ),
]
_Timeout = Annotated[
    float | None,
    typer.Option(
        metavar="SECONDS",
        parser=_parse.number("a number of seconds above 0", lambda v: v > 0),
        rich_help_panel=_REDUCTION,
        help="Stop each exact search after this time; what it leaves open is shown as such. Default: no limit.",
    ),
]
_Out = Annotated[
    str | None,
    typer.Option(
        "--out", metavar="FILE.csv", rich_help_panel=options.OUTPUT, help="Also save the table, with all digits."
    ),
]


@dataclass(frozen=True, slots=True)
class _ReductionArguments(InputArguments):
    """What the commands about a model and its inputs share."""

    norm: options.NormName = "linf"
    timeout: _Timeout = None
    seed: options.Seed = 0
    json: options.Json = False
    quiet: options.Quiet = False
    out: _Out = None

    def check(self) -> None:
        """Raises TyperException for what can be known to be wrong without reading anything."""
        self.check_inputs()
        check_place("--out", self.out, ".csv")

    def setting(self, opened: "Opened") -> "Setting":
        from counter_attack.reductions import Setting
        from mipverify_py import Norm, Options

        return Setting(Norm(self.norm), opened.domain, Options(time_limit=self.timeout, seed=self.seed))


def _detector_of(opened: "Opened", threshold: float | None, reject: int | None) -> "RejectNetwork":
    """The detector that MODEL is, or is made into."""
    from counter_attack.reductions import RejectNetwork, threshold_detector

    if threshold is not None:
        return threshold_detector(opened.network, threshold)
    return RejectNetwork(opened.network, -1 if reject is None else reject)


def _check_detector(threshold: float | None, reject: int | None) -> None:
    if threshold is not None and reject is not None:
        raise typer.TyperException("--threshold is for a classifier, --reject for a detector; give one of them.")


@app.command("detector")
@dataclass(frozen=True, slots=True)
class DetectorArguments(_ReductionArguments):
    """The detector of a classifier: rejects inputs whose class changes within eps/2.

    counter-attack reductions detector model.onnx --dataset digits --index 0:20 --eps 0.2

    The exact engine says accepted, rejected or open; with --attacks, the attack's distance less the buffer decides, and
    nothing that is accepted is proved. The exit code is 1 if an input is rejected, 2 if one is open.
    """

    eps: _Eps = None
    attacks: options.Attacks = None
    parameters: options.Parameters = None
    buffer: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            rich_help_panel=options.ATTACKS,
            help="A buffer made by counter-attack fit-buffer, taken from the attacks' distances.",
        ),
    ] = None

    def run(self) -> int:
        """Answers for each input; returns the exit code."""
        self.check()
        if self.eps is None:
            raise typer.TyperException("Give the radius of the attacks, such as --eps 0.2.")
        if self.attacks is None and self.parameters is None and self.buffer is not None:
            raise typer.TyperException("--buffer corrects the distances of attacks; name some with --attacks.")
        from counter_attack.cli import _reductions_report as report
        from counter_attack.cli._inputs import named_attacks
        from counter_attack.cli._tables import ProgressLine
        from counter_attack.detection import Zero, load_buffer
        from counter_attack.pool import Pool
        from counter_attack.reductions import Answer, detector_from_classifier

        line, opened = ProgressLine(quiet=self.quiet), self.open()
        pool = None
        if self.attacks is not None or self.parameters is not None:
            pool = Pool(named_attacks(self.attacks, self.parameters, opened.data_set, norm=self.norm))
        buffer = Zero() if self.buffer is None else load_buffer(self.buffer)
        detector = detector_from_classifier(
            opened.network, float(self.eps), attack=pool, buffer=buffer, setting=self.setting(opened)
        )
        found = detector(opened.x, progress=lambda row: line.show(_at(opened, row)))
        line.clear()
        report.show_detection(report.Shown(opened, self.norm, self.json, self.out), found)
        if found.interrupted:
            return ExitCode.INTERRUPTED
        if found.count(Answer.OPEN):
            return ExitCode.UNKNOWN
        return ExitCode.ADVERSARIAL if found.count(Answer.REJECTED) else ExitCode.ANSWERED


@app.command("classifier")
@dataclass(frozen=True, slots=True)
class ClassifierArguments(_ReductionArguments):
    """The classifier of a detector: the class of the nearest accepted input within eps/2.

    counter-attack reductions classifier model.onnx --dataset digits --index 0:20 --eps 0.2 --threshold 3

    MODEL is a detector with one output for rejection, or with --threshold a classifier. The exit code is 2 if an answer
    is open.
    """

    eps: _Eps = None
    threshold: _Threshold = None
    reject: _Reject = None

    def run(self) -> int:
        """Decodes each input; returns the exit code."""
        self.check()
        _check_detector(self.threshold, self.reject)
        if self.eps is None:
            raise typer.TyperException("Give the radius of the attacks, such as --eps 0.2.")
        from counter_attack.cli import _reductions_report as report
        from counter_attack.cli._tables import ProgressLine
        from counter_attack.reductions import Nearest, classifier_from_detector

        line, opened = ProgressLine(quiet=self.quiet), self.open()
        g = _detector_of(opened, self.threshold, self.reject)
        decoder = classifier_from_detector(g, float(self.eps), setting=self.setting(opened))
        found = decoder(opened.x, progress=lambda row: line.show(_at(opened, row)))
        line.clear()
        report.show_decoding(report.Shown(opened, self.norm, self.json, self.out), found, g)
        if found.interrupted:
            return ExitCode.INTERRUPTED
        return ExitCode.UNKNOWN if found.count(Nearest.OPEN) else ExitCode.ANSWERED


@app.command("risk")
@dataclass(frozen=True, slots=True)
class RiskArguments(_ReductionArguments):
    """Risks of a detector, of its classifier and of the model, with the bound FPR + FNR + R.

    counter-attack reductions risk model.onnx --dataset digits --index 0:20 --eps 0.05,0.1,0.2 --threshold 3

    MODEL is a detector with one output for rejection, or with --threshold a classifier. Inputs need labels. The exit
    code is 2 if a risk of the detector or the model is open.
    """

    eps: Annotated[
        Radii | None,
        typer.Option(
            metavar="LIST", parser=_radii, rich_help_panel=_REDUCTION, help="Radii of attacks, such as 0.05,0.1,0.2."
        ),
    ] = None
    threshold: _Threshold = None
    reject: _Reject = None
    plot: Annotated[
        str | None,
        typer.Option(metavar="FILE.png", rich_help_panel=options.OUTPUT, help="Draw the risks against eps."),
    ] = None

    def run(self) -> int:
        """Computes the risks radius by radius; returns the exit code."""
        self.check()
        _check_detector(self.threshold, self.reject)
        check_place("--plot", self.plot, ".png")
        if self.eps is None:
            raise typer.TyperException("Give radii of attacks, such as --eps 0.05,0.1,0.2.")
        from counter_attack.cli import _reductions_report as report
        from counter_attack.cli._tables import ProgressLine
        from counter_attack.reductions import RiskRow, plot_risks, risk_rows

        line, opened = ProgressLine(quiet=self.quiet), self.open()
        if opened.labels is None:
            raise typer.TyperException("Risks need the classes of the inputs; give --label, or choose a data set.")

        def tell(at: "RiskProgress") -> None:
            line.show(f"{at.part} at eps {at.eps:g}, {_at(opened, at.position)}")

        rows: list[RiskRow] = []
        found = risk_rows(
            _detector_of(opened, self.threshold, self.reject),
            opened.x,
            opened.labels,
            [float(eps) for eps in self.eps.values],
            self.setting(opened),
            f=None if self.threshold is None else opened.network,
            progress=tell,
        )
        rows.extend(found)
        line.clear()
        report.show_risks(report.Shown(opened, self.norm, self.json, self.out), rows)
        if self.plot is not None:
            plot_risks(rows, self.plot)
        if any(row.interrupted for row in rows):
            return ExitCode.INTERRUPTED
        return ExitCode.ANSWERED if all(row.is_exact for row in rows) else ExitCode.UNKNOWN


@app.command("claim")
@dataclass(frozen=True, slots=True)
class ClaimArguments:
    """What a detector's claim implies: a classifier robust within eps/2, beside known ones.

    counter-attack reductions claim --eps 16/255 --fpr 0.05 --fnr 0.02 --accuracy 0.95 --data cifar10
    """

    eps: Annotated[
        Fraction,
        typer.Option(
            metavar="E",
            parser=_fraction("a radius above 0, such as 0.1 or 16/255", lambda v: v > 0),
            rich_help_panel=_CLAIM,
            help="The radius of the attacks that the detector is claimed to withstand.",
        ),
    ]
    fpr: Annotated[
        Fraction,
        typer.Option(
            metavar="SHARE", parser=_share, rich_help_panel=_CLAIM, help="Clean inputs that it rejects, 0 to 1."
        ),
    ]
    fnr: Annotated[
        Fraction,
        typer.Option(
            metavar="SHARE",
            parser=_share,
            rich_help_panel=_CLAIM,
            help="Attacks within eps that it neither rejects nor classifies correctly, 0 to 1.",
        ),
    ]
    accuracy: Annotated[
        Fraction,
        typer.Option(
            metavar="SHARE",
            parser=_share,
            rich_help_panel=_CLAIM,
            help="Clean inputs that its classifier gets right, 0 to 1.",
        ),
    ]
    norm: Annotated[
        str,
        typer.Option(
            metavar="NAME", parser=_parse.choice(("linf", "l1", "l2")), rich_help_panel=_CLAIM, help="linf, l1 or l2."
        ),
    ] = "linf"
    data: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            parser=_parse.choice(("mnist", "cifar10", "cifar100", "imagenet")),
            rich_help_panel=_CLAIM,
            help="mnist, cifar10, cifar100 or imagenet: compare with known robust classifiers for it.",
        ),
    ] = None
    json: options.Json = False
    out: _Out = None

    def run(self) -> int:
        """Shows what is implied; the exit code is 0 whatever it is."""
        check_place("--out", self.out, ".csv")
        from counter_attack.cli import _reductions_report as report
        from counter_attack.reductions import Claim
        from mipverify_py import Norm

        claim = Claim(Norm(self.norm), self.eps, self.fpr, self.fnr, self.accuracy, self.data)
        report.show_claim(claim, as_json=self.json, out=self.out)
        return ExitCode.ANSWERED


def _at(opened: "Opened", row: int) -> str:
    return f"index {opened.indices[row]} ({row + 1} of {len(opened.indices)})"
