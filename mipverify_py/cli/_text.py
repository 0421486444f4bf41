"""Answers for people: one line per image, or a short account of a single one."""

from __future__ import annotations

import statistics
import time
from collections import Counter

from rich.text import Text

from mipverify_py._accuracy import AccuracyBounds
from mipverify_py._enums import Evidence, Objective, StopReason, Verdict
from mipverify_py._perturbation import Unrestricted
from mipverify_py._result import Result
from mipverify_py._sparse import Sparse
from mipverify_py.cli._answer import Answer
from mipverify_py.cli._certificates import certified_words
from mipverify_py.cli._float32 import float32_words
from mipverify_py.cli._numbers import rounded_down, rounded_up, seconds
from mipverify_py.cli._output import Output
from mipverify_py.cli._perturbations import parameter_words, perturbation_words
from mipverify_py.cli._printable import printable
from mipverify_py.cli._report import Report, Run

EVIDENCE_WORDS = {
    Evidence.REPROVED: "re-proved",
    Evidence.REPLAYED: "replayed",
    Evidence.SOLVER_CLAIM: "solver claim",
    None: "-",
}
_NORMS = {"linf": "L-infinity", "l1": "L1", "l2": "L2"}
_STYLES = {
    "robust": "green",
    "no example": "green",
    "exact": "green",
    "adversarial": "red",
    "misclassified": "magenta",
    "open": "yellow",
    "unknown": "yellow",
}
_STOPS = {
    StopReason.TIME_LIMIT: "time limit",
    StopReason.NODE_LIMIT: "node limit",
    StopReason.INTERRUPTED: "interrupted",
    StopReason.SOLVER_FAILED: "solver failed",
    StopReason.NUMERICAL: "numerical trouble",
    StopReason.SOLVED: "solved",
}


def word(answer: Answer) -> str:
    """The answer in one or two words, a key of `_STYLES`."""
    result = answer.result
    if answer.misclassified and result.verdict is Verdict.ADVERSARIAL:
        return "misclassified"
    if result.objective is Objective.FEASIBILITY:
        return result.verdict.value
    if result.verdict is Verdict.ROBUST:
        return "no example"
    if result.lower is None and result.upper is None:
        return "unknown"
    return "exact" if result.stop_reason is StopReason.SOLVED else "open"


class TextReport(Report):
    """A line or two about the run, then one row per image, or for a single image one fact per line."""

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._output = Output()
        self._answers: list[Answer] = []
        self._began = time.monotonic()

    @property
    def _single(self) -> bool:
        return len(self.run.places) == 1

    def begin(self) -> None:
        run, network = self.run, self.run.network
        self._output.line(
            f"{printable(run.model)}: {network.input_size:,} inputs, {network.output_size} classes, "
            f"{network.relu_count:,} ReLU units"
        )
        for note in network.notes:
            self._output.line(f"note: {printable(note)}")
        self._output.line(f"{printable(run.inputs)}: {self._question()}")
        self._output.line("")
        if not self._single:
            closest = self.run.arguments.eps is None
            ends = ("at least", "at most") if closest else ("", "distance")
            self._output.line(_row("index", "label", "class", "answer", *ends, "target", "evidence", "time"), "bold")

    def add(self, answer: Answer) -> None:
        self._answers.append(answer)
        if self._single:
            self._account(answer)
        else:
            self._row(answer)
        if self.run.arguments.verbose:
            for name, text in _statistics(answer.result):
                self._output.fact(name, text, "dim")
        self._output.flush()

    def end(self) -> None:
        if not self._single:
            self._summary()

    def _question(self) -> str:
        a = self.run.arguments
        wrong = "another class"
        if a.target is not None:
            wrong = "class " + " or ".join(map(str, a.target.values))
        elif a.not_target is not None:
            wrong = "another class but " + " or ".join(map(str, a.not_target.values))
        if a.target_wins:
            wrong += " that wins"
        if a.margin:
            wrong += f" by a margin of {a.margin:g}"
        if a.eps is None:
            return f"{_NORMS[a.norm]} distance to the nearest input of {wrong}{perturbation_words(a)}"
        if a.perturbation == "sparse":
            return f"is there an input of {wrong}{perturbation_words(a)} changed by up to {a.eps:g}?"
        return f"is there an input of {wrong} within {_NORMS[a.norm]} radius {a.eps:g}?"

    def _row(self, answer: Answer) -> None:
        result, query = answer.result, answer.query
        label = "-" if query.label is None else str(query.label)
        low, high = _ends(result)
        row = _row(
            str(answer.index),
            label,
            str(result.predicted),
            word(answer),
            low,
            high,
            self._target(answer),
            EVIDENCE_WORDS[result.evidence],
            seconds(result.seconds),
        )
        text = Text(row)
        text.highlight_words([word(answer)], _STYLES[word(answer)])
        self._output.line(text)
        if answer.float32 is not None:
            self._output.fact("float32", float32_words(answer.float32), "dim")
        if result.stop_reason is not StopReason.SOLVED:
            self._output.fact("stopped", _STOPS[result.stop_reason], "yellow")
        for note in answer.notes if self.run.arguments.verbose else answer.remarks:
            self._output.fact("note", printable(note), "dim")
        if not _is_sound(answer) or (self.run.arguments.replay and self.run.arguments.verbose):
            self._output.fact("proof", _replayed(answer), "dim" if _is_sound(answer) else "red")
        if answer.saved is not None:
            self._output.fact("witness", f"saved as {printable(str(answer.saved))}", "dim")
        if answer.certified is not None:
            self._output.fact("certified", certified_words(answer.certified), "dim")

    def _target(self, answer: Answer) -> str:
        """The class asked about with --all-targets, else that of the witness."""
        if self.run.arguments.all_targets:
            return str(answer.query.target_classes[0])
        return "-" if answer.result.target is None else str(answer.result.target)

    def _account(self, answer: Answer) -> None:
        result, query = answer.result, answer.query
        label = "none given, so the predicted class counts" if query.label is None else str(query.label)
        self._output.fact("input", f"index {answer.index}, predicted class {result.predicted}, label {label}")
        self._output.fact("answer", _sentence(answer), _STYLES[word(answer)])
        if answer.float32 is not None:
            self._output.fact("float32", float32_words(answer.float32))
        if result.witness is not None:
            self._output.fact("witness", _witness(answer))
        if result.evidence is not None:
            self._output.fact("evidence", f"{EVIDENCE_WORDS[result.evidence]}: {result.evidence_detail}")
        if self.run.arguments.replay:
            self._output.fact("proof", _replayed(answer), "" if _is_sound(answer) else "red")
        if answer.certified is not None:
            self._output.fact("certified", certified_words(answer.certified))
        searched = result.engine if result.backend is None else f"{result.engine}, {result.backend}"
        self._output.fact(
            "search",
            f"{_STOPS[result.stop_reason]} after {seconds(result.seconds)} "
            f"(attack {seconds(result.attack_seconds)}; engine {searched})",
        )
        for note in answer.notes:
            self._output.fact("note", printable(note), "magenta")

    def _summary(self) -> None:
        answers = self._answers
        counts = Counter(word(answer) for answer in answers)
        tally = [f"{count} {kind}" for kind, count in counts.items()]
        if len(answers) < len(self.run.places):
            tally.append("interrupted")
        elapsed = seconds(time.monotonic() - self._began)
        self._output.line("")
        what = "classes of images" if self.run.arguments.all_targets else "images"
        self._output.line(f"{len(answers)} of {len(self.run.places)} {what} in {elapsed}: {', '.join(tally)}")
        if self.run.asks_for_accuracy and all(answer.query.label is not None for answer in answers):
            self._output.line(_accuracy(answers, len(self.run.places)))
        uppers = [a.result.upper for a in answers if a.result.upper is not None and word(a) in ("exact", "open")]
        if uppers:
            self._output.line(
                f"distance (upper ends): smallest {rounded_up(min(uppers))}, "
                f"median {rounded_up(statistics.median(uppers))}, largest {rounded_up(max(uppers))}"
            )
        for evidence, detail in dict.fromkeys((a.result.evidence, a.result.evidence_detail) for a in answers):
            if evidence is not None:
                self._output.line(f"{EVIDENCE_WORDS[evidence]}: {detail}")
        if self.run.arguments.replay:
            self._output.line(_replays(answers))
        close = sum(answer.float32_differs for answer in answers)
        if close:
            self._output.line(f"float32: for {close} of the witnesses onnxruntime still prefers the original class")


def _accuracy(answers: list[Answer], count: int) -> str:
    """The share of images that keep their label within the radius; where it is a bracket, rounded outwards."""
    known = AccuracyBounds.of([answer.result for answer in answers], missing=count - len(answers))
    low = known.robust * 10_000 // known.count
    high = -(-(known.robust + known.unknown) * 10_000 // known.count)
    between = f"between {_percent(low)} and {_percent(high)}" if known.unknown else _percent(low)
    return (
        f"adversarial accuracy: {between} of {known.count} ({known.robust} robust, {known.adversarial} adversarial, "
        f"{known.misclassified} misclassified, {known.unknown} unknown)"
    )


def _percent(hundredths: int) -> str:
    return f"{hundredths // 100}.{hundredths % 100:02d} %"


def _is_sound(answer: Answer) -> bool:
    """Whether no replay says otherwise."""
    return answer.replay is None or answer.replay.holds


def _replayed(answer: Answer) -> str:
    """What --replay has to say about one answer."""
    report = answer.replay
    if report is None:
        return "none to replay"
    if not report.holds:
        return f"does not hold: {printable(report.failure)}"
    return f"replayed: {_count(report.leaves, 'leaf', 'leaves')}, {seconds(report.seconds)}"


def _replays(answers: list[Answer]) -> str:
    """What --replay has to say about all of them."""
    reports = [answer.replay for answer in answers if answer.replay is not None]
    if not reports:
        return "proofs: none to replay"
    holding = [report for report in reports if report.holds]
    leaves = _count(sum(report.leaves for report in holding), "leaf", "leaves")
    taken = seconds(sum(report.seconds for report in reports))
    return f"proofs: {len(holding)} of {len(reports)} replayed and found to hold: {leaves}, {taken}"


def _count(number: int, one: str, several: str) -> str:
    return f"{number:,} {one if number == 1 else several}"


def _row(*cells: str) -> str:
    index, label, predicted, answer, low, high, target, evidence, time_taken = cells
    return (
        f"{index:>6}{label:>7}{predicted:>7}  {answer:<14}{low:>12}{high:>13}{target:>8}  {evidence:<13}{time_taken:>9}"
    )


def _ends(result: Result) -> tuple[str, str]:
    """The distance's bracket as shown in a row; for a fixed radius, the distance of the witness at hand."""
    if result.objective is Objective.FEASIBILITY:
        return "", "-" if result.witness is None else rounded_up(result.witness.distance)
    low = "-" if result.lower is None else rounded_down(result.lower)
    high = "-" if result.upper is None else rounded_up(result.upper)
    return low, high


def _sentence(answer: Answer) -> str:
    result, kind = answer.result, word(answer)
    low, high = _ends(result)
    if isinstance(answer.query.perturbation, Sparse) and kind in ("robust", "adversarial"):
        return f"{kind}: there is {'no' if kind == 'robust' else 'an'} adversarial example in the perturbation set"
    if kind == "robust":
        return f"robust: no adversarial example within {answer.eps:g}"
    if kind == "adversarial":
        return f"adversarial: there is an example within {answer.eps:g}"
    if kind == "no example":
        whole = isinstance(answer.query.perturbation, Unrestricted)
        return "no adversarial example " + ("anywhere in the model's domain" if whole else "in the perturbation set")
    if kind == "misclassified":
        return "misclassified: the distance is 0"
    if kind == "unknown":
        return "unknown"
    if result.lower is None:
        return f"distance <= {high}"
    if result.upper is None:
        return f"distance >= {low}"
    assert answer.result.gap is not None
    still_open = "" if kind == "exact" else f", open by {answer.result.gap:.2g}"
    return f"{low} <= distance <= {high}{still_open}"


def _witness(answer: Answer) -> str:
    witness = answer.result.witness
    assert witness is not None
    parts = [f"class {witness.target} at distance {rounded_up(witness.distance)}"]
    if witness.replay is not None:
        says = "agrees" if witness.replay.adversarial else f"says class {witness.replay.predicted}"
        parts.append(f"onnxruntime (float32) {says}")
    if witness.parameters is not None:
        parts.append(parameter_words(answer.query.perturbation, witness.parameters))
    if answer.saved is not None:
        parts.append(f"saved as {printable(str(answer.saved))}")
    return "; ".join(parts)


def _statistics(result: Result) -> list[tuple[str, str]]:
    """Named facts about what the search took."""
    s, facts = result.statistics, []
    if s.bound_seconds:
        solves = dict(s.bound_solves)
        skips = dict(s.bound_skips)
        stages = [
            f"{stage} {seconds(taken)} ({_count(solves[stage], 'solve', 'solves')}, {skips[stage]:,} skipped)"
            for stage, taken in s.bound_seconds
        ]
        facts.append(("bounds", ", ".join(stages)))
    if s.open_targets:
        state = "not excluded by bounds" if result.engine == "mip" else "not proved"
        facts.append(("targets", f"{state}: {', '.join(map(str, s.open_targets))}"))
    for layer in s.layers:
        units = (
            f"{layer.size:,} units: {layer.active:,} active, {layer.inactive:,} inactive, {layer.unstable:,} unstable"
        )
        facts.append(("layer", f"{printable(layer.name) or 'node'} ({layer.node}), {units}"))
    if s.nodes and not s.columns:
        trees = _count(s.trees, "target", "targets")
        rounds = _count(s.rounds, "time", "times")
        work = f"{s.nodes:,} nodes, {s.iterations:,} simplex iterations, {s.cuts:,} hull planes"
        facts.append(("trees", f"{trees} split, {work}; the radius shrank {rounds}"))
    if s.columns:
        facts.append(
            (
                "model",
                (
                    f"{s.columns:,} columns ({s.binaries:,} binary), {s.rows:,} rows, {s.nonzeros:,} nonzeros; "
                    f"{s.nodes:,} nodes, {s.iterations:,} simplex iterations in {seconds(s.solve_seconds)}"
                ),
            )
        )
    if result.relative_gap is not None:
        facts.append(("gap", f"{result.gap:.3g}, {result.relative_gap:.2g} of the upper end"))
    if s.phase_seconds:
        facts.append(("time", ", ".join(f"{phase} {seconds(taken)}" for phase, taken in s.phase_seconds)))
    return facts
