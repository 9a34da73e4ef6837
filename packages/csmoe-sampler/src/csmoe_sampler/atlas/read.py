"""An atlas as one table."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa

from csmoe_sampler.atlas.files import Atlas, Part, empty_table, open_atlas, read_part
from csmoe_sampler.atlas.lattice import cut_blocks
from csmoe_sampler.atlas.tile_sets import TileSet
from csmoe_sampler.errors import AtlasError
from csmoe_sampler.types import Int64


def read_atlas(path: Path, columns: Sequence[str] | None = None, tiles: Int64 | None = None) -> pa.Table:
    """The rows of an atlas, ascending by tile.

    Args:
        path: The folder.
        columns: Their names; default: all.
        tiles: Only these (ascending); those without land have no row. Default: all that were ever asked for.

    Raises:
        AtlasError: There is no atlas or no such column, a part is damaged, or some of the tiles are not described.
    """
    atlas = open_atlas(path)
    names = list(atlas.columns) if columns is None else list(columns)
    unknown = [name for name in names if name not in atlas.columns]
    if unknown:
        raise AtlasError(f"atlas {path} has no column '{unknown[0]}': it has {', '.join(atlas.columns)}")
    wanted = [name for name in atlas.columns if name in {"tile", *names}]
    with ThreadPoolExecutor() as pool:
        read = list(pool.map(lambda part: read_part(atlas, part, wanted), _paths(atlas, tiles)))
    _check_whole(atlas, [part for part, _ in read], wanted, tiles)
    return _sort(pa.concat_tables([empty_table(atlas, wanted), *(table for _, table in read)]), tiles).select(names)


def _paths(atlas: Atlas, tiles: Int64 | None) -> list[Path]:
    there = atlas.parts()
    if tiles is None:
        return there
    wanted = {atlas.part(block) for block, _ in cut_blocks(atlas.grid, tiles, atlas.block_deg)}
    return [path for path in there if path in wanted]


def _check_whole(atlas: Atlas, parts: list[Part], columns: list[str], tiles: Int64 | None) -> None:
    wanted = len(atlas.asked) if tiles is None else tiles.size
    seen = sum(len(part.seen) if tiles is None else part.seen.count(tiles) for part in parts)
    if seen < wanted:
        raise AtlasError(
            f"atlas {atlas.path} lacks {wanted - seen:,} of {wanted:,} tiles: run describe again, it continues"
            + (", or give the region to read" if tiles is None else "")
        )
    for described in atlas.descriptors:
        lacking = sum(described.name not in part.descriptors for part in parts)
        if lacking and not described.columns.keys().isdisjoint(columns):
            raise AtlasError(
                f"atlas {atlas.path} lacks descriptor '{described.name}' in {lacking:,} of {len(parts):,} parts: run "
                "describe with it again, it continues; or read other columns"
            )


def _sort(table: pa.Table, tiles: Int64 | None) -> pa.Table:
    """Rows ascending by tile, those of `tiles` only."""
    tile = table["tile"].to_numpy()
    order = np.argsort(tile, kind="stable")
    if tiles is not None:
        order = order[TileSet.of(tiles).holds(tile[order])]
    with ThreadPoolExecutor() as pool:
        columns = list(pool.map(lambda column: column.combine_chunks().take(pa.array(order)), table.columns))
    return pa.table(columns, schema=table.schema)
