"""Tiles x descriptors -> atlas: what is missing, task by task on the workers, and gathered part by part."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from csmoe_sampler.atlas.extend import extend_atlas
from csmoe_sampler.atlas.files import Atlas, empty_table, read_part, save_atlas, write_part
from csmoe_sampler.atlas.missing import Block, find_missing
from csmoe_sampler.atlas.tasks import Task, cut_tasks, describe_task
from csmoe_sampler.atlas.tile_sets import TileSet
from csmoe_sampler.engine import run_tasks
from csmoe_sampler.grid import TileGrid
from csmoe_sampler.progress import Progress
from csmoe_sampler.storage import Lock
from csmoe_sampler.types import Descriptor, Int64

if TYPE_CHECKING:
    from distributed import Client


def describe_tiles(
    tiles: Int64,
    grid: TileGrid,
    descriptors: Sequence[Descriptor],
    out: Path,
    *,
    client: Client,
    progress: Progress,
) -> Atlas:
    """Brings the atlas `out` to hold `descriptors` of `tiles` (ascending); only what it lacks is computed.

    A tile gets a row if, by the first descriptor of the atlas, some of it is valid and not open water. A run that was
    killed is continued by the same call, and an atlas that grew has the bytes of one described in one go.

    Raises:
        AtlasError: `out` is no atlas, or one of another grid or of other sources.
        StorageError: The disk is full, or another process writes to `out`; what is there stays good.
        SamplerError: What a descriptor or the cluster raises.
    """
    assert (np.diff(tiles) > 0).all(), "tiles must ascend"
    extend_atlas(out, grid, descriptors, tiles)  # refuses before the folder is touched
    with Lock(out):
        atlas = extend_atlas(out, grid, descriptors, tiles)
        blocks = find_missing(atlas, descriptors, tiles)
        save_atlas(atlas)
        there = tiles.size - sum(block.fresh.size for block in blocks)
        if there:
            progress.note(f"{out} has {there:,} of {tiles.size:,} tiles already")
        if blocks:
            progress.start("describe", sum(block.num_tiles for block in blocks), "tiles")
            for num_tiles in _run(atlas, descriptors, blocks, client):
                progress.advance(num_tiles)
            progress.finish()
    return atlas


class _Gathering:
    """The results of the tasks of one block, until all are there."""

    def __init__(self, block: Block, num_tasks: int) -> None:
        self.block = block
        self.lacking = num_tasks
        self.fresh: list[pa.Table] = []
        self.further: list[pa.Table] = []

    def add(self, task: Task, result: pa.Table) -> None:
        self.lacking -= 1
        (self.fresh if task.fresh else self.further).append(result)


def _run(atlas: Atlas, descriptors: Sequence[Descriptor], blocks: list[Block], client: Client) -> Iterator[int]:
    """Numbers of tiles, as they are done; a part is written as soon as all tasks of its block are."""
    given = {descriptor.name: descriptor for descriptor in descriptors}
    ordered = [given[described.name] for described in atlas.descriptors if described.name in given]
    gatherings: dict[str, _Gathering] = {}

    def draw() -> Iterator[Task]:
        for block in blocks:
            tasks = list(cut_tasks(atlas, ordered, block))
            gatherings[block.name] = _Gathering(block, len(tasks))
            yield from tasks

    for block in blocks:
        if block.num_tiles == 0:  # no rows: only the list of its descriptors grows
            _write(atlas, _Gathering(block, 0))
    for task, result in run_tasks(partial(describe_task, atlas.grid, ordered), draw(), client=client):
        gathering = gatherings[task.block]
        gathering.add(task, result)
        if gathering.lacking == 0:
            _write(atlas, gatherings.pop(task.block))
        yield int(task.tiles.size)


def _write(atlas: Atlas, gathering: _Gathering) -> None:
    """Writes a part: the rows that are there, with their further columns, and the new rows."""
    block, tables, seen = gathering.block, gathering.fresh, TileSet.of(gathering.block.fresh)
    names = frozenset(described.name for described in atlas.descriptors)
    if block.part is not None:
        seen = block.part.seen | seen
        names = block.part.descriptors | set(block.lacking)
        tables = [*tables, _widen(atlas, block, gathering.further)]
    write_part(atlas, block.name, names, seen, pa.concat_tables(tables))


def _widen(atlas: Atlas, block: Block, further: list[pa.Table]) -> pa.Table:
    """The rows that are there with the columns of the descriptors that they lacked."""
    rows = read_part(atlas, atlas.part(block.name), atlas.columns)[1]
    if not block.lacking:
        return rows
    columns = [name for described in atlas.descriptors if described.name in block.lacking for name in described.columns]
    added = pa.concat_tables(further).sort_by("tile") if further else empty_table(atlas, ["tile", *columns])
    assert added["tile"].equals(rows["tile"])
    for name in columns:
        rows = rows.append_column(added.field(name), added[name])
    return rows
