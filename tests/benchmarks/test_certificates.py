"""The table of certificates is made, and what it counts is what the statements say."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from mipverify_py import verify
from mipverify_py.certificate import certify, check
from tests.benchmarks import certificates
from tests.helpers.certificates import query_about

MODEL = "digits_small_standard"


@pytest.mark.slow
def test_certificates_of_a_small_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = tmp_path / "files"
    options = ["--networks", f"zoo:{MODEL}", "--images", "1:3", "--files", str(files), "--out", str(tmp_path / "out")]
    assert certificates.main(options) == 0
    assert capsys.readouterr().out.count("2 of 2") == 2
    assert sorted(file.name for file in files.iterdir()) == [f"{MODEL}-1.cert", f"{MODEL}-2.cert"]
    for file in files.iterdir():
        assert check(file.read_bytes()).robust


def test_a_certificate_is_whole_if_it_proves_the_bracket() -> None:
    query = query_about(MODEL, 1)
    result = verify(query)
    whole = certify(query, result)
    assert certificates.is_whole(result, whole)
    said = whole.statement
    assert said.radius is not None
    for less in (
        said._replace(robust=False, radius=None),
        said._replace(radius=said.radius * Fraction(999, 1000)),
        said._replace(distance=None),
    ):
        assert not certificates.is_whole(result, replace(whole, statement=less))


def test_what_is_refused_is_named_and_not_averaged() -> None:
    there = {"closed": True, "whole": True, "seconds": 2.0, "write_seconds": 1.0, "check_seconds": 0.5, "bytes": 3000}
    there["fast_seconds"] = 0.25
    there |= {"leaves": 30, "repaired": 1, "shrunk": 0.0, "megabytes": 200.0}
    line = certificates.row("net", [there, {"closed": False, "seconds": 9.0, "refused": "no proof"}])
    assert line[:3] == ("net", "1 of 2", "1 of 1")
    assert line[3:] == (
        "2.00",
        "1.00",
        "0.50",
        "0.50",
        "0.25",
        "0.50",
        "3.0",
        "3.0",
        "30",
        "100",
        "1",
        "0",
        "200",
        "1 no proof",
    )
