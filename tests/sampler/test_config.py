"""The configuration: TOML and overrides in, all problems out at once, a digest that means equal work."""

import pytest

from csmoe_sampler.config import BuildConfig, load_config
from csmoe_sampler.errors import ConfigError


def test_overrides_win_over_the_file_and_none_is_no_override(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text('n = 5\nregion = "FR"\n[grid]\nspacing_km = 20\n[selection.weights]\nlandcover = 2.0\n')
    config = load_config(path, {"n": 7, "grid.lat_max_deg": 60, "region": None, "landcover.legend": "igbp"})
    assert (config.n, config.region, config.grid.spacing_km, config.grid.lat_max_deg) == (7, "FR", 20, 60)
    assert config.selection.weights == {"landcover": 2.0}
    assert config.landcover.legend == "igbp"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("n = 0", ["n = 0", "greater than 0"]),
        ("n = -3\nseed = -1", ["n = -3", "seed = -1"]),
        ("[allocation]\nalfa = 0.5", ["allocation.alfa", "no such key"]),
        ("[allocation]\nalpha = 1.5", ["allocation.alpha", "less than or equal to 1"]),
        ('[selection]\nobjective = "best"', ["selection.objective", "'diverse'"]),
        ("[selection.weights]\nbeauty = 1", ["beauty", "climate, landcover, position"]),
        ("[split]\nvalidation = 0.6\ntest = 0.4", ["nothing to train on"]),
        ('[climate]\ntemperature = "t.nc"', ["both or neither"]),
        ('[[descriptors]]\nname = "x"\nsource = ["a.tif"]\nstatistic = "shares"', ["needs a legend"]),
        ('[[descriptors]]\nname = "climate"\nsource = ["a.tif"]', ["is taken"]),
        ("n = = 3", ["not valid TOML"]),
    ],
)
def test_problems_name_key_value_and_remedy(tmp_path, text, parts):
    path = tmp_path / "run.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(path, {})
    assert "\n" not in str(caught.value)
    for part in [*parts, "run.toml"]:
        assert part in str(caught.value)


def test_missing_file(tmp_path):
    with pytest.raises(ConfigError, match="no such file"):
        load_config(tmp_path / "none.toml", {})


def test_digest_ignores_folders_but_nothing_else():
    near = load_config(None, {"landcover.source": ["lc.tif"], "region": "area.geojson"})
    far = load_config(None, {"landcover.source": ["/data/x/lc.tif"], "region": "/home/me/area.geojson"})
    other = load_config(None, {"landcover.source": ["lc2.tif"], "region": "area.geojson"})
    url = load_config(None, {"landcover.source": ["https://a.org/lc.tif"], "region": "area.geojson"})
    assert near.digest() == far.digest()
    assert len({near.digest(), other.digest(), url.digest()}) == 3
    assert BuildConfig.model_validate(far.portable()).digest() == near.digest()


def test_toml_round_trip(tmp_path):
    config = load_config(
        None,
        {
            "region": "6,0,9,3",
            "climate.source": "k.tif",
            "landcover.approximate": 4,
            "descriptors": [{"name": "elevation", "source": ["dem.tif"], "scale": 500}],
            "selection.weights": {"elevation": 1.0},
        },
    )
    path = tmp_path / "run.toml"
    path.write_text(config.to_toml())
    assert load_config(path, {}) == config
