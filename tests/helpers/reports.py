"""Made-up campaigns with every kind of query, answer and failure, for reports, and a browser to look at them with."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mipverify_py.campaigns import (
    Answer,
    Completion,
    Failure,
    FailureReason,
    Finding,
    InputRecord,
    ModelRecord,
    QueryKind,
    QueryRecord,
    Store,
)
from tests.helpers.campaigns import answer, completion, failure, query

HOSTILE = "<img src=x onerror='window.harmed=1'>{{style}}</script><script>window.harmed=2</script>\"&amp;"
"""A configuration whose name tries to become part of the page."""

CONFIGURATIONS = ("A_standard", "A_adversarial", HOSTILE)
MODELS = {
    name: ModelRecord(letter * 64, f"model {name}", b"not really ONNX", {"about": name})
    for name, letter in zip(CONFIGURATIONS, "abc", strict=True)
}
IMAGES = 16
SHAPE = (1, 4, 4)

CHROMIUM = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def chromium() -> str | None:
    """Where the browser is: $CHROMIUM, or the first of its usual names that is installed."""
    names = (os.environ.get("CHROMIUM"), "chromium", "chromium-browser", "google-chrome")
    return next((path for name in names if name and (path := shutil.which(name))), None)


@contextmanager
def started_browser() -> Iterator[Any]:
    """Chromium without a window, through Playwright; skips where either is missing."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    path = chromium()
    if path is None:
        pytest.skip("needs Chromium: none of $CHROMIUM, chromium, chromium-browser, google-chrome is there")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM)
        try:
            yield browser
        finally:
            browser.close()


@dataclass(frozen=True)
class Watched:
    """A page of the browser, with what it complained about and asked for."""

    page: Any
    complaints: list[str]
    requests: list[str]

    @classmethod
    def of(cls, page: Any) -> Watched:
        watched = cls(page, [], [])
        page.on("console", lambda message: watched.complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: watched.complaints.append(str(error)))
        page.on("request", lambda request: watched.requests.append(request.url))
        return watched

    def open(self, path: Path, address: str = "") -> Watched:
        self.page.goto(f"{path.as_uri()}{address}", timeout=120_000)
        self.page.wait_for_selector("html[data-ready=true]", timeout=120_000)
        return self

    def assert_quiet(self) -> None:
        """Nothing on the console, no errors, and nothing fetched but the file itself."""
        assert self.complaints == []
        strange = [url for url in self.requests if not url.startswith(("file:", "data:", "blob:"))]
        assert strange == []


def asked(index: int, kind: QueryKind, configuration: str, **question: Any) -> QueryRecord:
    values = np.random.default_rng(index).random(SHAPE)
    source = InputRecord(values, "toy", index, index % 4)
    model = MODELS[configuration].digest
    return query(kind=kind, configuration=configuration, model=model, input=source, **question)


def attacked(distances: dict[str, float | None]) -> Answer:
    """What a set of attacks found; None for a failure."""
    found = [value for value in distances.values() if value is not None]
    findings = tuple(
        Finding(name, value, None if value is None else 5, None if value is None else np.full(SHAPE, value), 0.1, 40)
        for name, value in distances.items()
    )
    changes: dict[str, Any] = {"decided": True, "verdict": None, "evidence": None, "stop_reason": "solved"}
    return answer(None, min(found, default=None), **changes, engine="attack", findings=findings)


def bracket(lower: float, upper: float, **changes: Any) -> Answer:
    point = np.full(SHAPE, upper)
    return answer(lower, upper, findings=(Finding("exact", upper, 5, point),), seconds=upper * 10, **changes)


def _outcomes(record: QueryRecord, number: int, rng: np.random.Generator) -> list[Answer | Failure]:
    """What became of a query: some are new, open, failed, claimed by a solver, or contradict others."""
    index = record.input.index
    upper = float(0.02 + 0.3 * np.random.default_rng([index, number]).random())
    if record.kind is QueryKind.VERIFY:
        robust = upper > 0.1
        found = () if robust else (Finding("exact", upper, 5, np.full(SHAPE, upper)),)
        words = {"verdict": "robust" if robust else "adversarial", "evidence": "reproved", "findings": found}
        return [answer(None, None, decided=True, stop_reason="solved", **words)]
    if record.kind is QueryKind.ATTACK:
        excess = 1 + 0.2 * rng.random()
        if index == 3:
            return [attacked({"pgd": None, "fab": None})]
        nearest = 0.5 if index == 5 and number == 0 else 1.0  # nearer than what is proved about that input
        return [attacked({"pgd": upper * excess * nearest, "fab": None if index == 4 else upper * excess * 1.1})]
    match index:
        case 0:
            return []
        case 1:
            return [failure(FailureReason.MEMORY, f"{HOSTILE} was too much")] * 3
        case 2:
            return [failure(), bracket(upper / 2, upper)]
        case 6:
            claim = {"evidence": "solver_claim", "evidence_detail": "HiGHS 1.12.0", "backend": "highs", "engine": "mip"}
            return [bracket(upper, upper, **claim)]
        case _:
            return [bracket(upper, upper, evidence="reproved" if index % 2 else "replayed")]


def replace_task(done: Completion, record: QueryRecord) -> Completion:
    """The same attempt, at this query."""
    return replace(done, task=replace(done.task, record=record))


def varied_store(path: Path, kinds: Iterable[QueryKind] = tuple(QueryKind), images: int = IMAGES) -> Path:
    """A store with queries of these kinds about each image and configuration."""
    rng = np.random.default_rng(1)
    wanted = tuple(kinds)
    records = [
        asked(index, kind, name)
        for name in CONFIGURATIONS
        for index in range(images)
        for kind in wanted
        if kind is not QueryKind.VERIFY or index < images // 2
    ]
    with Store.create(path) as store:
        for model in MODELS.values():
            store.add_model(model)
        store.add_queries(records, {"models": [HOSTILE]})
        rows = {stored.key: stored.row for stored in store.queries()}
        done: list[Completion] = []
        for record in records:
            outcomes = _outcomes(record, CONFIGURATIONS.index(record.configuration), rng)
            done += [
                replace_task(completion(rows[record.key], outcome, number=number), record)
                for number, outcome in enumerate(outcomes, start=1)
            ]
        store.record_many(done)
    return path
