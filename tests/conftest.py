"""Fixtures for all tests."""

from pathlib import Path

import pytest

from csmoe_sampler.synthetic import Earth, write_earth

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real rasters beside the project; absent on a user's machine."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the real data folder ../shared/data is not beside this checkout")
    return SHARED_DATA


@pytest.fixture(scope="session")
def earth(tmp_path_factory: pytest.TempPathFactory) -> Earth:
    """The small synthetic Earth; read only."""
    return write_earth(tmp_path_factory.mktemp("earth"), "small", 0)
