"""Exports, read back by pandas, by the standard library and by pyarrow."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pandas as pd
import pyarrow.parquet
import pytest

from mipverify_py.campaigns import CampaignError, Finding, QueryKind, Store, export_campaign, load_campaign
from onnx_models.errors import InputError
from tests.helpers.campaigns import MODEL, answer, completion, failure, query

PARTS = ("table", "findings", "attempts", "events")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store whose texts and numbers are hard to write down."""
    made = tmp_path / "campaign.sqlite"
    with Store.create(made) as store:
        store.add_model(MODEL)
        store.add_queries(
            [query(0, configuration='a "b", c\nd é'), query(1, configuration='a "b", c\nd é', label=None)]
        )
        store.add_queries([query(1, QueryKind.ATTACK, configuration='a "b", c\nd é', label=None)])
        first, second, third = store.queries()
        store.record_many(
            [
                completion(first, answer(0.1 + 0.2, 1 / 3, engine="null", evidence_detail="", stop_detail="12")),
                completion(second, failure(detail="line 1\nline 2; 'quoted', \"twice\"")),
                completion(
                    third, answer(None, 5e-324, verdict=None, findings=(Finding("pgd", 5e-324), Finding("fab", None)))
                ),
            ]
        )
    return made


def _read(path: Path, like: pd.DataFrame) -> pd.DataFrame:
    """An export as a reader would take it in, who knows the types of the columns from the reference page."""
    if path.suffix == ".parquet":
        return pd.read_parquet(path)
    types = dict(like.dtypes)
    if path.suffix == ".csv":
        return pd.read_csv(path, dtype=types, keep_default_na=False, na_values=[""])
    with path.open(encoding="utf-8") as stream:
        rows = [json.loads(line) for line in stream]
    return pd.DataFrame({name: pd.Series([row[name] for row in rows], dtype=kind) for name, kind in types.items()})


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("ending", [".parquet", ".csv", ".jsonl"])
def test_pandas_reads_the_same_back(path: Path, ending: str, part: str) -> None:
    out = path.with_name(f"out{ending}")
    assert export_campaign(path, out, part) == out
    expected = getattr(load_campaign(path), part)
    found = _read(out, expected)
    if ending == ".csv":  # has no way to tell an empty text from none
        expected = expected.replace("", pd.NA)
    pd.testing.assert_frame_equal(found, expected, check_exact=True)
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["campaign.sqlite", out.name]


def test_csv_and_json_lines_are_what_the_standard_library_reads(path: Path) -> None:
    with export_campaign(path, path.with_name("out.csv")).open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["configuration"] for row in rows] == ['a "b", c\nd é'] * 3
    assert float(rows[0]["lower"]) == 0.1 + 0.2 and float(rows[2]["upper"]) == 5e-324 and rows[1]["lower"] == ""
    lines = export_campaign(path, path.with_name("out.jsonl")).read_text("utf-8").splitlines()
    first, second, third = (json.loads(line) for line in lines)
    assert first["upper"] == 1 / 3 and first["label"] == 3 and isinstance(first["label"], int)
    assert second["lower"] is None and second["label"] is None and third["verdict"] is None


def test_parquet_has_types_and_nulls(path: Path) -> None:
    table = pyarrow.parquet.read_table(export_campaign(path, path.with_name("out.parquet")))
    types = {field.name: str(field.type).replace("large_", "") for field in table.schema}
    assert (types["configuration"], types["label"], types["lower"]) == ("string", "int64", "double")
    assert table.column("label").to_pylist() == [3, None, None]


def test_an_empty_store_is_exported_with_its_columns(tmp_path: Path) -> None:
    Store.create(tmp_path / "campaign.sqlite").close()
    out = export_campaign(tmp_path / "campaign.sqlite", tmp_path / "out.csv")
    assert (
        out.read_text("utf-8").startswith("configuration,kind,norm,") and len(out.read_text("utf-8").splitlines()) == 1
    )
    assert export_campaign(tmp_path / "campaign.sqlite", tmp_path / "out.jsonl").read_text("utf-8") == ""
    assert len(pd.read_parquet(export_campaign(tmp_path / "campaign.sqlite", tmp_path / "out.parquet"))) == 0


def test_an_export_replaces_an_older_one(path: Path) -> None:
    out = path.with_name("out.csv")
    out.write_text("old")
    assert "old" not in export_campaign(path, out).read_text("utf-8")


@pytest.mark.parametrize("name", ["out.xlsx", "out", "out.sqlite"])
def test_an_unknown_ending_is_refused(path: Path, name: str) -> None:
    with pytest.raises(InputError, match=rf"{name}: the ending has to be one of \.parquet, \.csv, \.jsonl"):
        export_campaign(path, path.with_name(name))


def test_an_unknown_part_is_refused(path: Path) -> None:
    with pytest.raises(InputError, match="no part 'models'"):
        export_campaign(path, path.with_name("out.csv"), "models")


@pytest.mark.parametrize("ending", [".parquet", ".csv", ".jsonl"])
def test_a_place_that_cannot_be_written_to_is_an_error(path: Path, ending: str) -> None:
    with pytest.raises(CampaignError, match=rf"out{ending}: the export cannot be written"):
        export_campaign(path, path.parent / "missing" / f"out{ending}")
