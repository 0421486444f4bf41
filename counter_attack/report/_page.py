"""The page: one HTML file that holds everything it needs and can ask the network for nothing."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import zlib
from collections.abc import Mapping
from importlib.resources import files
from typing import Any, Final

from counter_attack.report._content import Content
from counter_attack.report._html import Html, join, tag

GENERATOR: Final = "counter-attack report"
"""How a page says that it is one of ours."""

_SCRIPTS: Final = (
    "1-data.js",
    "2-elements.js",
    "3-filters.js",
    "4-curves.js",
    "5-charts.js",
    "6-table.js",
    "7-gallery.js",
    "8-start.js",
)

_EXPLORED: Final = (("filters", "Filters"), ("charts", "Charts"), ("cases", "Cases"), ("gallery", "Gallery"))


def page(title: str, said: Content) -> str:
    """The HTML document."""
    middle = Html("") if said.data is None else Html(_part("explore.html"))
    sections = [section.markup() for section in said.before], [section.markup() for section in said.after]
    names = [(section.name, section.heading) for section in said.before]
    names += [] if said.data is None else _EXPLORED
    names += [(section.name, section.heading) for section in said.after]
    scripts = _scripts(with_charts=said.data is not None)
    return _filled(
        _part("report.html"),
        {
            "policy": _policy(scripts),
            "generator": GENERATOR,
            "title": join([title]),
            "subtitle": join([said.subtitle]),
            "style": Html(_part("report.css")),
            "sections": join([tag("li", tag("a", heading, href=f"#{name}")) for name, heading in names]),
            "content": join([*sections[0], middle, *sections[1]]),
            "footer": join([f"{title}. Made by {GENERATOR}."]),
            "scripts": join([*_embedded(said.data), *(Html(f"<script>{script}</script>") for script in scripts)]),
        },
    )


def _part(name: str) -> str:
    return (files("counter_attack.report") / "page" / name).read_text("utf-8")


def _filled(template: str, parts: Mapping[str, str]) -> str:
    """The template with {{name}} replaced, in one pass: what is put in is not looked at again."""
    return re.sub(r"{{(\w+)}}", lambda match: parts[match[1]], template)


def _scripts(*, with_charts: bool) -> list[str]:
    """The page's scripts: the charting library, and ours as one."""
    ours = '"use strict";\n' + "\n".join(_part(name) for name in _SCRIPTS)
    return [_library(), ours] if with_charts else [ours]


def _library() -> str:
    return (files("plotly") / "package_data" / "plotly.min.js").read_text("utf-8")


def _policy(scripts: list[str]) -> str:
    """Content-Security-Policy: these scripts run, no others; pictures are part of the page; nothing is fetched."""
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'" for s in scripts)
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; "
        "connect-src 'none'; base-uri 'none'; form-action 'none'"
    )


def _embedded(data: Mapping[str, Any] | None) -> list[Html]:
    if data is None:
        return []
    text = json.dumps(data, separators=(",", ":"), allow_nan=False, ensure_ascii=True)
    packed = base64.b64encode(zlib.compress(text.encode(), 9)).decode()
    return [Html(f'<script type="application/octet-stream" id="data">{packed}</script>')]
