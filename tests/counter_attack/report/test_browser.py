"""The page in a real browser: it loads, filters, sorts, remembers, and shows the store's numbers."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from counter_attack.pool import quality
from counter_attack.ug100 import f1_curve
from mipverify_py import Evidence
from mipverify_py.campaigns import Campaign
from tests.helpers.reports import CONFIGURATIONS, HOSTILE, Watched

ROWS = "#cases-table tbody tr"


@pytest.fixture(scope="module")
def opened(browser: Any, page_file: Path) -> Iterator[Watched]:
    """The page, opened once; what it says on the console is looked at in the end."""
    watched = Watched.of(browser.new_page(viewport={"width": 1280, "height": 900}))
    yield watched.open(page_file)
    watched.assert_quiet()
    watched.page.close()


@pytest.fixture
def page(opened: Watched) -> Any:
    """The page with nothing chosen."""
    _visit(opened.page, "")
    return opened.page


@pytest.fixture(scope="module")
def table(campaign: Campaign) -> pd.DataFrame:
    return campaign.table


def _visit(page: Any, address: str) -> None:
    """As if the reader had typed the address."""
    page.evaluate(
        """async (address) => {
            document.getElementById("details").close();
            history.replaceState(null, "", location.pathname + address);
            dispatchEvent(new HashChangeEvent("hashchange"));
            await new Promise((resume) => requestAnimationFrame(() => setTimeout(resume)));
        }""",
        address,
    )


def _settle(page: Any) -> None:
    page.evaluate("() => new Promise((resume) => requestAnimationFrame(() => setTimeout(resume)))")


def _tick(page: Any, name: str, value: str) -> None:
    page.evaluate(
        """([name, value]) => [...document.querySelectorAll(`#facets input[name=${name}]`)]
            .find((box) => box.value === value).click()""",
        [name, value],
    )
    _settle(page)


def _total(page: Any) -> int:
    return int(page.locator("#matching").inner_text().split(" of ")[0].replace(",", ""))


def _column(page: Any, key: str) -> list[str]:
    """Texts of a column on the page that is shown, all digits."""
    return page.evaluate(
        """(key) => {
            const i = [...document.querySelectorAll("#cases-table thead th")].findIndex((th) => th.dataset.key === key);
            return [...document.querySelectorAll("#cases-table tbody tr")].map((row) =>
                row.cells[i].dataset.full ?? row.cells[i].innerText);
        }""",
        key,
    )


def _pairs(table: pd.DataFrame) -> pd.DataFrame:
    image = ["configuration", "norm", "dataset", "index"]
    exact = table[table["kind"] == "distance"]
    attacks = table[(table["kind"] == "attack") & (table["attempts"] > 0)]
    both = exact.merge(attacks[[*image, "upper"]], on=image, suffixes=("", "_attack"))
    return both[both["upper"].notna()]


def _traces(page: Any, chart: str) -> list[dict[str, Any]]:
    return page.evaluate(
        """(id) => (document.getElementById(id).data ?? []).map((trace) =>
            ({ name: trace.name, x: [...trace.x], y: [...trace.y].map((y) => Number.isNaN(y) ? null : y) }))""",
        f"chart-{chart}",
    )


def _named(name: str) -> str:
    """A name as the charting library wants it."""
    return name.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def test_every_case_is_counted(page: Any, table: pd.DataFrame) -> None:
    assert _total(page) == len(table)
    figures = page.evaluate(
        """Object.fromEntries([...document.querySelectorAll(".figures div")].map((figure) =>
            [...figure.children].map((child) => child.innerText)))"""
    )
    states = table["state"].value_counts()
    assert {name: int(figures[name]) for name in ("queries", *states.index)} == {"queries": len(table), **states}


def test_names_stay_text(page: Any, page_file: Path) -> None:
    assert page.evaluate("window.harmed") is None
    assert page.title() == "A <b>bold</b> title"
    assert page.locator("h1").inner_text() == "A <b>bold</b> title"
    _tick(page, "configuration", HOSTILE)
    assert set(_column(page, "configuration")) == {HOSTILE}
    assert page.evaluate("[...document.images].every((image) => image.src.startsWith('data:image/png'))")
    _visit(page, "#?state=failed")
    page.locator(f"{ROWS} button").first.click()
    assert "was too much" in page.locator("#details").inner_text()
    assert page.evaluate("window.harmed") is None


@pytest.mark.parametrize(
    ("address", "chosen"),
    [
        ("#?state=open", lambda t: t["state"] == "open"),
        ("#?state=open&state=failed", lambda t: t["state"].isin(["open", "failed"])),
        ("#?evidence=solver_claim", lambda t: t["evidence"] == "solver_claim"),
        ("#?evidence=replayed", lambda t: t["evidence"] == "replayed"),
        ("#?evidence=reproved", lambda t: t["evidence"] == "reproved"),
        ("#?kind=verify&verdict=robust", lambda t: (t["kind"] == "verify") & (t["verdict"] == "robust")),
        ("#?label=2&configuration=A_standard", lambda t: (t["label"] == 2) & (t["configuration"] == "A_standard")),
        ("#?low=0.1&high=0.2", lambda t: t["upper"].between(0.1, 0.2)),
        ("#?text=toy+%2311&kind=distance", lambda t: (t["index"] == 11) & (t["kind"] == "distance")),
        ("#?evidence=", lambda t: t["evidence"].isna()),
        ("#?text=nothing-is-called-so", lambda t: t["index"] < 0),
    ],
)
def test_filters_let_through_what_pandas_finds(
    page: Any, table: pd.DataFrame, address: str, chosen: Callable[[pd.DataFrame], pd.Series]
) -> None:
    _visit(page, address + "&rows=500")
    expected = table[chosen(table).fillna(False).astype(bool)]
    assert _total(page) == len(expected)
    assert sorted(map(int, _column(page, "row"))) == sorted(expected["row"])
    shown = page.locator("#gallery-list figure").count()
    assert page.locator("#gallery-status").inner_text().startswith(f"{shown} of" if shown else "No example")


def test_ticking_narrows_and_clearing_widens(page: Any, table: pd.DataFrame) -> None:
    _tick(page, "kind", "distance")
    _tick(page, "configuration", "A_standard")
    part = table[(table["kind"] == "distance") & (table["configuration"] == "A_standard")]
    assert _total(page) == len(part)
    counts = page.evaluate(
        """Object.fromEntries([...document.querySelectorAll("#facets input[name=state]")].map((box) =>
            [box.value, Number(box.parentElement.querySelector(".count").innerText)]))"""
    )
    assert {name: count for name, count in counts.items() if count} == dict(part["state"].value_counts())
    page.locator("#filter-reset").click()
    _settle(page)
    assert _total(page) == len(table)
    assert page.url.endswith("index.html")


def test_numbers_in_the_table_are_those_of_the_store(page: Any, table: pd.DataFrame) -> None:
    _visit(page, "#?kind=distance&rows=500")
    columns = [_column(page, name) for name in ("row", "lower", "upper")]
    rows = {int(row): ends for row, *ends in zip(*columns, strict=True)}
    for case in table[table["kind"] == "distance"].itertuples():
        for shown, stored in zip(rows[case.row], (case.lower, case.upper), strict=True):
            assert (shown == "") if np.isnan(stored) else (float(shown) == stored)


@pytest.mark.parametrize(
    ("key", "descending"), [("upper", False), ("upper", True), ("seconds", True), ("index", False)]
)
def test_headers_sort(page: Any, table: pd.DataFrame, key: str, descending: bool) -> None:
    _visit(page, "#?rows=500")
    header = page.locator(f"#cases-table th[data-key={key}]")
    for _ in range(1 + descending):
        header.locator("button").click()
    assert header.get_attribute("aria-sort") == ("descending" if descending else "ascending")
    assert page.locator("#cases-table th[aria-sort]").count() == 1
    values = [np.nan if text == "" else float(text.split()[-1]) for text in _column(page, key)]
    known = table[key].astype(float).dropna().sort_values(ascending=not descending)
    assert values[: len(known)] == list(known)
    assert np.isnan(values[len(known) :]).all()


def test_pages_turn(page: Any, table: pd.DataFrame) -> None:
    _visit(page, "#?rows=25")
    seen = []
    while True:
        seen += map(int, _column(page, "row"))
        if page.locator("#page-next").is_disabled():
            break
        page.locator("#page-next").click()
    assert seen == sorted(table["row"])
    assert "page=" in page.url


def test_scatter_draws_the_pairs(page: Any, table: pd.DataFrame) -> None:
    pairs = _pairs(table).dropna(subset=["upper_attack"])
    traces = {trace["name"]: trace for trace in _traces(page, "scatter")}
    assert set(traces) == {_named(name) for name in CONFIGURATIONS}
    for name, members in pairs.groupby("configuration"):
        trace = traces[_named(name)]
        assert sorted(zip(trace["x"], trace["y"], strict=True)) == sorted(
            zip(members["upper"], members["upper_attack"], strict=True)
        )
    measured = quality(pairs["upper_attack"], pairs["upper"])
    caption = page.locator("#caption-scatter").inner_text()
    assert f"{len(pairs)} pairs" in caption
    assert f"R² = {measured.r2:.4g}" in caption
    assert f"{100 * measured.difference:.4g} % farther" in caption
    _visit(page, "#?state=open")
    assert sum(len(trace["x"]) for trace in _traces(page, "scatter")) == (pairs["state"] == "open").sum()


def test_f1_is_that_of_the_analysis(page: Any, table: pd.DataFrame) -> None:
    traces = {trace["name"]: trace for trace in _traces(page, "f1")}
    for name, members in _pairs(table).groupby("configuration"):
        trace = traces[_named(name)]
        expected = f1_curve(members["upper_attack"], members["upper"], trace["x"])
        got = np.array([np.nan if y is None else y for y in trace["y"]])
        np.testing.assert_allclose(got, expected, rtol=1e-14)


def test_other_charts_count_the_cases(page: Any, table: pd.DataFrame) -> None:
    exact = table[table["kind"] == "distance"]
    assert sum(sum(trace["y"]) for trace in _traces(page, "histogram")) == exact["upper"].notna().sum()
    for trace in _traces(page, "time"):
        members = exact[(exact["configuration"].map(_named) == trace["name"]) & (exact["attempts"] > 0)]
        decided = members.loc[members["state"] == "decided", "seconds"].to_numpy()
        expected = [100 * (decided <= limit).sum() / len(members) for limit in trace["x"]]
        np.testing.assert_allclose(trace["y"], expected)
    for trace in _traces(page, "tightness"):
        members = exact[(exact["configuration"].map(_named) == trace["name"]) & exact["gap"].notna()]
        gap = (members["upper"] - members["lower"]) / members["upper"]
        np.testing.assert_allclose(trace["y"], [100 * (gap <= limit).mean() for limit in trace["x"]])


def test_the_address_brings_everything_back(page: Any, opened: Watched, browser: Any, page_file: Path) -> None:
    _tick(page, "configuration", HOSTILE)
    _tick(page, "state", "decided")
    page.locator("#filter-low").fill("0.05")
    page.locator("#cases-table th[data-key=upper] button").click()
    page.locator("#page-size").select_option("25")
    page.locator(f"{ROWS} button").nth(2).click()
    before = [_total(page), _column(page, "row"), page.locator("#details-title").inner_text()]
    assert "case=" in page.url
    other = Watched.of(browser.new_page()).open(page_file, page.url.partition("index.html")[2])
    after = [_total(other.page), _column(other.page, "row"), other.page.locator("#details-title").inner_text()]
    assert after == before
    assert other.page.locator("#details").is_visible()
    other.assert_quiet()
    other.page.close()


def test_the_keyboard_is_enough(browser: Any, page_file: Path) -> None:
    watched = Watched.of(browser.new_page(viewport={"width": 1280, "height": 900})).open(page_file)
    page = watched.page
    focused = "document.activeElement"
    page.keyboard.press("Tab")
    assert page.evaluate(f"{focused}.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate(f"{focused}.id") == "content"

    def tab_to(test: str) -> None:
        for _ in range(120):
            page.keyboard.press("Tab")
            if page.evaluate(test):
                return
        raise AssertionError(f"Tab never reached {test}")

    tab_to(f"{focused}.matches('#facets input[name=kind]')")
    value = page.evaluate(f"{focused}.value")
    page.keyboard.press("Space")
    _settle(page)
    assert f"kind={value}" in page.url
    tab_to(f"{focused}.matches('th[data-key=upper] button')")
    page.keyboard.press("Enter")
    assert page.locator("th[data-key=upper]").get_attribute("aria-sort") == "ascending"
    tab_to(f"{focused}.matches('{ROWS} button')")
    page.keyboard.press("ArrowDown")
    assert page.evaluate(f"{focused}.closest('tr').rowIndex") == 2
    page.keyboard.press("Enter")
    assert page.locator("#details").is_visible()
    page.keyboard.press("Escape")
    assert not page.locator("#details").is_visible()
    assert page.evaluate(f"{focused}.closest('tr').rowIndex") == 2
    watched.assert_quiet()
    page.close()


def test_a_phone_scrolls_down_only(browser: Any, page_file: Path) -> None:
    context = browser.new_context(viewport={"width": 360, "height": 740}, is_mobile=True, has_touch=True)
    watched = Watched.of(context.new_page()).open(page_file)
    assert watched.page.evaluate("[document.documentElement.scrollWidth, innerWidth]") == [360, 360]
    watched.assert_quiet()
    context.close()


def test_print_leaves_out_what_is_for_the_screen(page: Any) -> None:
    _visit(page, "#?state=open")
    page.emulate_media(media="print")
    try:
        hidden = ("nav", "#filters > details", "#page-next", "#cases-csv", "#gallery-more", "#cases > .note")
        assert [name for name in hidden if page.locator(name).is_visible()] == []
        assert page.locator("#filters-printed").inner_text() == "Only cases with state: open."
        assert page.locator("#cases-table").is_visible()
        # A button in a header is not repeated on the next page; its text is.
        heading = page.locator("#cases-table thead button").first
        assert heading.evaluate("(button) => getComputedStyle(button).display") == "contents"
        assert page.pdf()[:5] == b"%PDF-"
    finally:
        page.emulate_media(media="screen")


def test_saved_tables_have_all_digits(page: Any, table: pd.DataFrame, tmp_path: Path) -> None:
    _visit(page, "#?kind=distance")
    with page.expect_download() as download:
        page.locator("#cases-csv").click()
    download.value.save_as(tmp_path / "cases.csv")
    with (tmp_path / "cases.csv").open(newline="") as file:
        saved = {int(row["row"]): row for row in csv.DictReader(file)}
    exact = table[table["kind"] == "distance"].set_index("row")
    assert set(saved) == set(exact.index)
    for row, case in exact.iterrows():
        assert saved[row]["configuration"] == case["configuration"]
        assert [float(saved[row]["upper"] or "nan")] == pytest.approx([case["upper"]], abs=0, rel=0, nan_ok=True)


def test_details_tell_what_an_answer_rests_on(page: Any, table: pd.DataFrame) -> None:
    _visit(page, "#?evidence=solver_claim")
    page.locator(f"{ROWS} button").first.click()
    text = page.locator("#details").inner_text()
    assert "solver's claim" in text and "HiGHS 1.12.0" in text
    upper = table.loc[table["evidence"] == "solver_claim", "upper"].iloc[0]
    assert repr(float(upper)) in text


def test_nothing_leaves_the_page(browser: Any, page_file: Path) -> None:
    watched = Watched.of(browser.new_page()).open(page_file)
    page = watched.page
    assert page.evaluate("fetch('https://example.org/').then(() => 'sent', () => 'refused')") == "refused"
    page.evaluate(
        """() => {
            const script = document.createElement("script");
            script.textContent = "window.harmed = 3";
            document.body.append(script);
            const image = new Image();
            image.src = "https://example.org/a.png";
            document.body.append(image);
        }"""
    )
    assert page.evaluate("window.harmed") is None
    assert all("Content Security Policy" in complaint for complaint in watched.complaints)
    assert len(watched.complaints) >= 3
    assert page.locator("[data-title*=Share]").count() == 0
    page.close()


def test_each_level_of_evidence_has_its_own_mark(page: Any, table: pd.DataFrame) -> None:
    marks = {}
    for level in Evidence:
        assert (table["evidence"] == level.value).any()
        _visit(page, f"#?evidence={level.value}")
        badge = page.locator(f"{ROWS} .is-{level.value}").first
        marks[level] = badge.evaluate("node => getComputedStyle(node, '::before').content")
    assert len({*marks.values()} - {"none", "normal"}) == len(Evidence)
