"""Samples of equal size from one pool of tiles, each drawn its own way, and what they are like without a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from csmoe_sampler.atlas import open_atlas
from csmoe_sampler.metrics import covering, entropy, share_covered
from csmoe_sampler.population import features_of
from csmoe_sampler.sampling import draw
from workflows.sampling_ablation.pool import HELD_OUT, Pool


def draw_sample(pool: Pool, arm: Mapping[str, Any], n: int, seed: int) -> list[str]:
    """Tiles of a sample, in the order of their ranks; the arm's `atlas` decides what its strata can tell apart."""
    settings = {name: value for name, value in arm.items() if name != "atlas"}
    population, config, legends = pool.population(arm.get("atlas", "joint"), settings | {"n": n, "seed": seed})
    tiles: list[str] = draw(population, config, legends, sources={}).table["tile_id"].to_pylist()
    return tiles


def write_sample(pool: Pool, tiles: Sequence[str], path: Path) -> None:
    """Writes what a run learns from: the rows of a sample in their order, then those that are held out."""
    table = pool.table
    place = {tile: k for k, tile in enumerate(table["tile_id"].to_pylist())}
    drawn = table.take(pa.array([place[tile] for tile in tiles]))
    held_out = table.filter(pc.is_in(table["split"], pa.array(HELD_OUT)))
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.concat_tables([drawn, held_out]), path)


def measure_sample(pool: Pool, tiles: Sequence[str], like: Mapping[str, Any]) -> dict[str, float]:
    """Figures of a sample by one yardstick for all: strata and distances of the configuration `like`."""
    population, config, legends = pool.population("joint", like)
    grid = open_atlas(pool.atlases["joint"]).grid
    rows = np.searchsorted(population.tiles, np.sort(grid.parse(list(tiles))))
    reach = covering(features_of(population, config, legends), rows, workers=1)
    strata = population.strata.of_tile
    return {
        "coverage radius": reach.radius,
        "mean distance": reach.mean,
        "entropy of strata": entropy(np.bincount(strata[rows])),
        "entropy of climates": entropy(np.bincount(population.climate[rows] + 1)),
        "entropy of land covers": entropy(np.bincount(population.landcover[rows] + 1)),
        "share of strata": share_covered(strata, strata[rows]),
    }
