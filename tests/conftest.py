"""Settings of every test: one thread per numeric library, Ctrl-C, two hypothesis profiles, and the shared test data."""

from __future__ import annotations

import os
import signal
from pathlib import Path

# Before numpy or torch is imported: more threads than cores cost far more than they give on small matrices.
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import pytest
from hypothesis import HealthCheck, settings

# A shell that starts the tests in the background has them ignore Ctrl-C, and every process they start would inherit
# that; the tests of interruption send the signal and wait for what it does.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

REPOSITORY = Path(__file__).resolve().parent.parent

# "default" draws the same examples on every run, so that a green run means the same everywhere; "explore" draws new
# ones (`make test-all`), and prints what is needed to repeat a failure.
_QUIET = (HealthCheck.too_slow, HealthCheck.data_too_large)
settings.register_profile("default", max_examples=50, derandomize=True, deadline=None, suppress_health_check=_QUIET)
settings.register_profile("explore", print_blob=True, deadline=None, suppress_health_check=_QUIET)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder `../shared/data` beside the repository: larger models and data sets; skips the test without it."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("needs the larger models and data sets in ../shared/data, which are not here")
    return folder
