"""The risks that the reductions relate, for several radii, and their picture."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from numpy.typing import ArrayLike

from counter_attack._figure import save_figure
from counter_attack.reductions._ask import Setting, labels_of, rows_of
from counter_attack.reductions._decoder import ExactDecoder
from counter_attack.reductions._detector import Answer, Detection, ExactDetector
from counter_attack.reductions._reject import RejectNetwork
from counter_attack.reductions._risk import DetectionRisk, Rate, decoder_risk, detection_risk
from onnx_models import ReluNetwork
from onnx_models.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True, eq=False)
class RiskRow:
    """The risks at one radius.

    Attributes:
        eps: the radius.
        detection: of the detector g.
        decoder: R^(eps/2)(h), for the classifier h of g; None where an interruption came before it.
        classifier: R^(eps/2)(f) = R^eps_adv-det of the detector of f; None without f, or after an interruption.
        interrupted: whether Ctrl-C cut it short.
    """

    eps: float
    detection: DetectionRisk
    decoder: Rate | None
    classifier: Rate | None
    interrupted: bool

    @property
    def is_exact(self) -> bool:
        """Whether a search for g or f stopped nowhere; the bracket for h may be open all the same."""
        known = (self.detection.risk, self.detection.bound, self.classifier)
        return not self.interrupted and all(rate is None or rate.is_exact for rate in known)


@dataclass(frozen=True, slots=True)
class RiskProgress:
    """What is being done: `part` ("detector", "classifier" or "model") at `eps`, input number `position`."""

    eps: float
    part: str
    position: int


def risk_rows(
    g: RejectNetwork,
    inputs: ArrayLike,
    labels: ArrayLike,
    radii: Sequence[float],
    setting: Setting | None = None,
    *,
    f: ReluNetwork | None = None,
    progress: Callable[[RiskProgress], None] | None = None,
) -> Iterator[RiskRow]:
    """The risks of a detector g, of its classifier h, and of a classifier f with its own detector, radius by radius.

    After Ctrl-C the row at hand, with what was left open in it, is the last.

    Raises:
        InputError: arguments that do not fit.
    """
    given, rows = setting or Setting(), rows_of(g.network, inputs)
    classes = labels_of(labels, len(rows), g.network.output_size)
    for eps in radii:

        def tell(part: str, eps: float = eps) -> Callable[[int], None]:
            return lambda position: None if progress is None else progress(RiskProgress(eps, part, position))

        found = detection_risk(g, rows, classes, eps, given, progress=tell("detector"))
        decoder, model, stopped = None, None, INTERRUPTED in found.stopped
        try:
            if not stopped:
                tell("classifier")(0)
                decoder = decoder_risk(ExactDecoder(g, eps, given), classes, rows, found)
            if not stopped and f is not None:
                detected = ExactDetector(f, eps, given)(rows, progress=tell("model"))
                model, stopped = constructed_risk(detected, classes), detected.interrupted
        except KeyboardInterrupt:
            stopped = True
        yield RiskRow(eps, found, decoder, model, stopped)
        if stopped:
            return


def constructed_risk(found: Detection, labels: Sequence[int]) -> Rate:
    """R^eps_adv-det of the detector of a classifier f, from its answers: it equals R^(eps/2)(f).

    The detector fails at (x, y) where it rejects x, or accepts it with a class other than y. Where it accepts x with y,
    it fails nowhere within eps, by the theorem. Inputs without an answer, after an interruption, are open.
    """
    known: list[bool | None] = [None] * len(labels)
    for position, (answer, label) in enumerate(zip(found.answers, labels, strict=False)):
        if answer.predicted != label or answer.answer is Answer.REJECTED:
            known[position] = True
        elif answer.answer is Answer.ACCEPTED:
            known[position] = False
    return Rate.of(known)


def plot_risks(rows: Sequence[RiskRow], path: str | Path) -> None:
    """Draws the risks against eps into a file; brackets are bands.

    Raises:
        InputError: no rows, or a file that cannot be written.
    """
    from matplotlib.figure import Figure

    if not rows:
        raise InputError("There are no risks to draw.")
    figure = Figure(figsize=(6.4, 3.8), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    radii = [row.eps for row in rows]
    _band(axes, radii, [row.decoder for row in rows], _Style("classifier h of g: $R^{ε/2}$", "#1b6ca8", "-", 1.5))
    _band(axes, radii, [row.detection.bound for row in rows], _Style("FPR + FNR + R of g", "#999999", ":", 4.0))
    _band(
        axes, radii, [row.detection.risk for row in rows], _Style("detector g: $R^{ε}_{adv-det}$", "#d95f02", "-", 1.5)
    )
    own = _Style("model f: $R^{ε/2}$ = risk of its own detector", "#1b9e77", "--", 2.5)
    _band(axes, radii, [row.classifier for row in rows], own)
    axes.set_xlabel("ε, the radius of attacks on the detector")
    axes.set_ylabel("share of the inputs")
    axes.set_ylim(-0.02, 1.05)
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left", fontsize="small")
    save_figure(figure, path)


class _Style(NamedTuple):
    """How a risk is drawn."""

    label: str
    colour: str
    line: str
    width: float


def _band(axes: Axes, radii: Sequence[float], rates: Sequence[Rate | None], style: _Style) -> None:
    """A line where every risk is exact; otherwise a band, with a line at its lower end."""
    known = [(eps, float(rate.lower), float(rate.upper)) for eps, rate in zip(radii, rates, strict=True) if rate]
    if not known:
        return
    x, lower, upper = zip(*known, strict=True)
    (drawn,) = axes.plot(x, lower, style.line, color=style.colour, label=style.label)
    drawn.set(linewidth=style.width, marker="o", markersize=2 + style.width)
    if lower != upper:
        axes.fill_between(x, lower, upper, color=style.colour, alpha=0.2, linewidth=0)
