"""One task: some tiles of a block, described on a worker."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from csmoe_sampler.atlas.files import PLACE_COLUMNS, Atlas, table_of
from csmoe_sampler.atlas.lattice import block_edge, cut_blocks
from csmoe_sampler.atlas.missing import Block
from csmoe_sampler.errors import AtlasError
from csmoe_sampler.grid import TileGrid
from csmoe_sampler.types import Bool, Descriptor, Int64

Columns = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """Tiles of one block, and the descriptors that they lack."""

    block: str
    tiles: Int64
    descriptors: tuple[str, ...]
    fresh: bool
    """New rows are wanted, for the tiles with land; otherwise columns for the rows that are there."""


def cut_tasks(atlas: Atlas, descriptors: Sequence[Descriptor], block: Block) -> Iterator[Task]:
    """A block as tasks: one, unless a descriptor is finer than those that the lattice was made for."""
    for fresh, tiles, names in (
        (True, block.fresh, tuple(descriptor.name for descriptor in descriptors)),
        (False, block.rows(atlas) if block.lacking else block.fresh[:0], block.lacking),
    ):
        if tiles.size == 0:
            continue
        edge = block_edge(atlas.grid, [descriptor for descriptor in descriptors if descriptor.name in names])
        pieces = (piece for _, piece in cut_blocks(atlas.grid, tiles, edge)) if edge < atlas.block_deg else [tiles]
        for piece in pieces:
            yield Task(block=block.name, tiles=piece, descriptors=names, fresh=fresh)


def describe_task(grid: TileGrid, descriptors: Sequence[Descriptor], task: Task) -> pa.Table:
    """Columns of the task's descriptors, after `tile` and, for new rows, the other place columns."""
    wanted = [descriptor for descriptor in descriptors if descriptor.name in task.descriptors]
    dtypes = PLACE_COLUMNS | {name: dtype for descriptor in wanted for name, dtype in descriptor.columns.items()}
    tiles, columns = task.tiles, {}
    if task.fresh:
        first = wanted.pop(0)
        columns = _ask(first, grid, tiles)
        land = _has_land(first, columns)
        tiles, columns = tiles[land], {name: column[land] for name, column in columns.items()}
    for descriptor in wanted:
        columns |= _ask(descriptor, grid, tiles)
    place = _place(grid, tiles) if task.fresh else {"tile": tiles}
    return table_of(place | columns, dtypes)


def _place(grid: TileGrid, tiles: Int64) -> Columns:
    lon, lat = grid.centre(tiles)
    return {"tile": tiles, "tile_id": grid.ids(tiles), "lon": lon, "lat": lat}


def _has_land(descriptor: Descriptor, columns: Columns) -> Bool:
    """Tiles that are valid in part, and not all water."""
    valid, water = (columns.get(f"{descriptor.name}_{share}") for share in ("valid", "water"))
    if valid is None:
        return np.ones(len(next(iter(columns.values()))), np.bool_)
    return np.asarray(valid > (0 if water is None else water), np.bool_)


def _ask(descriptor: Descriptor, grid: TileGrid, tiles: Int64) -> Columns:
    """The columns of a descriptor, checked against what it has promised."""
    if tiles.size == 0:
        return {name: np.empty(0, dtype) for name, dtype in descriptor.columns.items()}
    columns = descriptor.describe(grid, tiles)
    found = [(name, str(column.dtype), column.shape) for name, column in columns.items()]
    wanted = [(name, dtype, tiles.shape) for name, dtype in descriptor.columns.items()]
    if found != wanted:
        wrong = next((one for one in found if one not in wanted), found)
        raise AtlasError(f"descriptor '{descriptor.name}' gave {wrong}: its columns are {wanted}")
    return columns
