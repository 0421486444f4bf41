"""Answering exact queries: what a worker runs for the kinds distance and verify."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from bounds import Bounds
from mipverify_py._balls import L1Ball, L2Ball
from mipverify_py._enums import Norm, Objective, Verdict
from mipverify_py._options import Options
from mipverify_py._perturbation import LinfBall, PerturbationSet, Unrestricted
from mipverify_py._query import Query, Targets
from mipverify_py._result import Bracket, Result
from mipverify_py._statistics_record import statistics_record
from mipverify_py._verify import verify
from mipverify_py.campaigns._records import Answer, Finding, Limits, QueryKind, QueryRecord, Task
from onnx_models import ReluNetwork
from onnx_models.errors import InputError

Tell = Callable[[float | None, float | None], None]
"""Called with lower and upper whenever an end of the bracket improves."""

EXACT = "exact"
"""Name of the finding that is the witness of an exact search."""

_BALLS: Mapping[Norm, Callable[[float], PerturbationSet]] = {Norm.LINF: LinfBall, Norm.L1: L1Ball, Norm.L2: L2Ball}


def answer(task: Task, network: ReluNetwork, tell: Tell) -> Answer:
    """The answer to a task of kind distance or verify, within its limits.

    An attempt starts anew whatever earlier ones found out: `verify` takes no bracket to go on from. On Ctrl-C the
    bracket so far is the answer, with stop reason "interrupted".

    Args:
        task: the attempt.
        network: its model.
        tell: told the bracket whenever it improves.

    Raises:
        InputError: a query that makes no sense for the network, or of another kind.
        BackendMissingError, BackendLimitError, BackendAbilityError: the backend cannot be used.
    """
    query = exact_query(task.record, network)
    options = exact_options(task.options, task.limits, task.record.seed)
    options = replace(options, certify=task.certificates.certify)

    def report(bracket: Bracket) -> None:
        tell(bracket.lower, bracket.upper)

    return exact_answer(query, options, verify(query, options, on_progress=report))


def exact_query(record: QueryRecord, network: ReluNetwork) -> Query:
    """The query of a record; raises InputError where it makes no sense for the network."""
    if record.kind not in (QueryKind.DISTANCE, QueryKind.VERIFY):
        raise InputError(f"A query of kind {record.kind.value!r} has no exact answer; run it with counter_attack.")
    question, norm = record.question, Norm(record.question["norm"])
    perturbation: PerturbationSet = Unrestricted()
    if record.kind is QueryKind.VERIFY:
        perturbation = _BALLS[norm](question["eps"])
    targets = question["targets"]
    return Query(
        network,
        record.input.values,
        perturbation=perturbation,
        objective=Objective.CLOSEST if record.kind is QueryKind.DISTANCE else Objective.FEASIBILITY,
        label=question["label"],
        targets=Targets() if targets is None else Targets.only(targets),
        margin=question["margin"],
        norm=norm,
        domain=domain_box(question["domain"], network),
    )


def domain_box(domain: tuple[float, float] | list[float], network: ReluNetwork) -> Bounds:
    """The box of valid inputs, between two numbers in every entry."""
    low, high = domain
    return Bounds(np.full(network.input_size, float(low)), np.full(network.input_size, float(high)))


def exact_options(options: Mapping[str, Any], limits: Limits, seed: int) -> Options:
    """The options of a search; raises InputError for a value out of range."""
    return Options(
        engine=options["engine"],
        backend=options["backend"],
        tightening=options["tightening"],
        restarts=options["restarts"],
        device=options["device"],
        time_limit=limits.time_limit,
        gap_absolute=limits.gap_absolute,
        gap_relative=limits.gap_relative,
        seed=seed,
    )


def exact_answer(query: Query, options: Options, result: Result) -> Answer:
    """A result as a store keeps it."""
    return Answer(
        decided=_is_decided(query, options, result),
        verdict=result.verdict.value,
        lower=result.lower,
        upper=result.upper,
        evidence=None if result.evidence is None else result.evidence.value,
        evidence_detail=result.evidence_detail,
        stop_reason=result.stop_reason.value,
        stop_detail=result.stop_detail,
        predicted=result.predicted,
        reference=result.reference,
        engine=result.engine,
        backend=result.backend,
        seconds=result.seconds,
        findings=_findings(query, result),
        statistics={
            "attack_seconds": result.attack_seconds,
            "float32": _replay(result),
            **statistics_record(result.statistics),
        },
        certificate=None if result.certificate is None else result.certificate.data,
    )


def _is_decided(query: Query, options: Options, result: Result) -> bool:
    if query.objective is Objective.FEASIBILITY:
        return result.verdict is not Verdict.UNKNOWN
    if result.verdict is Verdict.ROBUST:  # no adversarial example in the whole domain, so there is no distance
        return True
    return result.lower is not None and result.upper is not None and options.closes(result.lower, result.upper)


def _findings(query: Query, result: Result) -> tuple[Finding, ...]:
    witness = result.witness
    if witness is None:
        return ()
    point = np.array(witness.point).reshape(query.network.input_shape)
    return (Finding(EXACT, witness.distance, witness.target, point),)


def _replay(result: Result) -> dict[str, Any] | None:
    """What onnxruntime says about the witness in float32."""
    replay = None if result.witness is None else result.witness.replay
    return None if replay is None else {"predicted": replay.predicted, "adversarial": replay.adversarial}
