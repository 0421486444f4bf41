"""Writes the lock file: `python tests/checks/lock.py > constraints.txt` (`make lock`).

Prints one `name==version` per distribution that `mipverify-py[all,dev,docs,oracles]` needs, directly or not, at the
version that is installed. Local version labels are dropped: `torch==2.13.0` accepts both the CPU build (2.13.0+cpu) and
the package index's own. What the index's build of torch adds (CUDA libraries) is pinned by torch itself.
"""

from __future__ import annotations

import sys
from importlib import metadata

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = "mipverify-py"
EXTRAS = ("all", "dev", "docs", "oracles")
HEADER = """\
# Every direct and transitive dependency at the version that the tests pass with (Python 3.11, Linux). Used by `make`;
# written by `make lock`. Two pins are more than a habit:
#   highspy  later versions call wrong optima optimal, or clash with the HiGHS inside ortools; the evidence is listed in
#            mipverify_py/backends/highs.py.
#   torch    no local label, so that the CPU build and the package index's build both satisfy it.
"""


def closure(project: str, extras: tuple[str, ...]) -> dict[str, str]:
    """Installed versions of everything that `project` with `extras` needs, itself excluded, by canonical name."""
    versions: dict[str, str] = {}
    pending, seen = [(project, extra) for extra in ("", *extras)], set[tuple[str, str]]()
    while pending:
        name, extra = pending.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        if name != project:
            versions[name] = metadata.version(name).split("+")[0]
        for line in metadata.requires(name) or []:
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                pending.extend((canonicalize_name(requirement.name), e) for e in ("", *requirement.extras))
    return versions


def main() -> int:
    """Prints the lock; returns the exit code."""
    sys.stdout.write(HEADER)
    for name, version in sorted(closure(PROJECT, EXTRAS).items()):
        sys.stdout.write(f"{name}=={version}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
