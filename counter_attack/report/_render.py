"""Tables and facts as markup."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from counter_attack.report._html import Html, join, tag
from counter_attack.ug100 import Column, Table

_LONG: Final = 48
"""Letters of a text that may be broken over several lines."""


def table_markup(table: Table) -> Html:
    """The table, its caption and its note, in a region that scrolls by itself.

    Rounded numbers show all their digits when pointed at.
    """
    head = tag("tr", *[_heading(column) for column in table.columns])
    body = [
        tag("tr", *[_cell(column, row, first=not i) for i, column in enumerate(table.columns)]) for row in table.rows
    ]
    drawn = tag("table", tag("caption", table.title), tag("thead", head), tag("tbody", *body))
    note = tag("p", table.note, class_="note") if table.note else None
    region = tag("div", drawn, class_="scroll", role="region", tabindex="0", aria_label=table.title)
    return tag("div", region, note, class_="table", id=f"table-{_identifier(table.name)}")


def facts(pairs: Iterable[tuple[str, object]]) -> Html:
    """Names and values, one under the other."""
    return tag("dl", *[join([tag("dt", name), tag("dd", value)]) for name, value in pairs], class_="facts")


def sentences(lines: Iterable[str]) -> Html:
    """Each in a paragraph of its own."""
    return join([tag("p", line) for line in lines])


def duration(seconds: float) -> str:
    """Seconds as people say them: 0.21 s, 3.4 min, 12.0 h."""
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:.3g} s"


def _heading(column: Column) -> Html:
    first, *rest = column.heading.split("\n")
    broken = [part for line in rest for part in (Html("<br>"), line)]
    return tag("th", first, *broken, scope="col", class_=None if column.style == "text" else "number")


def _cell(column: Column, row: Mapping[str, Any], *, first: bool) -> Html:
    value, shown = row.get(column.key), column.show(row)
    numbers = [number for number in (value, row.get(f"{column.key}_std")) if isinstance(number, float)]
    full = " ± ".join(map(repr, numbers)) or None
    text = column.style == "text" and not isinstance(value, float | int)
    kind = ("wide" if len(shown) > _LONG else None) if text else "number"
    settings = {"title": full if full != shown else None, "data_full": full, "class_": kind}
    return tag("th", shown, scope="row", **settings) if first else tag("td", shown, **settings)


def _identifier(name: str) -> str:
    """A name with what an identifier may not have in it replaced."""
    return "".join(c if c.isascii() and (c.isalnum() or c in "-_") else f".{ord(c):x}." for c in name)
