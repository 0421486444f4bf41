"""Which solvers there are, which are installed, and how to get the others; imports no solver."""

from __future__ import annotations

import importlib
from dataclasses import dataclass

from mipverify_py.backends._base import Backend
from onnx_models.errors import BackendAbilityError, BackendMissingError, InputError

_CLASSES = {
    "highs": "HighsBackend",
    "scip": "ScipBackend",
    "cbc": "CbcBackend",
    "gurobi": "GurobiBackend",
    "ortools": "OrtoolsBackend",
}

BACKEND_NAMES = tuple(_CLASSES)
"""Every backend this package knows, the default first."""


@dataclass(frozen=True, slots=True)
class BackendStatus:
    """One row of the table of backends.

    Attributes:
        name: as in `BACKEND_NAMES`.
        installed: whether its package is there.
        version: the package's version, None if it is not installed.
        licence: the licence a solve would run under, as far as can be told without starting the solver.
        install: the command that installs it.
    """

    name: str
    installed: bool
    version: str | None
    licence: str
    install: str


def backend_class(name: str) -> type[Backend]:
    """The backend's class, installed or not; raises InputError for a name that is not in `BACKEND_NAMES`."""
    if name not in _CLASSES:
        raise InputError(f"Backend {name!r} is unknown; choose one of {', '.join(BACKEND_NAMES)}.")
    found: type[Backend] = getattr(importlib.import_module(f"mipverify_py.backends.{name}"), _CLASSES[name])
    return found


def get_backend(name: str) -> Backend:
    """The backend of that name.

    Raises:
        InputError: no backend has this name.
        BackendMissingError: its package is not installed; the message says how to install it.
    """
    cls = backend_class(name)
    if not cls.is_installed():
        others = ", ".join(available_backends()) or "none"
        raise BackendMissingError(
            f"Backend {name!r} needs the package {cls.distribution}, which is not installed: "
            f"{_install_command(name)} (installed now: {others})."
        )
    return cls()


def check_ability(name: str, *, objective: bool, integral: bool, rows: bool) -> None:
    """Raises BackendAbilityError, naming backends that can, if this one cannot solve such models.

    Args:
        name: one of `BACKEND_NAMES`.
        objective: the objective has squares.
        integral: there are integer columns.
        rows: there are quadratic rows.
    """

    def missing(other: str) -> str:
        return backend_class(other).capabilities.missing(objective=objective, integral=integral, rows=rows)

    if missing(name):
        able = ", ".join(other for other in BACKEND_NAMES if not missing(other))
        raise BackendAbilityError(f"Backend {name!r} does not solve {missing(name)}; choose one of {able}.")


def available_backends() -> tuple[str, ...]:
    """The names of the backends whose packages are installed, the default first."""
    return tuple(name for name in BACKEND_NAMES if backend_class(name).is_installed())


def backend_status() -> tuple[BackendStatus, ...]:
    """One row per backend, installed or not."""
    rows = []
    for name in BACKEND_NAMES:
        cls = backend_class(name)
        installed = cls.is_installed()
        version = cls.version() if installed else None
        rows.append(BackendStatus(name, installed, version, cls.licence_note(), _install_command(name)))
    return tuple(rows)


def _install_command(name: str) -> str:
    return f'pip install "mipverify-py[{name}]"'
