"""`counter-attack ug100`: what it writes where."""

from __future__ import annotations

import csv
import json
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

from counter_attack.cli import run
from mipverify_py.campaigns import Finding, QueryKind, Store
from tests.helpers.campaigns import MODEL, answer, completion, query
from tests.helpers.ug100 import MIP, STRONG, write_folder

QUICK = "tightness,configurations,trainings,attacks,drop-one,pools,labels"


@pytest.fixture
def distances(tmp_path: Path) -> Path:
    return write_folder(tmp_path, mip=MIP, strong=STRONG, balanced=STRONG)


def test_tables_are_separated_by_one_blank_line(distances: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["ug100", "tables", str(distances), "--table", "tightness,configurations", "--quiet"]) == 0
    out, errors = capsys.readouterr()
    assert errors == ""
    tables = out.strip().split("\n\n")
    assert [table.splitlines()[0] for table in tables] == [
        "Tightness of the exact brackets: toy, 5 images in 1 configurations",
        *(
            f"Pool against exact distances: toy, {attack_set} attacks, 3 (published rule) and 2 (converged only) "
            "of 5 images in 1 configurations"
            for attack_set in ("strong", "balanced")
        ),
    ]
    assert "40.00" in tables[0]


def test_json_is_one_object_per_table(distances: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["ug100", "tables", str(distances), "--table", QUICK, "--json", "--quiet"]) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [record["name"] for record in records] == [
        "tightness-toy",
        *(
            f"{name}-toy-{attack_set}"
            for name in ("configurations", "trainings", "attacks", "drop-one", "pools")
            for attack_set in ("strong", "balanced")
        ),
        "labels-toy",
    ]
    assert {(record["schema"], record["kind"]) for record in records} == {(1, "table")}
    assert {record["version"] for record in records} == {version("mipverify-py")}
    [row] = records[1]["rows"]
    # By hand: exact 0.1, 0.3 and 0.400005, closest 0.09, 0.25 and 0.400001.
    assert row["difference_published"] == pytest.approx(100 * (0.740001 / 0.800005 - 1))
    assert row["below_published"] == pytest.approx(100 / 3)


def test_csv_files_hold_all_tables(distances: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "out" / "csv"
    assert run(["ug100", "check", str(distances), "--rows", "0", "--csv", str(target)]) == 0
    out = capsys.readouterr().out
    assert "below-lower: 2 cases on 1 image-network pairs" in out
    assert "... and 2 more; --json and --csv have all." in out
    with (target / "below-lower.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["index"], row["attack_set"], row["attack"]) for row in rows] == [
        ("3", "balanced", "pgd"),
        ("3", "strong", "pgd"),
    ]
    assert (target / "crossed.csv").read_text().splitlines() == [
        "configuration,index,attack_set,attack,distance,lower,upper"
    ]


def test_check_says_infeasible_where_json_has_no_number(distances: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["ug100", "check", str(distances), "--json"]) == 0
    found = {record["name"]: record for record in map(json.loads, capsys.readouterr().out.splitlines())}
    [row] = found["infeasible-contradicted"]["rows"]
    assert (row["lower"], row["upper"], row["distance"]) == ("infeasible", None, 0.5)
    assert {record["kind"] for record in found.values()} == {"check"}


def test_names_with_dollar_signs_are_no_formulas(tmp_path: Path) -> None:
    folder = write_folder(
        tmp_path, mip={"a$_$-b-c$^$": MIP["toy-a-standard"]}, strong={"a$_$-b-c$^$": STRONG["toy-a-standard"]}
    )
    assert run(["ug100", "plots", str(folder), "--out", str(tmp_path / "drawn"), "--quiet"]) == 0
    assert len(list((tmp_path / "drawn").glob("*.png"))) == 3


def test_names_with_slashes_stay_in_the_folder(tmp_path: Path) -> None:
    name = "a/../../b%-c-d"
    table = ["configuration,index,attack_set,attack,distance,lower,upper"]
    table += [f"{name},{index},../s,pgd,0.2,0.1,0.1" for index in range(3)]
    (tmp_path / "in.csv").write_text("\n".join(table))
    words = [str(tmp_path / "in.csv"), "--quiet"]
    assert run(["ug100", "plots", *words, "--out", str(tmp_path / "drawn")]) == 0
    assert run(["ug100", "tables", *words, "--csv", str(tmp_path / "tables"), "--table", "configurations,attacks"]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["drawn", "in.csv", "tables"]
    assert {path.name for path in (tmp_path / "drawn").iterdir()} == {
        f"{kind}-a%2F..%2F..%2Fb%25-..%2Fs.png" for kind in ("scatter", "pools", "f1")
    }
    assert len(list((tmp_path / "tables").iterdir())) == 2


def test_plots_are_named_as_they_are_drawn(distances: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["ug100", "plots", str(distances), "--out", str(tmp_path / "figures")]) == 0
    out, errors = capsys.readouterr()
    files = [Path(line) for line in out.splitlines()]
    assert len(files) == 6
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in files)
    assert errors.splitlines() == [f"drawing {file}" for file in files]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["tables", "absent"], "absent: there is no such file or folder."),
        (["tables", "HERE", "--table", "figures"], "There is no table figures; there are tightness, "),
        (["tables", "HERE", "--csv", "HERE/mip/toy-a-standard.json.gz"], "cannot be made (File exists)"),
        (["tables", "HERE", "--mnist", "absent"], "absent: there is no such folder"),
        (["tables", "HERE", "--seed", "-1"], "-1 is not allowed; it must be at least 0"),
        (["plots", "HERE", "--out", "HERE/mip/toy-a-standard.json.gz"], "cannot be written"),
        (["check", "HERE", "--tolerance", "-1"], "-1 is not allowed; it must be at least 0, such as 1e-6."),
        (["figures", "HERE"], "No such command 'figures'"),
    ],
)
def test_mistakes_are_one_line(
    distances: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert run(["ug100", *(word.replace("HERE", str(distances)) for word in words)]) == 3
    out, errors = capsys.readouterr()
    assert out == ""
    assert errors.startswith("counter-attack: ")
    assert message in errors
    assert errors.count("\n") == 1


def test_distances_of_a_store_in_several_norms_are_chosen(
    tmp_path: Path, distances: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "campaign.sqlite"
    norms = {"linf": [0], "l2": [0, 1]}
    with Store.create(store) as opened:
        opened.add_model(MODEL)
        opened.add_queries([query(i, QueryKind.ATTACK, norm=norm) for norm in norms for i in norms[norm]])
        finding = Finding("pgd", 0.2, 5, np.full((1, 2, 3), 0.5))
        for stored in opened.queries():
            opened.record(completion(stored, answer(None, 0.2, decided=True, verdict=None, findings=(finding,))))
    words = ["ug100", "tables", str(store), "--table", "tightness", "--json", "--quiet"]
    assert run(words) == 3
    assert "in the norms l2, linf; choose one" in capsys.readouterr().err
    for norm, images in norms.items():
        assert run([*words, "--norm", norm]) == 0
        [row] = json.loads(capsys.readouterr().out)["rows"]
        assert row["images"] == len(images)
    assert run(["ug100", "check", str(distances), "--norm", "l2"]) == 3
    assert "only a campaign's store holds several norms" in capsys.readouterr().err
