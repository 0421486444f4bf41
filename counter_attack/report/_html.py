"""Markup that is built from values, so that text can never become markup by accident."""

from __future__ import annotations

import html


class Html(str):
    """Text that is markup already, and is not escaped again."""

    __slots__ = ()


def tag(name: str, *children: object, **attributes: object) -> Html:
    """An element; children and attributes are escaped unless they are `Html`.

    Args:
        name: of the element.
        children: what stands in it, in this order; None stands for nothing.
        attributes: `class_` for class, `aria_label` for aria-label, and so on; None or False: left out, True: without
            a value.
    """
    given = "".join(_attribute(key, value) for key, value in attributes.items() if value is not None)
    return Html(f"<{name}{given}>{join(children)}</{name}>")


def join(parts: object) -> Html:
    """The parts one after the other, escaped unless they are `Html`."""
    assert isinstance(parts, list | tuple)
    return Html("".join(_text(part) for part in parts if part is not None))


def _text(value: object) -> str:
    return value if isinstance(value, Html) else html.escape(str(value))


def _attribute(key: str, value: object) -> str:
    name = key.rstrip("_").replace("_", "-")
    if value is False:
        return ""
    return f" {name}" if value is True else f' {name}="{html.escape(str(value))}"'
