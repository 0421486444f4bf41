"""The command line `verify`.

Importing this package loads neither numpy nor a solver: help and usage errors have to answer at once.
"""

from mipverify_py.cli._exit import ExitCode
from mipverify_py.cli._main import main, run

__all__ = ["ExitCode", "main", "run"]
