"""Attacks by name, and the named parameter sets against the published table."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from counter_attack._parameters import SETS, parameter_set
from counter_attack.attacks import ATTACKS, BIM, FGSM, PGD, DeepFool, EpsilonSearch, UniformNoise, make_attack
from mipverify_py import Norm
from onnx_models.errors import InputError

# ------------------------------------------------------------------------------------------------------------- by name


@pytest.mark.parametrize("name", list(ATTACKS))
def test_every_attack_is_made_by_its_name(name: str) -> None:
    attack = make_attack(name)
    assert isinstance(attack, ATTACKS[name])
    assert dataclasses.is_dataclass(attack)
    if not name.startswith("apgd"):
        assert attack.name == name


def test_the_two_losses_of_apgd_are_two_attacks() -> None:
    assert make_attack("apgd-ce").loss == "ce" and make_attack("apgd-dlr").loss == "dlr"  # type: ignore[attr-defined]
    with pytest.raises(InputError, match="no parameter 'loss'"):
        make_attack("apgd-ce", loss="dlr")


def test_parameters_are_passed_on() -> None:
    assert make_attack("pgd", steps=7, step_size=1, random_start=False) == PGD(steps=7, step_size=1, random_start=False)
    assert make_attack("fgsm", eps=0.1) == FGSM(eps=0.1)
    assert make_attack("fgsm", eps=None, norm="l2") == FGSM(norm=Norm.L2)
    assert make_attack("bim", search={"bisections": 3}) == BIM(search=EpsilonSearch(bisections=3))
    assert make_attack("bim", search=EpsilonSearch(), norm=Norm.L1) == BIM(norm=Norm.L1)


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("pdg", {}, "no attack 'pdg'; there are fgsm, bim, pgd"),
        ("pgd", {"step": 3}, "no parameter 'step'; it has norm, eps, search, steps"),
        ("pgd", {"steps": 3.0}, "'steps' of pgd has to be a whole number; got 3.0"),
        ("pgd", {"steps": True}, "whole number"),
        ("pgd", {"step_size": "big"}, "has to be a number; got 'big'"),
        ("pgd", {"random_start": 1}, "true or false"),
        ("pgd", {"eps": "big"}, "has to be a number; got 'big'"),
        ("pgd", {"norm": "l3"}, "one of linf, l1, l2; got 'l3'"),
        ("pgd", {"search": 3}, "a table of initial_factor, decay_steps, bisections"),
        ("pgd", {"search": {"halvings": 3}}, "a table of initial_factor"),
        ("pgd", {"search": {"bisections": 3.5}}, "whole number"),
        ("pgd", {"search": {"bisections": -1}}, "no negative number"),
        ("pgd", {"steps": 0}, "at least 1 step"),
        ("deepfool", {"norm": "l1"}, "does not work in l1"),
    ],
)
def test_bad_names_and_parameters_are_named(name: str, parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_attack(name, **parameters)


# ---------------------------------------------------------------------------------------------------- published values

PUBLISHED = """
set               bim              pgd              brendel      cw                       uniform
strong-mnist      2000  1e-3       5000  1e-4       5000  1e-3   0.95  1e-2  1000         8000
strong-cifar10    5000  1e-5       5000  1e-4       5000  1e-5   0.99  1e-5  5000         8000
balanced-mnist    200   1e-2       200   1e-3       200   1e-3   0.9   1e-2  100          200
balanced-cifar10  200   1e-3       200   1e-3       200   1e-3   0.9   1e-4  100          200
mip-start-mnist   5000  1e-5       5000  1e-4       5000  1e-3   0.99  1e-3  5000         8000
mip-start-cifar10 5000  1e-5       5000  1e-4       5000  1e-5   0.99  1e-5  5000         8000
"""
"""Iterations and step or learning rate; for C&W the tau factor, the learning rate and iterations."""

ROWS = [line.split() for line in PUBLISHED.strip().splitlines()[1:]]


def test_there_are_no_other_sets() -> None:
    assert sorted(SETS) == sorted(row[0] for row in ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_the_sets_have_the_published_values(row: list[str]) -> None:
    attacks: dict[str, Any] = dict(parameter_set(row[0]))
    assert list(attacks) == ["bim", "pgd", "brendel", "cw", "deepfool", "uniform"]
    assert attacks["bim"] == BIM(steps=int(row[1]), step_size=float(row[2]))
    assert attacks["pgd"] == PGD(steps=int(row[3]), step_size=float(row[4]), random_start=True)
    assert attacks["uniform"] == UniformNoise(runs=int(row[10]))
    assert attacks["deepfool"] == DeepFool(steps=5000, candidates=10, overshoot=1e-5)
    brendel, cw = attacks["brendel"], attacks["cw"]
    assert (brendel.steps, brendel.lr) == (int(row[5]), float(row[6]))
    assert (brendel.init, brendel.overshoot, brendel.momentum) == ("blended-noise", 1.1, 0.8)
    assert (brendel.lr_decay, brendel.lr_decay_every) == (0.75, 50)
    assert (cw.tau_factor, cw.lr, cw.steps) == (float(row[7]), float(row[8]), int(row[9]))
    assert (cw.min_tau, cw.tau, cw.const, cw.const_factor, cw.max_const) == (1e-5, 1.0, 1e-5, 2.0, 20.0)
    assert cw.warm_start and cw.abort_early
    assert attacks["pgd"].search == EpsilonSearch(initial_factor=0.75, decay_steps=30, bisections=20)


# ---------------------------------------------------------------------------------------------------------- user's sets


def written(folder: Path, text: str) -> Path:
    path = folder / "own.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_set_from_a_file(tmp_path: Path) -> None:
    path = written(tmp_path, '[attacks.pgd]\nsteps = 50\nrestarts = 3\n[attacks.fgsm]\n[attacks.bim]\nnorm = "l2"\n')
    expected = {"pgd": PGD(steps=50, restarts=3), "fgsm": FGSM(), "bim": BIM(norm=Norm.L2)}
    assert parameter_set(path) == expected
    assert parameter_set(str(path)) == expected
    assert parameter_set(path, norm=Norm.L2)["pgd"] == PGD(steps=50, restarts=3, norm=Norm.L2)


def test_a_file_may_change_a_published_set(tmp_path: Path) -> None:
    path = written(tmp_path, 'base = "balanced-mnist"\n[attacks.pgd]\nsteps = 50\n[attacks.fgsm]\n')
    base, own = parameter_set("balanced-mnist"), parameter_set(path)
    assert list(own) == [*base, "fgsm"]
    assert own["pgd"] == PGD(steps=50, step_size=1e-3)
    assert {name: own[name] for name in base if name != "pgd"} == {k: v for k, v in base.items() if k != "pgd"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[attacks.pdg]\n", r"table \[attacks.pdg\]: There is no attack 'pdg'"),
        ("[attacks.pgd]\nstep = 1\n", r"table \[attacks.pgd\]: The attack pgd has no parameter 'step'"),
        ("[attacks.pgd]\nname = 'bim'\n", r"table \[attacks.pgd\]: The attack pgd has no parameter 'name'"),
        ("[attacks.pgd]\nsteps = 0\n", r"table \[attacks.pgd\]: .* at least 1 step"),
        ("[attacks.pgd]\n\nsteps =\n", "is not TOML: .*line 3"),
        ("", "names no attack"),
        ("[attack.pgd]\n", "has 'attack' at its top"),
        ('base = "weak"\n', "has base = 'weak'; expected one of strong-mnist"),
        ("base = 3\n", "has base = 3"),
        ("attacks = 3\n", "not tables"),
        ("[attacks]\npgd = 3\n", "not tables"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        parameter_set(written(tmp_path, text))
    assert "own.toml" in str(caught.value) and "\n" not in str(caught.value)


def test_files_that_are_no_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"missing.toml cannot be read: No such file"):
        parameter_set(tmp_path / "missing.toml")
    with pytest.raises(InputError, match=r"no parameter set 'balanced'; give one of strong-mnist"):
        parameter_set("balanced")
    path = tmp_path / "latin.toml"
    path.write_bytes(b"# \xff\n")
    with pytest.raises(InputError, match="is not TOML"):
        parameter_set(path)


def test_a_norm_that_an_attack_lacks_is_named() -> None:
    with pytest.raises(InputError, match=r"In the set balanced-mnist, table \[attacks\..*\]: .* does not work in l1"):
        parameter_set("balanced-mnist", norm=Norm.L1)
