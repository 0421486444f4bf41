"""Sets of attacks as a question of a campaign, and specs that may ask it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final

from counter_attack._parameters import SETS, parameter_set
from counter_attack.attacks import Attack, make_attack
from counter_attack.attacks._registry import attack_parameters
from counter_attack.pool._finish import FINISH
from mipverify_py import Norm
from mipverify_py.campaigns._records import QueryKind
from mipverify_py.campaigns._spec import CampaignSpec
from mipverify_py.campaigns._spec_file import EXACT, Kind
from mipverify_py.campaigns._spec_file import read_spec as read_exact_spec
from mipverify_py.campaigns._spec_questions import COMMON_KEYS, Question, Variant, common_values
from mipverify_py.campaigns._spec_table import SpecError, Table
from onnx_models.errors import InputError

FAMILIES: Final = tuple(name.removesuffix("-mnist") for name in SETS if name.endswith("-mnist"))
"""The published sets without the data set in their names."""


@dataclass(frozen=True, kw_only=True)
class AttackQuestion(Question):
    """How near sets of attacks get.

    Attributes:
        sets: "strong", "balanced" or "mip-start", for the data set at hand; these with the data set in their name, such
            as "strong-mnist"; or .toml files (see `parameter_set`). One query for each.
        attacks: instead of sets: attacks by name with the parameters that differ from the defaults.
        name: what the set is called: of `attacks`, or of the one in `sets`; default their own names.
        finish: exact local search from the closest example, as one more attack (see `Pool`).

    Raises:
        InputError: neither sets nor attacks, or both; a set, attack or parameter that there is not.
    """

    kind: ClassVar[QueryKind] = QueryKind.ATTACK

    sets: tuple[str, ...] = ()
    attacks: Mapping[str, Mapping[str, Any]] | None = None
    name: str | None = None
    finish: bool = False

    def __post_init__(self) -> None:
        Question.__post_init__(self)
        if bool(self.sets) == bool(self.attacks):
            raise InputError("An attack query needs sets or attacks, one of the two.")
        if self.name is not None and len(self.sets) > 1:
            raise InputError(f"The name {self.name!r} is for one set of attacks; ask about each set in its own query.")
        for name, own in (self.attacks or {}).items():
            if "norm" in own:
                raise InputError(f"The attack {name} has a norm of its own; say it with norms, for all of the set.")
            for norm in self.norms:
                make_attack(name, **{**own, "norm": Norm(norm)})  # a wrong name or value comes to light here

    def variants(self, dataset: str | None) -> Iterator[Variant]:
        """See `Question`."""
        for norm in self.norms:
            for name, attacks in self._named(dataset, Norm(norm)):
                yield Variant(
                    self.kind,
                    {
                        **self._common(norm),
                        "set": self.name or name,
                        "attacks": {key: attack_parameters(key, attack) for key, attack in attacks.items()},
                        "finish": self.finish,
                    },
                    {"device": self.device},
                )

    def _named(self, dataset: str | None, norm: Norm) -> Iterator[tuple[str, dict[str, Attack]]]:
        if self.attacks is not None:
            made = {name: make_attack(name, **{**own, "norm": norm}) for name, own in self.attacks.items()}
            yield "+".join((*made, *([FINISH] if self.finish else []))), made
        for source in self.sets:
            yield Path(source).stem, parameter_set(set_name(source, dataset), norm=norm)


def set_name(source: str, dataset: str | None) -> str:
    """The set that a name means for a data set: "strong-mnist" for "strong" and "mnist".

    Raises:
        InputError: the set is not made for that data set.
    """
    if source not in FAMILIES:
        return source
    name = f"{source}-{dataset}"
    if name not in SETS:
        known = ", ".join(name for name in SETS if name.startswith(f"{source}-"))
        raise InputError(
            f"The attack set {source!r} is not made for {dataset or 'inputs from a file'}; say which you mean: {known}."
        )
    return name


def read_spec(path: str | Path) -> CampaignSpec:
    """The spec in a TOML file, with the kinds distance, verify and attack.

    Raises:
        InputError: no such file, no TOML, or a key or value that is wrong, naming it and its place.
    """
    keys = (*COMMON_KEYS, "sets", "attacks", "name", "finish")
    return read_exact_spec(Path(path), {**EXACT, "attack": Kind(keys, _read_attack)})


def _read_attack(table: Table, folder: Path) -> AttackQuestion:
    files = [source for source in table.texts("sets") if source.endswith(".toml")]
    places = {source: str(folder / Path(source).expanduser()) for source in files}
    question = AttackQuestion(
        sets=tuple(places.get(source, source) for source in table.texts("sets")),
        attacks=_attacks(table),
        name=table.text("name"),
        finish=table.flag("finish", default=False),
        **common_values(table),
    )
    for source in question.sets:
        if source not in FAMILIES:
            for norm in question.norms:
                parameter_set(source, norm=Norm(norm))
    return question


def _attacks(table: Table) -> dict[str, dict[str, Any]] | None:
    if "attacks" not in table:
        return None
    value = table["attacks"]
    if not isinstance(value, dict):
        return {name: {} for name in table.texts("attacks")}
    if not value or not all(isinstance(own, dict) for own in value.values()):
        raise SpecError(f"{table.place}: attacks must be names, or tables such as attacks.pgd = {{ steps = 50 }}.")
    return value
