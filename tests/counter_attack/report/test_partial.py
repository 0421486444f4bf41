"""Pages of campaigns that lack something: they say so, and draw nothing empty."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from counter_attack.report import write_report
from mipverify_py.campaigns import QueryKind, Store, load_campaign
from tests.helpers.campaigns import completion
from tests.helpers.reports import MODELS, Watched, asked, attacked, bracket, varied_store

NO_DISTANCE = "No exact distance was asked for"
NO_ATTACK = "No attack was run, so exact distances stand alone."


@pytest.mark.parametrize(
    ("kinds", "sentences", "charts"),
    [
        ([QueryKind.ATTACK], [NO_DISTANCE], ["histogram", "time"]),
        ([QueryKind.DISTANCE], [NO_ATTACK, "so there is nothing to compare"], ["histogram", "time", "tightness"]),
        ([QueryKind.VERIFY], ["there are no distances to draw", "No attack was run, so there"], ["time"]),
    ],
    ids=["attacks", "distances", "verdicts"],
)
@pytest.mark.slow
def test_what_is_missing_is_said(
    browser: Any, tmp_path: Path, kinds: list[QueryKind], sentences: list[str], charts: list[str]
) -> None:
    store = varied_store(tmp_path / "part.sqlite", kinds, images=8)
    watched = Watched.of(browser.new_page()).open(write_report(store, tmp_path / "report"))
    text = watched.page.locator("main").inner_text()
    assert [sentence for sentence in sentences if sentence not in text] == []
    assert ("so attacks are compared" in text, NO_ATTACK in text) == (
        kinds == [QueryKind.ATTACK],
        kinds == [QueryKind.DISTANCE],
    )
    drawn = watched.page.evaluate("[...document.querySelectorAll('.plot:not([hidden])')].map((e) => e.id.slice(6))")
    assert sorted(drawn) == sorted(charts)
    assert watched.page.locator(".nothing:not([hidden])").count() == 5 - len(charts)
    watched.assert_quiet()
    watched.page.close()


def test_an_empty_campaign_has_a_page(browser: Any, tmp_path: Path) -> None:
    Store.create(tmp_path / "empty.sqlite").close()
    path = write_report(tmp_path / "empty.sqlite", tmp_path / "report")
    watched = Watched.of(browser.new_page()).open(path)
    assert "holds no queries yet" in watched.page.locator("main").inner_text()
    assert watched.page.locator("#charts, #cases, #gallery").count() == 0
    assert path.stat().st_size < 100_000
    watched.assert_quiet()
    watched.page.close()


@pytest.mark.slow
def test_thousands_of_pairs_are_all_counted(browser: Any, tmp_path: Path) -> None:
    store = varied_store(tmp_path / "large.sqlite", [QueryKind.DISTANCE, QueryKind.ATTACK], images=1800)
    table = load_campaign(store).table
    ends = table.pivot(index=["configuration", "index"], columns="kind", values="upper").dropna()
    assert len(ends) > 5000
    watched = Watched.of(browser.new_page()).open(write_report(store, tmp_path / "report", gallery=5))
    density, *marks = watched.page.evaluate("document.getElementById('chart-scatter').data")
    assert sum(count or 0 for row in density["customdata"] for count in row) == len(ends)
    excess = (ends["attack"] - ends["distance"]).nlargest(300)
    drawn = [y - x for trace in marks for x, y in zip(trace["x"], trace["y"], strict=True)]
    assert sorted(drawn, reverse=True) == pytest.approx(list(excess), rel=1e-12)
    assert watched.page.locator("#matching").inner_text() == f"{len(table):,} of {len(table):,} cases"
    watched.assert_quiet()
    watched.page.close()


@pytest.mark.slow
def test_of_several_norms_every_table_and_chart_names_its_own(browser: Any, tmp_path: Path) -> None:
    norms = {"l2": 0.4, "linf": 0.1}
    with Store.create(tmp_path / "norms.sqlite") as store:
        store.add_model(MODELS["A_standard"])
        kinds = (QueryKind.DISTANCE, QueryKind.ATTACK)
        store.add_queries([asked(i, kind, "A_standard", norm=norm) for norm in norms for kind in kinds for i in (1, 2)])
        for stored in store.queries():
            length, exact = norms[stored.record.question["norm"]], stored.record.kind is QueryKind.DISTANCE
            outcome = bracket(length, length) if exact else attacked({"pgd": 1.1 * length})
            store.record(completion(stored, outcome))
    watched = Watched.of(browser.new_page()).open(write_report(tmp_path / "norms.sqlite", tmp_path / "out"))
    captions = watched.page.locator("#comparison caption").all_inner_texts()
    ends = {norm: [caption for caption in captions if caption.endswith(f", {norm}")] for norm in norms}
    assert len(ends["l2"]) == len(ends["linf"]) > 0 and len(captions) == 2 * len(ends["l2"])
    # As many queries in each: L-infinity is drawn, the norm of UG100.
    assert "Norm L\N{INFINITY} only" in watched.page.locator("#caption-scatter").inner_text()
    assert watched.page.evaluate("document.getElementById('chart-scatter').data[0].x") == [0.1, 0.1]
    watched.assert_quiet()
    watched.page.close()
