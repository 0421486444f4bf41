"""Progress where lines cannot be overwritten: each new bracket once, not too often, and nothing with --quiet."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from mipverify_py import Bracket
from mipverify_py.cli import _progress
from mipverify_py.cli._progress import Progress, bracket_words

BRACKETS = [Bracket(None, 0.5), Bracket(None, 0.5), Bracket(0.25, 0.5), Bracket(0.25, 0.375), Bracket(0.25, 0.375)]


@pytest.fixture
def written(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[[int], list[str]]:
    """Gives the lines on stderr, without times, once there are so many; lines come quickly."""
    monkeypatch.setattr(_progress, "SECONDS_BETWEEN_LINES", 0.01)
    lines: list[str] = []

    def wait_for(count: int) -> list[str]:
        patience = time.monotonic() + 60
        while True:
            out, err = capsys.readouterr()
            assert out == ""
            lines.extend(line.rpartition(",")[0] for line in err.splitlines())
            if len(lines) >= count:
                return lines
            assert time.monotonic() < patience
            time.sleep(0.01)

    return wait_for


def test_each_new_bracket_is_written_once(written: Callable[[int], list[str]]) -> None:
    with Progress([*range(5, 15)], quiet=False).image(2) as update:
        for bracket, count in zip(BRACKETS, (1, 1, 2, 3, 3), strict=True):
            update(bracket)
            written(count)
        time.sleep(0.1)
    assert written(3) == [
        "index 7 (3 of 10): distance <= 0.500000",
        "index 7 (3 of 10): 0.250000 <= distance <= 0.500000, gap 0.25",
        "index 7 (3 of 10): 0.250000 <= distance <= 0.375000, gap 0.12",
    ]


def test_several_images_at_once_share_the_lines(written: Callable[[int], list[str]]) -> None:
    progress = Progress([4, 8], quiet=False)
    progress.begin(0)
    progress.begin(1)
    progress.update(1, BRACKETS[0])
    written(1)
    progress.update(0, BRACKETS[2])
    written(2)
    progress.end(1)
    with progress.hidden():
        progress.update(0, BRACKETS[3])
        written(3)
    progress.close()
    assert written(3) == [
        "index 8 (2 of 2): distance <= 0.500000",
        "index 4 (1 of 2): 0.250000 <= distance <= 0.500000, gap 0.25",
        "index 4 (1 of 2): 0.250000 <= distance <= 0.375000, gap 0.12",
    ]


def test_what_writes_the_lines_ends_with_the_last_image() -> None:
    before = threading.active_count()
    progress = Progress([0, 1], quiet=False)
    progress.begin(0)
    progress.begin(1)
    progress.end(0)
    assert threading.active_count() == before + 1
    progress.end(1)
    assert threading.active_count() == before


def test_a_quick_image_adds_no_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_progress, "SECONDS_BETWEEN_LINES", 60.0)
    with Progress([0], quiet=False).image(0) as update:
        update(BRACKETS[0])
    assert capsys.readouterr().err == ""


def test_quiet_is_quiet(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_progress, "SECONDS_BETWEEN_LINES", 0.01)
    with Progress([0], quiet=True).image(0) as update:
        update(BRACKETS[0])
        time.sleep(0.1)
    assert capsys.readouterr().err == ""


def test_words_for_absent_ends() -> None:
    assert bracket_words(Bracket(None, None)) == ""
    assert bracket_words(Bracket(0.1, None)) == "distance >= 0.100000, "
