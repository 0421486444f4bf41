"""Certificates on the command line: made beside an answer, and checked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mipverify_py._options import Options
from mipverify_py._query import Query
from mipverify_py._reprove import certified
from mipverify_py._result import Result
from mipverify_py.certificate import Certificate, Rejected, Statement, check
from mipverify_py.certificate.checker import contents, describe
from mipverify_py.certificate.fast import check as fast_check
from mipverify_py.cli._exit import ExitCode
from mipverify_py.cli._inputs import load_model
from mipverify_py.cli._numbers import seconds
from mipverify_py.cli._output import Output
from mipverify_py.cli._printable import printable

if TYPE_CHECKING:
    from mipverify_py.cli._questions import Place
    from mipverify_py.cli._witness_file import WitnessFile


@dataclass(frozen=True, slots=True, eq=False)
class Certified:
    """An answer's certificate, or why there is none.

    Attributes:
        certificate: the certificate, None where there is none.
        failure: why; empty where there is one.
        file: where it was saved; None until then.
    """

    certificate: Certificate | None
    failure: str = ""
    file: Path | None = None

    def saved(self, files: WitnessFile, place: Place) -> Certified:
        """The same after its certificate has been written for a place; InputError if that cannot be."""
        return self if self.certificate is None else replace(self, file=files.put(place, self.certificate.data))


def with_certificate(query: Query, result: Result, options: Options) -> tuple[Result, Certified]:
    """The answer, which rests on its certificate now, and that, or why there is none.

    `options` limit what has to be proved again.
    """
    found, failure = certified(query, result, replace(options, certify="always"))
    return found, Certified(found.certificate, failure)


def certified_words(found: Certified) -> str:
    """What a text report says."""
    made = found.certificate
    if made is None:
        return f"no: {printable(found.failure)}"
    proved = "witness only" if not made.statement.robust else f"{made.leaves:,} leaves"
    return f"{proved}, checked in {seconds(made.check_seconds)}, saved as {printable(str(found.file))}"


def certificate_record(found: Certified | None) -> dict[str, Any] | None:
    """What a JSON report says."""
    if found is None:
        return None
    made = found.certificate
    radius = None if made is None or made.statement.radius is None else float(made.statement.radius)
    return {
        "file": None if found.file is None else str(found.file),
        "bytes": None if made is None else len(made.data),
        "robust": None if made is None else made.statement.robust,
        "radius": radius,
        "leaves": None if made is None else made.leaves,
        "repaired": None if made is None else made.repaired,
        "failure": found.failure,
    }


def check_certificate(file: str, model: str | None, *, fast: bool = False) -> ExitCode:
    """`verify --check FILE [MODEL]`: whether the certificate proves what it states, and is about the model."""
    output = Output()
    try:
        statement = (fast_check if fast else check)(contents(Path(file)))
    except Rejected as error:
        output.line(f"{printable(file)}: rejected. {printable(str(error))}", "red")
        return ExitCode.REPLAY_FAILED
    output.line(f"{printable(file)}: holds, in exact arithmetic", "green")
    output.fact("proved", describe(statement))
    return _compared(output, statement, model)


def _compared(output: Output, statement: Statement, model: str | None) -> ExitCode:
    if model is None:
        output.fact("model", "none was named to compare the network with")
        return ExitCode.ANSWERED
    network = load_model(model)
    if network.digest != statement.digest:
        output.fact("model", f"{printable(model)} is another network: {network.digest}", "red")
        return ExitCode.REPLAY_FAILED
    output.fact("model", f"{printable(model)} is this network, weight for weight, as our importer reads it")
    return ExitCode.ANSWERED
