"""Attacks on ReLU classifiers and detection of inputs that are not robust.

This package is the fourth and last layer, above `mipverify_py`, and exports nothing yet. The one attack there is so far
serves the exact search as its upper bound and lives with it, in `mipverify_py`.
"""

__all__: list[str] = []
