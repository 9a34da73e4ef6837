"""The objective and the descriptor of docs/extending.md: as it shows them, in a whole build."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

from csmoe_sampler import pipeline
from csmoe_sampler.config import BuildConfig, load_config
from csmoe_sampler.errors import ConfigError
from csmoe_sampler.extensions import load
from csmoe_sampler.features import Features
from csmoe_sampler.manifest import validate
from csmoe_sampler.objectives import get_objective

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "extending.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def my_sampling(tmp_path, monkeypatch):
    (tmp_path / "my_sampling.py").write_text("\n".join(blocks("python")))
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("my_sampling", None)


@pytest.fixture
def config(my_sampling, earth):
    """That of the page, on the synthetic Earth."""
    (my_sampling / "run.toml").write_text(blocks("toml")[0])
    here = {"region": "-76,0,-68,60", "grid.spacing_km": 25, "strata.min_size": 20}
    here |= {"landcover.source": [str(path) for path in earth.landcover], "climate.source": str(earth.climate)}
    return load_config(my_sampling / "run.toml", here)


def test_both_are_short():
    for text in blocks("python"):
        lines = text[text.index("class ") :].splitlines()
        assert len([line for line in lines if line.strip()]) <= 15


def test_what_the_page_shows_builds_a_manifest(my_sampling, config):
    outputs = pipeline.Outputs.beside(my_sampling / "out.parquet")
    manifest = pipeline.build(config, outputs, pipeline.Runtime(workers=1))
    assert len(manifest) == 40
    assert validate(outputs.manifest) == []
    assert manifest.metadata["objective"] == "my_sampling:Extremes"
    assert manifest.metadata["sources"]["daylight"]["formula"] == "length of the shortest day"
    hours, lat = manifest.column("daylight_hours"), manifest.column("lat")
    order = np.argsort(np.abs(lat))
    assert (np.diff(hours[order]) <= 1e-3).all()
    assert "my_sampling:Extremes" in outputs.report.read_text()
    again = pipeline.Outputs.beside(my_sampling / "again.parquet", atlas=outputs.atlas, report=False)
    pipeline.select(config, again, pipeline.Runtime(workers=2))
    assert again.manifest.read_bytes() == outputs.manifest.read_bytes()


def test_the_objective_takes_the_farthest_first(my_sampling):
    objective = get_objective("my_sampling:Extremes")
    values = np.array([[0, 0], [90, 0], [1, 1], [-120, 3], [2, 0]], np.int16)
    features = Features(values=values, keys=np.arange(5, dtype=np.uint64))
    assert objective.order(features, 2, 0).tolist() == [3, 1]


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("my_sampling:Nothing", "module 'my_sampling' has no 'Nothing'"),
        ("nowhere_at_all:Extremes", "no module 'nowhere_at_all' is found: install it, or put its folder on PYTHONPATH"),
    ],
)
def test_what_is_not_found_is_told(my_sampling, reference, said):
    with pytest.raises(ConfigError, match=re.escape(said)):
        load(reference)


def test_a_module_that_the_users_own_one_lacks_is_its_own_error(my_sampling):
    (my_sampling / "broken.py").write_text("import a_package_that_is_not_there\n")
    with pytest.raises(ModuleNotFoundError, match="a_package_that_is_not_there"):
        load("broken:Extremes")


@pytest.mark.parametrize(
    ("descriptor", "said"),
    [
        ({"name": "slope"}, "needs a source, or a class of your own to use"),
        ({"name": "slope", "use": "mine:Slope", "statistic": "shares"}, "do not go with 'use'"),
        ({"name": "slope", "use": "mine"}, "should match pattern"),
    ],
)
def test_tables_that_say_too_little_or_too_much(descriptor, said):
    with pytest.raises(ValueError, match=said):
        BuildConfig.model_validate({"descriptors": [descriptor]})


def test_digests_of_builds_without_it_are_those_from_before():
    table = {"name": "elevation", "source": ["dem.tif"]}
    assert "use" not in BuildConfig.model_validate({"descriptors": [table]}).portable()["descriptors"][0]


def test_the_table_of_the_page_is_a_configuration():
    assert BuildConfig.model_validate(tomllib.loads(blocks("toml")[0])).selection.objective == "my_sampling:Extremes"
