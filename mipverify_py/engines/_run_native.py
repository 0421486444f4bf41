"""The native engines, loaded when first used."""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module

from mipverify_py._search import Search
from onnx_models._interruptions import interruptions_held


def run_native(search: Search) -> None:
    """Answers the search's query with a native engine; its set must be a box."""
    with interruptions_held():
        for name in ("torch", "highspy"):  # loading them takes a second, in which Ctrl-C would do harm
            with suppress(ImportError):  # whoever needs it says so
                import_module(name)
        from mipverify_py.engines._box_engine import BoxEngine, suits_boxes
        from mipverify_py.engines._native import NativeEngine
    name = search.options.engine
    if name == "boxes" or (name == "auto" and suits_boxes(search)):
        BoxEngine(search).run()
    else:
        NativeEngine(search).run()
