"""The sections of the page, and the data that its charts, cases and gallery work on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

from counter_attack.report._cases import Cases, attempts_of, cases, findings_of
from counter_attack.report._columns import encoded
from counter_attack.report._gallery import choose, entries
from counter_attack.report._html import Html, join, tag
from counter_attack.report._provenance import contradiction_table, failure_table, provenance_tables
from counter_attack.report._render import facts, sentences, table_markup
from counter_attack.report._summary import figures, statements, summary_tables
from counter_attack.report._thesis import INTRODUCTION, thesis_tables
from counter_attack.ug100 import Table

if TYPE_CHECKING:
    from mipverify_py.campaigns import Campaign

MOST_DETAILS: Final = 250_000
"""Findings or attempts: of a larger campaign the page has only those of the cases in the gallery."""

_COLUMNS: Final = [
    "row",
    "configuration",
    "kind",
    "norm",
    "eps",
    "set",
    "dataset",
    "index",
    "label",
    "predicted",
    "target",
    "state",
    "verdict",
    "lower",
    "upper",
    "gap",
    "attack",
    "excess",
    "evidence",
    "stop_reason",
    "engine",
    "backend",
    "attempts",
    "failures",
    "failure",
    "seconds",
    "contradiction",
    "model",
    "key",
]


@dataclass(frozen=True, slots=True)
class Section:
    """A section of the page: its identifier, its heading, and what stands in it."""

    name: str
    heading: str
    body: Html

    def markup(self) -> Html:
        """The section as an element."""
        heading = tag("h2", self.heading, id=f"{self.name}-title")
        return tag("section", heading, self.body, id=self.name, aria_labelledby=f"{self.name}-title", tabindex="-1")


@dataclass(frozen=True, slots=True)
class Content:
    """What the page says.

    Attributes:
        subtitle: one line on what it is about.
        before, after: sections before and behind the part with filters, charts, cases and gallery.
        data: what that part works on; None leaves it out.
    """

    subtitle: str
    before: tuple[Section, ...]
    after: tuple[Section, ...]
    data: dict[str, Any] | None


def content(campaign: Campaign, *, gallery: int, progress: Callable[[str], None] | None = None) -> Content:
    """The content of a campaign's page.

    Args:
        campaign: the campaign.
        gallery: how many cases to show as pictures, at least 0.
        progress: told what is being done.
    """
    tell = progress or (lambda _: None)
    tell("reading the campaign")
    found = cases(campaign)
    summary = _summary(found)
    if found.table.empty:
        return Content("An empty campaign", (summary,), (_provenance(campaign, found),), None)
    return Content(
        subtitle=_subtitle(found),
        before=(summary, _trouble(campaign, found), _comparison(campaign, found, tell)),
        after=(_provenance(campaign, found),),
        data=_data(campaign, found, gallery, tell),
    )


def _subtitle(found: Cases) -> str:
    table = found.table
    names = ", ".join(sorted(table["dataset"].unique()))
    inputs, configurations = len(table.drop_duplicates(["dataset", "index"])), table["configuration"].nunique()
    return (
        f"{len(table):,} {_plural('query', len(table))} about {inputs:,} {_plural('input', inputs)} of {names}, "
        f"{configurations:,} {_plural('configuration', configurations)}"
    )


def _plural(word: str, count: int) -> str:
    return word if count == 1 else {"query": "queries"}.get(word, f"{word}s")


def _summary(found: Cases) -> Section:
    numbers = [tag("div", tag("dt", name), tag("dd", value)) for name, value in figures(found)]
    parts = [tag("dl", *numbers, class_="figures") if len(found.table) else None]
    parts.append(tag("div", sentences(statements(found)), class_="prose"))
    if len(found.table):
        parts += map(table_markup, summary_tables(found))
    return Section("summary", "Summary", join(parts))


def _trouble(campaign: Campaign, found: Cases) -> Section:
    wrong, failed = contradiction_table(campaign), failure_table(found)
    parts = [
        table_markup(wrong) if wrong.rows else tag("p", "No answer contradicts another."),
        table_markup(failed) if failed.rows else tag("p", "No query was given up without an answer."),
    ]
    return Section("trouble-found", "Contradictions and failures", join(parts))


def _comparison(campaign: Campaign, found: Cases, tell: Callable[[str], None]) -> Section:
    attacks = found.of_kind("attack")
    answered = attacks[attacks["state"] == "decided"]
    if answered.empty:
        words = "No attack was answered" if len(attacks) else "No attack was run"
        nothing = tag("p", f"{words}, so there is nothing to compare exact distances with.")
        return Section("comparison", "Attacks against exact distances", nothing)
    made = list(thesis_tables(campaign, answered, progress=lambda name: tell(f"computing the table {name}")))
    parts = [tag("p", made_one) if isinstance(made_one, str) else table_markup(made_one) for made_one in made]
    if len(answered) < len(attacks):
        missing = len(attacks) - len(answered)
        parts.insert(0, tag("p", f"{missing:,} of {len(attacks):,} attack queries have no answer and are left out."))
    if any(isinstance(one, Table) for one in made):
        parts.insert(0, tag("p", INTRODUCTION, class_="note"))
    return Section("comparison", "Attacks against exact distances", join(parts))


def _provenance(campaign: Campaign, found: Cases) -> Section:
    events = campaign.events
    said = list(_store_facts(campaign))
    if len(events):
        said.append(("log", f"{len(events):,} events, {events['time'].min()} to {events['time'].max()}"))
    parts: list[object] = [facts(said)]
    parts += map(table_markup, (table for table in provenance_tables(campaign, found) if table.rows))
    return Section("provenance", "Provenance", join(parts))


def _store_facts(campaign: Campaign) -> Iterator[tuple[str, str]]:
    yield "store", campaign.path.name
    yield "page", f"made by mipverify-py {version('mipverify-py')}"
    yield (
        "reproved",
        "The answer rests on a certificate that was checked in exact arithmetic.",
    )
    yield (
        "replayed",
        "The answer rests on our own outward-rounded floats and re-evaluated examples; no solver is trusted.",
    )
    claim = "The answer also rests on a solver's word, within its tolerances, or on bounds supplied by the user"
    yield "solver's claim", f"{claim}; the details of a case say which."
    yield "upper ends", "Distances of examples that were evaluated again; an attack's distance is one, too."


def _data(campaign: Campaign, found: Cases, gallery: int, tell: Callable[[str], None]) -> dict[str, Any]:
    tell("choosing cases for the gallery")
    findings, attempts = findings_of(campaign, found), attempts_of(campaign, found)
    chosen = choose(found, findings, gallery)
    partial = max(len(findings), len(attempts)) > MOST_DETAILS
    if partial:
        kept = {choice.case for choice in chosen}
        findings, attempts = findings[findings["case"].isin(kept)], attempts[attempts["case"].isin(kept)]
    names = {digest: model.name for digest, model in campaign.models.items()}
    table = found.table.assign(model=found.table["model"].map(names))
    tell(f"drawing {len(chosen)} cases")
    shown = list(entries(campaign, found, findings, chosen))
    return {
        "cases": encoded(table[_COLUMNS]),
        "pairs": {"exact": found.exact.tolist(), "attack": found.attacked.tolist()},
        "findings": encoded(findings),
        "attempts": encoded(attempts),
        "details_of_gallery_only": partial,
        "gallery": shown,
        "gallery_note": _gallery_note(len(shown), gallery),
    }


def _gallery_note(shown: int, asked: int) -> str:
    if not shown:
        return (
            "No pictures were asked for."
            if asked == 0
            else "No adversarial example was found, so there is none to show."
        )
    return (
        f"{shown:,} cases: nearest, farthest, slowest and most missed by attacks, of all configurations in turn. "
        "The difference is scaled so that its largest entry has full colour: blue where the example is darker, brown "
        "where it is brighter; in colour images grey is no change."
    )
