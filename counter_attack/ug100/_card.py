"""The card of a data set: what is in it, what was asked, what the answers rest on, and whose the images are."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from mipverify_py.campaigns._records import ModelRecord

if TYPE_CHECKING:
    import pandas as pd

LICENCES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "digits": "Optical Recognition of Handwritten Digits, E. Alpaydin and C. Kaynak, UCI Machine Learning "
        "Repository, 1998, doi:10.24432/C50P49. The repository states CC BY 4.0; the images are the copy of the test "
        "set that comes with scikit-learn.",
        "mnist": "The MNIST database, Y. LeCun, C. Cortes and C. J. C. Burges, derived from databases of NIST. The "
        "files come without a licence, and copies disagree: Keras states CC BY-SA 3.0 and Y. LeCun and C. Cortes as "
        "holders of the copyright, others the MIT licence. Make sure before you pass images on.",
        "fashion-mnist": "Fashion-MNIST, H. Xiao, K. Rasul and R. Vollgraf, 2017, arXiv:1708.07747. MIT licence, "
        "copyright Zalando SE, as its repository (github.com/zalandoresearch/fashion-mnist) states.",
        "cifar10": "CIFAR-10, A. Krizhevsky, Learning multiple layers of features from tiny images, 2009. Its page "
        "(www.cs.toronto.edu/~kriz/cifar.html) names no licence and asks to cite that report; the images are from 80 "
        "Million Tiny Images, which were collected from the web. Make sure before you pass images on.",
    }
)
"""What is known about the licences of the images, by data set."""

_UNKNOWN: Final = "Not known here; whoever supplied the images knows."
_OURS: Final = (
    "Models, distances and examples were computed by whoever built this data set, and how they may be used is theirs "
    "to say; nothing is stated here."
)


@dataclass(frozen=True, slots=True)
class Facts:
    """What a card is made from.

    Attributes:
        name: of the data set of distances.
        question: "norm", "margin", "targets", "domain", "reference".
        searches: how exact distances were searched for: "configurations", "options", "seed".
        attack_sets: "name", "configurations", "attacks" (name -> parameters), "finish", "options", "seed".
        cases, attacks: the tables.
        models: by configuration.
        limits: "time_limit", "gap_absolute", "gap_relative", the widest that an answer was accepted under.
        versions: package -> the versions that took part.
        hosts: classes of machines that took part.
        began, ended: first and last attempt, in UTC.
    """

    name: str
    question: Mapping[str, Any]
    searches: Sequence[Mapping[str, Any]]
    attack_sets: Sequence[Mapping[str, Any]]
    cases: pd.DataFrame
    attacks: pd.DataFrame
    models: Mapping[str, ModelRecord]
    limits: Mapping[str, float | None]
    versions: Mapping[str, Sequence[str]]
    hosts: Sequence[Mapping[str, Any]]
    began: str | None
    ended: str | None


def make_card(facts: Facts, schema: int) -> dict[str, Any]:
    """The card as an object for JSON; `docs/reference/ug100.md` says what each field holds."""
    cases = facts.cases
    return {
        "kind": "ug100-data-set",
        "schema": schema,
        "name": facts.name,
        "question": dict(facts.question),
        "limits": dict(facts.limits),
        "searches": [dict(one) for one in facts.searches],
        "attack_sets": [dict(one) for one in facts.attack_sets],
        "cases": _counts(cases),
        "attacks": {"rows": len(facts.attacks), "cases": int(facts.attacks["case"].nunique())},
        "rows": {name: _ranges(sorted(set(rows["index"]))) for name, rows in cases.groupby("dataset", sort=True)},
        "licences": {
            "images": {name: LICENCES.get(name, _UNKNOWN) for name in sorted(cases["dataset"].unique())},
            "rest": _OURS,
        },
        "configurations": [
            _configuration(str(name), rows, facts.models[str(name)])
            for name, rows in cases.groupby("configuration", sort=False)
        ],
        "versions": {name: list(found) for name, found in sorted(facts.versions.items())},
        "hosts": [dict(host) for host in facts.hosts],
        "began": facts.began,
        "ended": facts.ended,
        "seconds": {
            "exact": float(cases["seconds"].sum()),
            "attacks": float(facts.attacks["seconds"].sum()),
        },
    }


def card_json(card: Mapping[str, Any]) -> bytes:
    """The card as indented JSON."""
    return (json.dumps(card, indent=2, allow_nan=False, ensure_ascii=False) + "\n").encode()


def _counts(cases: pd.DataFrame) -> dict[str, Any]:
    """How many cases there are of each kind."""
    labelled = cases["label"].notna() & cases["predicted"].notna()
    wrong = labelled & (cases["label"] != cases["predicted"]).fillna(value=False)
    evidence = cases["evidence"].fillna("none").value_counts()
    gap = cases["gap"].dropna()
    return {
        "total": len(cases),
        **{state: int((cases["state"] == state).sum()) for state in ("decided", "open", "failed", "new")},
        "contradictions": int(cases["contradiction"].notna().sum()),
        "without_example": int(cases["upper"].isna().sum()),
        "misclassified": int(wrong.sum()),
        "evidence": {str(name): int(count) for name, count in sorted(evidence.items())},
        "widest_gap": None if gap.empty else float(gap.max()),
    }


def _configuration(name: str, rows: pd.DataFrame, model: ModelRecord) -> dict[str, Any]:
    upper, told = rows["upper"].dropna(), _told(model.card)
    return {
        "name": name,
        "architecture": str(rows["architecture"].iloc[0]),
        "training": str(rows["training"].iloc[0]),
        "model": {
            "file": f"models/{name}.onnx",
            "digest": model.digest,
            "card": f"models/{name}.json" if model.card else None,
            **told,
            "measured_apart": measured_apart(told["fitted"], rows["index"]),
        },
        "cases": _counts(rows),
        "distance": None
        if upper.empty
        else {"mean": float(upper.mean()), "median": float(upper.median()), "largest": float(upper.max())},
        "seconds": float(rows["seconds"].sum()),
    }


def _told(card: Mapping[str, Any]) -> dict[str, Any]:
    """What the card of a model says in the form that `counter-attack train` gives it; None where it does not."""
    kinds = {"accuracy": dict, "relus": int, "rows": dict, "fitted": dict}
    told = {name: card.get(name) if isinstance(card.get(name), kind) else None for name, kind in kinds.items()}
    description = card.get("architecture")
    return {"description": description if isinstance(description, str) else None, **told}


def measured_apart(fitted: Mapping[str, Any] | None, indices: Iterable[int]) -> bool | None:
    """Whether none of these rows of the test files was among those that weights were fitted to; None: not known.

    Args:
        fitted: "files" ("training", or "test" where a split of the test files was trained on) and, for "test", "first"
            and "stop" of the range; None: nothing is known.
        indices: the rows measured.
    """
    if fitted is None:
        return None
    return fitted["files"] != "test" or not any(fitted["first"] <= index < fitted["stop"] for index in indices)


def _ranges(indices: list[int]) -> list[list[int]]:
    """Ascending numbers as half-open ranges [start, stop]."""
    found: list[list[int]] = []
    for index in map(int, indices):
        if found and found[-1][1] == index:
            found[-1][1] = index + 1
        else:
            found.append([index, index + 1])
    return found
