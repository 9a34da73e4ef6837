"""The page of the configuration is what its classes say."""

import pytest

from csmoe_model.config import EncoderConfig, ModelConfig
from csmoe_model.train.config import DataConfig, OptimiserConfig, TrainConfig
from csmoe_sampler.config import BuildConfig, ChipConfig, GridConfig, SceneConfig, SpectralConfig, StacConfig
from csmoe_sampler.scenes.provider import Product, Provider
from docs.generate_configuration import PAGE, configuration_page, meaning


@pytest.fixture(scope="module")
def page():
    return configuration_page()


def line(section, key, page):
    """The row of a key in the table under a heading."""
    _, _, rest = page.partition(f"### `[{section}]`\n" if section else "## csmoe-train\n")
    return next(row for row in rest.splitlines() if row.startswith(f"| `{key}` |"))


def test_the_page_is_as_generated(page):
    assert PAGE.read_text(encoding="utf-8") == page, "run: uv run python docs/generate_configuration.py"


@pytest.mark.parametrize(
    ("section", "key", "row"),
    [
        (
            "grid",
            "lat_max_deg",
            "number, above 0 to 90 | `85.0` | Rows whose southern edge lies outside +-this latitude",
        ),
        ("chips", "size_px", 'integer, from 16 to 4096 or `"footprint"` | `256` |'),
        ("scenes", "start", 'date | `"2021-01-01"` | The first day'),
        ("scenes", "url", "text | not given | A STAC API"),
        ("[descriptors]", "name", "text like `^[a-z][a-z0-9_]*$` | required |"),
        ("selection", "weights", 'table of name = number, from 0 | `{"landcover" = 1.0, "climate" = 0.5,'),
        ("products.NAME", "offset", '`"baseline"`, `"unknown"` or number | `0.0` |'),
        ("optimiser", "betas", "list of 2: number, from 0 below 1 | `[0.9, 0.95]` |"),
        ("optimiser", "clip_norm", 'number, above 0; or "none" | `1.0` |'),
        ("model", "sensors", "table `[model.sensors.NAME]` | `s1`, `s2` |"),
        ("model.sensors.NAME", "bands", "list of text, at least one | required |"),
        ("", "seed", "integer, from 0 below 2^63 | `0` | Of all chance."),
    ],
)
def test_rows_tell_type_range_default_and_meaning(page, section, key, row):
    assert row in line(section, key, page)


SECTIONS = [BuildConfig, GridConfig, StacConfig, SceneConfig, ChipConfig, SpectralConfig, Provider, Product]
SECTIONS += [TrainConfig, DataConfig, OptimiserConfig, ModelConfig, EncoderConfig]


@pytest.mark.parametrize("section", SECTIONS)
def test_every_key_has_a_row_and_a_meaning(page, section):
    for key in section.model_fields:
        assert f"| `{key}` | " in page
        assert meaning(section, key) in page
