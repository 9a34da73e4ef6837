"""Paired manifests made by hand, for scenes that are there as files."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import rasterio
from rasterio.warp import transform

from csmoe_sampler.config import S2_BANDS, ChipConfig, SceneConfig
from csmoe_sampler.manifest import Manifest
from csmoe_sampler.scenes.assets import SceneFiles
from csmoe_sampler.scenes.table import choice_schema

TIME = {"s2": datetime(2021, 7, 1, 10, 30, 31, 24000, UTC), "s1": datetime(2021, 7, 2, 5, 6, 7, tzinfo=UTC)}
EDGE_M = 10_680.0


@dataclass(frozen=True)
class Chosen:
    """A tile around a point, with the addresses of its scenes: sensor -> band -> address."""

    tile_id: str
    crs: str
    centre: tuple[float, float]
    files: Mapping[str, Mapping[str, str]]
    offset: float | None = None
    scene_crs: str | None = None
    item: str = "scene"


def write_provider(
    path: Path, s1_unit: str = "dB", s2_unit: str = "DN", mask: str | None = None, more: str = ""
) -> Path:
    """A provider file; what its assets are called does not matter to fetch."""
    bands = "\n".join(f'{band} = "{band}"' for band in S2_BANDS)
    path.write_text(
        f"""{more}
[products.sentinel-2-l2a]
sensor = "s2"
collection = "sentinel-2-l2a"
unit = "{s2_unit}"
offset = "unknown"
{f'mask = "{mask}"' if mask else ""}
[products.sentinel-2-l2a.bands]
{bands}
[products.sentinel-1-rtc]
sensor = "s1"
collection = "sentinel-1-rtc"
unit = "{s1_unit}"
nodata = -32768
[products.sentinel-1-rtc.bands]
VV = "vv"
VH = "vh"
[products.sentinel-1-grd]
sensor = "s1"
collection = "sentinel-1-grd"
unit = "amplitude"
[products.sentinel-1-grd.bands]
VV = "vv"
""",
        encoding="utf-8",
    )
    return path


def manifest_of(tiles: Sequence[Chosen | Sequence[Chosen]], seasons: tuple[str, ...] = ("year",)) -> Manifest:
    """A manifest with the columns that fetch reads; of several seasons, a tile has one `Chosen` each."""
    each = [[tile] if isinstance(tile, Chosen) else list(tile) for tile in tiles]
    sensors = tuple(sensor for sensor in ("s2", "s1") if any(sensor in one.files for tile in each for one in tile))
    rows: list[dict[str, Any]] = []
    for choices in each:
        first = choices[0]
        x, y = first.centre
        lon, lat = transform(first.crs, "EPSG:4326", [x], [y])
        row: dict[str, Any] = {"tile_id": first.tile_id, "lon": lon[0], "lat": lat[0], "crs": first.crs}
        half = EDGE_M / 2
        row |= {"x_min": x - half, "y_min": y - half, "x_max": x + half, "y_max": y + half}
        for season, chosen in zip(seasons, choices, strict=True):
            row |= _scene_columns(chosen, season if len(seasons) > 1 else "")
        rows.append(row)
    place = {"tile_id": pa.string(), "lon": pa.float64(), "lat": pa.float64(), "crs": pa.string()}
    place |= dict.fromkeys(("x_min", "y_min", "x_max", "y_max"), pa.float64())
    schema = pa.schema([*(pa.field(*item) for item in place.items()), *choice_schema(seasons, sensors)])
    return Manifest(table=pa.Table.from_pylist(rows, schema), metadata={"extra_columns": {}, "config_digest": "0" * 64})


def _scene_columns(chosen: Chosen, season: str) -> dict[str, Any]:
    end = f"_{season}" if season else ""
    columns: dict[str, Any] = {}
    for sensor, addresses in chosen.files.items():
        packed = SceneFiles.pack(addresses)
        values = {"item": f"{chosen.item}-{sensor}", "datetime": TIME[sensor], "href": packed.href}
        values |= {"stem": packed.stem, "files": packed.files, "crs": chosen.scene_crs or chosen.crs}
        if sensor == "s2":
            values["offset"] = chosen.offset
        columns |= {f"{sensor}_{name}{end}": value for name, value in values.items()}
    return columns


def write_band(
    path: Path, pixels: np.ndarray, crs: str, corner: tuple[float, float], pixel_m: float, **options: Any
) -> Path:
    """A GeoTIFF, (rows, columns) or (bands, rows, columns), with its north-west corner at `corner`."""
    layers = pixels if pixels.ndim == 3 else pixels[None]
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = {"driver": "GTiff", "count": len(layers), "height": layers.shape[1], "width": layers.shape[2]}
    profile |= {"dtype": layers.dtype.name, "crs": crs, "compress": "deflate"}
    profile["transform"] = rasterio.Affine(pixel_m, 0.0, corner[0], 0.0, -pixel_m, corner[1])
    with rasterio.open(path, "w", **profile | options) as dataset:
        dataset.write(layers)
    return path


def terramesh(folder: Path, names: Sequence[str]) -> list[Chosen]:
    """TerraMesh places, each with the centre of its chip; addresses relative to `folder`."""
    chosen = []
    for name in names:
        with rasterio.open(folder / "S2L2A" / f"{name}.tif") as dataset:
            bounds, crs = dataset.bounds, dataset.crs.to_string()
        files = {
            "s2": {band: f"S2L2A/{name}.tif#{number}" for number, band in enumerate(S2_BANDS, 1)},
            "s1": {band: f"S1RTC/{name}.tif#{number}" for number, band in enumerate(("VV", "VH"), 1)},
        }
        centre = ((bounds.left + bounds.right) / 2, (bounds.bottom + bounds.top) / 2)
        chosen.append(Chosen(name, crs, centre, files, item=name))
    return chosen


def fetch_slowly(manifest: Manifest, out: Path, config: ChipConfig, scenes: SceneConfig) -> None:
    """Fetches with a pause for every tile, in a process of its own."""
    from csmoe_sampler.chips import fetch_chips, shard_task
    from csmoe_sampler.engine import open_client

    def slowly(*args: Any, judge: Any = shard_task.judge_tile) -> Any:
        time.sleep(0.05)
        return judge(*args)

    shard_task.judge_tile = slowly  # type: ignore[assignment]
    with open_client(workers=2) as client:
        fetch_chips(manifest, out, config, scenes, client=client)
