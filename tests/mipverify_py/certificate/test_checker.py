"""Certificates that hold are accepted, and what they prove is true."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from mipverify_py import LinfBall, Objective, Options, Verdict, verify
from mipverify_py.certificate import CertificateError, certify
from tests.helpers.certificates import assert_true, digit_certificate, query_about
from tests.helpers.networks import FAMILIES
from tests.helpers.queries import random_query
from tests.helpers.rationals import Question, exact_nearest


@pytest.mark.parametrize("model", ["digits_small_standard", "digits_conv_standard", "digits_dense_standard"])
def test_distances_of_digits_are_proved_to_the_gap(model: str) -> None:
    query = query_about(model, 0)
    result = verify(query)
    found = certify(query, result).statement
    assert found.digest == query.network.digest
    assert (found.reference, found.targets) == (query.reference, query.target_classes)
    assert found.robust and found.radius is not None and found.distance is not None
    assert result.upper is not None and result.lower is not None
    assert found.radius >= Fraction(result.lower) * (1 - Fraction(1, 10**6))
    assert Fraction(float(np.nextafter(result.upper, -np.inf))) <= found.distance <= Fraction(result.upper)


@pytest.mark.parametrize("engine", ["cuts", "duals", "boxes"])
@pytest.mark.parametrize("family", FAMILIES)
def test_what_a_certificate_proves_is_true(family: str, engine: str) -> None:
    for seed in range(3):
        rng = np.random.default_rng(seed)
        network = FAMILIES[family](rng, max_relus=3)
        if engine == "boxes" and network.input_size > 4:
            continue  # cutting so many inputs takes long
        query = random_query(network, seed)
        truth, result = exact_nearest(Question.of(query)), verify(query, Options(engine=engine))
        try:
            found = certify(query, result).statement
        except CertificateError:
            assert result.lower == 0.0 or result.proof is None
            continue
        assert_true(found, truth)
        if result.verdict is Verdict.ROBUST:
            assert found.robust and truth is None
        elif found.robust:
            assert found.radius is not None and result.lower is not None
            assert float(found.radius) >= result.lower * (1 - 2e-6)


def test_robustness_and_worst_margin_of_a_ball() -> None:
    base = query_about("digits_small_standard", 1)
    lower = verify(base).lower
    assert lower is not None
    ball = replace(base, perturbation=LinfBall(0.9 * lower), objective=Objective.FEASIBILITY)
    found = certify(ball, verify(ball)).statement
    assert found.robust and found.radius == Fraction(0.9 * lower) and found.margin == 0 and found.distance is None
    worst = replace(ball, objective=Objective.WORST)
    result = verify(worst)
    found = certify(worst, result).statement
    assert found.robust and result.upper is not None and found.margin <= Fraction(result.upper)


def test_a_witness_alone_is_a_certificate() -> None:
    base = query_about("digits_small_standard", 1)
    wrong = replace(base, label=(base.predicted + 1) % 10)
    found = certify(wrong, verify(wrong)).statement
    assert not found.robust and found.distance == 0


def test_the_checker_needs_nothing_but_python(tmp_path: Path) -> None:
    file = tmp_path / "small.cert"
    small = digit_certificate()
    file.write_bytes(small)
    program = textwrap.dedent(
        """
        import importlib.abc, runpy, sys

        class Only(importlib.abc.MetaPathFinder):
            def find_spec(self, name, path, target=None):
                top = name.partition(".")[0]
                if top not in sys.stdlib_module_names and top != "mipverify_py":
                    raise ImportError(name)

        sys.meta_path.insert(0, Only())
        sys.argv = ["checker", *sys.argv[1:]]
        runpy.run_module("mipverify_py.certificate.checker", run_name="__main__")
        """
    )
    done = subprocess.run([sys.executable, "-c", program, str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "PROVED. No x of the box within" in done.stdout
    file.write_bytes(small[:-1])
    done = subprocess.run([sys.executable, "-c", program, str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "REJECTED" in done.stdout
