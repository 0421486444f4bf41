"""The command line `counter-attack`.

Importing this package loads neither numpy nor torch: help and usage errors have to answer at once.
"""

from counter_attack.cli._app import main, run

__all__ = ["main", "run"]
