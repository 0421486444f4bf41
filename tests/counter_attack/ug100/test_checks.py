"""Checks of distances: each finds exactly what was planted, and the published files hold what the guide says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score

from counter_attack.ug100 import COLUMNS, check_distances, f1_curve, plots, read_distances
from onnx_models.errors import InputError
from tests.helpers.ug100 import MIP, STRONG, Maker


def _found(frame: pd.DataFrame, tolerance: float = 0.0) -> dict[str, list[tuple[int, str]]]:
    return {
        table.name: [(row["index"], row["attack"]) for row in table.rows]
        for table in check_distances(frame, tolerance=tolerance)
        if table.rows
    }


def test_each_contradiction_is_listed(make: Maker) -> None:
    found = _found(read_distances(make(mip=MIP, strong=STRONG)))
    assert found == {
        "below-lower": [(3, "pgd")],
        "infeasible-contradicted": [(1, "fab")],
        "below-converged-upper": [(4, "pgd")],
        "below-open-upper": [(7, "pgd")],
        "no-upper": [(9, "pgd")],
    }


def test_a_tolerance_lets_small_amounts_pass(make: Maker) -> None:
    frame = read_distances(make(mip=MIP, strong=STRONG))
    assert "below-lower" in _found(frame, 0.009)
    assert "below-lower" not in _found(frame, 0.011)
    assert "below-converged-upper" not in _found(frame, 1e-5)
    for tolerance in (-1.0, np.nan, np.inf):
        with pytest.raises(InputError, match="makes no sense"):
            check_distances(frame, tolerance=tolerance)


def test_the_rarer_contradictions_are_listed() -> None:
    rows = [
        ("net", 0, "s", "pgd", 0.5, np.inf, 0.4),
        ("net", 1, "s", "pgd", 0.5, 0.4, 0.3),
        ("net", 2, "s", "pgd", 0.5, np.nan, 0.3),
        ("net", 3, "s", "pgd", np.nan, 0.3, 0.3),
        ("net", 3, "s", "fab", np.nan, 0.3, 0.3),
        ("net", 3, "t", "fab", 0.3, 0.3, 0.3),
        ("net", 4, "s", "pgd", 0.2, np.nan, 0.3),
        ("net", 4, "s", "fab", np.nan, np.nan, 0.3),
    ]
    assert _found(pd.DataFrame(rows, columns=list(COLUMNS))) == {
        "infeasible-contradicted": [(0, "pgd")],
        "infeasible-with-upper": [(0, "pgd")],
        "crossed": [(1, "pgd")],
        "no-lower": [(2, "pgd"), (4, "pgd")],
        "no-attack": [(3, "pgd")],
        "below-open-upper": [(4, "pgd")],
    }


def test_published_files_contradict_themselves_as_the_guide_says(shared_data: Path) -> None:
    frame = read_distances(shared_data / "ug100")
    tables = {table.name: table for table in check_distances(frame)}
    images = {name: len({(row["configuration"], row["index"]) for row in table.rows}) for name, table in tables.items()}
    assert images == {
        "below-lower": 399,
        "infeasible-contradicted": 9,
        "infeasible-with-upper": 0,
        "crossed": 0,
        "below-converged-upper": 808,
        "below-open-upper": 57,
        "no-upper": 615,
        "no-lower": 0,
        "no-attack": 0,
    }
    assert len(tables["below-lower"].rows) == 434
    assert 4.0e-6 < tables["below-lower"].rows[0]["by"] < 4.1e-6
    [strict, *_] = check_distances(frame, tolerance=1e-6)
    assert len(strict.rows) == 90


def test_f1_is_that_of_scikit_learn() -> None:
    random = np.random.default_rng(0)
    exact = random.random(50)
    found = np.where(random.random(50) < 0.2, np.nan, exact * random.uniform(0.9, 1.3, 50))
    eps = np.linspace(0, 1.2, 25)
    for radius, score in zip(eps, f1_curve(found, exact, eps), strict=True):
        told, true = found <= radius, exact <= radius
        if told.any() or true.any():
            assert score == pytest.approx(f1_score(true, told, zero_division=0))
        else:
            assert np.isnan(score)
    assert f1_curve(exact, exact, [2.0]) == pytest.approx([1.0])


def test_figures_are_drawn_for_each_data_set_and_attack_set(make: Maker, tmp_path: Path) -> None:
    from PIL import Image

    frame = read_distances(make(mip=MIP, strong=STRONG, balanced=STRONG))
    files = plots(frame, tmp_path / "figures")
    assert [path.name for path in files] == [
        f"{kind}-toy-{attack_set}.png" for attack_set in ("strong", "balanced") for kind in ("scatter", "pools", "f1")
    ]
    for path in files:
        with Image.open(path) as image:
            assert len(image.convert("L").getcolors(1000) or []) > 10  # more than an empty page
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        plots(frame, tmp_path / "file")
