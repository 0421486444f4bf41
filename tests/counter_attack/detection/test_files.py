"""Pairs and exact distances from files: what is read, what is left out and counted, what is refused."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from counter_attack.detection import Choice, read_exact, read_pairs, write_pairs
from onnx_models.errors import InputError

TIDY = "configuration,index,attack_set,attack,distance,lower,upper\n"


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_plain_pairs_and_what_is_left_out(tmp_path: Path) -> None:
    path = write(tmp_path / "p.csv", "index,heuristic,exact\n0,0.2,0.1\n1,,0.1\n2,0.3,\n3,0.4,inf\n4,0.5,0.25\n")
    found = read_pairs(path)
    assert list(found.pairs.heuristic) == [0.2, 0.5] and list(found.pairs.exact) == [0.1, 0.25]
    assert (found.failed, found.unknown) == (1, 2)
    assert read_exact(path) == {0: 0.1, 1: 0.1, 3: math.inf, 4: 0.25}


def test_columns_may_have_other_names(tmp_path: Path) -> None:
    path = write(tmp_path / "p.csv", "\ufeffupper, pgd\n0.1, 0.2\n")
    assert list(read_pairs(path, heuristic="pgd", exact="upper").pairs.heuristic) == [0.2]


def test_written_pairs_come_back(tmp_path: Path) -> None:
    heuristic = np.array([0.1 + 1e-17, 1 / 3, np.inf, 0.5])
    exact = np.array([0.1, np.nan, 0.2, np.inf])
    write_pairs(tmp_path / "p.csv", [3, 5, 7, 8], heuristic, exact)
    found = read_pairs(tmp_path / "p.csv")
    assert list(found.pairs.heuristic) == [heuristic[0]] and (found.failed, found.unknown) == (1, 2)
    assert read_exact(tmp_path / "p.csv") == {3: 0.1, 7: 0.2, 8: math.inf}
    with pytest.raises(InputError, match="cannot be written"):
        write_pairs(tmp_path / "none" / "p.csv", [3], heuristic[:1], exact[:1])


def test_tables_like_ug100_give_the_closest_attack_and_the_upper_end(tmp_path: Path) -> None:
    rows = [
        "toy,0,strong,pgd,0.2,0.1,0.1",
        "toy,0,strong,bim,0.15,0.1,0.1",
        "toy,1,strong,pgd,,0.1,0.1",
        "toy,1,strong,bim,,0.1,0.1",
        "toy,2,strong,pgd,0.3,0.1,0.2",
        "toy,2,strong,bim,,0.1,0.2",
        "toy,3,strong,pgd,0.3,inf,",
        "toy,3,strong,bim,,inf,",
    ]
    path = write(tmp_path / "t.csv", TIDY + "\n".join(rows) + "\n")
    found = read_pairs(path)
    assert list(found.pairs.heuristic) == [0.15] and list(found.pairs.exact) == [0.1]
    assert (found.failed, found.unknown) == (1, 2)
    published = read_pairs(path, choice=Choice(rule="published"))
    assert list(published.pairs.heuristic) == [0.15, 0.3] and published.unknown == 1
    assert list(read_pairs(path, choice=Choice(attacks=("pgd",))).pairs.heuristic) == [0.2]
    assert read_exact(path) == {0: 0.1, 1: 0.1, 3: math.inf}
    with pytest.raises(InputError, match="no rule 'mine'; there are published, converged"):
        read_pairs(path, choice=Choice(rule="mine"))
    with pytest.raises(InputError, match="no distances by fab"):
        read_pairs(path, choice=Choice(attacks=("fab",)))


def test_of_several_networks_one_has_to_be_chosen(tmp_path: Path) -> None:
    rows = ["a,0,strong,pgd,0.2,0.1,0.1", "b,0,strong,pgd,0.3,0.2,0.2", "b,0,weak,pgd,0.4,0.2,0.2"]
    path = write(tmp_path / "t.csv", TIDY + "\n".join(rows) + "\n")
    for read in (read_pairs, read_exact):
        with pytest.raises(InputError, match="choose one configuration of a, b"):
            read(path)
    with pytest.raises(InputError, match="choose one attack set of strong, weak"):
        read_pairs(path, choice=Choice("b"))
    assert list(read_pairs(path, choice=Choice("b", "weak")).pairs.heuristic) == [0.4]
    assert read_exact(path, configuration="b") == {0: 0.2}
    with pytest.raises(InputError, match="no configuration 'c'; it has a, b"):
        read_exact(path, configuration="c")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("heuristic,exact\n0.1,abc\n", "line 2: exact is 'abc', which is not a number"),
        ("heuristic,exact\n0.1,0.1\n-0.1,0.1\n", "line 3: heuristic is -0.1; expected a number of at least 0"),
        ("heuristic,exact\n0.1,nan\n", "exact is nan"),
        ("heuristic,exact\n0.1\n", "no input has both distances: on 0 the attack failed, of 1"),
        ("heuristic,exact\n", "holds no distances"),
        ("heuristic\n0.1\n", "has no column 'exact'; it has heuristic"),
        ("", "has no column 'heuristic'; it has no header"),
        ("heuristic,exact\n,0.1\n", "on 1 the attack failed, of 0"),
        ('heuristic,exact\n0.1,"' + 200_000 * "1", "is not a sound table after line"),
        ('"' + 200_000 * "1", "is not a sound table after line"),
    ],
)
def test_bad_pairs_are_named(text: str, part: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        read_pairs(write(tmp_path / "p.csv", text))
    assert part in str(error.value) and "p.csv" in str(error.value)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("index,exact\n0.5,0.1\n", "line 2: index is 0.5"),
        ("index,exact\n,0.1\n", "line 2: index is nan"),
        ("index,exact\n1,0.1\n1,0.2\n", "line 3: index 1 comes twice"),
        ("number,exact\n1,0.1\n", "no column 'index'"),
    ],
)
def test_bad_exact_distances_are_named(text: str, part: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        read_exact(write(tmp_path / "e.csv", text))
    assert part in str(error.value)


def test_files_that_are_not_there_or_of_another_kind(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.csv"):
        read_pairs(tmp_path / "none.csv")
    with pytest.raises(InputError, match="is not read"):
        read_pairs(write(tmp_path / "p.txt", "heuristic,exact\n"))
    with pytest.raises(InputError, match="cannot be chosen"):
        read_pairs(write(tmp_path / "p.csv", "heuristic,exact\n0.1,0.1\n"), choice=Choice("a"))
