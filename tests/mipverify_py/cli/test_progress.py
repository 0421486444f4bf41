"""Progress where lines cannot be overwritten: each new bracket once, not too often, and nothing with --quiet."""

from __future__ import annotations

import pytest

from mipverify_py import Bracket
from mipverify_py.cli import _progress
from mipverify_py.cli._progress import Progress, bracket_words

BRACKETS = [Bracket(None, 0.5), Bracket(None, 0.5), Bracket(0.25, 0.5), Bracket(0.25, 0.375), Bracket(0.25, 0.375)]


def test_each_new_bracket_is_written_once(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_progress, "SECONDS_BETWEEN_LINES", 0.0)
    with Progress([*range(5, 15)], quiet=False).image(2) as update:
        for bracket in BRACKETS:
            update(bracket)
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.rpartition(",")[0] for line in err.splitlines()] == [
        "index 7 (3 of 10): distance <= 0.500000",
        "index 7 (3 of 10): 0.250000 <= distance <= 0.500000, gap 0.25",
        "index 7 (3 of 10): 0.250000 <= distance <= 0.375000, gap 0.12",
    ]


def test_several_images_at_once_share_the_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_progress, "SECONDS_BETWEEN_LINES", 0.0)
    progress = Progress([4, 8], quiet=False)
    progress.begin(0)
    progress.begin(1)
    progress.update(1, BRACKETS[0])
    progress.update(0, BRACKETS[2])
    progress.end(1)
    with progress.hidden():
        progress.update(0, BRACKETS[3])
    progress.close()
    assert [line.partition(",")[0] for line in capsys.readouterr().err.splitlines()] == [
        "index 8 (2 of 2): distance <= 0.500000",
        "index 4 (1 of 2): 0.250000 <= distance <= 0.500000",
        "index 4 (1 of 2): 0.250000 <= distance <= 0.375000",
    ]


def test_a_quick_image_adds_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress([0], quiet=False).image(0) as update:
        update(BRACKETS[0])
    assert capsys.readouterr().err == ""


def test_quiet_is_quiet(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_progress, "SECONDS_BETWEEN_LINES", 0.0)
    with Progress([0], quiet=True).image(0) as update:
        update(BRACKETS[0])
    assert capsys.readouterr().err == ""


def test_words_for_absent_ends() -> None:
    assert bracket_words(Bracket(None, None)) == ""
    assert bracket_words(Bracket(0.1, None)) == "distance >= 0.100000, "
