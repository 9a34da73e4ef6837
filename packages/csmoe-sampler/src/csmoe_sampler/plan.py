"""What a build will take, before it is spent: tiles, requests, bytes, hours, disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from dask.system import CPU_COUNT

from csmoe_sampler.atlas import plan_blocks
from csmoe_sampler.config import BuildConfig
from csmoe_sampler.grid import TileGrid
from csmoe_sampler.progress import Progress
from csmoe_sampler.sources import journal_of, open_descriptors
from csmoe_sampler.types import Int64, ReadCost

DECODED_PX_S = 3e8
"""Pixels that one core decodes and counts in a second: dense land cover in DEFLATE, the slow end of what was seen."""
ROW_BYTES = {"int16": 1, "int64": 1, "float32": 1.5}
"""Compressed bytes that a value takes in an atlas, by type; class shares are mostly 0."""
PLACE_BYTES = 24
MANIFEST_ROW_BYTES = 250
LAND_SHARE = 0.4
"""Of the tiles of the globe, those with a row in the atlas; regions are taken to be all land."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Costs of a build; reading is exact up to block sizes, times and sizes on disk are estimates."""

    region: str
    n: int
    num_tiles: int
    """Tiles of the region, land or not."""
    num_missing: int
    """Those that the atlas does not have yet."""
    reads: dict[str, ReadCost]
    """Descriptor -> what reading it for all tiles takes; empty where the atlas has everything."""
    download_s: float
    decode_s: float
    atlas_bytes: float
    manifest_bytes: float

    @property
    def wall_s(self) -> float:
        """Reading and decoding overlap: the slower of the two."""
        return max(self.download_s, self.decode_s)


def plan_build(
    config: BuildConfig, tiles: Int64, atlas: Path, progress: Progress, *, mbit_s: float, workers: int | None = None
) -> Plan:
    """The costs of a build, from the headers of its rasters alone.

    Args:
        config: The build.
        tiles: Tiles of its region.
        atlas: What is there already costs nothing.
        progress: Told of downloads that the descriptors need first.
        mbit_s: Speed of the connection, for remote rasters.
        workers: Threads; all cores by default.
    """
    grid = TileGrid(config.grid.spacing_km, config.grid.lat_max_deg)
    descriptors = open_descriptors(config, progress, journal=journal_of(atlas))
    work = plan_blocks(tiles, grid, descriptors, atlas)
    reads = {one.name: one.cost(grid, tiles) for one in descriptors} if work.num_tiles else {}
    columns = [dtype for one in descriptors for dtype in one.columns.values()]
    row_bytes = PLACE_BYTES + sum(ROW_BYTES[dtype] for dtype in columns)
    share = LAND_SHARE if config.region == "global" else 1.0
    return Plan(
        region=config.region,
        n=config.n,
        num_tiles=tiles.size,
        num_missing=work.num_tiles,
        reads=reads,
        download_s=work.cost.bytes * 8 / (mbit_s * 1e6),
        decode_s=work.cost.pixels / (DECODED_PX_S * (workers or CPU_COUNT)),
        atlas_bytes=tiles.size * share * row_bytes,
        manifest_bytes=float(min(config.n, np.ceil(tiles.size * share)) * MANIFEST_ROW_BYTES),
    )
