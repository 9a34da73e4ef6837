"""Train, validation and test by spatial blocks, with a buffer between them.

The split is a function of the place alone, once the blocks are assigned from the candidates: it does not depend on
which tiles were drawn. A prefix, a larger sample, another objective or a tile drawn in the place of another keeps
every split, and no manifest trains where another one of the same candidates, seed and configuration tests.

1. Blocks are the cells of a grid of `block_km`. In an order drawn by chance they are given to test, then to validation,
   as long as that brings the split's number of candidates closer to its share; the rest is train. Every split that is
   wanted gets a block, if there are enough.
2. A place in a train block that is nearer than `buffer_km` to a validation or test block belongs to `buffer`, and so
   does a place in a validation block near a test block. Then no two places of different splits are nearer
   than `buffer_km`, whatever tiles stand there. Distances are great circles on the grid's sphere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

from csmoe_sampler.chance import derive_seed, tile_keys
from csmoe_sampler.config import SplitConfig
from csmoe_sampler.grid import TileGrid
from csmoe_sampler.grid_rows import EARTH_RADIUS_KM
from csmoe_sampler.types import Bool, Float64, Int64

Int8 = npt.NDArray[np.int8]

NAMES = ("train", "validation", "test", "buffer")
TRAIN, VALIDATION, TEST, BUFFER = range(4)
NOTEWORTHY = 0.25
"""Relative deviation from the wanted share that is reported."""


@dataclass(frozen=True, kw_only=True)
class SplitBlocks:
    """The blocks held out of training."""

    block_km: float
    buffer_km: float
    block: Int64
    """Blocks of validation and test, ascending: tile indices of the grid of `block_km`."""
    split: Int8
    """VALIDATION or TEST of each."""
    notes: tuple[str, ...]
    """What could not be met, a sentence each."""

    def assign(self, lon: Float64, lat: Float64) -> npt.NDArray[np.str_]:
        """The split of places in degrees: `train`, `validation`, `test` or `buffer`."""
        grid = _block_grid(self.block_km)
        code = self._split_of_block(_block_of(grid, lon, lat))
        west, south, east, north = grid.bounds(self.block)
        south = np.where(south == _south_edge(grid), -90.0, south)
        boxes = np.column_stack([west, south, east - west, north])
        points = np.column_stack([np.asarray(lon, np.float64), np.asarray(lat, np.float64)])
        near = _near_a_later_split(points, code, boxes, self.split, self.buffer_km / EARTH_RADIUS_KM)
        return np.array(NAMES)[np.where(near, BUFFER, code)]

    def _split_of_block(self, block: Int64) -> Int8:
        if not self.block.size:
            return np.full(block.shape, TRAIN, np.int8)
        place = np.minimum(np.searchsorted(self.block, block), self.block.size - 1)
        return np.where(self.block[place] == block, self.split[place], np.int8(TRAIN))


def hold_out_blocks(lon: Float64, lat: Float64, config: SplitConfig, seed: int) -> SplitBlocks:
    """Assigns the blocks, in proportion to the candidate tiles.

    Args:
        lon: Degrees, of all candidates, not only those drawn; their order does not matter.
        lat: Degrees.
        config: Shares, block and buffer.
        seed: Seed of the run.
    """
    block, count = np.unique(_block_of(_block_grid(config.block_km), lon, lat), return_counts=True)
    order = np.argsort(tile_keys(derive_seed(seed, "split"), block), kind="stable")
    split = np.zeros(block.size, np.int8)
    wanted = {k: share for k, share in ((TEST, config.test), (VALIDATION, config.validation)) if share > 0}
    notes: tuple[str, ...] = ()
    if block.size > len(wanted):
        for kept_free, (code, share) in zip(range(len(wanted), 0, -1), wanted.items(), strict=True):
            free = order[split[order] == TRAIN]
            split[free[_fill(count[free], share * lon.size, kept_free)]] = code
        notes = tuple(_notes(split, count, wanted, config.block_km))
    elif wanted:
        notes = (
            f"all rows are train: the candidates lie in {block.size} blocks of {config.block_km:g} km, too few "
            f"to hold out {' and '.join(NAMES[k] for k in wanted)}; choose a smaller split.block_km",
        )
    held = split != TRAIN
    return SplitBlocks(
        block_km=config.block_km, buffer_km=config.buffer_km, block=block[held], split=split[held], notes=notes
    )


def _fill(count: Int64, target: float, kept_free: int) -> Int64:
    """Positions of the blocks to take, in order, to come close to `target` tiles: at least one, some kept free."""
    taken: list[int] = []
    missing = target
    for k, tiles in enumerate(count.tolist()):
        if len(taken) == count.size - kept_free:
            break
        if tiles < 2 * missing:
            taken.append(k)
            missing -= tiles
    return np.array(taken or [int(np.abs(count - target).argmin())], np.int64)


def _notes(split: Int8, count: Int64, wanted: dict[int, float], block_km: float) -> list[str]:
    found = {k: int(count[split == k].sum()) / int(count.sum()) for k in wanted}
    return [
        f"{NAMES[k]} holds {found[k]:.1%} of the candidates instead of {share:.1%}: "
        f"they lie in only {split.size} blocks of {block_km:g} km; choose a smaller split.block_km"
        for k, share in wanted.items()
        if abs(found[k] - share) > NOTEWORTHY * share
    ]


def _block_grid(block_km: float) -> TileGrid:
    return TileGrid(spacing_km=block_km, lat_max_deg=90)


def _south_edge(grid: TileGrid) -> float:
    """Where the number of rows is odd, the grid leaves a gap of half a row at the south pole."""
    return float(grid.bounds(0)[1])


def _block_of(grid: TileGrid, lon: Float64, lat: Float64) -> Int64:
    """The southernmost blocks reach to the pole."""
    return grid.locate_index(lon, np.maximum(lat, _south_edge(grid)))


@njit(cache=True, nogil=True)
def _near_a_later_split(points: Float64, code: Int8, boxes: Float64, split: Int8, reach: float) -> Bool:
    """Whether each place is nearer than `reach` to a box of a later split than its own.

    Args:
        points: (n, 2) longitude and latitude in degrees.
        code: Split of each.
        boxes: (m, 4) west, south, width and north in degrees, from south to north.
        split: Split of each box.
        reach: Radians.
    """
    near = np.zeros(len(points), np.bool_)
    south, height = boxes[:, 1].copy(), 0.0
    for k in range(len(boxes)):
        height = max(height, boxes[k, 3] - boxes[k, 1])
    margin = math.degrees(reach) * (1 + 1e-9)
    for i in range(len(points)):
        lon, lat = points[i]
        first = np.searchsorted(south, lat - margin - height)
        last = np.searchsorted(south, lat + margin, side="right")
        for k in range(first, last):
            if split[k] > code[i] and _distance_to_box(lon, lat, boxes[k]) < reach:
                near[i] = True
                break
    return near


@njit(cache=True, nogil=True)
def _distance_to_box(lon: float, lat: float, box: Float64) -> float:
    """Radians to the nearest point of a box of meridians and parallels; exact up to a quarter of the globe."""
    west, south, width, north = box
    beyond = (lon - west) % 360.0
    if beyond <= width:
        return math.radians(max(south - lat, lat - north, 0.0))
    # The nearest point lies on the nearer meridian edge, where the perpendicular meets it, or at that edge's end.
    angle, lat0 = math.radians(min(beyond - width, 360.0 - beyond)), math.radians(lat)
    foot = math.atan2(math.sin(lat0), math.cos(lat0) * math.cos(angle))
    foot = min(max(foot, math.radians(south)), math.radians(north))
    haversine = math.sin((foot - lat0) / 2) ** 2 + math.cos(lat0) * math.cos(foot) * math.sin(angle / 2) ** 2
    return 2 * math.asin(min(1.0, math.sqrt(haversine)))
