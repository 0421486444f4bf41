"""The engines: native branch and bound (`cuts`, `duals`, `auto`), and one mixed-integer program on a solver (`mip`)."""

from __future__ import annotations

from mipverify_py._search import Search


def run_engine(search: Search) -> None:
    """Answers the search's query after the attack has had its turn, with the engine that its options name."""
    if search.options.engine == "mip":
        from mipverify_py.engines._mip import run_mip

        run_mip(search)
    else:
        from mipverify_py.engines._native import NativeEngine

        NativeEngine(search).run()
