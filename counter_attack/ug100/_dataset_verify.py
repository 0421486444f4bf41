"""Looking at a data set again: what its files claim is computed anew, exactly."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from counter_attack.ug100._dataset_files import Files
from mipverify_py import NotAdversarialError, Witness
from mipverify_py.campaigns._records import InputRecord
from onnx_models.errors import InputError, MipverifyError

if TYPE_CHECKING:
    import pandas as pd

    from counter_attack.ug100._dataset import UG100Data

SHOWN = 5
"""How many problems `VerifyReport.summary` names."""


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What a look at everything found.

    Attributes:
        files: files whose checksums were compared.
        cases: cases looked at.
        examples: examples that are adversarial at exactly the distance that their case gives.
        problems: what is wrong, one sentence each, naming file or case; empty for a sound data set.
    """

    files: int
    cases: int
    examples: int
    problems: tuple[str, ...]

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def summary(self) -> str:
        """In one line."""
        looked = f"{self.files} files, {self.cases} cases, {self.examples} examples computed anew"
        if self.sound:
            return f"{looked}: all sound"
        more = len(self.problems) - SHOWN
        rest = f" (and {more} more)" if more > 0 else ""
        return f"{looked}: {len(self.problems)} problems: {' '.join(self.problems[:SHOWN])}{rest}"


def verify(data: UG100Data, files: Files, progress: Callable[[int, int], None] | None = None) -> VerifyReport:
    """See `UG100Data.verify`."""
    problems = []
    for name in files.digests:
        try:
            files.checked(name)
        except InputError as error:
            problems.append(str(error))
    examples, total = 0, len(data)
    for case in range(total):
        row = data.cases.iloc[case]
        found = list(_wrong(data, case, row))
        problems += [f"Case {case} ({row['configuration']}, index {row['index']}): {words}" for words in found]
        examples += not found and not np.isnan(row["upper"])
        if progress is not None:
            progress(case + 1, total)
    problems += _left_over(data)
    return VerifyReport(len(files.digests), total, examples, tuple(dict.fromkeys(problems)))


def _wrong(data: UG100Data, case: int, row: pd.Series) -> Iterator[str]:
    """What is wrong with a case."""
    try:
        query, example = data.query(case), data.example(case)
        shaped = InputRecord(data.original(case), row["dataset"], int(row["index"]))
    except MipverifyError as error:
        yield str(error)
        return
    if shaped.digest != row["input"]:
        yield "its image is not the one that the case is about."
    if not _missing(row["predicted"]) and query.predicted != row["predicted"]:
        yield f"the model predicts {query.predicted}, not {row['predicted']}."
    lower, upper = row["lower"], row["upper"]
    limits = data.card["limits"]
    if lower > upper + max(limits["gap_absolute"], limits["gap_relative"] * upper):
        yield f"the bracket is crossed: {lower!r} is above {upper!r}."
    if not _same(row["gap"], max(upper - lower, 0.0)):
        yield f"the gap {row['gap']!r} is not that of the bracket."
    if example is None:
        return
    try:
        witness = Witness(query, example)
    except (NotAdversarialError, InputError) as error:
        yield f"its example is none. {error}"
        return
    if witness.distance != upper:
        yield f"its example lies at {witness.distance!r}, not at {upper!r}."


def _left_over(data: UG100Data) -> Iterator[str]:
    """Attack rows of cases that there are not, or that come twice."""
    rows = data.attacks
    if not rows["case"].isin(data.cases["case"]).all():
        yield "attacks.parquet: has rows of cases that there are not."
    if rows.duplicated(["case", "attack_set", "attack"]).any():
        yield "attacks.parquet: has an attack twice for one case."


def _missing(value: Any) -> bool:
    import pandas as pd

    return bool(pd.isna(value))


def _same(a: float, b: float) -> bool:
    return a == b or (np.isnan(a) and np.isnan(b))
