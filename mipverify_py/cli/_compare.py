"""The same program given to several solvers, for each image asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mipverify_py._agreement import AgreementReport, BackendAnswer, compare_backends, save_mps
from mipverify_py.cli._answer import worst
from mipverify_py.cli._arguments import Arguments
from mipverify_py.cli._complain import complain
from mipverify_py.cli._exit import ExitCode
from mipverify_py.cli._image_loop import ImageLoop
from mipverify_py.cli._json import write_line
from mipverify_py.cli._numbers import seconds
from mipverify_py.cli._output import Output
from mipverify_py.cli._printable import printable
from mipverify_py.cli._questions import options_of


def compare(a: Arguments) -> ExitCode:
    """Writes what each solver says about each image's program, and where they disagree."""
    assert a.compare_backends is not None
    loop = ImageLoop.of(a)
    codes: list[ExitCode] = []
    output = None if a.json else Output()
    for index in loop.indices:
        query = loop.questions[index]
        wanted = _file(a, index, several=len(loop.indices) > 1)
        try:
            report = compare_backends(query, a.compare_backends.values, options_of(a, jobs=1), save_model=wanted)
        except KeyboardInterrupt:
            complain(f"index {index}: interrupted")
            return worst([*codes, ExitCode.INTERRUPTED])
        file = _kept(report, index)
        if output is None:
            write_line({**loop.record("agreement", index, query), **_record(report, file)})
        else:
            _show(report, index, file, output)
        codes.append(_code(report))
    return worst(codes)


def _file(a: Arguments, index: int, *, several: bool) -> Path | None:
    """Where --save-model puts the model of an image."""
    if a.save_model is None:
        return None
    path = Path(a.save_model)
    return path.with_stem(f"{path.stem}-{index:04d}") if several else path


def _kept(report: AgreementReport, index: int) -> Path | None:
    """The file that the model was written to; on a disagreement there is one, in the current folder, unasked."""
    if report.file is not None or not report.disagreements or not report.model.is_linear:
        return report.file
    return save_mps(report.model, f"disagreement-{index:04d}.mps")


def _code(report: AgreementReport) -> ExitCode:
    if report.disagreements:
        return ExitCode.DISAGREEMENT
    return ExitCode.ANSWERED if report.compared else ExitCode.UNKNOWN


def _record(report: AgreementReport, file: Path | None) -> dict[str, Any]:
    model = report.model
    return {
        "answers": [_answer(answer) for answer in report.answers],
        "compared": report.compared,
        "disagreements": list(report.disagreements),
        "columns": model.columns,
        "rows": model.rows,
        "binaries": model.binaries,
        "nonzeros": model.nonzeros,
        "file": None if file is None else str(file),
    }


def _answer(answer: BackendAnswer) -> dict[str, Any]:
    solution = answer.solution
    return {
        "backend": answer.backend,
        "version": answer.version,
        "status": None if solution is None else solution.status.name.lower(),
        "objective": answer.objective,
        "dual_bound": None if solution is None else solution.dual_bound,
        "violation": answer.violation,
        "nodes": 0 if solution is None else solution.nodes,
        "iterations": 0 if solution is None else solution.iterations,
        "seconds": 0.0 if solution is None else solution.seconds,
        "error": answer.error,
    }


_ROW = "{:<9}{:<12}{:<26}{:>16}{:>16}{:>10}{:>9}{:>9}"


def _show(report: AgreementReport, index: int, file: Path | None, output: Output) -> None:
    model = report.model
    size = f"{model.columns:,} columns ({model.binaries:,} binary), {model.rows:,} rows, {model.nonzeros:,} nonzeros"
    output.line(f"index {index}: {size}")
    output.line(_ROW.format("solver", "version", "status", "cost", "bound", "misses", "nodes", "time"), "bold")
    for answer in report.answers:
        solution = answer.solution
        if solution is None:
            output.line(f"{answer.backend:<9}{answer.version or '-':<12}failed: {printable(answer.error)}", "yellow")
            continue
        bound = solution.dual_bound
        output.line(
            _ROW.format(
                answer.backend,
                answer.version or "-",
                solution.status.name.lower(),
                "-" if answer.objective is None else f"{answer.objective:.9g}",
                "-" if bound is None else f"{bound:.9g}",
                "-" if answer.violation is None else f"{answer.violation:.1e}",
                f"{solution.nodes:,}",
                seconds(solution.seconds),
            )
        )
    for sentence in report.disagreements:
        output.fact("disagree", sentence, "red")
    if not report.disagreements:
        output.fact("agree", "yes" if report.compared else "fewer than two solvers answered, so nothing is compared")
    if file is not None:
        output.fact("model", f"saved as {printable(str(file))}")
    output.flush()
