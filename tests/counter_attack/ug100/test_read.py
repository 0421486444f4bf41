"""Reading distances: sound folders and tables, and every way in which they can be wrong."""

from __future__ import annotations

import copy
import gzip
import importlib.util
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from counter_attack.ug100 import COLUMNS, read_distances, write_distances
from onnx_models.errors import InputError
from tests.helpers.ug100 import MIP, STRONG, Maker

HEADER = ",".join(COLUMNS)


@pytest.mark.parametrize("compressed", [True, False])
def test_a_folder_becomes_one_row_per_image_and_attack(make: Maker, compressed: bool) -> None:
    found = read_distances(make(compressed=compressed, mip=MIP, strong=STRONG, balanced=STRONG))
    assert tuple(found.columns) == COLUMNS
    assert len(found) == 2 * 5 * 2
    for row in found.to_dict(orient="records"):
        entry = MIP[row["configuration"]][str(row["index"])]
        distance = STRONG[row["configuration"]][str(row["index"])][row["attack"]]
        assert row["distance"] == distance or (distance is None and math.isnan(row["distance"]))
        assert row["upper"] == entry["upper"] or (entry["upper"] is None and math.isnan(row["upper"]))
        assert row["lower"] == (math.inf if entry["lower"] == 1e100 else entry["lower"])
    assert found["attack_set"].value_counts().to_dict() == {"strong": 10, "balanced": 10}


def test_the_order_of_indices_may_differ_between_files(make: Maker) -> None:
    name = "toy-a-standard"
    turned = {name: dict(reversed(STRONG[name].items()))}
    one = read_distances(make(mip=MIP, strong=STRONG)).sort_values(["index", "attack"], ignore_index=True)
    other = read_distances(make(mip=MIP, strong=turned)).sort_values(["index", "attack"], ignore_index=True)
    pd.testing.assert_frame_equal(one, other)


def _change(data: dict[str, Any], index: str, key: str | None, value: Any) -> dict[str, Any]:
    """A copy with another value for an entry, or for one of its numbers."""
    changed: dict[str, Any] = copy.deepcopy(data)
    if key is None:
        changed["toy-a-standard"][index] = value
    else:
        changed["toy-a-standard"][index][key] = value
    return changed


@pytest.mark.parametrize(
    ("index", "key", "value", "message"),
    [
        ("3", "upper", "far", "index 3: upper is far; expected a number of at least 0, or null"),
        ("3", "upper", True, "upper is true"),
        ("3", "lower", -0.5, "lower is -0.5"),
        ("3", "lower", [0.1], r"lower is \[0.1\]"),
        ("3", "lower", math.nan, "lower is NaN"),
        ("3", "upper", math.inf, "upper is Infinity"),
        ("3", "middle", 1.0, "index 3: has lower, upper, middle; expected lower and upper"),
        ("3", None, {"lower": 1.0}, "index 3: has lower; expected lower and upper"),
        ("3", None, [1, 2], r"index 3: is \[1.0, 2.0\]; expected an object"),
        ("x", None, {}, "'x' is not an index"),
        ("-1", None, {}, "'-1' is not an index"),
        ("8", None, {"lower": 0.1, "upper": 0.2}, "lacks 1 indices of its counterpart, such as 8"),
    ],
)
def test_wrong_brackets_are_named(make: Maker, index: str, key: str | None, value: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_distances(make(mip=_change(MIP, index, key, value), strong=STRONG))


@pytest.mark.parametrize(
    ("index", "key", "value", "message"),
    [
        ("7", "pgd", "0.1", "index 7: pgd is 0.1; expected a number"),
        ("7", "pgd", math.nan, "pgd is NaN"),
        ("7", "bim", 0.2, "index 7: has pgd, fab, bim; expected pgd, fab"),
        ("7", None, {"pgd": 0.1}, "index 7: has pgd; expected pgd, fab"),
        ("7", None, None, "index 7: is null; expected an object"),
        ("8", None, {"pgd": 0.1, "fab": 0.1}, "toy-a-standard.json.gz: lacks 1 indices of its counterpart, such as 8"),
    ],
)
def test_wrong_distances_are_named(make: Maker, index: str, key: str | None, value: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_distances(make(mip=MIP, strong=_change(STRONG, index, key, value)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not sound JSON"),
        ("[]", "holds no object of indices"),
        ("{}", "holds no object of indices"),
        ("7", "holds no object of indices"),
        ('{"3": {"lower": 1, "lower": 2, "upper": 3}}', "the key 'lower' comes twice"),
        ('{"3": {}, "3": {}}', "the key '3' comes twice"),
        ('{"3": {"lower": 0, "upper": ' + "9" * 6000 + "}}", "expected a number of at least 0"),
        ("[" * 200_000, "nested too deeply|not sound JSON"),
        ("\ufeff{", "is not sound JSON"),
    ],
    ids=str.__len__,
)
def test_files_that_hold_something_else_are_named(make: Maker, text: str, message: str) -> None:
    folder = make(mip=MIP, strong=STRONG)
    (folder / "mip" / "toy-a-standard.json.gz").write_bytes(gzip.compress(text.encode()))
    with pytest.raises(InputError, match=message) as caught:
        read_distances(folder)
    assert "toy-a-standard.json.gz" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_truncated_file_is_named(make: Maker) -> None:
    folder = make(mip=MIP, strong=STRONG)
    path = folder / "strong" / "toy-a-standard.json.gz"
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(InputError, match="toy-a-standard.json.gz: the compressed data is damaged or cut off"):
        read_distances(folder)
    path.write_bytes(b"\x80\x81")
    with pytest.raises(InputError, match="is not text"):
        read_distances(folder)


def test_folders_that_lack_something_are_named(make: Maker, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no mip/NAME.json"):
        read_distances(make(strong=STRONG))
    with pytest.raises(InputError, match="there is no mip/other.json"):
        read_distances(make(mip=MIP, strong={**STRONG, "other": STRONG["toy-a-standard"]}))
    (tmp_path / "strong" / "other.json.gz").unlink()
    with pytest.raises(InputError, match=r"mip.third.json.gz: no folder beside mip/ has distances .* for third"):
        read_distances(make(mip={"third": MIP["toy-a-standard"]}))
    (tmp_path / "mip" / "third.json.gz").unlink()
    with pytest.raises(InputError, match="toy-a-standard.json is there, too"):
        read_distances(make(compressed=False, mip=MIP))
    with pytest.raises(InputError, match="there is no such file or folder"):
        read_distances(tmp_path / "absent")
    with pytest.raises(InputError, match="there is no such file"):
        read_distances(tmp_path / "absent.csv")
    (tmp_path / "table.xlsx").touch()
    with pytest.raises(InputError, match="is not read; name a folder"):
        read_distances(tmp_path / "table.xlsx")


def test_a_table_comes_back_as_it_was_written(make: Maker, tmp_path: Path) -> None:
    found = read_distances(make(mip=MIP, strong=STRONG))
    write_distances(found, tmp_path / "table.csv")
    pd.testing.assert_frame_equal(read_distances(tmp_path / "table.csv"), found)
    (tmp_path / "table.csv.gz").write_bytes(gzip.compress((tmp_path / "table.csv").read_bytes()))
    pd.testing.assert_frame_equal(read_distances(tmp_path / "table.csv.gz"), found)
    with pytest.raises(InputError, match=r"has to end in \.csv"):
        write_distances(found, tmp_path / "table.txt")
    with pytest.raises(InputError, match="cannot be written"):
        write_distances(found, tmp_path / "absent" / "table.csv")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not a sound table"),
        (HEADER, "holds no distances"),
        ("configuration,index\na,1", "has no column attack_set, attack, distance, lower, upper"),
        (f"{HEADER}\nnet,1,s,pgd,near,0.1,0.2", "line 2: distance is 'near', which is not a number"),
        (f"{HEADER}\nnet,1,s,pgd,nan,0.1,0.2", "line 2: distance is 'nan'"),
        (f"{HEADER}\nnet,1.5,s,pgd,0.1,0.1,0.2", "has index 1.5; expected a whole number"),
        (f"{HEADER}\nnet,,s,pgd,0.1,0.1,0.2", "has index nan; expected a whole number"),
        (f"{HEADER}\nnet,1e300,s,pgd,0.1,0.1,0.2", "expected a whole number"),
        (f"{HEADER}\nnet,1,s,pgd,-0.1,0.1,0.2", "net, index 1, s pgd has distance -0.1"),
        (f"{HEADER}\nnet,1,s,pgd,inf,0.1,0.2", "has distance inf"),
        (f"{HEADER}\nnet,1,s,pgd,0.1,0.1,inf", "has upper inf"),
        (f"{HEADER}\nnet,1,s,pgd,0.1,-inf,0.2", "has lower -inf"),
        (f"{HEADER}\nnet,1,s,pgd,0.1,,\nnet,1,s,pgd,0.2,,", "net, index 1, s pgd comes twice"),
        (f"{HEADER}\nnet,1,s,pgd,0.1,0,1\nnet,1,s,fab,0.2,0,2", "net has two brackets for index 1"),
        (f"{HEADER}\nnet,1,s,pgd,0.1,0,1,5,6\nnet,1", "sound table|has|not a number"),
        (f'{HEADER}\n"net', "is not a sound table"),
    ],
)
def test_wrong_tables_are_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "table.csv").write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        read_distances(tmp_path / "table.csv")
    assert "table.csv" in str(caught.value)


def test_infinite_lower_ends_and_empty_fields_are_read(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(f"{HEADER}\nnet,1,s,pgd,,inf,\n")
    [row] = read_distances(tmp_path / "t.csv").to_dict(orient="records")
    assert np.isnan(row["distance"])
    assert np.isnan(row["upper"])
    assert row["lower"] == np.inf


def test_parquet_is_read_where_pyarrow_is_and_named_where_it_is_not(make: Maker, tmp_path: Path) -> None:
    found = read_distances(make(mip=MIP, strong=STRONG))
    path = tmp_path / "table.parquet"
    if importlib.util.find_spec("pyarrow") is None:
        path.write_bytes(b"PAR1")
        with pytest.raises(InputError, match="needs the package pyarrow"):
            read_distances(path)
        return
    found.to_parquet(path)
    pd.testing.assert_frame_equal(read_distances(path), found)
    path.write_bytes(b"PAR1")
    with pytest.raises(InputError, match="is not a sound .parquet file"):
        read_distances(path)


def test_published_files_are_read_whole(shared_data: Path) -> None:
    folder = shared_data / "ug100"
    found = read_distances(folder)
    sizes = {
        data_set: len(json.loads((folder / f"{data_set}_indices_intersection.json").read_text()))
        for data_set in ("mnist", "cifar10")
    }
    assert len(found) == 6 * 2 * 7 * (sizes["mnist"] + sizes["cifar10"])
    assert int(np.isinf(found["lower"]).sum()) == 9 * 2 * 7
