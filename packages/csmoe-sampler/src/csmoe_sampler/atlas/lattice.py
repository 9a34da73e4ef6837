"""The lattice of longitude and latitude that cuts the globe into blocks: a part file and a unit of work each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from csmoe_sampler.grid import TileGrid
from csmoe_sampler.types import Descriptor, Int64

EDGES_DEG = (1, 3, 6, 15, 30, 90)
MAX_PIXELS = 1.5e9
"""Of the finest raster in a block; 3 degrees of ESA WorldCover, which are one of its files, have 1.3e9."""
MAX_TILES = 120_000


def block_edge(grid: TileGrid, descriptors: Sequence[Descriptor]) -> int:
    """The largest edge in degrees whose blocks stay within the limits; the smallest there is if none does."""
    pixel_deg = min(descriptor.pixel_deg for descriptor in descriptors)
    fitting = (
        edge
        for edge in reversed(EDGES_DEG)
        if (edge / pixel_deg) ** 2 <= MAX_PIXELS and (edge / grid.step_deg) ** 2 <= MAX_TILES
    )
    return next(fitting, EDGES_DEG[0])


def cut_blocks(grid: TileGrid, tiles: Int64, edge_deg: int) -> Iterator[tuple[str, Int64]]:
    """The blocks that hold the centre of some of `tiles`, and which: south to north, then west to east.

    A block is named after its south-west corner, as `lat-03_lon+006`.
    """
    if tiles.size == 0:
        return
    asked = np.zeros(grid.size, np.bool_)
    asked[tiles] = True
    (first, last), _ = grid.row_col(tiles[[0, -1]])
    rows = np.arange(first, last + 1)
    bands = np.floor(grid.row_centre(rows) / edge_deg).astype(np.int64)
    for band in np.unique(bands).tolist():
        row0, row1 = int(rows[bands == band][0]), int(rows[bands == band][-1]) + 1
        for lon in range(-180, 180, edge_deg):
            block = grid.in_box(row0, row1, lon, lon + edge_deg)
            block = block[asked[block]]
            if block.size:
                yield f"lat{band * edge_deg:+03d}_lon{lon:+04d}", block
