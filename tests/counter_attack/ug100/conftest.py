"""Small directories laid out as UG100's."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from tests.helpers.ug100 import Maker, write_folder


@pytest.fixture
def make(tmp_path: Path) -> Maker:
    """Writes them into the test's own folder."""
    return partial(write_folder, tmp_path)
