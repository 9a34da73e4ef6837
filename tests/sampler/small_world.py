"""A small population on a coarse grid, made by arithmetic, and manifests drawn from it."""

from functools import cache

import numpy as np
import pyarrow as pa

from csmoe_sampler.config import BuildConfig
from csmoe_sampler.grid import TileGrid
from csmoe_sampler.legend import load_legend
from csmoe_sampler.manifest import Manifest
from csmoe_sampler.population import Population, population_of
from csmoe_sampler.sampling import draw

GRID = TileGrid(200.0)
LEGENDS = {"landcover": load_legend("worldcover"), "climate": load_legend("koppen")}
SOURCES = {
    "landcover": {"statistic": "class shares", "raster": {"num_files": 1, "digest": "sha256:" + "ab" * 32}},
    "climate": {"statistic": "class shares", "raster": {"num_files": 1, "digest": "sha256:" + "cd" * 32}},
}


def config(**changes: object) -> BuildConfig:
    """`selection__objective="spread"` reaches into a section."""
    values: dict[str, object] = {
        "region": "small world",
        "n": 600,
        "seed": 3,
        "grid": {"spacing_km": GRID.spacing_km, "lat_max_deg": GRID.lat_max_deg},
        "strata": {"min_size": 25},
        "split": {"block_km": 1000.0, "buffer_km": 350.0, "validation": 0.1, "test": 0.1},
    }
    for name, value in changes.items():
        section, _, key = name.partition("__")
        if key:
            values[section] = {**values.get(section, {}), key: value}  # type: ignore[dict-item]
        else:
            values[name] = value
    return BuildConfig.model_validate(values)


@cache
def atlas() -> pa.Table:
    """All tiles: land where a wave says so, classes that change with latitude, a little chance from the tile index."""
    tiles = np.arange(GRID.size)
    lon, lat = GRID.centre(tiles)
    noise = np.random.default_rng(7)
    wave = np.sin(np.radians(2 * lon)) + np.cos(np.radians(3 * lat + lon))
    valid = np.clip(0.6 + 0.5 * wave + 0.1 * noise.standard_normal(tiles.size), 0, 1)
    columns = {"tile": tiles, "lon": lon, "lat": lat}
    for name, legend, sharpness in (("landcover", LEGENDS["landcover"], 3.0), ("climate", LEGENDS["climate"], 9.0)):
        centres = np.linspace(-80, 80, legend.num_classes)
        logits = -(((lat[:, None] - centres + 15 * np.sin(np.radians(lon))[:, None]) / 25) ** 2)
        logits = np.exp(sharpness * (logits + 0.3 * noise.random(logits.shape)))
        logits[logits < 0.02 * logits.max(axis=1, keepdims=True)] = 0
        shares = logits / logits.sum(axis=1, keepdims=True) * (valid > 0)[:, None]
        columns |= {f"{name}_{label}": shares[:, k].astype(np.float32) for k, label in enumerate(legend.labels)}
        logs = np.log2(shares, out=np.zeros_like(shares), where=shares > 0)
        columns[f"{name}_valid"] = valid.astype(np.float32)
        columns[f"{name}_water"] = (valid * (shares @ legend.water_mask)).astype(np.float32)
        columns[f"{name}_entropy"] = np.abs((shares * logs).sum(axis=1)).astype(np.float32)
        columns[f"{name}_classes"] = (shares > 0).sum(axis=1).astype(np.int16)
    return pa.table(columns)


def population(settings: BuildConfig) -> Population:
    return population_of(atlas(), settings, LEGENDS)


def drawn(settings: BuildConfig) -> Manifest:
    return draw(population(settings), settings, LEGENDS, sources=SOURCES, workers=1)
