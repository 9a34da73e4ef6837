"""What an atlas lacks, block by block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from csmoe_sampler.atlas.extend import extend_atlas
from csmoe_sampler.atlas.files import Atlas, Part, open_part, read_part
from csmoe_sampler.atlas.lattice import cut_blocks
from csmoe_sampler.errors import AtlasError
from csmoe_sampler.grid import TileGrid
from csmoe_sampler.types import Descriptor, Int64, ReadCost


@dataclass(frozen=True, kw_only=True, eq=False)
class Block:
    """A block with something to do."""

    name: str
    part: Part | None
    """What is there."""
    fresh: Int64
    """Tiles that the part has not seen."""
    lacking: tuple[str, ...]
    """Descriptors that the rows of the part lack."""

    @property
    def num_tiles(self) -> int:
        """Tiles to describe with one descriptor or more."""
        return int(self.fresh.size) + (self.part.num_rows if self.part and self.lacking else 0)

    def rows(self, atlas: Atlas) -> Int64:
        """Tiles of the rows that are there."""
        table = read_part(atlas, atlas.part(self.name), ["tile"])[1]
        return np.asarray(table["tile"].to_numpy(), np.int64)


def find_missing(atlas: Atlas, descriptors: Sequence[Descriptor], tiles: Int64) -> list[Block]:
    """The blocks in which `tiles` lack something that `descriptors` can give, those with most tiles first.

    Raises:
        AtlasError: A part is damaged, or tiles are missing and descriptors of the atlas are not given.
    """
    there = set(atlas.parts())
    given = [d.name for d in atlas.descriptors if any(d.name == descriptor.name for descriptor in descriptors)]
    blocks = []
    for name, asked in cut_blocks(atlas.grid, tiles, atlas.block_deg):
        path = atlas.part(name)
        part = open_part(atlas, path) if path in there else None
        fresh = asked[~part.seen.holds(asked)] if part else asked
        lacking = tuple(d for d in given if part and d not in part.descriptors)
        if fresh.size or lacking:
            blocks.append(Block(name=name, part=part, fresh=fresh, lacking=lacking))
    absent = [d.name for d in atlas.descriptors if d.name not in given]
    if absent and any(block.fresh.size for block in blocks):
        raise AtlasError(
            f"atlas {atlas.path} has descriptor '{absent[0]}', which further tiles need too: add it to this run, or "
            "choose another folder"
        )
    return sorted(blocks, key=lambda block: (-block.num_tiles, block.name))


@dataclass(frozen=True, kw_only=True)
class WorkPlan:
    """What `describe_tiles` would have to do."""

    num_blocks: int
    num_tiles: int
    cost: ReadCost
    """Of all descriptors together."""


def plan_blocks(tiles: Int64, grid: TileGrid, descriptors: Sequence[Descriptor], out: Path) -> WorkPlan:
    """What `describe_tiles` with these arguments would have to do now; writes nothing, raises AtlasError likewise."""
    atlas = extend_atlas(out, grid, descriptors, tiles)
    blocks = find_missing(atlas, descriptors, tiles)
    costs = []
    for descriptor in descriptors:
        wanted = [block.fresh for block in blocks]
        wanted += [block.rows(atlas) for block in blocks if descriptor.name in block.lacking]
        if sum(part.size for part in wanted):
            costs.append(descriptor.cost(grid, np.sort(np.concatenate(wanted))))
    total = ReadCost(
        files=sum(cost.files for cost in costs),
        requests=sum(cost.requests for cost in costs),
        bytes=sum(cost.bytes for cost in costs),
        pixels=sum(cost.pixels for cost in costs),
    )
    return WorkPlan(num_blocks=len(blocks), num_tiles=sum(block.num_tiles for block in blocks), cost=total)
