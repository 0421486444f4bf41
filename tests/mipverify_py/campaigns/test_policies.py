"""Which queries each policy takes up again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mipverify_py.campaigns import Answer, Failure, Limits, Policy, QueryKind, Store, select
from onnx_models.errors import InputError
from tests.helpers.campaigns import MODEL, answer, completion, failure, query

SKIP, RETRY, REFINE, REVERIFY = Policy
WIDE = answer(0.1, 0.2)
CUT_SHORT = answer(0.1, 0.2, stop_reason="interrupted")
Attempts = list[tuple[Answer | Failure, dict[str, Any]]]


def within(seconds: float | None, *, final: bool = True, **more: Any) -> dict[str, Any]:
    return {"limits": Limits(seconds), "final": final, **more}


CASES: dict[str, tuple[QueryKind, Attempts, set[Policy]]] = {
    "never asked": (QueryKind.DISTANCE, [], {SKIP, RETRY, REFINE}),
    "lost once": (QueryKind.DISTANCE, [(failure(), {})], {SKIP, RETRY, REFINE}),
    "failed": (QueryKind.DISTANCE, [(failure(), {})] * 3, {RETRY}),
    "decided": (QueryKind.DISTANCE, [(answer(), within(10.0))], {REVERIFY}),
    "open after as much time": (QueryKind.DISTANCE, [(WIDE, within(10.0))], {REFINE}),
    "open after less time": (QueryKind.DISTANCE, [(WIDE, within(5.0))], {RETRY, REFINE}),
    "open without a limit": (QueryKind.DISTANCE, [(WIDE, within(None))], {REFINE}),
    "open after a short round": (QueryKind.DISTANCE, [(WIDE, within(1.0, final=False))], {SKIP, RETRY, REFINE}),
    "interrupted": (QueryKind.DISTANCE, [(CUT_SHORT, within(10.0))], {SKIP, RETRY, REFINE}),
    "interrupted while given more time": (
        QueryKind.DISTANCE,
        [(WIDE, within(5.0)), (CUT_SHORT, within(10.0))],
        {SKIP, RETRY, REFINE},
    ),
    "closed by a later attempt": (QueryKind.DISTANCE, [(WIDE, within(5.0)), (answer(0.15, 0.15), {})], {REVERIFY}),
    "decided for a wider gap": (
        QueryKind.DISTANCE,
        [(answer(0.1, 0.11, decided=True), {"limits": Limits(10.0, 0.1, 0.1)})],
        {REFINE},
    ),
    "decided for a wider gap in a short round": (
        QueryKind.DISTANCE,
        [(answer(0.1, 0.11, decided=True), {"limits": Limits(1.0, 0.1, 0.1), "final": False})],
        {RETRY, REFINE},
    ),
    "contradicted": (QueryKind.DISTANCE, [(answer(), within(10.0)), (answer(0.4, 0.4), within(10.0))], {REFINE}),
    "unknown": (QueryKind.VERIFY, [(answer(None, None), within(10.0))], set()),
    "verified": (QueryKind.VERIFY, [(answer(None, None, verdict="robust", decided=True), {})], {REVERIFY}),
    "attacked": (QueryKind.ATTACK, [(answer(None, 0.3, verdict=None, decided=True), {})], set()),
    "confirmed": (
        QueryKind.DISTANCE,
        [(answer(), {}), (answer(), {"overrides": {"engine": "mip", "backend": "scip"}})],
        set(),
    ),
    "confirmed by another backend": (
        QueryKind.DISTANCE,
        [(answer(), {}), (answer(), {"overrides": {"engine": "mip", "backend": "cbc"}})],
        {REVERIFY},
    ),
    "not confirmed in less time": (
        QueryKind.DISTANCE,
        [(answer(), {}), (WIDE, within(5.0, overrides={"engine": "mip", "backend": "scip"}))],
        {REVERIFY},
    ),
    "not confirmed in as much time": (
        QueryKind.DISTANCE,
        [(answer(), {}), (WIDE, within(10.0, overrides={"engine": "mip", "backend": "scip"}))],
        set(),
    ),
    "confirmation interrupted": (
        QueryKind.DISTANCE,
        [(answer(), {}), (CUT_SHORT, within(10.0, overrides={"engine": "mip", "backend": "scip"}))],
        {REVERIFY},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_each_policy_takes_up(tmp_path: Path, name: str) -> None:
    kind, attempts, expected = CASES[name]
    now = Limits(10.0)
    with Store.create(tmp_path / "campaign.sqlite") as store:
        store.add_model(MODEL)
        store.add_queries([query(kind=kind)])
        for number, (outcome, task) in enumerate(attempts, 1):
            store.record(completion(store.queries()[0], outcome, number=number, **task))
        found = store.queries(now)
    overrides = {"engine": "mip", "backend": "scip"}
    assert {p for p in Policy if select(found, p, now, overrides if p is REVERIFY else None)} == expected


def test_the_order_of_queries_is_kept(tmp_path: Path) -> None:
    with Store.create(tmp_path / "campaign.sqlite") as store:
        store.add_model(MODEL)
        store.add_queries([query(index) for index in (5, 2, 9)])
        found = store.queries(Limits(1.0))
    assert select(found, SKIP, Limits(1.0)) == found
    assert select(found[::-1], SKIP, Limits(1.0)) == found[::-1]


@pytest.mark.parametrize(
    ("policy", "overrides", "message"),
    [
        (SKIP, {"engine": "mip"}, "Policy skip takes no other engine"),
        (REVERIFY, None, "needs another engine or backend; nothing is given"),
        (REVERIFY, {}, "nothing is given"),
        (REVERIFY, {"engine": "mip", "restarts": 9}, "engine, restarts is given"),
    ],
)
def test_overrides_belong_to_reverify(policy: Policy, overrides: dict[str, Any] | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        select([], policy, Limits(1.0), overrides)
