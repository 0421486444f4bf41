"""Specs of campaigns as TOML files."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from mipverify_py._tolerances import GAP_ABSOLUTE, GAP_RELATIVE
from mipverify_py.campaigns._judging import MAX_FAILURES
from mipverify_py.campaigns._records import Limits
from mipverify_py.campaigns._rounds import SHARES
from mipverify_py.campaigns._spec import EXECUTORS, KEPT, CampaignSpec, Group, RunSettings
from mipverify_py.campaigns._spec_data import read_data
from mipverify_py.campaigns._spec_models import read_models
from mipverify_py.campaigns._spec_questions import COMMON_KEYS, EXACT_KEYS, Question, read_distance, read_verify
from mipverify_py.campaigns._spec_table import SpecError, Table, at, is_whole
from onnx_models.errors import InputError


class Kind:
    """How a kind of [[query]] is read.

    Args:
        keys: those that its table may have, beside `kind`.
        read: makes the question of the table and the spec's folder.
    """

    def __init__(self, keys: tuple[str, ...], read: Callable[[Table, Path], Question]) -> None:
        self.keys, self.read = keys, read


EXACT: Final[Mapping[str, Kind]] = {
    "distance": Kind((*COMMON_KEYS, *EXACT_KEYS), lambda table, _: read_distance(table)),
    "verify": Kind((*COMMON_KEYS, *EXACT_KEYS, "eps"), lambda table, _: read_verify(table)),
}
"""The kinds that need no attacks."""

_TOP = ("seed", "models", "data", "query", "defaults", "group", "limits", "run")
_LARGEST = 2**24
"""Bytes of a spec file; every one that a person wrote is smaller."""


def read_spec(path: Path, kinds: Mapping[str, Kind] = EXACT) -> CampaignSpec:
    """The spec in a TOML file; docs/how-to/run-a-campaign.md shows one with every key.

    Args:
        path: the file; paths in it are relative to its folder.
        kinds: the kinds of queries that it may ask; `counter_attack.campaigns.read_spec` adds attacks.

    Raises:
        InputError: no such file, no TOML, or a key or value that is wrong, naming it and its place.
    """
    top = Table(_content(path), path.name)
    top.only(*_TOP)
    defaults = top.table("defaults")
    if defaults is not None:
        defaults.only(*COMMON_KEYS, *EXACT_KEYS)
    parts = top.tables("group") or [top]
    for part in parts:
        if part is not top:
            part.only("models", "data", "query")
    return at(
        path.name,
        lambda: CampaignSpec(
            groups=tuple(_group(part, top, path.resolve().parent, kinds) for part in parts),
            limits=_limits(top.table("limits") or Table({}, path.name)),
            run=_settings(top.table("run") or Table({}, path.name), path.resolve().parent),
            seed=top.whole("seed", 0, "a whole number of at least 0 and below 2**31", lambda v: 0 <= v < 2**31),
        ),
    )


def _content(path: Path) -> dict[str, object]:
    if path.is_dir():
        raise InputError(f"{path} is a folder; name the .toml file in it.")
    try:
        if path.stat().st_size > _LARGEST:
            raise InputError(f"{path}: is no spec of a campaign; it has more than {_LARGEST} bytes.")
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file.") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}).") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: is not TOML ({error}).") from None


def _group(part: Table, top: Table, folder: Path, kinds: Mapping[str, Kind]) -> Group:
    """A group; what it leaves out is taken from the top of the file."""
    whole = part if part is top else Table(part.content, part.place, top)
    for key, hint in (
        ("models", "models = ['FILE.onnx', 'zoo:NAME']"),
        ("data", "[data] with dataset and indices, or file"),
        ("query", "[[query]] with kind = 'distance'"),
    ):
        if key not in whole:
            raise SpecError(f"{part.place}: {key} is missing; write {hint}.")
    data = whole.table("data")
    assert data is not None
    return Group(
        models=read_models(whole, folder),
        data=read_data(data, folder),
        questions=tuple(
            _question(table, top.table("defaults"), folder, kinds) for table in whole.tables("query") or ()
        ),
    )


def _question(table: Table, defaults: Table | None, folder: Path, kinds: Mapping[str, Kind]) -> Question:
    name = table.text("kind", among=tuple(kinds))
    if name is None:
        raise SpecError(f"{table.place}: kind is missing; choose one of {', '.join(kinds)}.")
    kind = kinds[name]
    table.only("kind", *kind.keys)
    merged = Table(table.content, table.place, _for_kind(defaults, kind))
    return at(table.place, lambda: kind.read(merged, folder))


def _for_kind(defaults: Table | None, kind: Kind) -> Table | None:
    """The defaults that a kind has keys for."""
    if defaults is None:
        return None
    return Table({key: value for key, value in defaults.content.items() if key in kind.keys}, defaults.place)


def _limits(table: Table) -> Limits:
    table.only("time_limit", "gap_absolute", "gap_relative")
    absolute = table.number("gap_absolute", GAP_ABSOLUTE, "a number of at least 0", lambda v: v >= 0)
    relative = table.number("gap_relative", GAP_RELATIVE, "a number of at least 0 and below 1", lambda v: 0 <= v < 1)
    assert absolute is not None
    assert relative is not None
    return Limits(table.number("time_limit", None, "a number of seconds above 0", lambda v: v > 0), absolute, relative)


def _settings(table: Table, folder: Path) -> RunSettings:
    table.only("executor", "workers", "memory_limit", "scheduler", "max_failures", "rounds", "tls", "certificates")
    at_least_1 = "a whole number of at least 1"
    memory = table.number("memory_limit", None, "a number of GiB above 0", lambda v: v > 0)
    rounds = table["rounds"] if "rounds" in table else list(SHARES)
    if not isinstance(rounds, list) or not all(isinstance(v, float) or is_whole(v) for v in rounds):
        raise table.wrong("rounds", "a list of shares of the time limit, such as [0.02, 0.125, 1]")
    return at(
        table.place,
        lambda: RunSettings(
            executor=table.text("executor", "processes", among=EXECUTORS) or "",
            workers=table.whole("workers", 1, at_least_1, lambda v: v >= 1) if "workers" in table else None,
            memory_limit=None if memory is None else int(memory * 2**30),
            scheduler=table.text("scheduler"),
            max_failures=table.whole("max_failures", MAX_FAILURES, at_least_1, lambda v: v >= 1),
            rounds=tuple(rounds),
            tls=_tls(table, folder),
            certificates=table.text("certificates", "hash", among=KEPT) or "",
        ),
    )


def _tls(table: Table, folder: Path) -> tuple[str, str, str] | None:
    files = [str(folder / Path(name).expanduser()) for name in table.texts("tls")]
    if not files:
        return None
    if len(files) != 3:
        raise table.wrong("tls", "three files: the authority's certificate, our own, and its key")
    return files[0], files[1], files[2]
