"""The tiles that samples are drawn from, and those that no sample may touch: with chips, described three times."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from csmoe_sampler.atlas import open_atlas, read_atlas
from csmoe_sampler.grid import TileGrid
from csmoe_sampler.pipeline import selection_config
from csmoe_sampler.population import Population, population_of
from csmoe_sampler.regions import tiles_of
from csmoe_sampler.sources import legends_of
from workflows.calls import call, once

HERE = Path(__file__).parent
HELD_OUT = ("validation", "test")


@dataclass(frozen=True, kw_only=True)
class Size:
    """How large the ablation is."""

    scene_set: str
    grid_km: int
    n: int
    """Tiles of a sample."""
    min_size: int
    """Tiles of the smallest stratum."""
    seeds: int
    """Draws and trainings of each arm."""
    steps: int
    """Of 32 places, or of all where a sample has fewer."""


FULL = Size(scene_set="medium", grid_km=10, n=128, min_size=20, seeds=5, steps=600)
SMALL = Size(scene_set="small", grid_km=20, n=8, min_size=3, seeds=2, steps=2)


@dataclass(frozen=True, kw_only=True)
class Pool:
    """The tiles with chips: those to draw from, and those that no sample may touch."""

    manifest: Path
    atlases: Mapping[str, Path]
    """`joint` has land cover, climate and spectra; in the others one of the first two is a single class."""

    @property
    def table(self) -> pa.Table:
        """All tiles that have chips."""
        table = pq.read_table(self.manifest)
        return table.filter(pc.is_valid(table["chip"]))

    def population(self, atlas: str, overrides: Mapping[str, Any]) -> tuple[Population, Any, Any]:
        """The candidates among the tiles of split `train`, with the configuration and the legends of their atlas."""
        config = selection_config(self.atlases[atlas], None, overrides)
        opened = open_atlas(self.atlases[atlas])
        table = self.table
        ids = table.filter(pc.equal(table["split"], "train"))["tile_id"].to_pylist()
        legends = legends_of(opened.provenance)
        rows = read_atlas(self.atlases[atlas], tiles=np.sort(opened.grid.parse(ids)))
        return population_of(rows, config, legends), config, legends


def keep_settings(out: Path, size: Size) -> None:
    """Notes in a new folder what decides its results; runs with other settings cannot share a table.

    Raises:
        SystemExit: The folder has an ablation with others.
    """
    told: dict[str, Any] = {name: value for name, value in asdict(size).items() if name != "seeds"}
    told |= {path.name: path.read_text(encoding="utf-8") for path in sorted(HERE.glob("*.toml"))}
    path = out / "settings.json"
    out.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        path.write_text(json.dumps(told, indent=1), encoding="utf-8")
    elif json.loads(path.read_text(encoding="utf-8")) != told:
        raise SystemExit(f"{out} has an ablation with other settings ({path}): choose another --out")


def bring_pool(out: Path, earth: Path | None, size: Size) -> Pool:
    """Every tile of the synthetic Earth that has scenes, with its chips, and the atlases to draw from."""
    if earth is None:
        earth = out / "earth"
        once(earth / "scenes.geojson", "csmoe-sample", "demo", "earth", "--out", earth, "--scene-set", size.scene_set)
    config, manifest, chips = out / "sample.toml", out / "pool.parquet", out / "chips.zarr"
    config.write_text((HERE / "sample.toml").read_text(encoding="utf-8").replace("$EARTH", str(earth)))
    pool = Pool(
        manifest=manifest,
        atlases={
            "joint": out / "pool.atlas.parquet",
            "climate": out / "climate.atlas.parquet",
            "landcover": out / "landcover.atlas.parquet",
        },
    )
    if (out / "sensors.toml").exists():
        print(f"\n{manifest} and {chips} are there", flush=True)
        return pool
    number, grid = _num_tiles(earth, size), ("--grid-km", size.grid_km)
    once(manifest, "csmoe-sample", "build", "--config", config, *grid, "--n", number, "--out", manifest, "--no-report")
    call("csmoe-sample", "pair", manifest, "--config", config, "--no-report")
    call("csmoe-sample", "fetch", manifest, "--config", config, "--out", chips)
    _write_one_climate(out / "one_climate.tif")
    same = ("--config", config, *grid)
    legend = HERE / "all_land.toml"
    call("csmoe-sample", "describe", *same, "--legend", legend, "--out", pool.atlases["climate"])
    call("csmoe-sample", "describe", *same, "--climate", out / "one_climate.tif", "--out", pool.atlases["landcover"])
    write_held_out(pool, out / "held_out.parquet")
    call("csmoe-train", "stats", "--manifest", manifest, "--chips", chips, "--out", out / "sensors.toml")
    return pool


def write_held_out(pool: Pool, path: Path) -> None:
    """Writes what the probes see: the tiles of `validation` teach them, every fourth chooses C, those of `test` ask."""
    table = pool.table
    taught, asked = (table.filter(pc.equal(table["split"], name)) for name in HELD_OUT)
    names = ["validation" if k % 4 == 3 else "train" for k in range(taught.num_rows)]
    column = table.schema.get_field_index("split")
    taught = taught.set_column(column, table.schema.field(column), pa.array(names, table.schema.field(column).type))
    pq.write_table(pa.concat_tables([taught, asked]), path)


def _num_tiles(earth: Path, size: Size) -> int:
    """Tiles of the region: as many as can be asked for; the manifest gets those on land."""
    return int(tiles_of(str(earth / "scenes.geojson"), TileGrid(size.grid_km)).size)


def _write_one_climate(path: Path) -> None:
    """Writes a climate map that says the same everywhere: strata then differ by land cover alone."""
    import rasterio

    grid = rasterio.transform.from_origin(-180, 90, 0.5, 0.5)
    shape = {"width": 720, "height": 360, "count": 1, "dtype": "uint8", "nodata": 0}
    with rasterio.open(path, "w", driver="GTiff", crs="EPSG:4326", transform=grid, compress="deflate", **shape) as map_:
        map_.write(np.ones((1, 360, 720), np.uint8))
