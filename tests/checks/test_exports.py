"""Public names: each resolves, says what it is in a docstring, and has a place in the reference."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

PACKAGES = ("onnx_models", "bounds", "mipverify_py", "counter_attack")
REPOSITORY = Path(__file__).resolve().parents[2]
COMMANDS = {"mipverify_py.cli", "counter_attack.cli"}
"""Documented as commands, on pages of their own."""


def _public_modules() -> list[str]:
    """Every module of the four packages whose dotted name has no part that begins with an underscore."""
    files = [path.relative_to(REPOSITORY) for package in PACKAGES for path in (REPOSITORY / package).rglob("*.py")]
    parts = [path.with_suffix("").parts for path in files]
    names = [part[:-1] if part[-1] == "__init__" else part for part in parts]
    return sorted(".".join(name) for name in names if not any(part.startswith("_") for part in name))


MODULES = _public_modules()


def _public_names(module: ModuleType) -> list[str]:
    """The names in `__all__`; in a module without one, the classes and functions that it defines itself."""
    listed = getattr(module, "__all__", None)
    if listed is not None:
        return list(listed)
    own = inspect.getmembers(module, lambda value: getattr(value, "__module__", None) == module.__name__)
    return [name for name, _ in own if not name.startswith("_")]


def _is_described(thing: Any) -> bool:
    """Whether its docstring was written: a dataclass without one gets its signature instead, which does not count."""
    text = thing.__doc__ or ""
    generated = dataclasses.is_dataclass(thing) and text.startswith(f"{thing.__name__}(")  # type: ignore[union-attr]
    return bool(text) and not generated


def _bare_members(cls: type) -> Iterator[str]:
    """Public methods and properties of the class that have no docstring, neither their own nor an inherited one."""
    for name, member in vars(cls).items():
        counts = inspect.isfunction(member) or isinstance(member, property | classmethod | staticmethod)
        if counts and not name.startswith("_") and not inspect.getdoc(getattr(cls, name)):
            yield f"{cls.__name__}.{name}"


@pytest.mark.parametrize("package", PACKAGES)
def test_package_lists_its_public_names(package: str) -> None:
    assert isinstance(importlib.import_module(package).__all__, list)


@pytest.mark.parametrize("name", MODULES)
def test_module_and_all_it_exports_say_what_they_are(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__doc__
    bare: list[str] = []
    for export in _public_names(module):
        thing = getattr(module, export)  # fails if the name does not resolve
        # Constants and type aliases are described by a string after them, which Python does not keep.
        if inspect.isclass(thing):
            bare += [] if _is_described(thing) else [export]
            bare += _bare_members(thing)
        elif inspect.isfunction(thing) and not _is_described(thing):
            bare.append(export)
    assert not bare


@pytest.mark.parametrize("name", MODULES)
def test_exporting_module_has_a_place_in_the_reference(name: str) -> None:
    if name in COMMANDS or not getattr(importlib.import_module(name), "__all__", None):
        return
    pages = [page.read_text("utf-8").splitlines() for page in (REPOSITORY / "docs" / "reference").glob("*.md")]
    assert any(f"::: {name}" in lines for lines in pages), f"no page of docs/reference has the line '::: {name}'"


LAZY = (
    "mipverify_py",
    "mipverify_py.certificate",
    "counter_attack",
    "counter_attack.amoeba",
    "counter_attack.attacks",
    "counter_attack.diagnostics",
    "counter_attack.ground_truth",
    "counter_attack.hardness",
    "counter_attack.reductions",
    "counter_attack.training",
    "counter_attack.transfer",
    "counter_attack.ug100",
    "counter_attack.unified",
    "counter_attack.universal",
)


@pytest.mark.parametrize("name", LAZY)
def test_lazy_package_lists_its_names_and_rejects_others(name: str) -> None:
    package = importlib.import_module(name)
    assert set(package.__all__) <= set(dir(package))
    with pytest.raises(AttributeError, match="nonsense"):
        _ = package.nonsense
