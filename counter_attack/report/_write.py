"""Writing the page of a campaign."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from onnx_models.errors import InputError

PAGE: Final = "index.html"
GALLERY: Final = 100
"""Cases in the gallery, unless told otherwise."""

_HEAD: Final = 4096
"""Bytes at the beginning of a page that say whose it is."""


def write_report(
    store: str | Path,
    folder: str | Path,
    *,
    title: str | None = None,
    gallery: int = GALLERY,
    force: bool = False,
    progress: Callable[[str], None] | None = None,
) -> Path:
    """Writes the page of a campaign and returns it: `folder/index.html`, one file that opens from disk.

    The same store gives the same bytes, with the same versions of this package and its charting library.

    Args:
        store: the campaign's store.
        folder: made if it is not there.
        title: of the page; None takes the store's name.
        gallery: how many cases to show as pictures, at least 0.
        force: whether to write over an `index.html` that is not a page of ours.
        progress: told what is being done.

    Raises:
        InputError: there is no such store, the folder cannot be written to, or holds another `index.html`.
    """
    if gallery < 0:
        raise InputError(f"A gallery of {gallery} cases makes no sense; give a number of at least 0.")
    target = Path(folder) / PAGE
    _check(target, force=force)
    from counter_attack.report._content import content
    from counter_attack.report._page import page
    from mipverify_py.campaigns import load_campaign

    campaign = load_campaign(store)
    text = page(title or f"Campaign {campaign.path.stem}", content(campaign, gallery=gallery, progress=progress))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _replace(target, text)
    except OSError as error:
        raise InputError(f"{folder}: the report cannot be written there ({error.strerror or error}).") from error
    return target


def _check(target: Path, *, force: bool) -> None:
    from counter_attack.report._page import GENERATOR

    if target.parent.exists() and not target.parent.is_dir():
        raise InputError(f"{target.parent}: is a file; give a folder for the report.")
    if force or not target.exists():
        return
    try:
        with target.open("rb") as file:
            head = file.read(_HEAD)
    except OSError as error:
        raise InputError(f"{target}: cannot be read ({error.strerror or error}); give another folder.") from error
    if f'<meta name="generator" content="{GENERATOR}">'.encode() not in head:
        raise InputError(f"{target}: is not a report of ours; give another folder, or --force to write over it.")


def _replace(target: Path, text: str) -> None:
    """Writes the whole file or, when that fails, leaves the old one as it is."""
    new = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        new.write_text(text, "utf-8")
        new.replace(target)
    finally:
        new.unlink(missing_ok=True)
