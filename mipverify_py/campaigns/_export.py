"""A campaign's tables as Parquet, CSV or JSON Lines."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mipverify_py.campaigns._errors import CampaignError
from mipverify_py.campaigns._load import load_campaign
from mipverify_py.campaigns._records import Limits
from onnx_models.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

Part = Literal["table", "findings", "attempts", "events"]


def export_campaign(path: str | Path, out: str | Path, part: Part = "table", *, limits: Limits | None = None) -> Path:
    """Writes a table of a campaign to a file and returns the file's path; an existing file is replaced.

    Args:
        path: the store.
        out: the file; its ending says which format: .parquet, .csv or .jsonl. Every number is written with all its
            digits. An absent value is null in Parquet and JSON Lines, and an empty field in CSV.
        part: which of the tables of `Campaign`; "table" has one row per query.
        limits: as in `load_campaign`.

    Raises:
        CampaignError: the store cannot be read, or the file cannot be written.
        InputError: the ending or the part is unknown.
    """
    target = Path(out)
    write = _WRITERS.get(target.suffix.lower())
    if write is None:
        raise InputError(f"{target.name}: the ending has to be one of {', '.join(_WRITERS)}.")
    if part not in ("table", "findings", "attempts", "events"):
        raise InputError(f"There is no part {part!r} to export; table, findings, attempts and events are there.")
    frame = getattr(load_campaign(path, limits), part)
    temporary = target.with_name(f".{target.name}.part")
    try:
        write(frame, temporary)
        temporary.replace(target)
    except OSError as error:
        raise CampaignError(f"{target.name}: the export cannot be written ({error.strerror or error}).") from error
    finally:
        temporary.unlink(missing_ok=True)
    return target


def export_certificates(path: str | Path, out: str | Path) -> tuple[list[Path], int]:
    """Writes the certificates that a campaign kept into a folder, as CONFIGURATION-DATASET-INDEX-ROW.cert.

    Returns:
        The files, and of how many more queries only the SHA-256 was kept.

    Raises:
        CampaignError: the store cannot be read, or a file cannot be written.
    """
    campaign, folder = load_campaign(path), Path(out)
    certified = set(campaign.attempts.loc[campaign.attempts["certificate"].notna(), "row"])
    written: list[Path] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for query in campaign.queries:
            if query.row in certified and (data := campaign.certificate(query.row)) is not None:
                about = query.record.configuration, query.record.input.dataset, query.record.input.index, query.row
                name = re.sub(r"[^\w.-]", "_", "-".join(map(str, about)))
                written.append(folder / f"{name}.cert")
                written[-1].write_bytes(data)
    except OSError as error:
        raise CampaignError(f"{folder}: a certificate cannot be written ({error.strerror or error}).") from error
    return written, len(certified) - len(written)


def _write_parquet(frame: pd.DataFrame, target: Path) -> None:
    frame.to_parquet(target, engine="pyarrow", index=False)


def _write_csv(frame: pd.DataFrame, target: Path) -> None:
    frame.to_csv(target, index=False)


def _write_jsonl(frame: pd.DataFrame, target: Path) -> None:
    """One object per line; `DataFrame.to_json` would round numbers."""
    plain = frame.astype(object).where(frame.notna(), None)
    with target.open("w", encoding="utf-8") as stream:
        for row in plain.to_dict("records"):
            stream.write(json.dumps(row, allow_nan=False) + "\n")


_WRITERS: dict[str, Callable[[pd.DataFrame, Path], None]] = {
    ".parquet": _write_parquet,
    ".csv": _write_csv,
    ".jsonl": _write_jsonl,
}
