"""Chip stores and manifests made by hand: the sampler writes the store, the trainer reads it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from csmoe_sampler.chips.layout import Layout
from csmoe_sampler.chips.store import compress_chip, create_store, finish_store, open_shard

S2 = ("B02", "B03", "B8A", "B11")
S1 = ("VH", "VV")
"""Not in the order of the model."""
DIGEST = "d" * 64


@dataclass(frozen=True, kw_only=True)
class Written:
    """A store, its manifest, and what stands in them."""

    store: Path
    manifest: Path
    layout: Layout
    s2: np.ndarray
    """(rows, seasons, bands, H, W) int16, -32768 missing."""
    s1: np.ndarray
    """(rows, seasons, bands, H, W) float32 dB, NaN missing."""

    def expected(self, row: int, sensor: str, bands: tuple[str, ...], season: int = 0) -> np.ndarray:
        """What a reader has to give."""
        names = {"s2": self.layout.s2_bands, "s1": self.layout.s1_bands}[sensor]
        stored = getattr(self, sensor)[row, season][[names.index(band) for band in bands]].astype(np.float32)
        return np.where(stored == -32768, np.nan, stored) if sensor == "s2" else stored


def write_chips(
    folder: Path,
    *,
    num: int = 11,
    size: int = 24,
    shard_chips: int = 4,
    seasons: tuple[str, ...] = ("year",),
    absent: tuple[tuple[int, int], ...] = (),
    failed: tuple[int, ...] = (),
    seed: int = 0,
    holes: bool = True,
) -> Written:
    """A store of `num` rows with smooth fields and noise, some pixels missing, and its manifest.

    Args:
        folder: Gets `chips.zarr` and `sample.parquet`.
        num: Rows.
        size: Edge of a chip.
        shard_chips: Rows in a shard.
        seasons: Names.
        absent: (row, season) that were not fetched.
        failed: Rows without chips.
        seed: Of the pixels.
        holes: Whether pixels are missing.
    """
    chance = np.random.default_rng(seed)
    layout = Layout(num_rows=num, size_px=size, shard_chips=shard_chips, s2_bands=S2, s1_bands=S1, seasons=seasons)
    shape = (num, len(seasons), len(S2), size, size)
    level = chance.integers(300, 3000, (num, len(seasons), len(S2), 1, 1))
    s2 = (level + np.arange(size)[:, None] * 7 + np.arange(size) * 3 + chance.integers(0, 50, shape)).astype(np.int16)
    s1 = np.concatenate([chance.normal(-19, 1, shape)[:, :, :1], chance.normal(-12, 1, shape)[:, :, :1]], axis=2)
    s1 = s1.astype(np.float16).astype(np.float32)
    if holes:
        s2[:, :, 1:3, :3, :5], s1[1, :, 0, -4:] = -32768, np.nan
    there = np.ones((num, len(seasons)), bool)
    there[list(failed)] = False
    for row, season in absent:
        there[row, season] = False
    path = folder / "chips.zarr"
    create_store(path, layout)
    for shard in range(layout.num_shards):
        with open_shard(path, layout, shard) as writers:
            for place, row in enumerate(layout.rows_of(shard)):
                for season in np.flatnonzero(there[row]).tolist():
                    chip = {"s2": s2[row, season], "s1": s1[row, season]}
                    for name, content in compress_chip(layout, chip).items():
                        writers[name].append(place * len(seasons) + season, content)
    finish_store(path, layout, _columns(layout, there), _about(layout))
    write_manifest(folder / "sample.parquet", there.any(1))
    return Written(store=path, manifest=folder / "sample.parquet", layout=layout, s2=s2, s1=s1)


def write_manifest(path: Path, fetched: np.ndarray, **columns: Any) -> Path:
    """A manifest with what the trainer reads of it; three of five rows are for training."""
    num = len(fetched)
    table: dict[str, Any] = {
        "tile_id": [f"{k}U_{k}R" for k in range(num)],
        "split": [("train", "train", "validation", "train", "test")[k % 5] for k in range(num)],
        "weight": np.linspace(1.0, 3.0, num),
        "landcover": [("tree_cover", "cropland")[k % 2] for k in range(num)],
        "climate": [("Cfb", "Dfb", "BSk")[k % 3] for k in range(num)],
        "lon": np.linspace(-10, 10, num),
        "lat": np.linspace(40, 50, num),
        "chip": pa.array(np.arange(num), mask=~fetched),
    }
    kept = {name: values for name, values in (table | columns).items() if values is not None}
    metadata = {"csmoe": json.dumps({"config_digest": DIGEST, "scenes": {"config_digest": "e" * 64}})}
    pq.write_table(pa.table(kept).replace_schema_metadata(metadata), path)
    return path


def _about(layout: Layout) -> dict[str, Any]:
    return {
        "format": "csmoe chips",
        "version": 1,
        "manifest": {"config_digest": DIGEST, "scenes_digest": "e" * 64, "num_rows": layout.num_rows},
        "pixel_m": 10.0,
        "size_px": layout.size_px,
        "sensors": {
            "s2": {"bands": list(layout.s2_bands), "unit": "reflectance x 10,000", "collection": "sentinel-2-l2a"},
            "s1": {"bands": list(layout.s1_bands), "unit": "dB", "collection": "sentinel-1-rtc"},
        },
    }


def _columns(layout: Layout, there: np.ndarray) -> dict[str, np.ndarray]:
    num, shape = layout.num_rows, (layout.num_rows, *layout.seasons_axis)
    valid = np.where(there, np.float32(0.95), np.float32("nan")).reshape(shape)
    columns = {
        "tile_id": np.array([f"{k}U_{k}R" for k in range(num)], object),
        "lon": np.linspace(-10, 10, num),
        "lat": np.linspace(40, 50, num),
        "crs": np.full(num, "EPSG:32633", object),
        "bounds": np.zeros((num, 4)),
        "status": np.where(there.any(1), 0, 1).astype(np.uint8),
        "s2_offset": np.zeros(shape, np.float32),
        "s2_valid": valid,
        "s1_valid": valid,
    }
    for sensor in ("s2", "s1"):
        columns |= {f"{sensor}_time": np.zeros(shape, np.int64), f"{sensor}_item": np.full(shape, "scene", object)}
    return columns
