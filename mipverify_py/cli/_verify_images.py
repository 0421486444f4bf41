"""Verifying the images of a command line, one after the other, each written out as soon as it is answered."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from bounds import Bounds
from mipverify_py import verify
from mipverify_py._enums import Objective, StopReason, Tightening, Verdict
from mipverify_py._options import Options
from mipverify_py._perturbation import LinfBall, Unrestricted
from mipverify_py._query import Query, Targets
from mipverify_py._result import Bracket, Result, Statistics
from mipverify_py.backends import available_backends, get_backend
from mipverify_py.cli._answer import Answer, worst
from mipverify_py.cli._arguments import Arguments
from mipverify_py.cli._exit import ExitCode
from mipverify_py.cli._inputs import Inputs, load_model, open_source, read_domain
from mipverify_py.cli._json import JsonReport
from mipverify_py.cli._progress import progress
from mipverify_py.cli._report import Report, Run
from mipverify_py.cli._text import TextReport
from mipverify_py.cli._witness_file import WitnessFile
from onnx_models import ReluNetwork
from onnx_models.errors import BackendError, BackendMissingError, InputError, InvalidBoundsError


def verify_images(a: Arguments) -> ExitCode:
    """Answers the question for every image asked for, and returns what the worst of them ends with."""
    _check_solvers(a)
    source = open_source(a)
    assert a.model is not None
    network = load_model(a.model)
    inputs = Inputs(source, network.input_shape, a.label)
    indices = inputs.chosen(a)
    questions = Questions(network, inputs, a, read_domain(a.domain, network))
    for index in indices:  # the last image's mistake must not come to light after hours spent on the others
        questions[index]
    file = None if a.save_witness is None else WitnessFile(Path(a.save_witness), indices)
    if file is not None:
        file.check(inputs, questions[indices[0]])
    run = Run(model=a.model, network=network, inputs=inputs.name, indices=indices, arguments=a)
    return _answer_all(questions, JsonReport(run) if a.json else TextReport(run), file)


def _check_solvers(a: Arguments) -> None:
    """Raises BackendMissingError for solvers that are not installed, also for one that only some images would need."""
    get_backend(a.backend)
    if Tightening(a.tightening) in (Tightening.LP, Tightening.MIP) and "highs" not in available_backends():
        raise BackendMissingError(
            f"--tightening {a.tightening} needs HiGHS beside {a.backend}, and it is not installed: "
            'pip install "mipverify-py[highs]", or choose --tightening linear.'
        )


def _answer_all(questions: Questions, report: Report, file: WitnessFile | None) -> ExitCode:
    codes, indices, arguments = [], report.run.indices, questions.arguments
    options = options_of(arguments)
    report.begin()
    for position, index in enumerate(indices):
        query = questions[index]
        with progress(index, position, len(indices), quiet=arguments.quiet) as on_progress:
            result = _answer(query, options, on_progress)
        answer = Answer(index, query, options, result)
        try:
            saved = None if file is None else file.save(index, questions.inputs, result)
        except InputError:
            report.add(answer)  # a full disk must not cost the answer itself
            raise
        report.add(replace(answer, saved=saved))
        codes.append(answer.exit_code)
        if answer.exit_code is ExitCode.INTERRUPTED:
            break
    report.end()
    return worst(codes)


def _answer(query: Query, options: Options, on_progress: Callable[[Bracket], None]) -> Result:
    """The answer; an error that concerns this image alone leaves it unknown, so that the other images get theirs."""
    began = time.monotonic()
    try:
        return verify(query, options, on_progress=on_progress)
    except BackendMissingError:
        raise
    except BackendError as error:
        return _unanswered(query, options, StopReason.SOLVER_FAILED, str(error), time.monotonic() - began)
    except InvalidBoundsError as error:
        return _unanswered(query, options, StopReason.NUMERICAL, str(error), time.monotonic() - began)


def _unanswered(query: Query, options: Options, reason: StopReason, detail: str, seconds: float) -> Result:
    return Result(
        verdict=Verdict.UNKNOWN,
        objective=query.objective,
        lower=None,
        upper=None,
        witness=None,
        point=None,
        evidence=None,
        evidence_detail="",
        stop_reason=reason,
        stop_detail=detail,
        predicted=query.predicted,
        reference=query.reference,
        engine=options.engine,
        backend=options.backend,
        seconds=seconds,
        attack_seconds=0.0,
        statistics=Statistics(),
    )


@dataclass(frozen=True, slots=True, eq=False)
class Questions:
    """The query that the command line asks about each image."""

    network: ReluNetwork
    inputs: Inputs
    arguments: Arguments
    domain: Bounds | None

    def __getitem__(self, index: int) -> Query:
        """The query about image `index`; raises InputError, naming the image, if it makes no sense for it."""
        a = self.arguments
        try:
            return Query(
                self.network,
                self.inputs[index],
                perturbation=Unrestricted() if a.eps is None else LinfBall(a.eps),
                objective=Objective.CLOSEST if a.eps is None else Objective.FEASIBILITY,
                label=self.inputs.label_of(index),
                targets=_targets(a),
                margin=a.margin,
                domain=self.domain,
            )
        except InputError as error:
            if len(self.inputs) == 1:
                raise
            raise InputError(f"{self.inputs.name}, index {index}: {error}") from error


def _targets(a: Arguments) -> Targets:
    if a.target is not None:
        return Targets.only(a.target.values)
    return Targets() if a.not_target is None else Targets.excluding(a.not_target.values)


def options_of(a: Arguments) -> Options:
    """The options of the search."""
    return Options(
        engine=a.engine,
        backend=a.backend,
        time_limit=a.timeout,
        gap_relative=a.gap,
        threads=a.threads,
        seed=a.seed,
        tightening=Tightening(a.tightening),
    )
