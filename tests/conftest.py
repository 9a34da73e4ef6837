"""Fixtures for all tests."""

import os
from pathlib import Path

import pytest

# Before torch is imported: several test processes share the cores, and each would take all of them.
os.environ.setdefault("OMP_NUM_THREADS", "1")

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real rasters beside the project; absent on a user's machine."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the real data folder ../shared/data is not beside this checkout")
    return SHARED_DATA


@pytest.fixture(scope="session")
def earth(tmp_path_factory):
    """The small synthetic Earth; read only."""
    from csmoe_sampler.synthetic import write_earth

    return write_earth(tmp_path_factory.mktemp("earth"), "small", 0)
