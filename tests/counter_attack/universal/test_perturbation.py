"""Files and pictures of universal perturbations, and the ceiling that exact distances are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from counter_attack.attacks import AttackStop
from counter_attack.detection import ExactAttack
from counter_attack.diagnostics import Subject
from counter_attack.universal import UniversalPerturbation, draw_universal, random_perturbation
from mipverify_py import Norm
from onnx_models.errors import InputError
from onnx_models.zoo import digits_test, load_zoo


def subject(count: int = 20, norm: Norm = Norm.LINF) -> Subject:
    data = digits_test()
    return Subject.of(load_zoo("digits_small_standard"), data.images[:count], data.labels[:count], norm=norm)


@pytest.mark.parametrize("norm", list(Norm))
def test_noise_has_its_size(norm: Norm) -> None:
    found = random_perturbation(subject(norm=norm), 0.7)
    size = np.linalg.norm(found.vector, ord={Norm.LINF: np.inf, Norm.L1: 1, Norm.L2: 2}[norm])
    assert size <= 0.7 and size == pytest.approx(0.7)


@pytest.mark.slow
def test_no_fooled_input_is_nearer_than_its_exact_distance() -> None:
    """What a universal perturbation fools has an example within its size; the exact search never says otherwise."""
    one, eps = subject(8), 0.2
    exact = one.attacked(ExactAttack())
    fooled = one.fooled(random_perturbation(one, eps).apply(one))
    assert np.all(exact.lower[fooled] <= eps) and exact.exact.all()


def test_a_file_gives_back_what_was_saved(tmp_path: Path) -> None:
    found = UniversalPerturbation("projection", Norm.L2, 0.5, np.full(64, 0.0625), (0.25, 0.5), AttackStop.BUDGET)
    path = tmp_path / "v.npz"
    found.save(path, (1, 8, 8), "abc")
    with np.load(path) as file:
        assert file["vector"].shape == (1, 8, 8) and str(file["digest"]) == "abc"
    again = UniversalPerturbation.load(path)
    assert np.array_equal(again.vector, found.vector)
    names = ("method", "norm", "eps", "progress", "stop")
    assert all(getattr(again, name) == getattr(found, name) for name in names)


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        UniversalPerturbation.load(tmp_path / "none.npz")
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    with pytest.raises(InputError, match="holds no universal perturbation"):
        UniversalPerturbation.load(tmp_path / "other.npz")
    fields = {"method": "projection", "norm": "linf", "progress": np.zeros(1), "stop": "finished"}
    np.savez(tmp_path / "large.npz", vector=np.ones(3), eps=0.5, **fields)
    with pytest.raises(InputError, match="holds no universal perturbation"):
        UniversalPerturbation.load(tmp_path / "large.npz")


def test_pictures(tmp_path: Path) -> None:
    one = subject(6)
    found = random_perturbation(one, 0.2)
    for shape in ((1, 8, 8), (8, 8)):
        draw_universal(found, one, shape, tmp_path / "v.png")
        with Image.open(tmp_path / "v.png") as drawn:
            assert drawn.size[0] > 500
    with pytest.raises(InputError, match="no pictures"):
        draw_universal(found, one, (64,), tmp_path / "v.png")
    with pytest.raises(InputError, match="cannot be written"):
        draw_universal(found, one, (1, 8, 8), tmp_path / "v.nonsense")


def test_inputs_that_the_model_gets_wrong_do_not_count() -> None:
    network, data = load_zoo("digits_small_standard"), digits_test()
    flat = data.images.reshape(400, -1)
    right = np.flatnonzero(network.forward_batch(flat).argmax(axis=1) == data.labels)
    one = Subject.of(network, flat, data.labels)
    assert np.array_equal(one.kept, right) and len(one) == len(right) < 400
    wrong = next(row for row in range(400) if row not in set(right.tolist()))
    with pytest.raises(InputError, match="wrong"):
        Subject.of(network, flat[wrong : wrong + 1], data.labels[wrong : wrong + 1])
    assert len(Subject.of(network, flat[wrong : wrong + 1])) == 1
