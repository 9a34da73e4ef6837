"""A small manifest with scenes and its chip store, made by arithmetic."""

from __future__ import annotations

import datetime
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import shapely

from csmoe_sampler.config import S2_BANDS
from csmoe_sampler.manifest import Manifest, write_manifest
from csmoe_sampler.scenes.table import choice_schema
from sampler.chip_files import write_store
from sampler.real_chips import Chip
from sampler.small_world import config, drawn

BANDS = ("B02", "B03", "B04", "B08")
SIZE_PX = 16
NUM_FIRST = {"train": 5, "validation": 2, "test": 2, "buffer": 1}
NUM_CHIPS = 10
FIRST = datetime.datetime(2021, 6, 1, 10, tzinfo=datetime.UTC)


def manifest(*, seasons: Sequence[str] = ()) -> Manifest:
    """120 tiles with scenes, the last across the antimeridian, the third without scenes; the first from all splits."""
    found = drawn(config(n=300))
    split = found.column("split")
    first = np.sort(np.concatenate([np.flatnonzero(split == name)[:num] for name, num in NUM_FIRST.items()]))
    shapes = shapely.from_wkb(found.column("geometry"))
    across = np.flatnonzero(shapely.get_num_geometries(shapes) > 1)
    assert across[-1] > first[-1], "a sample without tiles across the antimeridian"
    rows = np.concatenate([first, np.arange(first[-1] + 1, first[-1] + 110), across[-1:]])
    table = found.table.take(pa.array(rows))
    named = tuple(seasons) or ("year",)
    columns = _scenes(table, named)
    paired = Manifest(table=table, metadata=found.metadata).with_columns(columns)
    scenes = {"config": {"seasons": list(named)}, "config_digest": "0" * 64, "columns": list(columns)}
    return Manifest(table=paired.table, metadata=paired.metadata | {"scenes": scenes})


def write_inputs(folder: Path, *, seasons: Sequence[str] = (), num_chips: int = NUM_CHIPS) -> tuple[Path, Path]:
    """The manifest and a store of its first tiles, the last of which has failed; their paths."""
    made = manifest(seasons=seasons)
    path = folder / "sample.parquet"
    write_manifest(made.table, made.metadata, path)
    rows = made.table.slice(0, num_chips).to_pylist()
    chips = [_chip(row, k) for k, row in enumerate(rows)]
    layers = {season: [_chip(row, k + 7 * s) for k, row in enumerate(rows)] for s, season in enumerate(seasons)}
    names = [row["tile_id"] for row in rows]
    store = write_store(folder / "chips.zarr", chips, tile_ids=names, fetched=num_chips - 1, seasons=layers or None)
    return path, store


def _chip(row: dict, k: int) -> Chip:
    """Pixels that tell chip, band, row and column; two are missing."""
    y, x = np.mgrid[:SIZE_PX, :SIZE_PX]
    s2 = np.stack([1000.0 * (band + 1) + 100 * k + 3 * y + x for band in range(len(BANDS))])
    s1 = np.stack([-12.0 - k / 4 + x / 8, -19.0 - k / 4 + y / 8])
    s2[:, 2, 5], s1[:, 3, 1] = np.nan, np.nan
    left, top = (round(edge / 10) * 10 for edge in (row["x_min"] + 5000, row["y_max"] - 5000))
    return Chip(row["tile_id"], s2, BANDS, s1, row["crs"], (10.0, 0.0, float(left), 0.0, -10.0, float(top)))


def _scenes(table: pa.Table, seasons: tuple[str, ...]) -> dict[str, pa.Array]:
    columns = {}
    for field in choice_schema(seasons, ("s2", "s1")):
        season = next((name for name in seasons if field.name.endswith(f"_{name}")), seasons[0])
        name = field.name.removesuffix(f"_{season}")
        values = [_value(name, k, tile, seasons.index(season)) for k, tile in enumerate(table["crs"].to_pylist())]
        values[2] = None
        columns[field.name] = pa.array(values, field.type)
    return columns


def _value(name: str, k: int, crs: str, season: int) -> object:
    sensor, _, what = name.partition("_")
    time = FIRST + datetime.timedelta(days=5 * k + 30 * season)
    bands = S2_BANDS if sensor == "s2" else ("VV", "VH")
    return {
        "item": f"{'S2B' if sensor == 's2' else 'S1A'}_scene_{k}_{season}",
        "collection": "sentinel-2-l2a" if sensor == "s2" else "sentinel-1-rtc",
        "datetime": time - datetime.timedelta(days=1 if sensor == "s1" else 0, microseconds=-24_000),
        "orbit": "descending",
        "relative_orbit": 37,
        "polarizations": "VV,VH",
        "cloud_cover": float(k % 21),
        "coverage": 1 - k % 4 / 4,
        "baseline": "05.10",
        "offset": 1000.0,
        "crs": crs,
        "href": f"https://example.org/{sensor}/{k}/",
        "stem": f"T{k}_",
        "files": json.dumps({band: f"*{band}.tif" for band in bands}),
        "days": -1.0,
        "score": 0.5,
        "platform": None,
    }[what]
