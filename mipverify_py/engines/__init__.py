"""The engines: native branch and bound (`cuts`, `duals`, `auto`), and one mixed-integer program on a solver (`mip`)."""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module

from mipverify_py._interruptions import interruptions_held
from mipverify_py._search import Search


def run_engine(search: Search) -> None:
    """Answers the search's query after the attack has had its turn, with the engine that its options name."""
    if search.options.engine == "mip":
        from mipverify_py.engines._mip import run_mip

        run_mip(search)
        return
    with interruptions_held():
        for name in ("torch", "highspy"):  # loading them takes a second, in which Ctrl-C would do harm
            with suppress(ImportError):  # whoever needs it says so
                import_module(name)
        from mipverify_py.engines._native import NativeEngine
    NativeEngine(search).run()
