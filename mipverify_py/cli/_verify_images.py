"""Verifying the images of a command line, each written out as soon as it and those before it are answered."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from mipverify_py._bounds_file import load_bounds, save_bounds
from mipverify_py._enums import StopReason, Tightening
from mipverify_py._options import Options
from mipverify_py._query import Query
from mipverify_py.backends import available_backends, get_backend
from mipverify_py.cli._answer import Answer, worst
from mipverify_py.cli._arguments import Arguments
from mipverify_py.cli._complain import complain
from mipverify_py.cli._crew import answer_in_workers
from mipverify_py.cli._exit import ExitCode
from mipverify_py.cli._inputs import Inputs, load_model, open_source, read_domain
from mipverify_py.cli._json import JsonReport
from mipverify_py.cli._progress import Progress
from mipverify_py.cli._questions import Place, Questions, index_of, options_of, tolerance_of
from mipverify_py.cli._report import Report, Run
from mipverify_py.cli._search_image import Beside, Found, search_image
from mipverify_py.cli._text import TextReport
from mipverify_py.cli._witness_file import WitnessFile
from onnx_models.errors import BackendMissingError, InputError


def verify_images(a: Arguments) -> ExitCode:
    """Answers the question for every image asked for, and returns what the worst of them ends with."""
    check_solvers(a)
    check_device(a)
    source = open_source(a)
    assert a.model is not None
    network = load_model(a.model)
    inputs = Inputs(source, network.input_shape, a.label)
    questions = Questions(network, inputs, a, read_domain(a.domain, network))
    places = questions.places(inputs.chosen(a))
    if len(places) > 1 and (a.bounds is not None or a.save_bounds is not None):
        option = "--bounds" if a.save_bounds is None else "--save-bounds"
        raise InputError(f"{option} is for one image; choose it with --index.")
    file = None if a.save_witness is None else WitnessFile(Path(a.save_witness), places)
    if file is not None:
        file.check(inputs, questions[places[0]])
    run = Run(model=a.model, network=network, inputs=inputs.name, places=places, arguments=a)
    return _answer_all(questions, JsonReport(run) if a.json else TextReport(run), file)


def check_solvers(a: Arguments) -> None:
    """Raises BackendMissingError for solvers that are not installed, also for one that only some images would need."""
    if a.engine != "mip":
        if "highs" not in available_backends():
            raise BackendMissingError(
                f"--engine {a.engine} needs HiGHS, and it is not installed: "
                'pip install "mipverify-py[highs]", or choose --engine mip with another --backend.'
            )
        return
    get_backend(a.backend)
    if Tightening(a.tightening) in (Tightening.LP, Tightening.MIP) and "highs" not in available_backends():
        raise BackendMissingError(
            f"--tightening {a.tightening} needs HiGHS beside {a.backend}, and it is not installed: "
            'pip install "mipverify-py[highs]", or choose --tightening linear.'
        )


def check_device(a: Arguments) -> None:
    """Raises InputError for a GPU that torch does not find."""
    kind, _, number = a.device.partition(":")
    if kind != "cuda":
        return
    import torch

    if int(number or 0) >= torch.cuda.device_count():
        found = f"{torch.cuda.device_count()} CUDA devices"
        raise InputError(f"--device {a.device}: torch {torch.__version__} finds {found}; use --device cpu.")


def _answer_all(questions: Questions, report: Report, file: WitnessFile | None) -> ExitCode:
    places, a = report.run.places, questions.arguments
    workers = min(a.jobs, len(places))
    options = options_of(a, jobs=a.jobs // workers)
    progress = Progress(places, quiet=a.quiet)
    codes = []
    report.begin()
    if workers == 1:
        images = _one_by_one(questions, places, options, progress)
    else:
        images = answer_in_workers(questions, places, options, progress, workers=workers)
    with closing(images):
        for position, query, found in images:
            place = places[position]
            answer = Answer(
                index_of(place),
                query,
                options,
                found.result,
                found.replay,
                float32=found.float32,
                certified=found.certified,
            )
            try:
                saved = None if file is None else file.save(place, questions.inputs, found.result)
                if a.certificate is not None and answer.certified is not None:
                    certificates = WitnessFile(Path(a.certificate), places)
                    answer = replace(answer, certified=answer.certified.saved(certificates, place))
            except InputError:
                report.add(answer)  # a full disk must not cost the answer itself
                raise
            report.add(replace(answer, saved=saved))
            if a.save_bounds is not None and found.bounds is not None:
                save_bounds(a.save_bounds, query.network, found.bounds)
            elif a.save_bounds is not None:
                complain(f"index {place}: the search came to no bounds of the network over a box, so none are saved.")
            codes.append(answer.exit_code)
            if answer.exit_code is ExitCode.REPLAY_FAILED:
                detail = found.result.stop_detail.removesuffix(".")
                complain(f"index {place}: {detail}. This is a bug; please report the model.")
    if len(codes) < len(places):  # also where those under way could still finish
        codes.append(ExitCode.INTERRUPTED)
    report.end()
    return worst(codes)


def _one_by_one(
    questions: Questions, places: list[Place], options: Options, progress: Progress
) -> Generator[tuple[int, Query, Found], None, None]:
    """Position, query and answer of each image, up to one that was interrupted."""
    a = questions.arguments
    supplied = None if a.bounds is None else load_bounds(a.bounds, questions.network)
    for position, place in enumerate(places):
        query = questions[place]
        with progress.image(position) as on_progress:
            found = search_image(
                query,
                options,
                on_progress,
                with_replay=a.replay,
                supplied=supplied,
                beside=Beside(a.save_bounds is not None, a.arithmetic == "float32", a.certificate is not None),
                tolerance=tolerance_of(a),
            )
        yield position, query, found
        if found.result.stop_reason is StopReason.INTERRUPTED:
            return
