"""The tables of the UG100 analysis, made from a campaign's own distances."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Final

import numpy as np

from counter_attack.ug100 import TABLES, Labels, Table, tables
from counter_attack.ug100._campaign import campaign_frame
from onnx_models.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from mipverify_py.campaigns import Campaign

INTRODUCTION: Final = (
    "With t the upper end of the exact bracket and a the least distance of the attacks, over the inputs where an "
    "attack succeeded: difference is (mean(a) - mean(t)) / mean(t); < 1/255 is the share of inputs with "
    "|t - a| < 1/255; R2 is the squared Pearson correlation of a and t. Published: all inputs with an upper end "
    "count, as in the figures printed with UG100; converged: those whose bracket is closed to 1e-5."
)

_OTHER: Final = "other"
"""The training of a configuration whose name does not say it."""


def thesis_tables(
    campaign: Campaign, answered: pd.DataFrame, *, progress: Callable[[str], None] | None = None
) -> Iterator[Table | str]:
    """The tables of each norm that have something in them; a sentence for a norm where there can be none.

    Args:
        campaign: the campaign.
        answered: its answered attack queries.
        progress: called with the name of each table before it is computed.
    """
    for norm in sorted(answered["norm"].unique()):
        try:
            frame = campaign_frame(campaign, norm=norm)
        except InputError as error:
            yield f"No tables for the norm {norm}: {error}"
            continue
        if frame["upper"].isna().all():
            yield f"No tables for the norm {norm}: no attacked input has an exact distance."
            continue
        names = _names(answered)
        frame["configuration"] = frame["configuration"].astype(str).map(names)
        labels = _labels(answered[answered["norm"] == norm])
        wanted = [name for name in TABLES if name != "labels" or labels]
        for table in tables(frame, wanted, labels=labels, progress=progress):
            if table.rows:
                yield dataclasses.replace(table, name=f"{table.name}-{norm}", title=f"{table.title}, {norm}")


def _names(answered: pd.DataFrame) -> dict[str, str]:
    """Configuration -> data set, architecture and training, as the tables want them."""
    pairs = answered.drop_duplicates("configuration")[["configuration", "dataset"]]
    return tidy_names(pairs.itertuples(index=False, name=None))


def tidy_names(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Names of the form data set, architecture, training, joined by hyphens, for configurations.

    "A_standard" on "mnist" becomes "mnist-A-standard", and so does "mnist-A-standard"; of a name that does not have two
    words beside the data set's, the whole is the architecture, and the training "other".

    Args:
        pairs: configuration and data set; no configuration twice.
    """
    listed = list(pairs)
    counts = Counter(_tidy(*pair) for pair in listed)
    return {pair[0]: _tidy(*pair) if counts[_tidy(*pair)] == 1 else _untidy(*pair) for pair in listed}


def _tidy(configuration: str, dataset: str) -> str:
    words = re.split("[-_]", configuration)
    words = words[1:] if words[0] == dataset else words
    return "-".join([_word(dataset), *words]) if len(words) == 2 and all(words) else _untidy(configuration, dataset)


def _untidy(configuration: str, dataset: str) -> str:
    # Hyphens of another kind look the same and separate nothing.
    return "-".join([_word(dataset), configuration.replace("-", "\N{NON-BREAKING HYPHEN}"), _OTHER])


def _word(dataset: str) -> str:
    return dataset.replace("-", "\N{NON-BREAKING HYPHEN}") or "unnamed"


def _labels(answered: pd.DataFrame) -> dict[str, Labels]:
    """The labels of the data sets whose inputs all have one, by position."""
    found = {}
    for dataset, members in answered.groupby("dataset", sort=True):
        if members["label"].notna().all():
            index = members["index"].to_numpy(dtype=np.int64)
            labels = np.full(index.max() + 1, -1, dtype=np.int64)
            labels[index] = members["label"].to_numpy(dtype=np.int64)
            found[_word(str(dataset))] = labels
    return found
