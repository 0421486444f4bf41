"""Named sets of attacks: the published ones, and the user's own from TOML files.

The published sets are `strong`, `balanced` and `mip-start`, each for MNIST and for CIFAR10: the attacks of the UG100
data set with the parameters that were used for it.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from counter_attack.attacks._contract import Attack
from counter_attack.attacks._registry import ATTACKS, make_attack
from mipverify_py import Norm
from onnx_models.errors import InputError

_Table = dict[str, dict[str, Any]]
"""Attack -> parameter -> value."""

_DEEPFOOL = {"steps": 5000, "candidates": 10, "overshoot": 1e-5}
_BRENDEL = {"init": "blended-noise", "overshoot": 1.1, "lr_decay": 0.75, "lr_decay_every": 50, "momentum": 0.8}
_CARLINI = {
    "tau": 1.0,
    "min_tau": 1e-5,
    "const": 1e-5,
    "const_factor": 2.0,
    "max_const": 20.0,
    "warm_start": True,
    "abort_early": True,
}

_STRONG_MNIST: _Table = {
    "bim": {"steps": 2000, "step_size": 1e-3},
    "pgd": {"steps": 5000, "step_size": 1e-4, "random_start": True},
    "brendel": {**_BRENDEL, "steps": 5000, "lr": 1e-3},
    "cw": {**_CARLINI, "tau_factor": 0.95, "lr": 1e-2, "steps": 1000},
    "deepfool": _DEEPFOOL,
    "uniform": {"runs": 8000},
}
_STRONG_CIFAR10: _Table = {
    "bim": {"steps": 5000, "step_size": 1e-5},
    "pgd": {"steps": 5000, "step_size": 1e-4, "random_start": True},
    "brendel": {**_BRENDEL, "steps": 5000, "lr": 1e-5},
    "cw": {**_CARLINI, "tau_factor": 0.99, "lr": 1e-5, "steps": 5000},
    "deepfool": _DEEPFOOL,
    "uniform": {"runs": 8000},
}

SETS: Mapping[str, _Table] = {
    "strong-mnist": _STRONG_MNIST,
    "strong-cifar10": _STRONG_CIFAR10,
    "balanced-mnist": {
        "bim": {"steps": 200, "step_size": 1e-2},
        "pgd": {"steps": 200, "step_size": 1e-3, "random_start": True},
        "brendel": {**_BRENDEL, "steps": 200, "lr": 1e-3},
        "cw": {**_CARLINI, "tau_factor": 0.9, "lr": 1e-2, "steps": 100},
        "deepfool": _DEEPFOOL,
        "uniform": {"runs": 200},
    },
    "balanced-cifar10": {
        "bim": {"steps": 200, "step_size": 1e-3},
        "pgd": {"steps": 200, "step_size": 1e-3, "random_start": True},
        "brendel": {**_BRENDEL, "steps": 200, "lr": 1e-3},
        "cw": {**_CARLINI, "tau_factor": 0.9, "lr": 1e-4, "steps": 100},
        "deepfool": _DEEPFOOL,
        "uniform": {"runs": 200},
    },
    # Strong, but on MNIST the start of a MIP solver was given other BIM, Brendel & Bethge and Carlini & Wagner runs.
    "mip-start-mnist": _STRONG_MNIST
    | {
        "bim": {"steps": 5000, "step_size": 1e-5},
        "brendel": {**_BRENDEL, "steps": 5000, "lr": 1e-3},
        "cw": {**_CARLINI, "tau_factor": 0.99, "lr": 1e-3, "steps": 5000},
    },
    "mip-start-cifar10": _STRONG_CIFAR10,
}
"""The published sets by name."""


def parameter_set(source: str | Path, *, norm: Norm | None = None) -> dict[str, Attack]:
    """The attacks of a set, by name.

    Args:
        source: the name of a published set, such as "balanced-mnist", or the path of a TOML file (ending in .toml):

                base = "balanced-mnist"    # may be missing; its attacks are kept unless a table below changes them

                [attacks.pgd]              # one table per attack, with the parameters that differ
                steps = 500

        norm: of all attacks; None: as the set says, L-infinity where it says nothing.

    Raises:
        InputError: an unknown set, attack or parameter; a file that is missing or no such TOML file, naming the table
            or line; an attack that does not work in the norm.
    """
    if isinstance(source, str) and source in SETS:
        return _attacks(SETS[source], f"the set {source}", norm)
    path = Path(source)
    if path.suffix != ".toml":
        raise InputError(f"There is no parameter set {str(source)!r}; give one of {', '.join(SETS)}, or a .toml file.")
    return _attacks(_read(path), str(path), norm)


def _attacks(table: _Table, place: str, norm: Norm | None) -> dict[str, Attack]:
    every = {} if norm is None else {"norm": norm}
    attacks = {}
    for name, parameters in table.items():
        try:
            attacks[name] = make_attack(name, **{**parameters, **every})
        except InputError as error:
            raise InputError(f"In {place}, table [attacks.{name}]: {error}") from None
    return attacks


def _read(path: Path) -> _Table:
    """The table of a user's file, its base included."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"The parameter file {path} cannot be read: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"The parameter file {path} is not TOML: {error}.") from None
    unknown = content.keys() - {"base", "attacks"}
    if unknown:
        raise InputError(f"{path} has {min(unknown)!r} at its top; expected `base` and tables [attacks.NAME] only.")
    base, own = content.get("base"), content.get("attacks", {})
    if base is not None and (not isinstance(base, str) or base not in SETS):
        raise InputError(f"{path} has base = {base!r}; expected one of {', '.join(SETS)}.")
    if not isinstance(own, dict) or not all(isinstance(parameters, dict) for parameters in own.values()):
        raise InputError(f"{path} has attacks that are not tables; write [attacks.pgd] and its parameters below it.")
    table: _Table = dict(SETS[base]) if base is not None else {}
    for name, parameters in own.items():
        table[name] = table.get(name, {}) | parameters
    if not table:
        raise InputError(f"{path} names no attack; write [attacks.NAME] with one of {', '.join(ATTACKS)}, or a base.")
    return table
