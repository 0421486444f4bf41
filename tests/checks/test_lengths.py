"""The length check itself: what it finds, and what it lets pass."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.checks.lengths import FUNCTION_LINES, MODULE_LINES, PARAMETERS, main, offences


def _function(lines: int, parameters: str = "", keyword: str = "def") -> str:
    return f"{keyword} f({parameters}):\n" + "    pass\n" * (lines - 1)


_SEVEN = ", ".join("abcdefg")

CASES = {
    "long module": ("pass\n" * (MODULE_LINES + 1), ["401 lines"]),
    "full module": ("pass\n" * MODULE_LINES, []),
    "long function": (_function(FUNCTION_LINES + 1), ["f has 81 lines"]),
    "full function": (_function(FUNCTION_LINES), []),
    "long coroutine": (_function(FUNCTION_LINES + 1, keyword="async def"), ["f has 81 lines"]),
    "decorators do not count": ("@staticmethod\n" * 5 + _function(FUNCTION_LINES), []),
    "long method": (
        "class C:\n" + "".join(f"    {line}\n" for line in _function(FUNCTION_LINES + 1, "self").splitlines()),
        ["f has 81 lines"],
    ),
    "seven parameters": (_function(2, _SEVEN), []),
    "eight parameters": (_function(2, f"{_SEVEN}, h"), ["f has 8 parameters"]),
    "keyword-only ones count": (_function(2, f"{_SEVEN}, *, h"), ["f has 8 parameters"]),
    "positional-only ones count": (_function(2, f"h, /, {_SEVEN}"), ["f has 8 parameters"]),
    "variadic ones count": (_function(2, f"{_SEVEN}, *args, **kwargs"), ["f has 9 parameters"]),
    "self does not count": (_function(2, f"self, {_SEVEN}"), []),
    "two offences": (_function(FUNCTION_LINES + 1, f"{_SEVEN}, h"), ["81 lines", "8 parameters"]),
    "nested functions are looked at": (f"def g():\n    def f({_SEVEN}, h): pass\n", ["m.py:2: f has 8 parameters"]),
}


@pytest.mark.parametrize("case", CASES)
def test_finds_exactly_what_is_too_long(case: str) -> None:
    source, expected = CASES[case]
    found = list(offences(source, "m.py"))
    assert len(found) == len(expected)
    for message, part in zip(found, expected, strict=True):
        assert part in message


def test_exit_code_and_report_follow_the_tree(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    package = tmp_path / "bounds" / "deep"
    package.mkdir(parents=True)
    (package / "short.py").write_text("pass\n")
    assert main(tmp_path) == 0
    (package / "wide.py").write_text(_function(2, "a, b, c, d, e, f, g, h"))
    assert main(tmp_path) == 1
    assert str(Path("bounds/deep/wide.py")) + f":1: f has 8 parameters; the limit is {PARAMETERS}." in (
        capsys.readouterr().out
    )
