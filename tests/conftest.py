"""Fixtures for all tests."""

import os
import shutil
import sys
from pathlib import Path

import pytest

# Before torch is imported: several test processes share the cores, and each would take all of them.
os.environ.setdefault("OMP_NUM_THREADS", "1")

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def pytest_configure(config: pytest.Config) -> None:
    """Keeps bytecode where the environment says not to: the tests start many processes that import the same."""
    cache = getattr(config, "cache", None)
    if cache and os.environ.pop("PYTHONDONTWRITEBYTECODE", None):
        os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix = str(cache.mkdir("bytecode"))
        sys.dont_write_bytecode = False


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


@pytest.fixture(scope="session")
def sensed_earth(earth, tmp_path_factory):
    """A copy of the small Earth with scenes of two granules; read only."""
    from csmoe_sampler.synthetic import write_earth, write_scenes

    root = tmp_path_factory.mktemp("sensed") / "earth"
    shutil.copytree(earth.root, root)
    return write_scenes(write_earth(root, "small", 0), "tiny")
