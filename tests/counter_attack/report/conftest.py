"""A varied campaign, its page, and a browser; each made once per module."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from counter_attack.report import write_report
from mipverify_py.campaigns import Campaign, load_campaign
from tests.helpers.reports import started_browser, varied_store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return varied_store(tmp_path_factory.mktemp("store") / "campaign.sqlite")


@pytest.fixture(scope="module")
def campaign(store: Path) -> Campaign:
    return load_campaign(store)


@pytest.fixture(scope="module")
def page_file(store: Path) -> Path:
    return write_report(store, store.parent / "report", title="A <b>bold</b> title", gallery=20)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with started_browser() as found:
        yield found
