"""From a campaign's store to the tidy table of distances."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from counter_attack.ug100._frame import COLUMNS, check_frame
from mipverify_py.campaigns._records import QueryKind, QueryState
from onnx_models.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from mipverify_py.campaigns import Campaign

_log = logging.getLogger("counter_attack.ug100")

_IMAGE = ["configuration", "dataset", "index"]
"""Columns that name a case."""


def campaign_frame(campaign: Campaign, *, norm: str | None = None) -> pd.DataFrame:
    """The distances of a campaign as a tidy table with the columns `COLUMNS`, by configuration, image and attack.

    Each attack of each answered attack query gives a row; the bracket is that of the distance query about the same
    configuration, image and norm, and missing where there is none. Attack queries without an answer give no rows; how
    many there are is logged as a warning. Of several attempts at one query the nearest example of each attack counts.
    `lower` is infinite where it is proved that there is no adversarial example at all.

    Args:
        campaign: as `load_campaign` gives it.
        norm: "linf", "l1" or "l2"; may be None where the attacks of the campaign all have the same.

    Raises:
        InputError: no attack was answered (in that norm), attacks in several norms and none chosen, an index of several
            data sets in one configuration, or two brackets for one image.
    """
    table = campaign.table
    norm = _only_norm(table, norm, str(campaign.path))
    table = table[table["norm"] == norm]
    attacks = table[table["kind"] == QueryKind.ATTACK.value]
    answered = attacks[attacks["state"] == QueryState.DECIDED.value]
    if len(answered) < len(attacks):
        missing = len(attacks) - len(answered)
        words = "%s: %d of %d attack queries have no answer; they are left out."
        _log.warning(words, campaign.path, missing, len(attacks))
    if answered.empty:
        raise InputError(f"{campaign.path}: no attack query has an answer yet; run the campaign, or let it go on.")
    rows = nearest_findings(campaign.findings, answered["row"])
    rows = rows.merge(_brackets(table, str(campaign.path)), on=_IMAGE, how="left", validate="many_to_one")
    check_images(rows, str(campaign.path))
    rows = rows.astype({"distance": np.float64, "lower": np.float64, "upper": np.float64})
    order = ["configuration", "index", "attack_set", "attack"]
    return check_frame(rows[list(COLUMNS)].sort_values(order, kind="stable"), str(campaign.path))


def _only_norm(table: pd.DataFrame, norm: str | None, name: str) -> str:
    """The norm asked for, or the only one that attacks have."""
    present = sorted(table.loc[table["kind"] == QueryKind.ATTACK.value, "norm"].unique())
    if not present:
        raise InputError(f"{name}: holds no attacks, so there is nothing to compare exact distances with.")
    if norm is None and len(present) > 1:
        raise InputError(f"{name}: holds attacks in the norms {', '.join(present)}; choose one of them (--norm).")
    if norm is not None and norm not in present:
        raise InputError(f"{name}: holds no attacks in the norm {norm}; there is {', '.join(present)}.")
    return str(present[0] if norm is None else norm)


def _brackets(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """The ends of the exact distances, one row per case."""
    exact = table[table["kind"] == QueryKind.DISTANCE.value]
    several = exact[exact.duplicated(_IMAGE, keep=False)]
    if len(several):
        first = several.iloc[0]
        raise InputError(
            f"{name}: {first['configuration']} has several distance queries for index {first['index']}, with other "
            "targets or another margin or label; a table of distances holds one bracket per image."
        )
    robust = (exact["verdict"] == "robust").fillna(False).astype(bool)  # mask would take an absent verdict for one
    lower = exact["lower"].astype(np.float64).mask(robust, np.inf)
    return exact[_IMAGE].assign(lower=lower, upper=exact["upper"].astype(np.float64))


def nearest_findings(findings: pd.DataFrame, rows: Iterable[int]) -> pd.DataFrame:
    """What each attack found in the queries of these rows; of several attempts at one query the nearest counts.

    Columns "set" and "name" are called "attack_set" and "attack".
    """
    found = findings[findings["row"].isin(list(rows))].sort_values("distance", kind="stable")  # failures last
    nearest = found.drop_duplicates(["row", "name"]).sort_index()
    return nearest.rename(columns={"set": "attack_set", "name": "attack"})


def check_images(rows: pd.DataFrame, name: str) -> None:
    """Raises InputError where one configuration has the same index of several data sets."""
    images = rows.drop_duplicates(_IMAGE)
    twice = images[images.duplicated(["configuration", "index"], keep=False)]
    if len(twice):
        first = twice.iloc[0]
        sets = ", ".join(sorted(set(twice["dataset"])))
        raise InputError(
            f"{name}: {first['configuration']} has index {first['index']} of several data sets ({sets}); give them "
            "configurations of their own."
        )
