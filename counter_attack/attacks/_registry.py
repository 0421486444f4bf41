"""Attacks by name, imported when they are asked for."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Iterator, Mapping
from typing import Any

from counter_attack.attacks._contract import Attack
from counter_attack.attacks._epsilon import EpsilonSearch
from counter_attack.unified._settings import PRESETS, REGISTERED
from mipverify_py import Norm
from onnx_models.errors import InputError

_UNIFIED = "counter_attack.unified._attack"

_HOMES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "fgsm": ("_gradient", "FGSM", {}),
    "bim": ("_gradient", "BIM", {}),
    "pgd": ("_gradient", "PGD", {}),
    "uniform": ("_noise", "UniformNoise", {}),
    "gaussian": ("_noise", "GaussianNoise", {}),
    "deepfool": ("_deepfool", "DeepFool", {}),
    "cw": ("_carlini", "CarliniWagnerLinf", {}),
    "cw-l2": ("_carlini_l2", "CarliniWagnerL2", {}),
    "brendel": ("_brendel", "BrendelBethge", {}),
    "fmn": ("_fmn", "FMN", {}),
    "apgd-ce": ("_apgd", "APGD", {"loss": "ce"}),
    "apgd-dlr": ("_apgd", "APGD", {"loss": "dlr"}),
    "fab": ("_fab", "FAB", {}),
    "square": ("_square", "Square", {}),
    "auto": ("_ensemble", "AutoEnsemble", {}),
    **{name: (_UNIFIED, "LinearisedAttack", {"preset": name}) for name in ("linearised", *REGISTERED)},
}
"""Name -> module, class, and the parameters that the name stands for."""

_DEFAULTS = {name: PRESETS[name] for name in REGISTERED}
"""Name -> parameters that differ from the class's defaults unless they are given."""


class _Registry(Mapping[str, type[Attack]]):
    """Name -> class; a class is imported on access."""

    def __getitem__(self, name: str) -> type[Attack]:
        module, attribute, _ = _HOMES[name]
        home = module if "." in module else f"counter_attack.attacks.{module}"
        found: type[Attack] = getattr(importlib.import_module(home), attribute)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(_HOMES)

    def __len__(self) -> int:
        return len(_HOMES)


ATTACKS: Mapping[str, type[Attack]] = _Registry()
"""The attacks by the names that the command line and parameter files use."""


def make_attack(name: str, /, **parameters: Any) -> Attack:
    """The attack of that name with these parameters, the others at their defaults.

    Values may be as a TOML file has them: `norm` may be "linf", "l1" or "l2", and `search` a table of the fields of
    `EpsilonSearch`.

    Raises:
        InputError: an unknown name or parameter (the known ones are listed), a value of another type or out of range.
    """
    if name not in ATTACKS:
        raise InputError(f"There is no attack {name!r}; there are {', '.join(ATTACKS)}.")
    fixed = _HOMES[name][2]
    kind = ATTACKS[name]
    fields = {field.name: field for field in dataclasses.fields(kind) if field.init and field.name not in fixed}
    for parameter in parameters:
        if parameter not in fields:
            raise InputError(f"The attack {name} has no parameter {parameter!r}; it has {', '.join(fields)}.")
    given = {key: _value(name, fields[key], value) for key, value in parameters.items()}
    return kind(**fixed, **{**_DEFAULTS.get(name, {}), **given})


def attack_parameters(name: str, attack: Attack) -> dict[str, Any]:
    """The parameters, but for the norm, from which `make_attack(name, ...)` makes this attack, as JSON has them."""
    fixed = _HOMES[name][2]
    names = [field.name for field in dataclasses.fields(attack) if field.init and field.name not in {*fixed, "norm"}]
    values = {parameter: getattr(attack, parameter) for parameter in names}
    return {parameter: _plain(value) for parameter, value in values.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, EpsilonSearch):
        return dataclasses.asdict(value)
    return value.value if isinstance(value, Norm) else value


def _value(attack: str, field: dataclasses.Field[Any], value: Any) -> Any:
    """The value as the field has it, checked against the type of the field's default."""
    default = field.default
    if isinstance(default, Norm):
        return _norm(attack, value)
    if isinstance(default, EpsilonSearch):
        return _search(attack, value)
    place = f"The parameter {field.name!r} of {attack}"
    return _number(place, default, value)


def _number(place: str, default: Any, value: Any) -> Any:
    if isinstance(default, bool):
        wanted, fits = "true or false", isinstance(value, bool)
    elif isinstance(default, int):
        wanted, fits = "a whole number", isinstance(value, int) and not isinstance(value, bool)
    elif isinstance(default, float):
        wanted, fits = "a number", isinstance(value, int | float) and not isinstance(value, bool)
    elif isinstance(default, str):
        wanted, fits = "a text", isinstance(value, str)
    elif default is None:
        wanted, fits = "a number or nothing", value is None or (_number(place, 0.0, value) is value)
    else:
        return value
    if not fits:
        raise InputError(f"{place} has to be {wanted}; got {value!r}.")
    return value


def _norm(attack: str, value: Any) -> Norm:
    try:
        return Norm(value)
    except ValueError:
        known = ", ".join(norm.value for norm in Norm)
        raise InputError(f"The parameter 'norm' of {attack} is one of {known}; got {value!r}.") from None


def _search(attack: str, value: Any) -> EpsilonSearch:
    if isinstance(value, EpsilonSearch):
        return value
    fields = {field.name: field for field in dataclasses.fields(EpsilonSearch)}
    if not isinstance(value, Mapping) or value.keys() - fields.keys():
        raise InputError(f"The parameter 'search' of {attack} is a table of {', '.join(fields)}; got {value!r}.")
    return EpsilonSearch(
        **{key: _number(f"The entry {key!r} of search of {attack}", fields[key].default, value[key]) for key in value}
    )
